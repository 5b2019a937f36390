/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zv_connect_wait() over kernel sockets, while a peer has said HELLO and takes no region: how long
 * it is waited for counts from its HELLO, not from the call.
 */
#include "pair.h"
#include "socket/chan/grant.h"
#include "socket/core/state.h"
#include "socket/core/timer.h"
#include "socket/queue/arm.h"

#define LIMIT	  UINT64_C(1000000000000) /* connect_timeout_ns */
#define SINCE_ITS UINT64_C(1000000000)	  /* HELLO */

static uint64_t hello, slept_until;

bool __wrap_grants_offered(const struct zv_queue *q, uint64_t *since);
int __wrap_queue_timer_by(struct zv_queue *q, uint64_t when);

bool __wrap_grants_offered(const struct zv_queue *q, uint64_t *since)
{
	(void)q;
	*since = hello;
	return true;
}

/* In the place of a sleep, which zv_wake() ends. */
int __wrap_queue_timer_by(struct zv_queue *q, uint64_t when)
{
	slept_until = when;
	zv_wake(q);
	return -EAGAIN;
}

static void a_peer_that_takes_no_region_is_waited_for_from_its_hello(void **state)
{
	static struct transport_ops ops; /* static: where the test fails, it stays in use */
	const struct transport_ops *before = P.guest->ops;
	struct zv_conn *c;

	(void)state;
	ops = *before;
	ops.kernel_sockets = true;
	P.guest->ops = &ops;
	fake_regions.offer = (struct ctrl_offer){0x100000000, 4096};
	assert_int_equal(P.g->peer.state, HELLO_DONE);
	hello = zv_now() - SINCE_ITS;
	assert_int_equal(zv_connect_wait(P.g, ZV_CID_HOST, 80, ZV_STREAM, UINT64_MAX, &c), -EINTR);
	assert_null(c);
	assert_int_equal(slept_until, hello + LIMIT / 2);
	P.guest->ops = before;
}

static int up(void **state)
{
	(void)state;
	return pair_open(&(struct zv_opts){.connect_timeout_ns = LIMIT});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_peer_that_takes_no_region_is_waited_for_from_its_hello, up,
			pair_teardown),
	};

	return cmocka_run_group_tests_name("first_connect", tests, NULL, NULL);
}
