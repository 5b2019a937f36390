/* SPDX-License-Identifier: BSD-3-Clause */
/* A broker and a driver that say to each other what they must not. */
#include "broker_fix.h"

#include "proto/ctrl/hello.h"
#include "socket/chan/grant.h"
#include "socket/core/state.h"

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

static uint32_t credit = 65536; /* that the peer gives, from now on */

/* Puts @m on the control connection of queue 0, towards @to, as its peer would. */
static void say(enum zv_role to, const struct ctrl_msg *m, size_t cut)
{
	uint8_t wire[CTRL_MSG_MAX];
	uint32_t len = ctrl_msg_put(wire, m);
	struct vsock_hdr h = {.src_cid = to == ZV_ROLE_HOST ? FAKE_CID : VSOCK_CID_HOST,
			      .dst_cid = to == ZV_ROLE_HOST ? VSOCK_CID_HOST : FAKE_CID,
			      .src_port = to == ZV_ROLE_HOST ? 512 : ZV_CTRL_PORT,
			      .dst_port = to == ZV_ROLE_HOST ? ZV_CTRL_PORT : 512,
			      .len = len - (uint32_t)cut,
			      .type = ZV_STREAM,
			      .op = VSOCK_OP_RW,
			      .buf_alloc = credit};

	assert_int_equal(fake_inject(to, 0, &h, wire), 0);
}

static struct ctrl_msg grant_msg(void)
{
	return (struct ctrl_msg){.type = CTRL_GRANT,
				 .grant = {.region = BR_REGION,
					   .peer_cid = VSOCK_CID_HOST,
					   .peer_port = 1,
					   .local_port = BR_PORT,
					   .type = ZV_STREAM}};
}

static void a_driver_says_only_what_drivers_say(void **state)
{
	static const uint16_t types[] = {CTRL_REGION, CTRL_GRANT};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct ctrl_msg m = grant_msg();
		uint64_t bad = stats(P.h).rx_bad_state;

		(void)broker_expect(0, ZV_BROKER_HELLO);
		if (i)
			broker_expect_holds(0, 0);
		m.type = types[i];
		if (i == 0)
			m.region = (struct ctrl_region){.id = 1, .size = 4096, .gpa = CTRL_BY_FD};
		say(ZV_ROLE_HOST, &m, 0);
		pump();
		broker_expect_none(0);
		assert_int_equal(stats(P.h).rx_bad_state, bad + 1);
		(void)broker_expect(0, ZV_BROKER_NONE);
		assert_int_equal(zv_region_forget(P.h, 1), -EOPNOTSUPP); /* it runs plain */
		fake_new_session(true);
		pump();
	}
	(void)broker_expect(0, ZV_BROKER_HELLO);
}

static void a_device_says_only_what_devices_say(void **state)
{
	static const uint16_t types[] = {CTRL_OFFER, CTRL_REGION_ACK, CTRL_RELEASE, CTRL_HOLDS};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct ctrl_msg m = {.type = types[i]};
		uint64_t bad = stats(P.g).rx_bad_state;

		if (types[i] == CTRL_OFFER)
			m.offer.size = 1;
		say(ZV_ROLE_GUEST, &m, 0);
		pump();
		assert_int_equal(stats(P.g).rx_bad_state, bad + 1);
		fake_new_session(true);
		pump();
	}
}

static void a_message_in_pieces_is_one(void **state)
{
	struct ctrl_msg m = {.type = CTRL_RELEASE, .release = {.region = 5, .offset = 8192}};

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		(void)broker_expect(i, ZV_BROKER_HELLO);
	say(ZV_ROLE_HOST, &m, 39);
	pump();
	broker_expect_none(0);
	/* The rest never comes: nothing happens, and half a message keeps nobody awake. */
	broker_expect_none(0);
	pump();
	assert_int_equal(seen_host.events, 0);
	assert_int_equal(zv_arm(P.h), 0);
	assert_int_equal(stats(P.h).rx_bad_state, 0);
}

static void messages_wait_until_they_are_fetched(void **state)
{
	struct ctrl_msg m = {.type = CTRL_RELEASE};

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	for (unsigned i = 0; i < 40; i++) {
		m.release.generation = i;
		say(ZV_ROLE_HOST, &m, 0);
		pump();
	}
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(broker_expect(0, ZV_BROKER_RELEASE).generation, i);
	broker_expect_none(0);
}

