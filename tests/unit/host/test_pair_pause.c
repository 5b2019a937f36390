/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue pair that is paused, and what goes on afterwards. */
#include "dev_fix.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

static struct vhost_pair_bases left;

static void pause_it(struct fix *f)
{
	assert_true(vhost_pair_pause(f->q, f->g.gm, &left));
	assert_false(vhost_pair_pause(f->q, f->g.gm, &left));
	assert_true(f->q->paused);
	/* all that was taken has been returned */
	assert_int_equal(drv_returned(&f->to), left.base[VHOST_TO_GUEST].v);
	assert_int_equal(drv_returned(&f->from), left.base[VHOST_FROM_GUEST].v);
}

static int resume_in(struct fix *f, uint32_t size)
{
	struct guest_mem *gm = own_map(f);
	struct vhost_pair_setup s;
	int ret;

	fill_setup(f, &s, gm);
	s.ring[VHOST_TO_GUEST].size = size;
	ret = vhost_pair_resume(f->q, &s, f->g.gm);
	guest_mem_put(gm);
	return ret;
}

static int resume(struct fix *f)
{
	return resume_in(f, f->to.size);
}

/* Everything that was out is private, and is as good as before when the session goes on. */
static void loans_live_through_a_pause(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(3), got;
	uint32_t rx_token;
	uint64_t off;
	uint8_t *held;

	f->top = G_DATA + 0x6000; /* behind the receive buffers */
	off = put_packet(f, 8, 8);
	drv_desc(&f->from, 7, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, 7);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	rx_token = f->pkt[0].token;
	held = f->pkt[0].seg[0].base;
	for (unsigned i = 0; i < 4; i++)
		offer_empty(f, (uint16_t)i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 3, 1, 0), 3);
	f->tq->ops->tx_cancel(f->tq, f->slot[2].token);
	memcpy(f->slot[0].data, "abc", 3);
	pause_it(f);
	assert_int_equal(f->tq->up, 1);
	assert_int_equal(f->tq->session, 1);
	assert_int_not_equal(f->tq->paused_at, 0);
	assert_used(&f->from, 7, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_used(&f->to, i, 0);
	/* nothing works, nothing breaks, nothing reaches the guest */
	drv_offer(&f->from, 7);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 3, 1, 1, TX_CTRL), 0);
	assert_int_equal(f->tq->ops->tx_ready(f->tq), 0);
	memset(f->g.mem + G_DATA, 0x77, 0x8000);
	assert_int_equal(held[0], 1);
	assert_int_equal(held[7], 8);
	memcpy(f->slot[1].data, "xyz", 3);
	f->tq->ops->tx_commit(f->tq, f->slot[1].token, &h); /* not in the order of the chains */
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	f->tq->ops->disarm(f->tq, true);
	f->tq->ops->publish(f->tq);
	for (unsigned i = 0; i < 0x8000; i++)
		assert_int_equal(f->g.mem[G_DATA + i], 0x77);
	assert_int_equal(drv_returned(&f->to), left.base[VHOST_TO_GUEST].v);

	assert_int_equal(resume(f), 0);
	assert_int_equal(f->tq->session, 1);
	assert_int_equal(f->tq->paused_at, 0);
	assert_int_equal(f->tq->stats.sessions, 1);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64),
			 0);				    /* what was offered is no packet */
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h); /* waits behind the other */
	f->tq->ops->publish(f->tq);
	assert_used(&f->from, 7, 0);
	assert_used(&f->to, 3, HDR + 3);
	assert_memory_equal(f->g.mem + G_DATA + 0x3000 + HDR, "xyz", 3);
	assert_int_equal(f->q->ndeferred, 1);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, TX_CTRL), 0);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0); /* and is waited for, whatever else is */
	offer_empty(f, 1, 1000);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1);
	f->tq->ops->publish(f->tq);
	assert_used(&f->to, 1, HDR + 3);
	assert_memory_equal(f->g.mem + G_DATA + 0x1000 + HDR, "abc", 3);
	vsock_hdr_get(&got, f->g.mem + G_DATA + 0x1000);
	assert_memory_equal(&got, &h, HDR);
	assert_non_null(f->q->retired);
	f->tq->ops->rx_release(f->tq, rx_token);
	assert_null(f->q->retired);
	f->tq->ops->publish(f->tq);
	assert_false(drv_used(&f->from, &(uint32_t){0}, &(uint32_t){0}));
}

