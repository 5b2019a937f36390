/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of a device that takes nothing any more; vsock_watchdog.h says what that is. */
#include "fake_link.h"
#include "proto/ctrl/alive.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>
#include <unistd.h>

static void on_log(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	if (strstr(line,
		   "queue 0: the device has taken no packet for 100 ms; connections are reset"))
		count(&testbed.told);
	if (strstr(line, "queue 0: the device's backend has died and takes no packets"))
		count(&testbed.told);
	if (level == ZV_LOG_WARN && strstr(line, "the device takes no packets"))
		count(&testbed.tried);
}

/* The owner sends a packet of @len bytes and arms. False: it is kept out at the moment. */
static bool send_one(struct transport_queue *q, uint32_t len)
{
	struct vsock_hdr h = {
		.src_cid = 42, .dst_cid = 2, .len = len, .type = 1, .op = VSOCK_OP_RW};
	struct tx_slot s;
	bool sent;

	if (!quiesce_enter(&q->qs))
		return false;
	sent = q->ops->tx_reserve(q, &s, 1, len, len ? 0 : TX_CTRL) == 1;
	if (sent)
		q->ops->tx_commit(q, s.token, &h);
	q->ops->publish(q);
	(void)q->ops->arm(q, 0);
	quiesce_leave(&q->qs);
	return sent;
}

static uint32_t session_of(struct transport_queue *q)
{
	uint32_t session;

	while (!quiesce_enter(&q->qs))
		(void)usleep(1000);
	session = q->session;
	quiesce_leave(&q->qs);
	return session;
}

static bool watched(struct transport_queue *q)
{
	bool on = true;

	if (quiesce_enter(&q->qs)) {
		on = ((struct vsock_pair *)q)->watchdog.on;
		quiesce_leave(&q->qs);
	}
	return on;
}

/* Until all that was sent has been taken: the control thread looks no more. */
static void until_calm(struct fake *f, struct transport_queue *q)
{
	for (unsigned i = 0; i < 30000 && watched(q); i++) {
		(void)fake_work(f);
		(void)usleep(1000);
	}
	assert_false(watched(q));
}

static void a_device_that_takes_nothing_is_reset(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;
	uint32_t session;

	(void)state;
	testbed.silent = 1;
	zv_set_log(on_log, NULL);
	assert_int_equal(open_fake(&d, "card0", 2), 0);
	assert_int_equal(d->end, END_MISSED);
	q = guest_dev_queue(d, 0);
	for (uint32_t round = 1; round < 3; round++) {
		session = session_of(q);
		while (!send_one(q, 100))
			(void)usleep(1000);
		await(q, session, 0);
		assert_int_equal(get(&testbed.told), round);
		/* It is tried again and again, and in use only when it takes something. */
		until(&testbed.starts, get(&testbed.starts) + 3);
		assert_int_equal(get(&testbed.tried), round);
		assert_int_equal(shm_load32(&q->up), 0);
		session = session_of(q);
		set(&testbed.takes, 2);
		for (unsigned i = 0; i < 30000 && shm_load64(&q->stats.sessions) == round; i++) {
			(void)fake_work((struct fake *)d);
			(void)usleep(1000);
		}
		await(q, session, 1);
		until_calm((struct fake *)d, q);
		set(&testbed.takes, 0);
	}
	guest_dev_close(d);
	zv_set_log(NULL, NULL);
	assert_int_equal(testbed.faults, 0);
}

/* Data that nobody reads on the other side stays in its buffers. */
static void a_device_that_keeps_data_is_left_alone(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;

	(void)state;
	testbed.silent = testbed.takes = 1;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	q = guest_dev_queue(d, 0);
	for (unsigned i = 0; i < 3; i++) {
		while (!send_one(q, 100))
			(void)usleep(1000);
		until_calm((struct fake *)d, q);
	}
	assert_int_equal(virtq_in_flight(&((struct vsock_pair *)q)->tx), 3);
	assert_int_equal(shm_load64(&q->stats.sessions), 1);
	guest_dev_close(d);
	assert_int_equal(testbed.starts, 1);
	assert_int_equal(testbed.faults, 0);
}

/* A close does not wait for a device that is tried. */
static void close_ends_a_trial(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;

	(void)state;
	testbed.silent = 1;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	q = guest_dev_queue(d, 0);
	while (!send_one(q, 0))
		(void)usleep(1000);
	until(&testbed.starts, 2);
	guest_dev_close(d);
	assert_int_equal(testbed.destroyed, 1);
	assert_int_equal(testbed.faults, 0);
}

