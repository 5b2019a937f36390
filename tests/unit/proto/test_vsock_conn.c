/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection state machine. The expectations are written from VIRTIO 1.2, section 5.10.6 and
 * from what Linux does, not from the table under test; each has its reason.
 */
#include "proto_test.h"

#include "proto/vsock/vsock_conn.h"

static const struct expect {
	enum vc_state state;
	enum vc_event event;
	enum vc_state next;
	enum vc_action action;
	const char *why;
} expected[] = {
	/* clang-format off */
	{VC_NONE, VC_EV_REQUEST, VC_CONNECTED, VC_ACT_ACCEPT, "a listener decides"},
	{VC_NONE, VC_EV_RESPONSE, VC_NONE, VC_ACT_RST, "connect was given up: peer must not stay connected"},
	{VC_NONE, VC_EV_RST, VC_NONE, VC_ACT_DROP, "RST is never answered"},
	{VC_NONE, VC_EV_SHUTDOWN, VC_NONE, VC_ACT_RST, "peer waits for RST to finish its close"},
	{VC_NONE, VC_EV_RW, VC_NONE, VC_ACT_RST, "peer holds a connection that is gone"},
	{VC_NONE, VC_EV_CREDIT_UPDATE, VC_NONE, VC_ACT_RST, "same"},
	{VC_NONE, VC_EV_CREDIT_REQUEST, VC_NONE, VC_ACT_RST, "same, and it waits for an answer"},
	{VC_NONE, VC_EV_CLOSE, VC_NONE, VC_ACT_NONE, "nothing to close"},
	{VC_NONE, VC_EV_TIMEOUT, VC_NONE, VC_ACT_NONE, "nothing to time out"},

	{VC_CONNECTING, VC_EV_REQUEST, VC_CLOSED, VC_ACT_RST, "no simultaneous open in vsock"},
	{VC_CONNECTING, VC_EV_RESPONSE, VC_CONNECTED, VC_ACT_ESTABLISHED, "the answer"},
	{VC_CONNECTING, VC_EV_RST, VC_CLOSED, VC_ACT_REFUSED, "nobody listens"},
	{VC_CONNECTING, VC_EV_SHUTDOWN, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_CONNECTING, VC_EV_RW, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_CONNECTING, VC_EV_CREDIT_UPDATE, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_CONNECTING, VC_EV_CREDIT_REQUEST, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_CONNECTING, VC_EV_CLOSE, VC_CLOSED, VC_ACT_RST_FREE, "peer may have accepted meanwhile"},
	{VC_CONNECTING, VC_EV_TIMEOUT, VC_CLOSED, VC_ACT_TIMEDOUT, "ETIMEDOUT, RST in case it accepts late"},
	{VC_REQUESTED, VC_EV_REQUEST, VC_CLOSED, VC_ACT_RST, "peer has started over"},
	{VC_REQUESTED, VC_EV_RESPONSE, VC_CLOSED, VC_ACT_RST, "it asked, it cannot answer"},
	{VC_REQUESTED, VC_EV_RST, VC_CLOSED, VC_ACT_RESET, "peer gives up"},
	{VC_REQUESTED, VC_EV_SHUTDOWN, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_REQUESTED, VC_EV_RW, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_REQUESTED, VC_EV_CREDIT_UPDATE, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_REQUESTED, VC_EV_CREDIT_REQUEST, VC_CLOSED, VC_ACT_RST, "nothing may come before RESPONSE"},
	{VC_REQUESTED, VC_EV_CLOSE, VC_CLOSED, VC_ACT_RST_FREE, "closing unanswered refuses"},
	{VC_REQUESTED, VC_EV_TIMEOUT, VC_CLOSED, VC_ACT_TIMEDOUT, "nobody has answered"},

	{VC_CONNECTED, VC_EV_REQUEST, VC_CLOSED, VC_ACT_RST, "peer has lost the connection"},
	{VC_CONNECTED, VC_EV_RESPONSE, VC_CONNECTED, VC_ACT_DROP, "duplicate, harmless"},
	{VC_CONNECTED, VC_EV_RST, VC_CLOSED, VC_ACT_RESET, "ECONNRESET"},
	{VC_CONNECTED, VC_EV_SHUTDOWN, VC_CONNECTED, VC_ACT_SHUTDOWN, "half-close is no state"},
	{VC_CONNECTED, VC_EV_RW, VC_CONNECTED, VC_ACT_DATA, "payload"},
	{VC_CONNECTED, VC_EV_CREDIT_UPDATE, VC_CONNECTED, VC_ACT_CREDIT, "counters"},
	{VC_CONNECTED, VC_EV_CREDIT_REQUEST, VC_CONNECTED, VC_ACT_REPORT_CREDIT, "section 5.10.6.3: must be answered"},
	{VC_CONNECTED, VC_EV_CLOSE, VC_CLOSING, VC_ACT_SEND_SHUTDOWN, "clean close: SHUTDOWN, then the peer's RST"},
	{VC_CONNECTED, VC_EV_TIMEOUT, VC_CONNECTED, VC_ACT_NONE, "stale connect timer"},

	{VC_CLOSING, VC_EV_REQUEST, VC_CLOSED, VC_ACT_RST_FREE, "peer reuses the port, will not answer SHUTDOWN"},
	{VC_CLOSING, VC_EV_RESPONSE, VC_CLOSING, VC_ACT_DROP, "duplicate"},
	{VC_CLOSING, VC_EV_RST, VC_CLOSED, VC_ACT_FREE, "the answer to our SHUTDOWN"},
	{VC_CLOSING, VC_EV_SHUTDOWN, VC_CLOSING, VC_ACT_SHUTDOWN, "flags tell: both ways ends it, a half does not"},
	{VC_CLOSING, VC_EV_RW, VC_CLOSING, VC_ACT_DROP, "in flight before it saw SHUTDOWN"},
	{VC_CLOSING, VC_EV_CREDIT_UPDATE, VC_CLOSING, VC_ACT_NONE, "nothing more is sent"},
	{VC_CLOSING, VC_EV_CREDIT_REQUEST, VC_CLOSING, VC_ACT_NONE, "nothing more is taken"},
	{VC_CLOSING, VC_EV_CLOSE, VC_CLOSING, VC_ACT_NONE, "closed already"},
	{VC_CLOSING, VC_EV_TIMEOUT, VC_CLOSED, VC_ACT_RST_FREE, "peer does not answer; it must not linger either"},

	{VC_CLOSED, VC_EV_REQUEST, VC_CLOSED, VC_ACT_RST, "key still taken by the old handle"},
	{VC_CLOSED, VC_EV_RESPONSE, VC_CLOSED, VC_ACT_RST, "late answer to a connect that timed out"},
	{VC_CLOSED, VC_EV_RST, VC_CLOSED, VC_ACT_DROP, "RST is never answered"},
	{VC_CLOSED, VC_EV_SHUTDOWN, VC_CLOSED, VC_ACT_RST, "peer waits for RST"},
	{VC_CLOSED, VC_EV_RW, VC_CLOSED, VC_ACT_RST, "over"},
	{VC_CLOSED, VC_EV_CREDIT_UPDATE, VC_CLOSED, VC_ACT_RST, "over"},
	{VC_CLOSED, VC_EV_CREDIT_REQUEST, VC_CLOSED, VC_ACT_RST, "over"},
	{VC_CLOSED, VC_EV_CLOSE, VC_CLOSED, VC_ACT_FREE, "peer knows, only the handle was left"},
	{VC_CLOSED, VC_EV_TIMEOUT, VC_CLOSED, VC_ACT_NONE, "stale timer"},
	/* clang-format on */
};