/* A message that finds smaller buffers than before leaves in pieces; its end is in the last. */
static void a_late_message_fits_smaller_buffers(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(25), got;
	const uint32_t room[] = {10, 0, 10, 8};
	uint32_t part[] = {10, 10, 5}, at = 0;

	h.type = VSOCK_TYPE_SEQPACKET;
	h.flags = VSOCK_SEQ_EOM;
	offer_empty(f, 0, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
	for (unsigned i = 0; i < 25; i++)
		f->slot[0].data[i] = (uint8_t)(i + 1);
	pause_it(f);
	assert_used(&f->to, 0, 0);
	assert_int_equal(resume(f), 0);
	for (unsigned i = 0; i < 2; i++)
		offer_empty(f, (uint16_t)(i + 1), HDR + room[i]);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	for (unsigned i = 2; i < 4; i++)
		offer_empty(f, (uint16_t)(i + 1), HDR + room[i]);
	f->tq->ops->publish(f->tq);
	for (unsigned i = 0, k = 0; i < 4; i++) {
		const uint8_t *p = f->g.mem + G_DATA + (i + 1) * 0x1000;

		if (!room[i]) /* kept for packets without payload */
			continue;
		assert_used(&f->to, i + 1, HDR + part[k]);
		vsock_hdr_get(&got, p);
		assert_int_equal(got.len, part[k]);
		assert_int_equal(got.flags, k == 2 ? VSOCK_SEQ_EOM : 0);
		for (unsigned n = 0; n < part[k]; n++)
			assert_int_equal(p[HDR + n], ++at);
		k++;
	}
	assert_int_equal(f->q->ndeferred, 0);
	assert_int_equal(f->q->nctrl, 1);
}

/* A datagram is whole or not there: one that finds smaller buffers is dropped, and counted. */
static void a_late_datagram_stays_whole(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(25), got;

	h.type = VSOCK_TYPE_DGRAM;
	offer_empty(f, 0, 1000);
	offer_empty(f, 1, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	pause_it(f);
	assert_int_equal(resume(f), 0);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	h.len = 10;
	memcpy(f->slot[1].data, "0123456789", 10);
	f->tq->ops->tx_commit(f->tq, f->slot[1].token, &h);
	offer_empty(f, 2, HDR + 10);
	f->tq->ops->publish(f->tq);
	assert_int_equal(f->tq->stats.dgram_dropped, 1);
	assert_int_equal(f->q->ndeferred, 0);
	vsock_hdr_get(&got, f->g.mem + G_DATA + 0x2000);
	assert_int_equal(got.len, 10);
	assert_memory_equal(f->g.mem + G_DATA + 0x2000 + HDR, "0123456789", 10);
}

/* Packets in several pieces: what is kept is what was lent, wherever it lay. */
static void a_loan_in_pieces_is_kept(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 24, 4), more = off + 0x3000;
	struct vhost_pair_bases b;

	for (unsigned i = 0; i < 20; i++)
		f->g.mem[more + i] = (uint8_t)(0x80 + i);
	drv_desc(&f->from, 0, G_GPA + off, HDR + 4, NEXT, 1);
	drv_desc(&f->from, 1, G_GPA + more, 20, NEXT, 2);
	drv_desc(&f->from, 2, G_GPA + more + 0x1000, 100, 0, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	assert_int_equal(f->pkt[0].nseg, 2);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->lost, 0);
	memset(f->g.mem + off, 0x77, 0x6000);
	assert_int_equal(f->pkt[0].seg[0].base[0], 1);
	assert_int_equal(f->pkt[0].seg[0].base[3], 4);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(f->pkt[0].seg[1].base[i], 0x80 + i);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	assert_null(f->q->retired);
}

/* A chain that the guest has changed meanwhile cannot be found again: that is said. */
static void a_loan_that_cannot_be_found_again_is_counted(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 24, 4);
	void *table = f->g.mem + G_DATA + 0x1000;
	struct vhost_pair_bases b;

	drv_table(table, 0, G_GPA + off, HDR + 4, NEXT);
	drv_table(table, 1, G_GPA + off + 0x3000, 20, 0);
	drv_desc(&f->from, 0, D + 0x1000, 32, IND, 0);
	drv_offer(&f->from, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	drv_table(table, 1, G_GPA + G_SIZE, 20, 0);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->lost, 1);
	assert_int_equal(drv_returned(&f->from), b.base[VHOST_FROM_GUEST].v);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
}

