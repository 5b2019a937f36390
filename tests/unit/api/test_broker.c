/* SPDX-License-Identifier: BSD-3-Clause */
/* Channels that a broker grants: announcement, grant, payload past the broker, wake-ups, the end.
 */
#include "broker_fix.h"

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

static uint32_t events_of(struct zv_queue *q, const struct zv_conn *c)
{
	struct zv_event ev[16];
	int n = zv_poll(q, ev, 16);

	for (int i = 0; i < n; i++)
		if (ev[i].conn == c)
			return ev[i].events;
	return 0;
}

/* ---- before a grant ---- */

static void drivers_say_who_they_are(void **state)
{
	struct zv_broker_msg a, b;
	struct zv_event ev;

	(void)state;
	assert_int_equal(zv_poll(broker_queue(0), &ev, 1), 1);
	assert_int_equal(ev.events, ZV_EV_BROKER);
	assert_null(ev.conn);
	a = broker_expect(0, ZV_BROKER_HELLO);
	b = broker_expect(1, ZV_BROKER_HELLO);
	assert_true(a.nonce && a.nonce == b.nonce);
	assert_int_equal(zv_poll(broker_queue(0), &ev, 1), 0);
	fake_new_session(true);
	pump();
	assert_true(broker_expect(0, ZV_BROKER_HELLO).nonce == a.nonce);
	broker_expect_holds(0, 0);
	broker_expect_none(0);
}

static void regions_are_mapped_when_they_can_be(void **state)
{
	struct zv_region r = {1, BR_SIZE, ZV_REGION_BY_FD};

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	fake_regions.result = -EINPROGRESS;
	assert_int_equal(zv_region_announce(broker_queue(0), &r), 0);
	pump();
	broker_expect_none(0);
	fake_regions.result = 0;
	pump();
	assert_int_equal(broker_expect(0, ZV_BROKER_REGION).result, 0);
	assert_int_equal(fake_regions.map.refs, 2);
	r.id = 2;
	fake_regions.result = -EACCES;
	assert_int_equal(zv_region_announce(broker_queue(0), &r), 0);
	pump();
	assert_int_equal(broker_expect(0, ZV_BROKER_REGION).result, -EACCES);
	assert_int_equal(fake_regions.forgotten, 1);
	assert_int_equal(zv_region_forget(broker_queue(0), 1), 0);
	pump();
	assert_int_equal(fake_regions.map.refs, 1);
	assert_int_equal(fake_regions.forgotten, 2);
	broker_expect_none(0);
}

static void what_a_driver_offers_is_heard_of(void **state)
{
	struct zv_broker_msg m;

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	fake_regions.offer = (struct ctrl_offer){0x100000000, BR_SIZE};
	fake_new_session(true);
	pump();
	(void)broker_expect(0, ZV_BROKER_HELLO);
	broker_expect_holds(0, 0);
	m = broker_expect(0, ZV_BROKER_OFFER);
	assert_true(m.gpa == 0x100000000 && m.size == BR_SIZE);
}

static void without_the_options_there_are_no_channels(void **state)
{
	static const uint32_t flags[] = {0, ZV_OPT_BROKER | ZV_OPT_NO_CHANNEL,
					 ZV_OPT_BROKER | ZV_OPT_NO_HELLO};
	const struct zv_region r = {1, BR_SIZE, ZV_REGION_BY_FD};
	struct zv_broker_msg m;

	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(pair_teardown(state), 0);
		assert_int_equal(pair_open(&(struct zv_opts){.flags = flags[i]}), 0);
		if (i == 1) /* its HELLO says that it has none */
			(void)broker_expect(0, ZV_BROKER_NONE);
		assert_int_equal(zv_broker_recv(P.h, &m), i ? 0 : -EOPNOTSUPP);
		assert_int_equal(zv_region_announce(P.h, &r), -EOPNOTSUPP);
		assert_int_equal(zv_region_forget(P.h, 1), -EOPNOTSUPP);
	}
	assert_int_equal(zv_broker_recv(P.g, &m), -EOPNOTSUPP);
}

/* ---- payload ---- */

static void exchange(struct zv_conn *from, struct zv_conn *to, size_t len)
{
	static char out[3000], in[3000];
	uint32_t flags = 0;
	size_t got = 0;

	for (size_t i = 0; i < len; i++)
		out[i] = (char)(i * 7 + len);
	assert_int_equal(zv_send(from, out, len, 0), len);
	pump();
	while (got < len) {
		ssize_t n = zv_recv(to, in + got, sizeof(in) - got, &flags);

		assert_true(n > 0);
		got += (size_t)n;
	}
	assert_int_equal(got, len);
	assert_memory_equal(in, out, len);
}