static void test_every_state_and_event(void **state)
{
	bool seen[VC_STATES][VC_EVENTS] = {{false}};
	unsigned pairs = 0;

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(expected); i++) {
		const struct expect *e = &expected[i];
		struct vc_step s = vc_step(e->state, e->event);

		if (s.next != e->next || s.action != e->action)
			print_error("%s, event %u (%s): got %s, action %u\n",
				    vc_state_name(e->state), e->event, e->why,
				    vc_state_name(s.next), s.action);
		assert_int_equal(s.next, e->next);
		assert_int_equal(s.action, e->action);
		assert_false(seen[e->state][e->event]);
		seen[e->state][e->event] = true;
		pairs++;
	}
	/* The list above leaves none out. */
	assert_int_equal(pairs, VC_STATES * (VC_EVENTS - 1));
}

static void test_out_of_range_is_dropped_and_changes_nothing(void **state)
{
	static const unsigned events[] = {0,   VC_EVENTS,  VC_EVENTS + 1, 255,
					  256, UINT16_MAX, UINT32_MAX};
	struct vc_step s;

	(void)state;
	for (unsigned st = 0; st < VC_STATES; st++) {
		for (unsigned i = 0; i < COUNT_OF(events); i++) {
			s = vc_step(st, events[i]);
			assert_int_equal(s.next, st);
			assert_int_equal(s.action, VC_ACT_DROP);
		}
		/* The row's unused first entry says the same, for whoever reads the table itself.
		 */
		assert_int_equal(vc_table[st][0].next, st);
		assert_int_equal(vc_table[st][0].action, VC_ACT_DROP);
	}
	s = vc_step(VC_STATES, VC_EV_RW);
	assert_int_equal(s.next, VC_STATES);
	assert_int_equal(s.action, VC_ACT_DROP);
}