/* The guest chooses how large its buffers are, and its owner waits while they are copied. */
static void a_pause_copies_so_many_bytes_at_most(void **state)
{
	const unsigned most = VHOST_TX_COPY_MAX >> 20;
	struct fix *f = *state;

	for (unsigned more = 0; more < 2; more++) {
		for (unsigned i = 0; i < N; i++)
			offer_empty(f, (uint16_t)i, HDR + (1u << 20));
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, most + more, 1, 0),
				 most + more);
		pause_it(f);
		assert_int_equal(f->tq->up, !more); /* or the session is over */
		for (unsigned i = 0; i < most + more; i++)
			f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
		fresh(f, N);
	}
}

/* What is no pause: another driver, other memory, other rings. */
static void what_is_no_pause_begins_a_new_session(void **state)
{
	struct fix *f = *state;
	struct guest_mem_src src = guest_src(&f->g);
	struct vhost_pair_bases b;
	struct guest_mem *gm;
	struct vhost_pair_setup s;
	int fd = memfd_create("other", MFD_CLOEXEC);

	/* used indices that the driver has reset */
	offer_empty(f, 0, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
	pause_it(f);
	assert_int_equal(left.base[VHOST_TO_GUEST].v, drv_base(&f->to, 1));
	drv_begin_anew(&f->to);
	assert_int_equal(resume(f), -ESTALE);
	assert_true(vhost_pair_stop(f->q, &b));
	f->tq->ops->tx_cancel(f->tq, f->slot[0].token);
	assert_null(f->q->retired);
	/* other memory, with the same contents */
	fresh(f, N);
	pause_it(f);
	assert_int_equal(pwrite(fd, f->g.mem, G_SIZE, 0), G_SIZE);
	src.fd = fd;
	assert_int_equal(guest_mem_import(&gm, &src, 1), 0);
	s = (struct vhost_pair_setup){.mem = gm, .features = FEATURES};
	s.ring[VHOST_TO_GUEST] = drv_area(&f->to, gm);
	s.ring[VHOST_FROM_GUEST] = drv_area(&f->from, gm);
	assert_int_equal(vhost_pair_resume(f->q, &s, gm), -ESTALE);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->up, 0);
	assert_int_equal(f->tq->paused_at, 0);
	guest_mem_put(gm);
	close(fd);
	/* a ring that is none */
	fresh(f, N);
	pause_it(f);
	assert_int_equal(resume_in(f, VHOST_RING_SIZE_MAX + 1), -EINVAL);
	assert_true(vhost_pair_stop(f->q, &b));
}

/* A driver that has let the rings go changes their memory: the owner, asleep, hears of it. */
static void a_driver_that_is_gone_is_noticed(void **state)
{
	struct fix *f = *state;
	struct pollfd p = {.fd = vhost_pair_fd(f->tq), .events = POLLIN};
	uint32_t session = f->tq->session;
	struct vhost_pair_bases b;

	offer_empty(f, 0, 1000);
	pause_it(f);
	f->tq->ops->disarm(f->tq, true);
	for (int i = 0; i < 3; i++) { /* nothing happens: it is woken, and sees that */
		while (f->tq->ops->arm(f->tq, 0))
			f->tq->ops->disarm(f->tq, true);
		assert_int_equal(poll(&p, 1, 30000), 1);
		f->tq->ops->disarm(f->tq, true);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
		assert_int_equal(f->tq->up, 1);
	}
	drv_let_go(&f->to); /* as Linux does when it takes its buffers back */
	while (f->tq->up) {
		assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
		assert_int_equal(poll(&p, 1, 30000), 1);
		f->tq->ops->disarm(f->tq, true);
		(void)f->tq->ops->rx_burst(f->tq, f->pkt, 64);
	}
	assert_int_equal(f->tq->session, session + 1);
	assert_int_equal(f->tq->paused_at, 0);
	assert_int_equal(resume(f), -ESTALE);
	assert_true(vhost_pair_stop(f->q, &b));
}

