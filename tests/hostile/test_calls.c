/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A frontend that makes calls to its guest block: it keeps the eventfd that it has handed over,
 * clears O_NONBLOCK, which the two share, and fills the counter. The thread that serves the
 * bystander as well must not stay in there; and no other descriptor for calls is taken soon.
 */
#include "raw.h"
#include "suite.h"
#include "testbed.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct raw R;

static bool broken(void *arg)
{
	const uint64_t *before = arg;

	return testbed_stats().ring_broken > *before;
}

/* Asks for a call for each packet, and sends some, until the queue is dead. */
static void provoke_calls(void)
{
	uint64_t before = testbed_stats().ring_broken;

	for (unsigned i = 0; i < 10; i++) {
		shm_store16(&R.ring[RAW_TX].avail->ring[RAW_N], R.ring[RAW_TX].used_seen);
		shm_store16(&R.ring[RAW_RX].avail->ring[RAW_N], R.ring[RAW_RX].used_seen);
		(void)raw_pkt(&R, VSOCK_OP_CREDIT_REQUEST, NULL, 0);
		raw_pump(&R);
	}
	assert_true(testbed_until(broken, &before));
}

static int64_t give_eventfd(uint64_t ring, int fd)
{
	return raw_ask(&R, REQ_SET_VRING_CALL, &ring, sizeof(ring), &fd, 1);
}

static void calls_that_block_hold_nobody_up(void **state)
{
	int fd = eventfd(0, 0);
	const char *fault;

	(void)state;
	assert_true(raw_open(&R, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	for (uint64_t ring = 0; ring < 2; ring++)
		assert_int_equal(give_eventfd(ring, fd), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	(void)!eventfd_write(fd, UINT64_MAX - 1 - 1000); /* the host has called already */
	while (eventfd_write(fd, 1) == 0)
		;
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	provoke_calls();
	fault = testbed_bystander_fault();
	if (fault)
		fail_msg("%s", fault);
	/* It cannot do it again at once, by no ring and in no other session. */
	assert_int_equal(give_eventfd(0, fd), 1);
	raw_close(&R);
	assert_true(testbed_wait_up(false));
	assert_true(raw_dial(&R, testbed_victim, VICTIM_CID, 0));
	assert_true(raw_handshake(&R));
	assert_int_equal(give_eventfd(RAW_TX, fd), 1);
	raw_close(&R);
	close(fd);
	fault = testbed_bystander_fault();
	if (fault)
		fail_msg("%s", fault);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(calls_that_block_hold_nobody_up)};
	struct suite s = {0};

	raw_init(&R);
	testbed_program = argv[0];
	if (testbed_start(true))
		return 99;
	suite_add_tests(&s, tests, 1);
	return suite_run(&s, "calls that block", argc, argv, NULL, testbed_group_end);
}