static void payload_goes_past_the_broker(void **state)
{
	static const enum zv_type types[] = {ZV_STREAM, ZV_SEQPACKET};

	(void)state;
	broker_announce();
	for (unsigned t = 0; t < 2; t++) {
		uint64_t before[2];

		if (t)
			assert_int_equal(zv_unlisten(P.guest, BR_PORT), 0);
		broker_join(types[t]);
		for (unsigned i = 0; i < 2; i++)
			before[i] = stats(broker_queue(i)).rx_bytes;
		for (size_t len = 1; len < 3000; len = len * 3 + 1) {
			exchange(B.ask_g, B.to_g, len);
			exchange(B.to_g, B.ask_g, len);
		}
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(stats(broker_queue(i)).rx_bytes, before[i]);
		assert_int_equal(zv_send(B.ask_h, "x", 1, 0), -EOPNOTSUPP);
		assert_int_equal(zv_buf_alloc(B.to_h, &(struct zv_buf){0}, 1, 1), -EOPNOTSUPP);
		assert_int_equal(zv_conn_close(B.ask_g), 0);
		assert_int_equal(zv_conn_reset(B.ask_h), 0);
		assert_int_equal(zv_conn_reset(B.to_h), 0);
		pump();
		assert_int_equal(zv_conn_close(B.to_g), 0);
		pump();
		(void)broker_expect(0, ZV_BROKER_RELEASE);
		(void)broker_expect(1, ZV_BROKER_RELEASE);
	}
}

static void sleepers_are_woken_by_way_of_the_broker(void **state)
{
	(void)state;
	broker_announce();
	broker_join(ZV_STREAM);
	while (zv_arm(guest_queue(1))) /* both ends ask to be woken */
		pump();
	assert_int_equal(zv_send(B.ask_g, "ping", 4, 0), 4);
	assert_int_equal(events_of(broker_queue(0), B.ask_h), ZV_EV_WAKE);
	assert_int_equal(events_of(broker_queue(0), B.ask_h), 0);
	assert_int_equal(zv_conn_wake(B.to_h), 0);
	assert_int_equal(events_of(guest_queue(1), B.to_g), ZV_EV_IN);
	assert_int_equal(zv_conn_wake(NULL), -EINVAL);
}

/* ---- the end ---- */

static void an_end_that_is_closed_is_released(void **state)
{
	struct zv_broker_msg m;
	struct zv_buf b;

	(void)state;
	broker_announce();
	broker_join(ZV_STREAM);
	exchange(B.ask_g, B.to_g, 100);
	assert_int_equal(zv_send(B.ask_g, "last", 4, 0), 4);
	assert_int_equal(zv_conn_close(B.ask_g), 0);
	pump();
	/* In order: the broker hands the end of both halves on. */
	assert_int_equal(zv_recv(B.ask_h, &m, 1, NULL), 0);
	assert_int_equal(zv_shutdown(B.to_h, 2), 0);
	pump();
	assert_int_equal(zv_buf_recv(B.to_g, &b, 1), 1);
	assert_memory_equal(b.data, "last", 4);
	assert_int_equal(zv_recv(B.to_g, &m, 1, NULL), 0);
	assert_int_equal(zv_conn_close(B.ask_h), 0);
	assert_int_equal(zv_conn_close(B.to_g), 0);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	pump();
	m = broker_expect(0, ZV_BROKER_RELEASE);
	assert_true(m.id == BR_REGION && m.offset == B.desc.offset);
	assert_int_equal(m.generation, B.desc.generation);
	broker_expect_none(1); /* a buffer is still on loan */
	assert_memory_equal(b.data, "last", 4);
	zv_buf_release(guest_queue(1), &b, 1);
	pump();
	m = broker_expect(1, ZV_BROKER_RELEASE);
	assert_int_equal(m.generation, B.desc.generation);
}

static void a_request_that_is_refused_releases_its_grant(void **state)
{
	struct zv_grant g;

	(void)state;
	broker_announce();
	B.desc.generation = 7;
	g = broker_grant_for(SHM_ROLE_B);
	assert_int_equal(
		zv_connect_granted(broker_queue(1), 0, ZV_PORT_ANY, 0, 99, ZV_STREAM, &g, &B.to_h),
		0);
	pump();
	assert_int_equal(seen_host.err, -ECONNREFUSED);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	assert_int_equal(broker_expect(1, ZV_BROKER_RELEASE).generation, 7);
	assert_int_equal(fake_regions.map.refs, 3);
}