/* Pauses, one after the other, with loans of each stretch between them: bounded as other changes.
 */
static void maps_kept_by_pauses_are_bounded(void **state)
{
	struct fix *f = *state;
	uint32_t token[VHOST_RETIRED + 1];
	struct vhost_pair_bases b;
	unsigned n = 0;
	int ret = 0;

	for (; ret == 0 && n < VHOST_RETIRED + 1; n++) {
		uint64_t off = put_packet(f, 8, 8);

		drv_desc(&f->from, (uint16_t)n, G_GPA + off, HDR + 8, 0, 0);
		drv_offer(&f->from, (uint16_t)n);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
		token[n] = f->pkt[0].token;
		pause_it(f);
		ret = resume(f);
	}
	assert_int_equal(ret, -EBUSY);
	assert_int_equal(n, VHOST_RETIRED);
	assert_int_equal(resume(f), -ESTALE); /* once in vain is in vain */
	assert_true(vhost_pair_stop(f->q, &b));
	while (n-- > 1)
		f->tq->ops->rx_release(f->tq, token[n]);
	fresh(f, N);
	for (n = 0; n < 100; n++) { /* one loan is no hindrance */
		pause_it(f);
		assert_int_equal(resume(f), 0);
	}
	assert_int_equal(f->tq->up, 1);
	f->tq->ops->rx_release(f->tq, token[0]);
	assert_null(f->q->retired);
}

/* An owner that polls all the time is not sent into the kernel each time by a guest that stands. */
static void a_paused_pair_is_polled_without_system_calls(void **state)
{
	struct fix *f = *state;
	int event = eventfd(1, EFD_NONBLOCK), timer;
	uint64_t n;

	fresh(f, N);
	pause_it(f);
	timer = f->q->watchfd;
	f->q->watchfd = event; /* tells who reads it */
	f->q->watch_due += 3600000000000u;
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	f->q->watchfd = timer;
	assert_int_equal(read(event, &n, sizeof(n)), sizeof(n));
	f->q->watch_due -= 3600000000000u;
	while (f->tq->up) { /* and when it is due, it is looked at */
		drv_let_go(&f->to);
		(void)f->tq->ops->rx_burst(f->tq, f->pkt, 64);
	}
	(void)close(event);
}

/* A pause keeps the map of the rings, beside those for loans. */
static void a_pause_keeps_so_many_mappings(void **state)
{
	struct fix *f = *state;
	uint32_t token;
	uint64_t off;

	for (uint32_t most = 2; most > 0; most--) {
		off = put_packet(f, 8, 8);
		drv_desc(&f->from, 7, G_GPA + off, HDR + 8, 0, 0);
		drv_offer(&f->from, 7);
		assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
		token = f->pkt[0].token;
		f->q->maps_max = most;
		pause_it(f);
		assert_int_equal(f->tq->up, most == 2);
		assert_int_equal(f->tq->stats.loan_limit, most == 1);
		f->tq->ops->rx_release(f->tq, token);
		assert_int_equal(resume(f), most == 2 ? 0 : -ESTALE);
	}
	fresh(f, N);
	assert_int_equal(f->tq->up, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(loans_live_through_a_pause),
		T(a_late_message_fits_smaller_buffers),
		T(a_late_datagram_stays_whole),
		T(a_loan_in_pieces_is_kept),
		T(a_loan_that_cannot_be_found_again_is_counted),
		T(a_pause_copies_so_many_bytes_at_most),
		T(what_is_no_pause_begins_a_new_session),
		T(a_driver_that_is_gone_is_noticed),
		T(maps_kept_by_pauses_are_bounded),
		T(a_paused_pair_is_polled_without_system_calls),
		T(a_pause_keeps_so_many_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
