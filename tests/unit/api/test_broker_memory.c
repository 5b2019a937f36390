/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver without memory for what the device says of channels: it answers, and a connection that
 * cannot have its channel fails at once. None is there for ever and never carries a byte.
 */
#include "broker_fix.h"
#include "socket/core/state.h"

#include <stdlib.h>

#define TRIES 20 /* more allocations than there are in one step */

static int countdown; /* allocations until one fails; 0: none does */
static bool failed;

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
	if (countdown && --countdown == 0) {
		failed = true;
		return NULL;
	}
	return __real_calloc(n, size);
}

/* All that is under way arrives, with the @nth allocation failing. */
static void pump_without_memory(int nth)
{
	failed = false;
	countdown = nth;
	pump();
	countdown = 0;
}

static void a_region_is_answered_for(void **state)
{
	int refused = 0;

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	for (int nth = 1; nth < TRIES; nth++) {
		const struct zv_region r = {(uint64_t)nth, BR_SIZE, ZV_REGION_BY_FD};
		int result;

		assert_int_equal(zv_region_announce(broker_queue(0), &r), 0);
		pump_without_memory(nth);
		result = broker_expect(0, ZV_BROKER_REGION).result;
		assert_true(result == 0 || (failed && result == -ENOMEM));
		refused += result != 0;
		if (result == 0)
			assert_int_equal(zv_region_forget(broker_queue(0), r.id), 0);
		pump();
	}
	assert_true(refused > 0);
}

static void set_up(void)
{
	broker_announce();
	assert_int_equal(zv_listen(P.guest, BR_PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	B.desc = (struct shm_channel_desc){0};
	shm_channel_desc_init(&B.desc, 0, 1);
	B.desc.dir[0].cls[0] = B.desc.dir[1].cls[0] = (struct shm_slot_class){256, 4};
	B.desc.dir[0].classes = B.desc.dir[1].classes = 1;
	B.desc.length = shm_channel_bytes(&B.desc);
}

static struct zv_grant grant(enum shm_role role)
{
	assert_int_equal(shm_channel_format(B.mem, BR_SIZE, &B.desc), 0);
	return broker_grant_for(role);
}

static void has_a_channel(struct zv_conn *c)
{
	assert_int_equal(c->state, VC_CONNECTED);
	assert_non_null(c->chan);
	assert_int_equal(zv_send(c, "x", 1, 0), 1);
}

static void a_connection_that_is_asked_for(void **state)
{
	int lost = 0;

	(void)state;
	set_up();
	for (int nth = 1; nth < TRIES; nth++) {
		struct zv_conn *g, *h;
		struct zv_grant of;

		assert_int_equal(zv_connect(guest_queue(0), ZV_CID_HOST, BR_PORT, ZV_STREAM, &g),
				 0);
		pump();
		assert_int_equal(zv_accept(broker_queue(0), ZV_PORT_ANY, &h), 0);
		of = grant(SHM_ROLE_A);
		assert_int_equal(zv_conn_grant(h, &of), 0);
		assert_int_equal(zv_conn_answer(h, 0), 0);
		pump_without_memory(nth);
		assert_true(seen_guest.events & ZV_EV_CONNECT);
		if (seen_guest.err)
			lost++;
		else
			has_a_channel(g);
		assert_int_equal(zv_conn_reset(g), 0);
		(void)zv_conn_reset(h);
		pump();
		(void)broker_expect(0, ZV_BROKER_RELEASE); /* in any case */
		broker_expect_none(0);
	}
	assert_true(lost > 0);
}

static void a_connection_that_comes(void **state)
{
	int lost = 0;

	(void)state;
	set_up();
	for (int nth = 1; nth < TRIES; nth++) {
		const struct zv_grant of = grant(SHM_ROLE_B);
		struct zv_conn *g = NULL, *h;

		assert_int_equal(zv_connect_granted(broker_queue(1), 0, ZV_PORT_ANY, 0, BR_PORT,
						    ZV_STREAM, &of, &h),
				 0);
		pump_without_memory(nth);
		assert_true(seen_host.events & ZV_EV_CONNECT);
		if (zv_accept(guest_queue(1), BR_PORT, &g) == 0) {
			has_a_channel(g);
			assert_int_equal(zv_conn_reset(g), 0);
		} else {
			assert_true(seen_host.err < 0);
			lost++;
		}
		(void)zv_conn_reset(h);
		pump();
		(void)broker_expect(1, ZV_BROKER_RELEASE);
		broker_expect_none(1);
	}
	assert_true(lost > 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, broker_setup, broker_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_region_is_answered_for),
		T(a_connection_that_is_asked_for),
		T(a_connection_that_comes),
	};

	return cmocka_run_group_tests_name("broker_memory", tests, NULL, NULL);
}