/* A port that is named beforehand is the one that is taken; what would fail is said. */
static void a_port_is_known_before_the_request(void **state)
{
	struct zv_queue *q = broker_queue(1);
	struct zv_conn_info i = {.size = sizeof(i)};
	uint32_t port = ZV_PORT_ANY, same;

	(void)state;
	assert_int_equal(zv_connect_port(q, 0, &port, 0, BR_PORT), 0);
	assert_int_not_equal(port, ZV_PORT_ANY);
	same = port;
	assert_int_equal(zv_connect_port(q, 0, &same, 0, BR_PORT), 0);
	assert_int_equal(same, port);
	assert_int_equal(zv_connect_from(q, 0, port, 0, BR_PORT, ZV_STREAM, &B.to_h), 0);
	assert_int_equal(zv_conn_info(B.to_h, &i), 0);
	assert_int_equal(i.local_port, port);
	assert_int_equal(zv_connect_port(q, 0, &same, 0, BR_PORT), -EADDRINUSE);
	assert_int_equal(zv_connect_port(q, 0, &same, 77, BR_PORT), -EHOSTUNREACH);
	assert_int_equal(zv_connect_port(q, 0, NULL, 0, BR_PORT), -EINVAL);
	pump();
}

static void what_is_released_between_sessions_is_told_in_the_next(void **state)
{
	uint32_t generation;

	(void)state;
	broker_announce();
	broker_join(ZV_STREAM);
	generation = B.desc.generation;
	fake_new_session(false);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	assert_int_equal(zv_conn_close(B.ask_g), 0);
	assert_int_equal(zv_conn_close(B.to_g), 0);
	assert_int_equal(zv_conn_close(B.ask_h), 0);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	fake_new_session(true);
	pump();
	for (unsigned i = 0; i < 2; i++) {
		(void)broker_expect(i, ZV_BROKER_HELLO);
		assert_int_equal(broker_expect(i, ZV_BROKER_RELEASE).generation, generation);
	}
	assert_int_equal(fake_regions.map.refs, 1);
}

/* In one session: HELLO, what is held, and whether memory is offered. */
static void offered(bool offers)
{
	struct zv_broker_msg m;

	assert_int_equal(zv_broker_recv(broker_queue(1), &m), 1);
	assert_int_equal(m.what, ZV_BROKER_HELLO);
	assert_int_equal(zv_broker_recv(broker_queue(1), &m), 1);
	assert_int_equal(m.what, ZV_BROKER_HOLDS);
	while (m.what != ZV_BROKER_OFFER && zv_broker_recv(broker_queue(1), &m) == 1)
		;
	assert_int_equal(m.what == ZV_BROKER_OFFER, offers);
}

/*
 * A buffer is on loan in memory that the driver offers, and another zvsockd comes: that one knows
 * nothing of it, and would give the memory to others.
 */
static void what_is_on_loan_is_not_offered_to_another_device(void **state)
{
	const struct zv_region r = {BR_REGION, BR_SIZE, 0x100000000};
	struct zv_broker_msg m;
	struct zv_buf b;

	(void)state;
	fake_regions.offer = (struct ctrl_offer){r.gpa, BR_SIZE};
	for (unsigned i = 0; i < 2; i++) {
		(void)broker_expect(i, ZV_BROKER_HELLO);
		assert_int_equal(zv_region_announce(broker_queue(i), &r), 0);
	}
	pump();
	broker_join(ZV_STREAM);
	assert_int_equal(zv_send(B.ask_g, "data", 4, 0), 4);
	assert_int_equal(zv_buf_recv(B.to_g, &b, 1), 1);
	while (zv_broker_recv(broker_queue(1), &m) == 1)
		;
	fake_new_session(true); /* the same one knows what it has granted */
	pump();
	assert_int_equal(zv_conn_close(B.ask_g), 0);
	assert_int_equal(zv_conn_close(B.to_g), 0);
	assert_int_equal(zv_conn_close(B.ask_h), 0);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	pump();
	offered(true);
	broker_another_device();
	for (int i = 0; i < 2; i++) { /* nor in the session after the next one */
		fake_new_session(true);
		pump();
		offered(false);
	}
	assert_memory_equal(b.data, "data", 4);
	zv_buf_release(guest_queue(1), &b, 1);
	pump();
	do
		assert_int_equal(zv_broker_recv(broker_queue(1), &m), 1);
	while (m.what != ZV_BROKER_OFFER);
	assert_true(m.gpa == r.gpa);
	fake_new_session(true);
	pump();
	offered(true);
}