static void a_region_is_announced_once(void **state)
{
	const struct zv_region r = {3, BR_SIZE, ZV_REGION_BY_FD};

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	assert_int_equal(zv_region_announce(P.h, &r), 0);
	assert_int_equal(zv_region_announce(P.h, &r), 0);
	pump();
	assert_int_equal(stats(P.g).rx_bad_state, 1);
}

static void regions_have_a_limit(void **state)
{
	struct zv_region r = {0, BR_SIZE, ZV_REGION_BY_FD};
	unsigned refused = 0;

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	for (r.id = 1; r.id <= 70; r.id++) {
		assert_int_equal(zv_region_announce(P.h, &r), 0);
		pump();
		refused += broker_expect(0, ZV_BROKER_REGION).result == -ENOMEM;
	}
	assert_int_equal(refused, 6);
}

/* However many a device makes up: nothing of them is kept. */
static void regions_that_cannot_be_mapped_are_forgotten(void **state)
{
	struct zv_region r = {0, BR_SIZE, ZV_REGION_BY_FD};

	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	fake_regions.result = -EACCES;
	for (r.id = 1; r.id <= 200; r.id++) {
		assert_int_equal(zv_region_announce(P.h, &r), 0);
		pump();
		assert_int_equal(broker_expect(0, ZV_BROKER_REGION).result, -EACCES);
		assert_int_equal(fake_regions.forgotten, r.id);
	}
}

/* Nor is anything kept of a device that begins session after session, each with a region. */
static void regions_of_sessions_that_have_ended_are_forgotten(void **state)
{
	struct zv_region r = {0, BR_SIZE, ZV_REGION_BY_FD};

	(void)state;
	for (r.id = 1; r.id <= 200; r.id++) {
		(void)broker_expect(0, ZV_BROKER_HELLO);
		if (r.id > 1)
			broker_expect_holds(0, 0);
		assert_int_equal(fake_regions.forgotten, r.id - 1);
		assert_int_equal(zv_region_announce(P.h, &r), 0);
		pump();
		assert_int_equal(broker_expect(0, ZV_BROKER_REGION).result, 0);
		fake_new_session(true);
		pump();
	}
}

/* A device that does not take answers does not have them kept for ever, not even in the sessions
 * that follow. */
static void answers_that_are_not_taken_have_a_limit(void **state)
{
	(void)state;
	credit = 0;
	for (unsigned i = 0; i < 2 + GRANT_OUT_MAX / GRANT_PENDING_MAX; i++) {
		uint64_t bad = stats(P.g).rx_bad_state;
		unsigned n = 0;

		while (stats(P.g).rx_bad_state == bad && n++ < 4 * GRANT_OUT_MAX) {
			struct ctrl_msg m = grant_msg();

			m.grant.peer_port = 100 + n;
			if (i == 0) {
				m.type = CTRL_REGION;
				m.region = (struct ctrl_region){
					.id = 100 + n, .size = 4096, .gpa = CTRL_BY_FD};
			}
			say(ZV_ROLE_GUEST, &m, 0);
			pump();
		}
		assert_int_equal(stats(P.g).rx_bad_state, bad + 1);
		assert_true(P.g->grants.nout <= GRANT_OUT_MAX + GRANT_PENDING_MAX);
		fake_new_session(true);
		pump();
	}
	credit = 65536;
}

/* The device grants what cannot be used: the connection fails, nothing else. */
static void a_grant_that_cannot_be_used_resets_its_connection(void **state)
{
	struct zv_conn *g, *h;

	(void)state;
	broker_announce();
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	for (unsigned how = 0; how < 5; how++) {
		struct zv_grant gr;

		assert_int_equal(zv_connect(P.g, ZV_CID_HOST, 77, ZV_STREAM, &g), 0);
		pump();
		assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0);
		shm_channel_desc_init(&B.desc, 0, 1);
		gr = broker_grant_for(SHM_ROLE_A);
		gr.desc.generation = 40 + how;
		switch (how) {
		case 0:
			gr.region = 0; /* never announced */
			break;
		case 1:
			gr.desc.offset = BR_SIZE; /* beyond it */
			break;
		case 2:
			gr.desc.dir[0].entries = 3;
			break;
		case 3:
			gr.desc.length = UINT64_MAX;
			break;
		default:
			break; /* never formatted */
		}
		assert_int_equal(zv_conn_grant(h, &gr), 0);
		assert_int_equal(zv_conn_answer(h, 0), 0);
		pump();
		assert_int_equal(seen_guest.err, -ECONNRESET);
		assert_int_equal(zv_conn_close(g), 0);
		assert_int_equal(zv_conn_reset(h), 0);
		assert_int_equal(broker_expect(0, ZV_BROKER_RELEASE).generation, 40 + how);
	}
	connect_pair(ZV_STREAM, 1000, &g, &h); /* others are unharmed */
}