/* Where the end of the backend is heard of, a device that takes nothing is busy. */
static void others_have_no_watchdog(void **state)
{
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	while (!send_one(guest_dev_queue(d, 0), 100))
		(void)usleep(1000);
	assert_int_equal(((struct fake *)d)->g.watchdog.fd, -1);
	guest_dev_close(d); /* its backend may not have seen that yet, and reads the ring still */
	assert_int_equal(testbed.starts, 1);
	assert_int_equal(testbed.left, 1);
	assert_int_equal(testbed.faults, 0);
}

/* ---- the host's word ---- */

/* A device with a region, whose time-out is of no use to a test, and the slot of its driver. */
static struct alive_slot *open_patient(struct transport_dev **d)
{
	struct alive_slot *s = NULL;

	testbed.silent = testbed.own = testbed.patient = testbed.calm = 1;
	assert_int_equal(open_fake(d, "card0", 1), 0);
	for (unsigned i = 0; i < 30000 && !s; i++) {
		const struct own_region *own = &((struct fake *)*d)->g.own;

		(void)usleep(1000);
		s = alive_find(alive_slots(own->map->addr, own->size), testbed.cid, 0);
	}
	assert_non_null(s);
	return s;
}

static void announce(struct own_region *own)
{
	const struct ctrl_region whole = {.id = 1, .size = own->size, .gpa = own->gpa.v};
	struct region_map *map;

	assert_int_equal(own_region_map_part(own, "fake", "card0", 0, &whole, &map), 0);
	region_map_put(map);
}

static void a_host_that_has_died_is_not_waited_for(void **state)
{
	struct transport_dev *d;
	struct transport_queue *q;
	struct alive_slot *s;
	uint32_t session;

	(void)state;
	zv_set_log(on_log, NULL);
	s = open_patient(&d);
	q = guest_dev_queue(d, 0);
	session = session_of(q);
	announce(&((struct fake *)d)->g.own);
	while (!send_one(q, 100))
		(void)usleep(1000);
	shm_store_release32(&s->host, ALIVE_DIED);
	await(q, session, 0);
	assert_int_equal(get(&testbed.told), 1);
	/* It is in use when it takes something, although the word is still that of the dead host.
	 */
	session = session_of(q);
	set(&testbed.takes, 2);
	for (unsigned i = 0; i < 30000 && shm_load64(&q->stats.sessions) == 1; i++) {
		(void)fake_work((struct fake *)d);
		(void)usleep(1000);
	}
	await(q, session, 1);
	guest_dev_close(d);
	zv_set_log(NULL, NULL);
	assert_int_equal(testbed.faults, 0);
}

/* Before, it may be that of an earlier host. */
static void a_word_counts_when_the_region_is_announced(void **state)
{
	const struct zv_opts opts = {.size = sizeof(opts), .flags = ZV_OPT_NO_HUGE};
	struct guest_dev dev = {.watchdog = {.timeout_ns = 1}};

	(void)state;
	assert_int_equal(own_region_make(&dev.own, "fake", "1M", (struct gpa){1u << 20}, &opts), 0);
	guest_watchdog_host(&dev, ALIVE_DIED);
	assert_false(dev.watchdog.died);
	announce(&dev.own);
	guest_watchdog_host(&dev, 4711);
	assert_false(dev.watchdog.died);
	guest_watchdog_host(&dev, ALIVE_DIED);
	assert_true(dev.watchdog.died);
	guest_watchdog_host(&dev, 0);
	assert_false(dev.watchdog.died);
	guest_watchdog_host(&dev, ALIVE_DIED);
	assert_true(dev.watchdog.died);
	guest_watchdog_forget(&dev);
	own_region_lost(&dev.own); /* the rings begin afresh */
	guest_watchdog_host(&dev, ALIVE_DIED);
	assert_false(dev.watchdog.died);
	own_region_release(&dev.own);
}

#define T(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_device_that_takes_nothing_is_reset),
		T(a_device_that_keeps_data_is_left_alone),
		T(close_ends_a_trial),
		T(others_have_no_watchdog),
		T(a_host_that_has_died_is_not_waited_for),
		T(a_word_counts_when_the_region_is_announced),
	};

	return cmocka_run_group_tests_name("guest_watchdog", tests, NULL, NULL);
}