/* Nothing of a grant reaches the driver, and the driver holds an end of another one. */
static void what_is_held_is_told_in_the_next_session(void **state)
{
	uint32_t generation;
	struct zv_grant g;
	struct zv_buf b;

	(void)state;
	broker_announce();
	broker_join(ZV_STREAM);
	generation = B.desc.generation;
	assert_int_equal(zv_send(B.ask_g, "data", 4, 0), 4);
	assert_int_equal(zv_buf_recv(B.to_g, &b, 1), 1);
	B.desc.generation++;
	g = broker_grant_for(SHM_ROLE_B);
	assert_int_equal(zv_connect_granted(broker_queue(1), 0, ZV_PORT_ANY, 0, BR_PORT, ZV_STREAM,
					    &g, &(struct zv_conn *){NULL}),
			 0);
	fake_new_session(true);
	pump();
	assert_int_equal(zv_conn_close(B.ask_g), 0);
	assert_int_equal(zv_conn_close(B.to_g), 0);
	assert_int_equal(zv_conn_close(B.ask_h), 0);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	pump();
	for (unsigned i = 0; i < 2; i++) {
		(void)broker_expect(i, ZV_BROKER_HELLO);
		broker_expect_holds(i, generation); /* and not the one after it */
	}
	assert_int_equal(broker_expect(0, ZV_BROKER_RELEASE).generation, generation);
	broker_expect_none(1);
	zv_buf_release(guest_queue(1), &b, 1);
	pump();
	assert_int_equal(broker_expect(1, ZV_BROKER_RELEASE).generation, generation);
	fake_new_session(true);
	pump();
	for (unsigned i = 0; i < 2; i++) {
		(void)broker_expect(i, ZV_BROKER_HELLO);
		broker_expect_holds(i, 0);
		broker_expect_none(i);
	}
}

static void a_driver_that_is_gone_for_good_is_told_of(void **state)
{
	struct zv_event ev;

	(void)state;
	broker_announce();
	fake_new_session(false);
	pump();
	assert_int_equal(zv_poll(broker_queue(0), &ev, 1), 0);
	fake_bury(ZV_ROLE_HOST);
	assert_int_equal(zv_poll(broker_queue(0), &ev, 1), 1);
	assert_int_equal(ev.events, ZV_EV_BROKER);
	(void)broker_expect(0, ZV_BROKER_GONE);
	broker_expect_none(0);
	fake_new_session(true);
	pump();
	(void)broker_expect(0, ZV_BROKER_HELLO);
	(void)broker_expect(1, ZV_BROKER_GONE); /* this one was not looked at: in order */
	(void)broker_expect(1, ZV_BROKER_HELLO);
}

static void no_room_on_the_control_connection_is_told(void **state)
{
	const struct zv_region r = {9, BR_SIZE, ZV_REGION_BY_FD};
	struct zv_grant g = broker_grant_for(SHM_ROLE_B);

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	fake_limit_tx(ZV_ROLE_HOST, 0, 0);
	assert_int_equal(zv_region_announce(broker_queue(0), &r), -EAGAIN);
	assert_int_equal(zv_connect_granted(broker_queue(0), 0, ZV_PORT_ANY, 0, BR_PORT, ZV_STREAM,
					    &g, &B.to_h),
			 -EAGAIN);
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	assert_int_equal(zv_region_announce(broker_queue(0), &r), 0);
	pump();
	assert_int_equal(broker_expect(0, ZV_BROKER_REGION).result, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, broker_setup, broker_teardown)
	const struct CMUnitTest tests[] = {
		T(drivers_say_who_they_are),
		T(regions_are_mapped_when_they_can_be),
		T(what_a_driver_offers_is_heard_of),
		T(without_the_options_there_are_no_channels),
		T(payload_goes_past_the_broker),
		T(sleepers_are_woken_by_way_of_the_broker),
		T(an_end_that_is_closed_is_released),
		T(a_request_that_is_refused_releases_its_grant),
		T(a_port_is_known_before_the_request),
		T(what_is_released_between_sessions_is_told_in_the_next),
		T(what_is_held_is_told_in_the_next_session),
		T(what_is_on_loan_is_not_offered_to_another_device),
		T(a_driver_that_is_gone_for_good_is_told_of),
		T(no_room_on_the_control_connection_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