/* The same for a connection that the device asks for. */
static void a_request_with_a_bad_grant_is_refused(void **state)
{
	struct zv_grant g = broker_grant_for(SHM_ROLE_B);

	(void)state;
	broker_announce();
	assert_int_equal(zv_listen(P.guest, BR_PORT, ZV_STREAM, 0), 0);
	g.region = 1;
	assert_int_equal(
		zv_connect_granted(P.h, 0, ZV_PORT_ANY, 0, BR_PORT, ZV_STREAM, &g, &B.to_h), 0);
	pump();
	assert_int_equal(seen_host.err, -ECONNREFUSED);
	assert_int_equal(zv_accept(P.g, BR_PORT, &B.to_g), -EAGAIN);
	assert_int_equal(zv_conn_close(B.to_h), 0);
	(void)broker_expect(0, ZV_BROKER_RELEASE);
}

static void grants_without_a_request_have_a_limit(void **state)
{
	struct ctrl_msg m = grant_msg();
	unsigned n;

	(void)state;
	broker_announce();
	for (n = 0; n < 2000 && !stats(P.g).rx_bad_state; n++) {
		m.grant.peer_port = n;
		say(ZV_ROLE_GUEST, &m, 0);
		pump();
	}
	assert_int_equal(n, 1025);
}

/* Payload in packets, of either side. */
static void packets_on_a_granted_connection_reset_it(void **state)
{
	for (unsigned how = 0; how < 2; how++) {
		struct vsock_hdr h;

		if (how) {
			assert_int_equal(broker_teardown(state), 0);
			assert_int_equal(broker_setup(state), 0);
		}
		broker_announce();
		broker_join(ZV_STREAM);
		h = hdr_like(B.ask_g, VSOCK_OP_RW, 4);
		if (how) {
			struct vsock_hdr back = h;

			back.src_cid = h.dst_cid;
			back.dst_cid = h.src_cid;
			back.src_port = h.dst_port;
			back.dst_port = h.src_port;
			h = back;
		}
		assert_int_equal(fake_inject(how ? ZV_ROLE_GUEST : ZV_ROLE_HOST, 0, &h, "oops"), 0);
		pump();
		assert_int_equal((how ? seen_guest : seen_host).err, -ECONNRESET);
		assert_int_equal(stats(how ? P.g : P.h).rx_overrun, 1);
	}
}

static void a_connection_that_has_begun_gets_no_grant(void **state)
{
	struct zv_grant gr = broker_grant_for(SHM_ROLE_A);
	struct zv_conn *g, *h;

	(void)state;
	broker_announce();
	connect_pair(ZV_STREAM, 1000, &g, &h);
	assert_int_equal(zv_conn_grant(h, &gr), -EINVAL);
	gr.role = (enum shm_role)2;
	assert_int_equal(zv_conn_grant(h, &gr), -EINVAL);
	assert_int_equal(zv_conn_wake(h), -EINVAL);
	assert_int_equal(zv_conn_grant(NULL, &gr), -EINVAL);
}

/* ---- control connections that say nothing ---- */

static enum zv_peer_kind peer_of_host(void)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	assert_int_equal(zv_dev_info(P.host, &info), 0);
	return (enum zv_peer_kind)info.peer;
}

/* The driver of queue 0 opens or resets a control connection from @port; the host polls. */
static void ctrl_conn(unsigned op, uint32_t port)
{
	struct vsock_hdr h = {.src_cid = FAKE_CID,
			      .dst_cid = VSOCK_CID_HOST,
			      .src_port = port,
			      .dst_port = ZV_CTRL_PORT,
			      .type = ZV_STREAM,
			      .op = (uint16_t)op,
			      .buf_alloc = 65536};
	struct zv_event ev;

	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &h, NULL), 0);
	(void)zv_poll(P.h, &ev, 1);
}