static bool sends_rst(unsigned action)
{
	return action == VC_ACT_RST || action == VC_ACT_RST_FREE || action == VC_ACT_TIMEDOUT;
}

static void test_rst_is_never_answered_by_rst(void **state)
{
	(void)state;
	for (unsigned st = 0; st < VC_STATES; st++) {
		struct vc_step s = vc_step(st, VC_EV_RST);

		assert_false(sends_rst(s.action));
		/* Nor by anything else, now or after another RST. */
		assert_true(s.action == VC_ACT_DROP || s.action == VC_ACT_REFUSED ||
			    s.action == VC_ACT_RESET || s.action == VC_ACT_FREE);
		assert_true(s.next == VC_NONE || s.next == VC_CLOSED);
		assert_false(sends_rst(vc_step(s.next, VC_EV_RST).action));
	}
}

static void test_no_payload_before_the_connection_is_open(void **state)
{
	(void)state;
	for (unsigned ev = VC_EV_REQUEST; ev <= VC_EV_CREDIT_REQUEST; ev++) {
		struct vc_step s = vc_step(VC_CONNECTING, ev);

		if (ev == VC_EV_RESPONSE || ev == VC_EV_RST)
			continue;
		assert_int_equal(s.action, VC_ACT_RST);
		assert_int_equal(s.next, VC_CLOSED);
	}
	/* Payload reaches an application in one state only. */
	for (unsigned st = 0; st < VC_STATES; st++)
		assert_int_equal(vc_step(st, VC_EV_RW).action == VC_ACT_DATA, st == VC_CONNECTED);
}

/* Two machines whose packets cross: whatever one says, they fall silent, and both are over. */
static unsigned answer_to(struct vc_step s, struct vsock_shut *shut, uint32_t flags)
{
	if (s.action == VC_ACT_SHUTDOWN) {
		vsock_shut_peer(shut, flags);
		return vsock_shut_done(shut) ? VC_EV_RST : 0;
	}
	return sends_rst(s.action) ? VC_EV_RST : 0;
}

static void test_simultaneous_close_ends_without_timeout(void **state)
{
	struct vsock_shut shut = {0, 0};
	struct vc_step s = vc_step(VC_CONNECTED, VC_EV_CLOSE);

	(void)state;
	assert_int_equal(s.action, VC_ACT_SEND_SHUTDOWN);
	/* The peer has closed as well: its SHUTDOWN crosses ours. */
	s = vc_step(s.next, VC_EV_SHUTDOWN);
	assert_int_equal(answer_to(s, &shut, VSOCK_SHUTDOWN_BOTH), VC_EV_RST);
	/* Its RST finds nothing here, and is not answered. */
	assert_int_equal(vc_step(VC_NONE, VC_EV_RST).action, VC_ACT_DROP);
}

static void test_half_close_of_the_peer_does_not_end_closing(void **state)
{
	struct vsock_shut shut = {0, 0};
	struct vc_step s = vc_step(VC_CLOSING, VC_EV_SHUTDOWN);

	(void)state;
	/* Its application may still be reading what we sent before we closed. */
	assert_int_equal(answer_to(s, &shut, VSOCK_SHUTDOWN_SEND), 0);
	assert_int_equal(s.next, VC_CLOSING);
	s = vc_step(s.next, VC_EV_SHUTDOWN);
	assert_int_equal(answer_to(s, &shut, VSOCK_SHUTDOWN_RCV), VC_EV_RST);
}

