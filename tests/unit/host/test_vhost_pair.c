/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions of a queue pair: broken, stopped, restarted, moved; and notification. */
#include "dev_fix.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

/* ---- broken rings ---- */

static void broken(struct fix *f, uint32_t session)
{
	assert_int_equal(f->tq->up, 0);
	assert_int_equal(f->tq->session, session + 1);
	assert_int_equal(f->tq->stats.ring_broken, 1);
	assert_int_equal(f->tq->stats.rx_bad_chain, 1);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 0);
	assert_false(f->tq->ops->tx_ready(f->tq));
	f->tq->ops->publish(f->tq);
	f->tq->stats.ring_broken = f->tq->stats.rx_bad_chain = 0;
}

static void a_broken_ring_ends_the_session(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 8, 8);
	uint32_t held;

	/* a good packet is held and another one comes before the bad chain */
	drv_desc(&f->from, 0, G_GPA + off, HDR + 8, 0, 0);
	drv_desc(&f->from, 1, G_GPA + off, HDR + 8, NEXT, 1);
	drv_offer(&f->from, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	held = f->pkt[0].token;
	drv_offer(&f->from, 0);
	drv_offer(&f->from, 1);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	broken(f, 1);
	f->tq->ops->rx_release(f->tq, held);
	/* found out by the first look, and by the second */
	fresh(f, N);
	drv_lie(&f->from);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	broken(f, 3);
	fresh(f, N);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	drv_lie(&f->from);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	broken(f, 5);
	/* a receive buffer of less than a header, alone or behind good ones */
	for (unsigned good = 0; good < 3; good++) {
		fresh(f, N);
		for (unsigned i = 0; i < good; i++)
			offer_empty(f, (uint16_t)i, 100);
		offer_empty(f, (uint16_t)good, HDR - 1);
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 0);
		broken(f, 7 + 2 * good);
	}
	/* the same found out by tx_ready: the next rx_burst says so */
	fresh(f, N);
	drv_lie(&f->to);
	assert_false(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	broken(f, 13);
	/* the file behind the memory was cut off (sigbus.h) */
	fresh(f, N);
	f->q->ep->mem->fault = 1;
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	broken(f, 15);
	/* it can be started again, and works */
	fresh(f, N);
	offer_empty(f, 0, 100);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 1);
	send_one(f, f->slot, 5);
	assert_used(&f->to, 0, HDR + 5);
}

/* A header that straddles is placed by a second walk; the driver may have changed the table. */
static void a_chain_changed_after_reserve_is_checked_again(void **state)
{
	struct fix *f = *state;
	struct vsock_hdr h = hdr_of(0);
	void *table = f->g.mem + G_DATA + 0x1000;

	drv_table(table, 0, D, 20, WRITE | NEXT);
	drv_table(table, 1, D + 100, 100, WRITE);
	drv_desc(&f->to, 0, D + 0x1000, 32, IND, 0);
	drv_offer(&f->to, 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 1);
	drv_table(table, 1, G_GPA + G_SIZE, 100, WRITE);
	f->tq->ops->tx_commit(f->tq, f->slot[0].token, &h);
	assert_int_equal(f->q->to_guest.broken, VHOST_RING_BAD_ADDR);
	broken(f, 1);
}

/* ---- sessions ---- */

/* Takes what former sessions have left. */
static void take_rest(struct fix *f)
{
	int n;

	while ((n = f->tq->ops->rx_rest(f->tq, f->pkt, 64)) > 0)
		for (int i = 0; i < n; i++)
			f->tq->ops->rx_release(f->tq, f->pkt[i].token);
	assert_int_equal(f->q->saved_bytes, 0);
	assert_int_equal(f->q->nsaved, 0);
}

