/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What transports share, under a transport of a few lines: the connection is a pipe, and whether it
 * can be had is up to the test. So nothing here knows vhost-user.
 */
#include "proto/vsock_device.h"
#include "raw_dev.h"
#include "transport/guest_bond.h"
#include "transport/guest_dev.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IOVA ((struct iova){0x7000000ull})

/* Written by whoever calls the link: open's thread or the control thread. Atomic. */
static struct {
	uint32_t refuse; /* connect() fails with this many -errno */
	uint32_t refuse_start, refuse_map;
	uint32_t hang; /* connect() waits until the device is closed */
	uint32_t calm; /* lost() finds that nothing is lost */
	uint32_t tries, starts, disconnects, destroyed, looks;
	uint32_t registers; /* kicks are writes to registers */
	uint32_t faults;    /* of the order in which the functions are called */
	uint64_t cid;
	struct guest_features has;
} world;

struct fake {
	struct guest_dev g; /* first */
	int pipe[2];	    /* -1: not connected */
	bool started;
	uint16_t reg[VSOCK_VQS(ZV_QUEUES_MAX)]; /* what virtqueues are kicked by */
};

static struct fake *of(struct guest_dev *g)
{
	return (struct fake *)g;
}

static uint32_t get(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static void count(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

static int fake_map(struct guest_dev *g)
{
	if (!g->mem.addr || g->d.nqueues)
		count(&world.faults);
	if (get(&world.refuse_map))
		return zv_err(-EPERM, "the fake device has no way to the memory");
	g->iova = IOVA;
	return 0;
}

/* Only of a device whose kicks are registers. */
static struct virtq_notify fake_kick(struct guest_dev *g, unsigned vq)
{
	return virtq_notify_reg16(&of(g)->reg[vq], (uint16_t)vq);
}

static int fake_connect(struct guest_dev *g)
{
	int err = (int)get(&world.refuse);

	if (of(g)->pipe[0] >= 0 || g->d.nqueues == 0 || !g->mem.addr)
		count(&world.faults);
	count(&world.tries);
	if (get(&world.hang)) {
		struct pollfd p = {.fd = g->stop_fd, .events = POLLIN};

		(void)poll(&p, 1, -1);
		return zv_err(-ECANCELED, "closed");
	}
	if (err)
		return zv_err(-err, "the fake device refuses");
	if (pipe2(of(g)->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return zv_err(-errno, "no pipe");
	g->has = world.has;
	guest_dev_set_cid(g, __atomic_load_n(&world.cid, __ATOMIC_SEQ_CST));
	return 0;
}

/* The rings that a device is given are empty, and lie in the memory that it is given. */
static bool fresh(const struct guest_dev *g, const struct virtq *vq)
{
	const struct virtq_layout *l = g->has.rings->layout;
	const uint8_t *mem = g->mem.addr, *at;
	struct virtq_areas a;

	l->areas(vq, &a);
	at = a.desc;
	return at >= mem && at + l->bytes(a.size) <= mem + g->mem.size && a.base == 0 &&
	       virtq_in_flight(vq) == 0 && !l->used_beyond(vq, 0) &&
	       vq->event_idx == g->has.event_idx;
}

static int fake_start(struct guest_dev *g)
{
	for (unsigned i = 0; i < g->d.nqueues; i++) {
		const struct vsock_pair *p = &g->pair[i];

		if (!fresh(g, &p->rx) || !fresh(g, &p->tx) || p->tq.up)
			count(&world.faults);
	}
	if (of(g)->pipe[0] < 0 || of(g)->started || !fresh(g, &g->ev.vq))
		count(&world.faults);
	count(&world.starts);
	if (get(&world.refuse_start))
		return zv_err(-EPROTO, "the fake device does not start");
	of(g)->started = true;
	return 0;
}

static void fake_disconnect(struct guest_dev *g)
{
	count(&world.disconnects);
	for (unsigned i = 0; i < 2; i++) {
		if (of(g)->pipe[i] >= 0)
			(void)close(of(g)->pipe[i]);
		of(g)->pipe[i] = -1;
	}
	of(g)->started = false;
}

static int fake_read_cid(struct guest_dev *g)
{
	guest_dev_set_cid(g, __atomic_load_n(&world.cid, __ATOMIC_SEQ_CST));
	return 0;
}

static int fake_fd(struct guest_dev *g)
{
	return of(g)->pipe[0];
}

static const char *fake_lost(struct guest_dev *g)
{
	char c;

	(void)!read(of(g)->pipe[0], &c, 1);
	count(&world.looks);
	return get(&world.calm) ? NULL : "the fake device is gone";
}

static void fake_destroy(struct guest_dev *g)
{
	if (of(g)->pipe[0] >= 0)
		count(&world.faults);
	count(&world.destroyed);
	free(g);
}

static const struct guest_link_ops link_ops = {
	.map = fake_map,
	.connect = fake_connect,
	.start = fake_start,
	.disconnect = fake_disconnect,
	.read_cid = fake_read_cid,
	.fd = fake_fd,
	.lost = fake_lost,
	.destroy = fake_destroy,
};

static const struct guest_link_ops register_ops = {
	.map = fake_map,
	.kick = fake_kick,
	.connect = fake_connect,
	.start = fake_start,
	.disconnect = fake_disconnect,
	.read_cid = fake_read_cid,
	.fd = fake_fd,
	.lost = fake_lost,
	.destroy = fake_destroy,
};

static const struct transport_ops fake_ops;

static int fake_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct fake *f;
	int ret;

	if (strchr(rest, ','))
		return guest_bond_open(out, rest, opts, &fake_ops, "card");
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->pipe[0] = f->pipe[1] = -1;
	f->g.d.ops = &fake_ops;
	f->g.link = get(&world.registers) ? &register_ops : &link_ops;
	memset(f->reg, 0xff, sizeof(f->reg));
	f->g.scheme = "fake";
	f->g.name = "card0";
	ret = guest_dev_open(&f->g, opts);
	if (ret == 0)
		*out = &f->g.d;
	return ret;
}

static const struct transport_ops fake_ops = {
	.scheme = "fake",
	.role = ZV_ROLE_GUEST,
	.open = fake_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
};

static int reset(void **state)
{
	(void)state;
	memset(&world, 0, sizeof(world));
	world.cid = 42;
	world.has =
		(struct guest_features){.rings = vsock_rings[0], .event_idx = true, .events = true};
	return 0;
}

static int open_fake(struct transport_dev **out, const char *rest, uint32_t queues)
{
	const struct zv_opts o = {.size = sizeof(o),
				  .queues = queues,
				  .ring_size = 16,
				  .rx_buf = 256,
				  .tx_buf = 512,
				  .flags = ZV_OPT_NO_HUGE};

	*out = NULL;
	return fake_open(out, rest, &o);
}

/* Waits until the queue is @up in a session other than @old, for 30 s. */
static void await(struct transport_queue *q, uint32_t old, uint32_t up)
{
	for (unsigned i = 0; i < 30000; i++) {
		bool there = false;

		if (quiesce_enter(&q->qs)) {
			there = q->session != old && q->up == up;
			quiesce_leave(&q->qs);
		}
		if (there)
			return;
		(void)usleep(1000);
	}
	fail_msg("the session did not change");
}

static void until(uint32_t *word, uint32_t least)
{
	for (unsigned i = 0; i < 30000 && get(word) < least; i++)
		(void)usleep(1000);
	assert_true(get(word) >= least);
}

/* ---- tests ---- */

static void a_device_is_connected_then_started(void **state)
{
	struct transport_dev *d;

	(void)state;
	for (unsigned pairs = 1; pairs <= ZV_QUEUES_MAX; pairs += 5) {
		assert_int_equal(open_fake(&d, "card0", pairs), 0);
		assert_int_equal(d->nqueues, pairs);
		assert_int_equal(guest_dev_cid(d), 42);
		assert_int_equal(guest_dev_page_size(d), sysconf(_SC_PAGESIZE));
		assert_null(guest_dev_queue(d, pairs));
		for (unsigned i = 0; i < pairs; i++) {
			struct transport_queue *q = guest_dev_queue(d, i);
			struct vsock_pair *p = (struct vsock_pair *)q;
			struct raw_ring rx;

			assert_int_equal(q->up, 1);
			/* All receive buffers are posted, by addresses in the region. */
			rx = raw_split(&p->rx, true);
			assert_int_equal(shm_load16(&rx.avail->idx), 16);
			for (unsigned k = 0; k < 16; k++)
				assert_in_range(rx.desc[k].addr, IOVA.v,
						IOVA.v + ((struct fake *)d)->g.mem.size - 256);
		}
		guest_dev_close(d);
	}
	assert_int_equal(world.tries, 4);
	assert_int_equal(world.starts, 4);
	assert_int_equal(world.destroyed, 4);
	assert_int_equal(world.faults, 0);
}

static void what_the_transport_says_open_says(void **state)
{
	struct transport_dev *d;

	(void)state;
	world.refuse_map = 1;
	assert_int_equal(open_fake(&d, "card0", 1), -EPERM);
	assert_non_null(strstr(zv_error_text(), "no way to the memory"));
	world.refuse_map = 0;
	world.refuse = ENODEV;
	assert_int_equal(open_fake(&d, "card0", 1), -ENODEV);
	assert_non_null(strstr(zv_error_text(), "the fake device refuses"));
	world.refuse = 0;
	world.refuse_start = 1;
	assert_int_equal(open_fake(&d, "card0", 1), -EPROTO);
	assert_non_null(strstr(zv_error_text(), "does not start"));
	assert_null(d);
	assert_int_equal(world.tries, 2);
	assert_int_equal(world.destroyed, 3);
	assert_int_equal(world.faults, 0);
}

static void a_lost_device_comes_back(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;
	struct fake *f;
	const void *mem;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 2), 0);
	f = (struct fake *)d;
	mem = f->g.mem.addr;
	q = guest_dev_queue(d, 1);
	for (uint32_t round = 1; round < 4; round++) {
		uint32_t session = q->session, tries = get(&world.tries);

		set(&world.refuse, ECONNREFUSED);
		__atomic_store_n(&world.cid, 42 + round, __ATOMIC_SEQ_CST);
		assert_int_equal(write(f->pipe[1], "x", 1), 1);
		await(q, session, 0);
		until(&world.tries, tries + 3);
		session = q->session;
		set(&world.refuse, 0);
		await(q, session, 1);
		assert_int_equal(guest_dev_cid(d), 42 + round);
		assert_int_equal(q->stats.sessions, round + 1);
		assert_ptr_equal(f->g.mem.addr, mem); /* buffers may have been on loan */
	}
	guest_dev_close(d);
	assert_int_equal(world.starts, 4);
	assert_int_equal(world.faults, 0);
}

static void not_all_that_happens_is_a_loss(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;

	(void)state;
	set(&world.calm, 1);
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	q = guest_dev_queue(d, 0);
	for (uint32_t i = 1; i < 4; i++) {
		assert_int_equal(write(((struct fake *)d)->pipe[1], "x", 1), 1);
		until(&world.looks, i);
	}
	assert_int_equal(q->up, 1);
	assert_int_equal(q->stats.sessions, 1);
	guest_dev_close(d);
	assert_int_equal(world.tries, 1);
}

static void close_ends_a_connect_that_waits(void **state)
{
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	set(&world.hang, 1);
	assert_int_equal(write(((struct fake *)d)->pipe[1], "x", 1), 1);
	until(&world.tries, 2);
	guest_dev_close(d);
	assert_int_equal(world.destroyed, 1);
	assert_int_equal(world.faults, 0);
}

static void a_device_without_events_is_given_none(void **state)
{
	struct transport_dev *d;
	struct fake *f;

	(void)state;
	world.has = (struct guest_features){.rings = vsock_rings[0], .leaves_blank = true};
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	f = (struct fake *)d;
	assert_null(f->g.pair[0].ev);
	assert_true(f->g.pair[0].rx_wipe);
	assert_int_equal(virtq_with_device(&f->g.ev.vq), 0);
	guest_dev_close(d);
	world.has = (struct guest_features){.rings = vsock_rings[0], .events = true};
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	f = (struct fake *)d;
	assert_non_null(f->g.pair[0].ev);
	assert_false(f->g.pair[0].rx_wipe);
	assert_int_equal(virtq_with_device(&f->g.ev.vq), VSOCK_EVENTS);
	guest_dev_close(d);
	assert_int_equal(world.faults, 0);
}

/* The receive buffers are announced, and nothing else has happened yet. */
static void kicks_may_be_registers(void **state)
{
	struct transport_dev *d;

	(void)state;
	world.registers = 1;
	assert_int_equal(open_fake(&d, "card0", 3), 0);
	for (unsigned vq = 0; vq < VSOCK_VQS(3); vq++) {
		unsigned pair, ring = VSOCK_VQ_RX;
		bool told = !vsock_vq_pair(vq, &pair, &ring) || ring == VSOCK_VQ_RX;

		assert_int_equal(((struct fake *)d)->reg[vq], told ? vq : 0xffff);
	}
	guest_dev_close(d);
	assert_int_equal(world.faults, 0);
}

static void several_devices_are_one(void **state)
{
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "a,b,c", 1), 0);
	assert_int_equal(d->nqueues, 3);
	assert_int_equal(d->ops->guest_cid(d), 42);
	assert_ptr_not_equal(d->ops->queue(d, 0), d->ops->queue(d, 2));
	assert_null(d->ops->queue(d, 3));
	d->ops->close(d);
	assert_int_equal(world.destroyed, 3);
	assert_int_equal(open_fake(&d, "a,,c", 1), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "the name of a card is empty"));
	assert_int_equal(open_fake(&d, "a,b", 3), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "fake: 2 cards for 3 queues"));
	assert_int_equal(world.destroyed, world.tries);
	assert_int_equal(world.faults, 0);
}

#define T(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_device_is_connected_then_started),
		T(what_the_transport_says_open_says),
		T(a_lost_device_comes_back),
		T(not_all_that_happens_is_a_loss),
		T(close_ends_a_connect_that_waits),
		T(a_device_without_events_is_given_none),
		T(kicks_may_be_registers),
		T(several_devices_are_one),
	};

	return cmocka_run_group_tests_name("guest_dev", tests, NULL, NULL);
}