static void test_each_direction_is_closed_alone(void **state)
{
	struct vsock_shut s = {0, 0};

	(void)state;
	assert_true(vsock_shut_can_send(&s) && vsock_shut_can_recv(&s));

	/* The peer sends no more; we still do. */
	assert_true(vsock_shut_peer(&s, VSOCK_SHUTDOWN_SEND));
	assert_true(vsock_shut_can_send(&s));
	assert_false(vsock_shut_can_recv(&s));
	assert_false(vsock_shut_done(&s));
	/* Said twice, in a packet without the bit: bits are never cleared. */
	assert_true(vsock_shut_peer(&s, VSOCK_SHUTDOWN_SEND));
	assert_true(vsock_shut_peer(&s, 0));
	assert_int_equal(s.peer, VSOCK_SHUTDOWN_SEND);
	/* Then it receives no more either: two packets cover both directions. */
	assert_true(vsock_shut_peer(&s, VSOCK_SHUTDOWN_RCV));
	assert_false(vsock_shut_can_send(&s));
	assert_true(vsock_shut_done(&s));

	/* The other order. */
	s = (struct vsock_shut){0, 0};
	assert_true(vsock_shut_peer(&s, VSOCK_SHUTDOWN_RCV));
	assert_false(vsock_shut_can_send(&s));
	assert_true(vsock_shut_can_recv(&s));
	assert_false(vsock_shut_done(&s));

	/* Our own half-closes do not touch the other direction. */
	s = (struct vsock_shut){.local = VSOCK_SHUTDOWN_SEND};
	assert_false(vsock_shut_can_send(&s));
	assert_true(vsock_shut_can_recv(&s));
	s = (struct vsock_shut){.local = VSOCK_SHUTDOWN_RCV};
	assert_true(vsock_shut_can_send(&s));
	assert_false(vsock_shut_can_recv(&s));
	s = (struct vsock_shut){.local = VSOCK_SHUTDOWN_BOTH};
	assert_false(vsock_shut_can_send(&s) || vsock_shut_can_recv(&s));
	assert_false(vsock_shut_done(&s)); /* it is the peer that answers RST */

	/* And the connection stays what it was. */
	assert_int_equal(vc_step(VC_CONNECTED, VC_EV_SHUTDOWN).next, VC_CONNECTED);
	assert_int_equal(vc_step(VC_CONNECTED, VC_EV_RW).action, VC_ACT_DATA);
}

static void test_unknown_shutdown_bits_are_reported_and_ignored(void **state)
{
	struct vsock_shut s = {0, 0};

	(void)state;
	assert_false(vsock_shut_peer(&s, 4));
	assert_int_equal(s.peer, 0);
	assert_false(vsock_shut_peer(&s, 0xffffff00 | VSOCK_SHUTDOWN_SEND));
	assert_int_equal(s.peer, VSOCK_SHUTDOWN_SEND);
}

static void test_state_names(void **state)
{
	(void)state;
	assert_string_equal(vc_state_name(VC_NONE), "none");
	assert_string_equal(vc_state_name(VC_CONNECTING), "connecting");
	assert_string_equal(vc_state_name(VC_REQUESTED), "requested");
	assert_string_equal(vc_state_name(VC_CONNECTED), "connected");
	assert_string_equal(vc_state_name(VC_CLOSING), "closing");
	assert_string_equal(vc_state_name(VC_CLOSED), "closed");
	assert_string_equal(vc_state_name(VC_STATES), "state?");
	assert_string_equal(vc_state_name(UINT32_MAX), "state?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_state_and_event),
		cmocka_unit_test(test_out_of_range_is_dropped_and_changes_nothing),
		cmocka_unit_test(test_rst_is_never_answered_by_rst),
		cmocka_unit_test(test_no_payload_before_the_connection_is_open),
		cmocka_unit_test(test_simultaneous_close_ends_without_timeout),
		cmocka_unit_test(test_half_close_of_the_peer_does_not_end_closing),
		cmocka_unit_test(test_each_direction_is_closed_alone),
		cmocka_unit_test(test_unknown_shutdown_bits_are_reported_and_ignored),
		cmocka_unit_test(test_state_names),
	};

	return cmocka_run_group_tests_name("proto: connection state machine", tests, NULL, NULL);
}