/* What the guest had sent when it went is the owner's, whatever becomes of the guest's memory. */
static void what_was_sent_is_kept(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;
	uint64_t off[3];

	fresh(f, N);
	take_rest(f);
	for (unsigned i = 0; i < 3; i++) {
		off[i] = put_packet(f, i == 2 ? 0 : 8, i == 2 ? 0 : 8);
		drv_desc(&f->from, (uint16_t)i, G_GPA + off[i], HDR + (i == 2 ? 0 : 8), 0, 0);
		drv_offer(&f->from, (uint16_t)i);
	}
	memset(&f->g.mem[off[0] + HDR], 0x11, 8);
	memset(&f->g.mem[off[1] + HDR], 0x22, 8);
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt, 64), 0);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(b.base[VHOST_FROM_GUEST].v, drv_base(&f->from, 3));
	assert_used(&f->from, 2, 0);
	assert_used(&f->from, 0, 0);
	assert_used(&f->from, 1, 0);
	memset(&f->g.mem[off[0]], 0xee, HDR + 8); /* the driver has its buffers back */
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt, 1), 1);
	assert_int_equal(f->pkt[0].nseg, 1);
	assert_int_equal(f->pkt[0].hdr.len, 8);
	assert_int_equal(f->pkt[0].seg[0].len, 8);
	assert_int_equal(f->pkt[0].seg[0].base[7], 0x11);
	fresh(f, N); /* and a new session makes no difference */
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt + 1, 63), 2);
	assert_int_equal(f->pkt[1].seg[0].base[0], 0x22);
	assert_int_equal(f->pkt[2].nseg, 0);
	assert_int_equal(f->tq->ops->rx_rest(f->tq, f->pkt + 3, 61), 0);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token); /* twice: nothing */
	f->tq->ops->rx_release(f->tq, f->pkt[1].token + 5);
	assert_int_equal(f->pkt[1].seg[0].base[0], 0x22);
	f->tq->ops->rx_release(f->tq, f->pkt[1].token);
	assert_int_equal(f->q->saved_bytes, 0);
	assert_int_equal(f->q->nsaved, 0);
}

/* All descriptors name the same large buffer: what is kept is bounded, and is the beginning. */
static void what_is_kept_is_bounded(void **state)
{
	struct fix *f = *state;
	const uint32_t big = G_SIZE - G_DATA - HDR;
	struct vhost_pair_bases b;
	uint64_t off, kept = 0;

	for (unsigned round = 0; kept <= VHOST_SAVED_MAX / big && round < 10000; round++) {
		off = put_packet(f, big, 0);
		for (uint16_t i = 0; i < N; i++) {
			drv_desc(&f->from, i, G_GPA + off, HDR + big, 0, 0);
			drv_offer(&f->from, i);
		}
		assert_true(vhost_pair_stop(f->q, &b));
		kept = f->q->nsaved;
		assert_in_range(f->q->saved_bytes, 0, VHOST_SAVED_MAX);
		fresh(f, N);
		if (kept < (round + 1) * N)
			break;
	}
	assert_in_range(kept, 1, VHOST_SAVED_MAX / big);
	take_rest(f);
}

/* Pairs of one device share what is kept, and who has little to say loses nothing by that. */
static void a_share_of_what_is_kept(void **state)
{
	struct fix *f = *state;
	const uint32_t big = G_SIZE - G_DATA - HDR;
	struct vhost_pair_bases b;
	uint64_t off = put_packet(f, big, 0);

	f->q->saved_max = 2 * big + big / 2;
	for (uint16_t i = 0; i < N; i++) {
		drv_desc(&f->from, i, G_GPA + off, HDR + big, 0, 0);
		drv_offer(&f->from, i);
	}
	assert_true(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->q->nsaved, 2);
	assert_in_range(f->q->saved_bytes, 2 * big, f->q->saved_max);
	fresh(f, N);
	take_rest(f);
}

