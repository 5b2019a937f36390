/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile frontend against the real backend: messages from the tables in cases_order.c and
 * cases_fd.c, and what needs more than one message. After every case the bystander has made
 * progress, the next frontend is served, and descriptors and shared mappings are as many as before.
 */
#include "frontend.h"
#include "msg_cases.h"
#include "session.h"
#include "suite.h"

static struct raw R;

static void setup_case(const struct msg_case *c)
{
	switch (c->from) {
	case FROM_DIAL:
		/* The last frontend may not be gone yet: then this one is hung up on. */
		assert_true(raw_open(&R, testbed_victim, VICTIM_CID, 0));
		raw_close(&R);
		assert_true(testbed_wait_up(false));
		assert_true(raw_dial(&R, testbed_victim, VICTIM_CID, 0));
		break;
	case FROM_MEMORY:
		assert_true(raw_open(&R, testbed_victim, VICTIM_CID, 0));
		raw_close(&R);
		assert_true(testbed_wait_up(false));
		assert_true(raw_dial(&R, testbed_victim, VICTIM_CID, 0));
		assert_true(raw_handshake(&R));
		break;
	default:
		assert_true(raw_open(&R, testbed_victim, VICTIM_CID, 0));
		assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
		break;
	}
}

static void run_case(void **state)
{
	const struct msg_case *c = *state;
	struct testbed_counts before;
	uint64_t v;

	/* From the first frontend on, the backend has a descriptor of the last one's process. */
	session_recovers(&R);
	before = testbed_count();
	setup_case(c);
	c->act(&R, c);
	switch (c->want) {
	case HANGS_UP:
		assert_true(raw_hung_up(&R));
		break;
	case GOES_ON:
		assert_true(testbed_wait_up(true));
		assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
		assert_true(raw_echo(&R, "still here", 10));
		break;
	case DOWN:
		assert_true(testbed_wait_up(false));
		assert_int_equal(raw_query(&R, REQ_GET_FEATURES, NULL, 0, -1, &v, 8, NULL), 8);
		break;
	default:
		break;
	}
	session_recovers(&R);
	assert_null(testbed_left_over(&before));
}

int main(int argc, char **argv)
{
	struct suite s = {0};
	int ret;

	if (frontend_main(argc, argv, &ret))
		return ret;
	raw_init(&R);
	testbed_program = argv[0];
	if (testbed_start(true))
		return 99;
	SUITE_TABLE(&s, run_case, "", order_cases, n_order_cases);
	SUITE_TABLE(&s, run_case, "", fd_cases, n_fd_cases);
	suite_add_tests(&s, session_tests, n_session_tests);
	paused_add(&s);
	return suite_run(&s, "a hostile frontend", argc, argv, NULL, testbed_group_end);
}
