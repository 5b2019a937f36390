/* SPDX-License-Identifier: BSD-3-Clause */
/* What transports share, under a transport of a few lines: fake_link.h. */
#include "fake_link.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

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
				assert_in_range(rx.desc[k].addr, FAKE_IOVA.v,
						FAKE_IOVA.v + ((struct fake *)d)->g.mem.size - 256);
		}
		guest_dev_close(d);
	}
	assert_int_equal(testbed.tries, 4);
	assert_int_equal(testbed.starts, 4);
	assert_int_equal(testbed.destroyed, 4);
	assert_int_equal(testbed.faults, 0);
}

static void what_the_transport_says_open_says(void **state)
{
	struct transport_dev *d;

	(void)state;
	testbed.refuse_map = 1;
	assert_int_equal(open_fake(&d, "card0", 1), -EPERM);
	assert_non_null(strstr(zv_error_text(), "no way to the memory"));
	testbed.refuse_map = 0;
	testbed.refuse = ENODEV;
	assert_int_equal(open_fake(&d, "card0", 1), -ENODEV);
	assert_non_null(strstr(zv_error_text(), "the fake device refuses"));
	testbed.refuse = 0;
	testbed.refuse_start = 1;
	assert_int_equal(open_fake(&d, "card0", 1), -EPROTO);
	assert_non_null(strstr(zv_error_text(), "does not start"));
	assert_null(d);
	assert_int_equal(testbed.tries, 2);
	assert_int_equal(testbed.destroyed, 3);
	assert_int_equal(testbed.faults, 0);
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
		uint32_t session = q->session, tries = get(&testbed.tries);

		set(&testbed.refuse, ECONNREFUSED);
		__atomic_store_n(&testbed.cid, 42 + round, __ATOMIC_SEQ_CST);
		assert_int_equal(write(f->pipe[1], "x", 1), 1);
		await(q, session, 0);
		until(&testbed.tries, tries + 3);
		session = q->session;
		set(&testbed.refuse, 0);
		await(q, session, 1);
		assert_int_equal(guest_dev_cid(d), 42 + round);
		assert_int_equal(q->stats.sessions, round + 1);
		assert_ptr_equal(f->g.mem.addr, mem); /* buffers may have been on loan */
	}
	guest_dev_close(d);
	assert_int_equal(testbed.starts, 4);
	assert_int_equal(testbed.faults, 0);
}

static void not_all_that_happens_is_a_loss(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;

	(void)state;
	set(&testbed.calm, 1);
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	q = guest_dev_queue(d, 0);
	for (uint32_t i = 1; i < 4; i++) {
		assert_int_equal(write(((struct fake *)d)->pipe[1], "x", 1), 1);
		until(&testbed.looks, i);
	}
	assert_int_equal(q->up, 1);
	assert_int_equal(q->stats.sessions, 1);
	guest_dev_close(d);
	assert_int_equal(testbed.tries, 1);
}

static void close_ends_a_connect_that_waits(void **state)
{
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	set(&testbed.hang, 1);
	assert_int_equal(write(((struct fake *)d)->pipe[1], "x", 1), 1);
	until(&testbed.tries, 2);
	guest_dev_close(d);
	assert_int_equal(testbed.destroyed, 1);
	assert_int_equal(testbed.faults, 0);
}

static void a_device_without_events_is_given_none(void **state)
{
	struct transport_dev *d;
	struct fake *f;

	(void)state;
	testbed.has =
		(struct guest_features){.rings = &vsock_rings_split, .returns_unwritten = true};
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	f = (struct fake *)d;
	assert_null(f->g.pair[0].ev);
	assert_true(f->g.pair[0].rx_wipe);
	assert_int_equal(virtq_with_device(&f->g.ev.vq), 0);
	guest_dev_close(d);
	testbed.has = (struct guest_features){.rings = &vsock_rings_split, .events = true};
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	f = (struct fake *)d;
	assert_non_null(f->g.pair[0].ev);
	assert_false(f->g.pair[0].rx_wipe);
	assert_int_equal(virtq_with_device(&f->g.ev.vq), VSOCK_EVENTS);
	guest_dev_close(d);
	assert_int_equal(testbed.faults, 0);
}

/* The receive buffers are announced, and nothing else has happened yet. */
static void kicks_may_be_registers(void **state)
{
	struct transport_dev *d;

	(void)state;
	testbed.registers = 1;
	assert_int_equal(open_fake(&d, "card0", 3), 0);
	for (unsigned vq = 0; vq < VSOCK_VQS(3); vq++) {
		unsigned pair, ring = VSOCK_VQ_RX;
		bool told = !vsock_vq_pair(vq, &pair, &ring) || ring == VSOCK_VQ_RX;

		assert_int_equal(((struct fake *)d)->reg[vq], told ? vq : 0xffff);
	}
	guest_dev_close(d);
	assert_int_equal(testbed.faults, 0);
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
	assert_int_equal(testbed.destroyed, 3);
	assert_int_equal(open_fake(&d, "a,,c", 1), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "the name of a card is empty"));
	assert_int_equal(open_fake(&d, "a,b", 3), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "fake: 2 cards for 3 queues"));
	assert_int_equal(testbed.destroyed, testbed.tries);
	assert_int_equal(testbed.faults, 0);
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