static void a_stop_returns_every_chain(void **state)
{
	struct fix *f = *state;
	uint64_t off = put_packet(f, 8, 8);
	uint8_t *held, *reserved;
	uint32_t rx_token, tx_token;
	struct vsock_hdr h = hdr_of(1);
	struct vhost_pair_bases b;

	drv_desc(&f->from, 7, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, 7);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	rx_token = f->pkt[0].token;
	held = f->pkt[0].seg[0].base;
	for (unsigned i = 0; i < 3; i++)
		offer_empty(f, (uint16_t)i, 1000);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	tx_token = f->slot[1].token;
	reserved = f->slot[1].data;
	f->tq->ops->tx_cancel(f->tq, f->slot[0].token);

	assert_int_equal(f->tq->session, 1);
	assert_true(vhost_pair_stop(f->q, &b));
	assert_false(vhost_pair_stop(f->q, &b));
	assert_int_equal(f->tq->up, 0);
	assert_int_equal(f->tq->session, 2);
	assert_int_equal(b.base[VHOST_FROM_GUEST].v, drv_base(&f->from, 1));
	assert_int_equal(b.base[VHOST_TO_GUEST].v, drv_base(&f->to, 2));
	assert_used(&f->from, 7, 0);
	assert_used(&f->to, 0, 0);
	assert_used(&f->to, 1, 0);
	/* what is on loan is private memory now, and holds what it held */
	memset(f->g.mem + off + HDR, 0x77, 8);
	assert_int_equal(held[0], 1);
	assert_int_equal(held[7], 8);
	memset(held, 0xee, 8);
	memset(reserved, 0xee, 100);
	assert_int_equal(f->g.mem[off + HDR], 0x77);
	assert_int_equal(f->g.mem[G_DATA + 0x1000 + HDR], 0);

	/* the next session goes on where this one ended, with the third buffer */
	start(f);
	assert_int_equal(f->tq->session, 3);
	assert_int_equal(f->tq->stats.sessions, 2);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 1);
	/* stale tokens mean nothing to its rings */
	f->tq->ops->rx_release(f->tq, rx_token);
	f->tq->ops->tx_commit(f->tq, tx_token, &h);
	assert_null(f->q->retired); /* and the memory is gone with the last */
	f->tq->ops->publish(f->tq);
	assert_false(drv_used(&f->from, &(uint32_t){0}, &(uint32_t){0}));
	assert_false(drv_used(&f->to, &(uint32_t){0}, &(uint32_t){0}));
	send_one(f, f->slot, 3);
	assert_used(&f->to, 2, HDR + 3);
	/* given back twice, or never given: nothing happens */
	f->tq->ops->rx_release(f->tq, rx_token);
	f->tq->ops->tx_cancel(f->tq, tx_token);
	f->tq->ops->tx_cancel(f->tq, 1u << 30);
	f->tq->ops->rx_release(f->tq, UINT32_MAX);
}

/* Stale tokens leave as many chains to the next sessions. */
static void tokens_of_ended_sessions_take_no_room(void **state)
{
	struct fix *f = *state;
	uint32_t stale[10][N];

	for (unsigned s = 0; s < 10; s++) {
		for (unsigned i = 0; i < N; i++)
			offer_empty(f, (uint16_t)i, 1000);
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 0, TX_CTRL), N);
		for (unsigned i = 0; i < N; i++)
			stale[s][i] = f->slot[i].token;
		fresh(f, N);
	}
	for (unsigned s = 0; s < 10; s++)
		for (unsigned i = 0; i < N; i++)
			f->tq->ops->tx_cancel(f->tq, stale[s][i]);
	assert_null(f->q->retired);
	assert_int_equal(f->q->nstack, 0);
}

/* ---- notification ---- */

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static uint64_t count(int fd)
{
	uint64_t n = 0;

	(void)!read(fd, &n, sizeof(n));
	return n;
}

static void kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void the_driver_is_called_when_it_asked(void **state)
{
	struct fix *f = *state;
	int rx = eventfd(0, EFD_NONBLOCK), tx = eventfd(0, EFD_NONBLOCK);
	uint64_t off = put_packet(f, 0, 0);

	assert_int_equal(vhost_pair_set_call(f->q, VHOST_TO_GUEST, rx), 0);
	assert_int_equal(vhost_pair_set_call(f->q, VHOST_FROM_GUEST, tx), 0);
	assert_int_equal(count(rx), 1); /* a running ring is told once about the new descriptor */
	assert_int_equal(count(tx), 1);
	drv_desc(&f->from, 0, G_GPA + off, HDR, 0, 0);
	drv_offer(&f->from, 0);
	drv_used_event(&f->from, 0); /* tell me about the first */
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	f->tq->ops->publish(f->tq);
	assert_int_equal(count(tx), 1);
	assert_int_equal(count(rx), 0);
	offer_empty(f, 0, 100);
	offer_empty(f, 1, 100);
	drv_used_event(&f->to, 1); /* the second */
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	send_one(f, &f->slot[0], 1);
	assert_int_equal(count(rx), 0);
	send_one(f, &f->slot[1], 1);
	assert_int_equal(count(rx), 1);
	f->tq->ops->publish(f->tq);
	assert_int_equal(count(rx), 0);
	assert_int_equal(f->tq->stats.kicks, 2);
	assert_int_equal(vhost_pair_set_call(f->q, VHOST_TO_GUEST, -1), 0);
	close(rx);
	close(tx);
}

