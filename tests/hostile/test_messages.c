/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile frontend against the real backend: messages from the tables in cases_order.c and
 * cases_fd.c, and what needs more than one message. After every case the bystander has made
 * progress, the next frontend is served, and descriptors and shared mappings are as many as before.
 */
#include "msg_cases.h"
#include "session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct raw R;

struct counts {
	unsigned fds, maps;
};

static bool back_to(void *arg)
{
	const struct counts *c = arg;

	return world_fds() <= c->fds && world_maps() <= c->maps;
}

static void setup_case(const struct msg_case *c)
{
	switch (c->from) {
	case FROM_DIAL:
		/* The last frontend may not be gone yet: then this one is hung up on. */
		assert_true(raw_open(&R, world_victim, VICTIM_CID, 0));
		raw_close(&R);
		assert_true(world_wait_up(false));
		assert_true(raw_dial(&R, world_victim, VICTIM_CID, 0));
		break;
	case FROM_MEMORY:
		assert_true(raw_open(&R, world_victim, VICTIM_CID, 0));
		raw_close(&R);
		assert_true(world_wait_up(false));
		assert_true(raw_dial(&R, world_victim, VICTIM_CID, 0));
		assert_true(raw_handshake(&R));
		break;
	default:
		assert_true(raw_open(&R, world_victim, VICTIM_CID, 0));
		assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
		break;
	}
}

static void run_case(void **state)
{
	const struct msg_case *c = *state;
	struct counts before;
	uint64_t v;

	session_quiet(&R);
	before = (struct counts){world_fds(), world_maps()};
	setup_case(c);
	c->act(&R, c);
	switch (c->want) {
	case HANGS_UP:
		assert_true(raw_hung_up(&R));
		break;
	case GOES_ON:
		assert_true(world_wait_up(true));
		assert_true(raw_connect(&R, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
		assert_true(raw_echo(&R, "still here", 10));
		break;
	case DOWN:
		assert_true(world_wait_up(false));
		assert_int_equal(raw_query(&R, REQ_GET_FEATURES, NULL, 0, -1, &v, 8, NULL), 8);
		break;
	default:
		break;
	}
	session_recovers(&R);
	if (!world_until(back_to, &before))
		fail_msg("%u descriptors, before %u; %u mappings, before %u", world_fds(),
			 before.fds, world_maps(), before.maps);
}

static int group_end(void **state)
{
	(void)state;
	raw_close(&R);
	return world_stop() ? 0 : -1;
}

static unsigned add(struct CMUnitTest *t, unsigned n, const struct msg_case *c, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		t[n++] = (struct CMUnitTest){.name = c[i].name,
					     .test_func = run_case,
					     .initial_state = (void *)(uintptr_t)&c[i]};
	return n;
}

int main(int argc, char **argv)
{
	unsigned n = 0, most = n_order_cases + n_fd_cases + n_session_tests;
	struct CMUnitTest *t;
	int ret;

	if (argc > 2 && strcmp(argv[1], "--frontend") == 0)
		return session_frontend(argv[2]);
	raw_init(&R);
	t = calloc(most, sizeof(*t));
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	world_program = argv[0];
	if (!t || world_start(true))
		return 99;
	n = add(t, n, order_cases, n_order_cases);
	n = add(t, n, fd_cases, n_fd_cases);
	for (unsigned i = 0; i < n_session_tests; i++)
		t[n++] = session_tests[i];
	ret = _cmocka_run_group_tests("a hostile frontend", t, n, NULL, group_end);
	free(t);
	return ret;
}