/* A session of queue 0 in which the test is the driver. */
static void a_silent_driver(uint64_t hello_timeout_ns)
{
	P.host->opts.hello_timeout_ns = UINT64_MAX / 4;
	fake_new_session(true);
	assert_int_equal(peer_of_host(), ZV_PEER_ZVSOCK); /* of the former session */
	for (unsigned i = 0; i < 2; i++) {
		(void)zv_poll(zv_queue(P.host, i), &(struct zv_event){0}, 1);
		fake_drain(ZV_ROLE_GUEST, i);
	}
	assert_int_equal(peer_of_host(), ZV_PEER_UNKNOWN);
	P.host->opts.hello_timeout_ns = hello_timeout_ns;
	ctrl_conn(VSOCK_OP_REQUEST, 600);
}

static void wait_until_plain(void)
{
	struct zv_event ev;

	for (unsigned i = 0; i < 1000000 && peer_of_host() == ZV_PEER_UNKNOWN; i++)
		(void)zv_poll(P.h, &ev, 1);
	assert_int_equal(peer_of_host(), ZV_PEER_PLAIN);
}

/* Whoever waits for the HELLO of a control connection does so once a session, not each time. */
static void a_silent_control_connection_is_waited_for_once(void **state)
{
	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	a_silent_driver(1);
	wait_until_plain();
	(void)broker_expect(0, ZV_BROKER_NONE);
	for (uint32_t port = 601; port < 610; port++) {
		P.host->opts.hello_timeout_ns = UINT64_MAX / 4;
		ctrl_conn(VSOCK_OP_REQUEST, port);
		assert_int_equal(peer_of_host(), ZV_PEER_PLAIN);
	}
}

static void say_hello(uint32_t port)
{
	const struct hello hello = {.type = CTRL_HELLO,
				    .version = ZV_CTRL_VERSION,
				    .nonce = 77,
				    .npairs = 2,
				    .caps = ZV_CAP_CHANNEL,
				    .max_pkt = 65536};
	struct vsock_hdr h = {.src_cid = FAKE_CID,
			      .dst_cid = VSOCK_CID_HOST,
			      .src_port = port,
			      .dst_port = ZV_CTRL_PORT,
			      .len = HELLO_WIRE_LEN,
			      .type = ZV_STREAM,
			      .op = VSOCK_OP_RW,
			      .buf_alloc = 65536};
	struct zv_event ev;
	uint8_t wire[HELLO_WIRE_LEN];

	hello_put(wire, &hello);
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &h, wire), 0);
	for (unsigned i = 0; i < 8; i++)
		(void)zv_poll(P.h, &ev, 1);
}

static void a_late_hello_is_one(void **state)
{
	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	a_silent_driver(1);
	wait_until_plain();
	P.host->opts.hello_timeout_ns = UINT64_MAX / 4;
	say_hello(600);
	assert_int_equal(peer_of_host(), ZV_PEER_ZVSOCK);
	/* What was said before it no longer holds, whether it was fetched or not. */
	assert_true(broker_expect(0, ZV_BROKER_HELLO).nonce == 77);
	broker_expect_none(0);
}

/* Not "refused": nobody has. */
static void who_hangs_up_before_hello_has_no_channels(void **state)
{
	(void)state;
	(void)broker_expect(0, ZV_BROKER_HELLO);
	a_silent_driver(UINT64_MAX / 4);
	assert_int_equal(peer_of_host(), ZV_PEER_UNKNOWN);
	ctrl_conn(VSOCK_OP_RST, 600);
	assert_int_equal(peer_of_host(), ZV_PEER_PLAIN);
	(void)broker_expect(0, ZV_BROKER_NONE);
	broker_expect_none(0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, broker_setup, broker_teardown)
	const struct CMUnitTest tests[] = {
		T(a_driver_says_only_what_drivers_say),
		T(a_device_says_only_what_devices_say),
		T(a_message_in_pieces_is_one),
		T(messages_wait_until_they_are_fetched),
		T(a_region_is_announced_once),
		T(regions_have_a_limit),
		T(regions_that_cannot_be_mapped_are_forgotten),
		T(regions_of_sessions_that_have_ended_are_forgotten),
		T(answers_that_are_not_taken_have_a_limit),
		T(a_grant_that_cannot_be_used_resets_its_connection),
		T(a_request_with_a_bad_grant_is_refused),
		T(grants_without_a_request_have_a_limit),
		T(packets_on_a_granted_connection_reset_it),
		T(a_connection_that_has_begun_gets_no_grant),
		T(a_silent_control_connection_is_waited_for_once),
		T(a_late_hello_is_one),
		T(who_hangs_up_before_hello_has_no_channels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