static void a_call_that_is_put_off_is_made_later(void **state)
{
	struct fix *f = *state;
	int rx = eventfd(0, EFD_NONBLOCK);

	f->q->wakes->refilled = UINT64_MAX / 2; /* calls have been slow */
	assert_int_equal(vhost_pair_set_call(f->q, VHOST_TO_GUEST, rx), 0);
	f->tq->ops->publish(f->tq);
	assert_int_equal(count(rx), 0);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1); /* who sleeps cannot make it */
	f->q->wakes->refilled = 0;
	f->tq->ops->publish(f->tq);
	assert_int_equal(count(rx), 1);
	close(rx);
}

static void an_armed_pair_is_woken(void **state)
{
	struct fix *f = *state;
	int rx = eventfd(0, EFD_NONBLOCK), tx = eventfd(0, EFD_NONBLOCK), fd = vhost_pair_fd(f->tq);
	int other = eventfd(0, EFD_NONBLOCK);
	uint64_t off = put_packet(f, 0, 0);

	assert_int_equal(vhost_pair_set_kick(f->q, VHOST_TO_GUEST, rx), 0);
	assert_int_equal(vhost_pair_set_kick(f->q, VHOST_FROM_GUEST, tx), 0);
	assert_true(readable(fd)); /* vhost_pair_start has woken the owner */
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	f->tq->ops->disarm(f->tq, true);
	assert_false(readable(fd));
	drv_desc(&f->from, 0, G_GPA + off, HDR, 0, 0);
	/* armed at the next index; a kick wakes, once, without anybody reading the eventfd */
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	assert_int_equal(drv_avail_event(&f->from), 0);
	drv_offer(&f->from, 0);
	kick(tx);
	assert_true(readable(fd));
	f->tq->ops->disarm(f->tq, true);
	assert_false(readable(fd));
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 1); /* work is there */
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	assert_int_equal(drv_avail_event(&f->from), 1);
	kick(tx);
	assert_true(readable(fd));
	f->tq->ops->disarm(f->tq, true);
	/* room to send: none at all, any buffer wakes */
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	assert_int_equal(drv_avail_event(&f->to), 0);
	offer_empty(f, 0, 100);
	kick(rx);
	assert_true(readable(fd));
	f->tq->ops->disarm(f->tq, true);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 1);
	/* only those kept for control are left: woken when there is one more */
	for (unsigned i = 1; i < N; i++)
		offer_empty(f, (uint16_t)i, 100);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), N - KEEP);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - KEEP, 3, 0, TX_CTRL), 3);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	assert_int_equal(drv_avail_event(&f->to), N + 3);
	f->tq->ops->disarm(f->tq, true);
	/* five wanted: woken when there are as many, and those for control */
	assert_int_equal(f->tq->ops->arm(f->tq, 5), 0);
	assert_int_equal(drv_avail_event(&f->to), N + 3 + 4);
	f->tq->ops->disarm(f->tq, true);
	for (unsigned i = 0; i < 3; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	assert_int_equal(drv_avail_event(&f->to), N);
	f->tq->ops->disarm(f->tq, true);
	f->tq->ops->tx_cancel(f->tq, f->slot[3].token);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 1);
	assert_int_equal(f->tq->ops->arm(f->tq, 2), 0);
	assert_int_equal(drv_avail_event(&f->to), N);
	f->tq->ops->disarm(f->tq, true);
	for (unsigned i = 4; i < N; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	assert_int_equal(f->tq->ops->arm(f->tq, N - KEEP), 1);
	/* the control thread wakes too, up or down */
	f->tq->ops->disarm(f->tq, true);
	assert_false(readable(fd));
	fresh(f, N);
	assert_true(readable(fd));
	/* a kick that nobody has seen yet outlives its descriptor */
	assert_int_equal(f->tq->ops->arm(f->tq, 0), 0);
	f->tq->ops->disarm(f->tq, true);
	assert_false(readable(fd));
	kick(tx);
	assert_int_equal(vhost_pair_set_kick(f->q, VHOST_FROM_GUEST, other), 0);
	assert_true(readable(fd));
	assert_int_equal(vhost_pair_set_kick(f->q, VHOST_TO_GUEST, -1), 0);
	close(other);
	close(rx);
	close(tx);
}

