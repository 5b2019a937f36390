/* SPDX-License-Identifier: BSD-3-Clause */
/* A host that speaks for other guests: requests to their CIDs, connections as coming from them. */
#include "pair.h"

#define SIBLING 77u

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c, &i), 0);
	return i;
}

static void expect_bytes(struct zv_conn *from, struct zv_conn *to, const char *text)
{
	char buf[64];

	assert_int_equal(zv_send(from, text, strlen(text), 0), strlen(text));
	pump();
	assert_int_equal(zv_recv(to, buf, sizeof(buf), NULL), strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static struct vsock_hdr request_to(uint64_t cid)
{
	return (struct vsock_hdr){.src_cid = FAKE_CID,
				  .dst_cid = cid,
				  .src_port = 4000,
				  .dst_port = 22,
				  .type = ZV_STREAM,
				  .op = VSOCK_OP_REQUEST,
				  .buf_alloc = 65536};
}

static void test_a_guest_reaches_its_sibling_through_us(void **state)
{
	struct zv_conn *g, *h;
	struct zv_conn_info info;

	(void)state;
	/* a listener of the host's own port does not speak for the sibling's */
	assert_int_equal(zv_listen(P.host, 22, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen_all(P.guest, ZV_LISTEN_ANY_CID, 0), -EOPNOTSUPP);
	assert_int_equal(zv_listen_all(P.host, ZV_LISTEN_ANY_CID, 0), 0);
	assert_int_equal(zv_connect(P.g, SIBLING, 22, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, 22, &h), -EAGAIN);
	assert_int_equal(zv_accept(P.h, ZV_PORT_ANY, &h), 0);
	info = info_of(h);
	assert_int_equal(info.local_cid, SIBLING);
	assert_int_equal(info.local_port, 22);
	assert_int_equal(info.peer_cid, FAKE_CID);
	assert_int_equal(zv_conn_answer(h, 0), 0);
	pump();
	assert_true(seen_guest.events & ZV_EV_CONNECT);
	assert_int_equal(seen_guest.err, 0);
	assert_int_equal(info_of(g).peer_cid, SIBLING);
	expect_bytes(g, h, "there");
	expect_bytes(h, g, "and back");
	assert_int_equal(zv_conn_reset(h), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNRESET);
	zv_conn_close(g);
}

static void test_refusal_comes_from_the_sibling(void **state)
{
	struct vsock_hdr rst;
	struct zv_conn *g;

	(void)state;
	assert_int_equal(zv_listen_all(P.host, ZV_LISTEN_ANY_CID, 1), 0);
	for (int i = 0; i < 2; i++) { /* the second is beyond the backlog */
		struct vsock_hdr h = request_to(SIBLING + i);

		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &h, NULL), 0);
		assert_int_equal(zv_poll(P.h, &(struct zv_event){0}, 1), 1);
	}
	assert_true(fake_peek(ZV_ROLE_GUEST, 0, 0, &rst));
	assert_int_equal(rst.op, VSOCK_OP_RST);
	assert_int_equal(rst.src_cid, SIBLING + 1);
	assert_int_equal(rst.dst_cid, FAKE_CID);
	assert_int_equal(stats(P.h).conns_refused, 1);
	fake_drain(ZV_ROLE_GUEST, 0);
	assert_int_equal(zv_unlisten(P.host, ZV_PORT_ANY), 0);
	pump();
	/* Without it nobody is there, and a guest that asks learns so at once. */
	assert_int_equal(zv_connect(P.g, SIBLING, 22, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	assert_int_equal(stats(P.h).rx_bad_cid, 1);
	zv_conn_close(g);
	assert_int_equal(zv_listen_all(P.host, 0, 0), 0);
	assert_int_equal(zv_connect(P.g, SIBLING, 22, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(seen_guest.err, -ECONNREFUSED);
	assert_int_equal(stats(P.h).rx_bad_cid, 2);
	zv_conn_close(g);
}

static void test_cids_that_nobody_can_have_are_never_offered(void **state)
{
	static const uint64_t cids[] = {0,	    1,		FAKE_CID,  UINT32_MAX,
					1ull << 32, UINT64_MAX, 1ull << 63};
	struct zv_conn *h;

	(void)state;
	assert_int_equal(zv_listen_all(P.host, ZV_LISTEN_ANY_CID, 0), 0);
	for (unsigned i = 0; i < sizeof(cids) / sizeof(cids[0]); i++) {
		struct vsock_hdr hdr = request_to(cids[i]), rst;

		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
		assert_int_equal(zv_poll(P.h, &(struct zv_event){0}, 1), 0);
		assert_int_equal(stats(P.h).rx_bad_cid, i + 1);
		assert_true(fake_peek(ZV_ROLE_GUEST, 0, 0, &rst));
		assert_int_equal(rst.op, VSOCK_OP_RST);
		assert_int_equal(rst.src_cid, cids[i]);
		assert_int_equal(rst.dst_cid, FAKE_CID);
		fake_drain(ZV_ROLE_GUEST, 0);
		assert_int_equal(
			zv_connect_from(P.h, cids[i] ? cids[i] : 1, 1, 0, 22, ZV_STREAM, &h),
			-EINVAL);
	}
	assert_int_equal(zv_connect(P.g, FAKE_CID, 1, ZV_STREAM, &h), -EHOSTUNREACH);
	assert_int_equal(zv_connect(P.g, 1, 1, ZV_STREAM, &h), -EHOSTUNREACH);
}

static void test_connect_from_a_sibling(void **state)
{
	struct zv_conn *h, *g;
	struct zv_conn_info info;

	(void)state;
	assert_int_equal(zv_connect_from(P.g, SIBLING, 1, 0, 22, ZV_STREAM, &g), -EOPNOTSUPP);
	assert_int_equal(zv_connect_from(P.h, SIBLING, 1024, 99, 22, ZV_STREAM, &h), -EHOSTUNREACH);
	assert_int_equal(zv_listen(P.guest, 22, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect_from(P.h, SIBLING, 1024, FAKE_CID, 22, ZV_STREAM, &h), 0);
	pump();
	assert_true(seen_host.events & ZV_EV_CONNECT);
	assert_int_equal(zv_accept(P.g, 22, &g), 0);
	info = info_of(g);
	assert_int_equal(info.peer_cid, SIBLING);
	assert_int_equal(info.peer_port, 1024);
	info = info_of(h);
	assert_int_equal(info.local_cid, SIBLING);
	assert_int_equal(info.local_port, 1024);
	assert_int_equal(info.peer_cid, FAKE_CID);
	assert_int_equal(info.peer_port, 22);
	expect_bytes(h, g, "knock");
	expect_bytes(g, h, "who is there");
	assert_int_equal(zv_connect_from(P.h, SIBLING, 1024, 0, 22, ZV_STREAM, &h), -EADDRINUSE);
	zv_conn_close(g);
	pump();
	assert_true(seen_host.events & ZV_EV_HUP);
	zv_conn_close(h);
	pump();
	assert_int_equal(zv_connect_from(P.h, SIBLING, 1024, 0, 22, ZV_STREAM, &h), 0);
	zv_conn_close(h);
}

static void test_guest_connects_from_a_port(void **state)
{
	struct zv_conn *h, *g;

	(void)state;
	assert_int_equal(zv_listen(P.host, 22, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect_from(P.g, 0, 1000, ZV_CID_HOST, 22, ZV_STREAM, &g), 0);
	pump();
	assert_int_equal(zv_accept(P.h, 22, &h), 0);
	assert_int_equal(info_of(h).peer_port, 1000);
	expect_bytes(g, h, "from a port");
	assert_int_equal(zv_connect_from(P.g, 0, 1000, ZV_CID_HOST, 22, ZV_STREAM, &h),
			 -EADDRINUSE);
	zv_conn_close(g);
	pump();
}

/* Equal ports on both ends, three local CIDs: three connections, none of which hears another's. */
static void test_the_local_cid_tells_connections_apart(void **state)
{
	static const uint64_t from[] = {0, SIBLING, SIBLING + 1};
	static const char *const text[] = {"host", "one", "two"};
	struct zv_conn *h[3], *g[3];
	struct vsock_hdr hdr;

	(void)state;
	assert_int_equal(zv_listen(P.guest, 22, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(zv_connect_from(P.h, from[i], 1024, 0, 22, ZV_STREAM, &h[i]), 0);
		pump();
		assert_int_equal(zv_accept(P.g, 22, &g[i]), 0);
		assert_int_equal(info_of(g[i]).peer_cid, from[i] ? from[i] : ZV_CID_HOST);
	}
	for (unsigned i = 0; i < 3; i++) {
		expect_bytes(g[i], h[i], text[i]);
		expect_bytes(h[i], g[i], text[2 - i]);
	}
	/* a packet for a sibling that has no such connection is nobody's, and answered as from it
	 */
	hdr = hdr_like(g[1], VSOCK_OP_RW, 4);
	hdr.dst_cid = SIBLING + 2;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, "evil"), 0);
	assert_int_equal(zv_poll(P.h, &(struct zv_event){0}, 1), 0);
	assert_int_equal(stats(P.h).rx_bad_cid, 1);
	assert_true(fake_peek(ZV_ROLE_GUEST, 0, 0, &hdr));
	assert_int_equal(hdr.op, VSOCK_OP_RST);
	assert_int_equal(hdr.src_cid, SIBLING + 2);
	/* ends one, not the others */
	zv_conn_reset(g[1]);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_string_equal(info_of(h[1]).state, "closed");
	expect_bytes(g[0], h[0], "still");
	expect_bytes(g[2], h[2], "still");
	zv_conn_close(h[1]);
	for (unsigned i = 0; i < 3; i += 2) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
}

static void test_any_free_port_of_a_sibling(void **state)
{
	struct zv_conn *a, *b;

	(void)state;
	assert_int_equal(zv_connect_from(P.h, SIBLING, ZV_PORT_ANY, 0, 22, ZV_STREAM, &a), 0);
	assert_int_equal(zv_connect_from(P.h, SIBLING, ZV_PORT_ANY, 0, 22, ZV_STREAM, &b), 0);
	assert_int_not_equal(info_of(a).local_port, info_of(b).local_port);
	zv_conn_close(a);
	zv_conn_close(b);
}

/* A RST that found no room is sent later, and still as from the sibling. */
static void test_a_late_rst_is_from_the_sibling(void **state)
{
	struct vsock_hdr rst;
	struct zv_conn *h;
	unsigned n;

	(void)state;
	fake_limit_tx(ZV_ROLE_HOST, 0, 1);
	assert_int_equal(zv_connect_from(P.h, SIBLING, 1024, 0, 22, ZV_STREAM, &h), 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, 0);
	assert_int_equal(zv_conn_reset(h), 0);
	n = fake_pending(ZV_ROLE_GUEST, 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	assert_int_equal(zv_poll(P.h, &(struct zv_event){0}, 1), 0);
	assert_true(fake_peek(ZV_ROLE_GUEST, 0, n, &rst));
	assert_int_equal(rst.op, VSOCK_OP_RST);
	assert_int_equal(rst.src_cid, SIBLING);
	assert_int_equal(rst.src_port, 1024);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_a_guest_reaches_its_sibling_through_us),
		T(test_refusal_comes_from_the_sibling),
		T(test_cids_that_nobody_can_have_are_never_offered),
		T(test_connect_from_a_sibling),
		T(test_guest_connects_from_a_port),
		T(test_the_local_cid_tells_connections_apart),
		T(test_any_free_port_of_a_sibling),
		T(test_a_late_rst_is_from_the_sibling),
	};

	return cmocka_run_group_tests_name("siblings", tests, NULL, NULL);
}