/* ---- two threads ---- */

#define RESTARTS 300

struct owner {
	struct fix *f;
	uint32_t stop;
	uint64_t packets, sessions;
};

/* What the socket layer does all day; it keeps some tokens across sessions. */
static void *own(void *arg)
{
	struct owner *o = arg;
	struct transport_queue *tq = o->f->tq;
	struct rx_pkt pkt[16];
	struct tx_slot slot[16];
	uint32_t held[16], nheld = 0, session = 0;
	struct vsock_hdr h = hdr_of(4);

	while (!__atomic_load_n(&o->stop, __ATOMIC_RELAXED) || nheld) {
		int n;

		if (!quiesce_enter(&tq->qs))
			continue;
		if (tq->session != session)
			__atomic_fetch_add(&o->sessions, 1, __ATOMIC_RELAXED);
		session = tq->session;
		n = tq->ops->rx_burst(tq, pkt, 16);
		while (nheld)
			tq->ops->rx_release(tq, held[--nheld]);
		for (int i = 0; i < n; i++) {
			o->packets++;
			if (pkt[i].nseg)
				held[nheld++] = pkt[i].token;
		}
		n = (int)tq->ops->tx_reserve(tq, slot, 16, 4, 0);
		for (int i = 0; i < n; i++) {
			memset(slot[i].data, 1, 4);
			if (i % 2)
				tq->ops->tx_cancel(tq, slot[i].token);
			else
				tq->ops->tx_commit(tq, slot[i].token, &h);
		}
		tq->ops->publish(tq);
		if (tq->ops->arm(tq, 1) == 0)
			tq->ops->disarm(tq, true);
		quiesce_leave(&tq->qs);
	}
	return NULL;
}

/* The control thread starts, stops and switches while the owner works. */
static void the_control_thread_changes_a_busy_pair(void **state)
{
	struct fix *f = *state;
	struct owner o = {.f = f};
	uint64_t off = put_packet(f, 8, 8);
	pthread_t t;

	quiesce_init();
	assert_int_equal(pthread_create(&t, NULL, own, &o), 0);
	for (unsigned i = 0; i < RESTARTS; i++) {
		struct vhost_pair_setup s;
		struct vhost_pair_bases b;
		struct guest_mem *gm = own_map(f);

		for (unsigned k = 0; k < 8; k++) {
			drv_desc(&f->from, k, G_GPA + off, HDR + 8, 0, 0);
			drv_offer(&f->from, (uint16_t)k);
			offer_empty(f, (uint16_t)k, 256);
		}
		sched_yield();
		/* On one busy CPU the owner may not have run at all: now and then, wait for it. */
		for (unsigned seen = 0; i % 32 == 0 && seen <= i / 32;) {
			seen = (unsigned)__atomic_load_n(&o.sessions, __ATOMIC_RELAXED);
			sched_yield();
		}
		fill_setup(f, &s, gm);
		assert_int_equal(vhost_pair_switch_mem(f->q, &s), 0);
		guest_mem_put(gm);
		assert_true(vhost_pair_stop(f->q, &b));
		/* all that was taken has been returned */
		assert_int_equal(drv_returned(&f->from), b.base[VHOST_FROM_GUEST].v);
		assert_int_equal(drv_returned(&f->to), b.base[VHOST_TO_GUEST].v);
		drv_make(&f->to, &f->g, 0, N);
		drv_make(&f->from, &f->g, 1, N);
		start(f);
	}
	__atomic_store_n(&o.stop, 1, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	assert_true(o.sessions > 1);
	assert_int_equal(f->tq->stats.sessions, RESTARTS + 1);
	assert_int_equal(f->tq->stats.ring_broken, 0);
	assert_null(f->q->retired);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_broken_ring_ends_the_session),
		T(a_chain_changed_after_reserve_is_checked_again),
		T(what_was_sent_is_kept),
		T(what_is_kept_is_bounded),
		T(a_share_of_what_is_kept),
		T(a_stop_returns_every_chain),
		T(tokens_of_ended_sessions_take_no_room),
		T(the_driver_is_called_when_it_asked),
		T(a_call_that_is_put_off_is_made_later),
		T(an_armed_pair_is_woken),
		T(the_control_thread_changes_a_busy_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
