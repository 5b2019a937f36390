/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket layer against a peer that breaks the protocol: packets are injected as a guest would
 * put them into its ring. What must happen is always the same: the fault is counted, at most the
 * connection it names is reset, everything else goes on.
 */
#include "pair.h"

#include "proto/ctrl/hello.h"
#include "socket/core/sock_type.h"

static struct zv_queue_stats stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	zv_queue_stats(q, &s, sizeof(s));
	return s;
}

/* One bad header towards the host, what it must be counted as, and whether RST answers it. */
struct bad_case {
	const char *name;
	size_t counter; /* offset in struct zv_queue_stats */
	bool rst;	/* answered by RST */
	bool reset;	/* the named connection dies */
	void (*spoil)(struct vsock_hdr *h);
};

static void forged_src(struct vsock_hdr *h)
{
	h->src_cid = FAKE_CID + 1;
}
static void host_as_src(struct vsock_hdr *h)
{
	h->src_cid = ZV_CID_HOST;
}
static void wide_src(struct vsock_hdr *h)
{
	h->src_cid |= 1ull << 40;
}
static void foreign_dst(struct vsock_hdr *h)
{
	h->dst_cid = 77;
}
static void op_zero(struct vsock_hdr *h)
{
	h->op = 0;
}
static void op_unknown(struct vsock_hdr *h)
{
	h->op = 8;
}
static void type_unknown(struct vsock_hdr *h)
{
	h->type = 4;
}
static void type_of_other(struct vsock_hdr *h)
{
	h->type = ZV_SEQPACKET;
}
static void unknown_conn_rw(struct vsock_hdr *h)
{
	h->src_port ^= 0x10000;
}
static void unknown_conn_rst(struct vsock_hdr *h)
{
	h->src_port ^= 0x10000;
	h->op = VSOCK_OP_RST;
	h->len = 0;
}
static void second_request(struct vsock_hdr *h)
{
	h->op = VSOCK_OP_REQUEST;
	h->len = 0;
}
static void stray_response(struct vsock_hdr *h)
{
	h->op = VSOCK_OP_RESPONSE;
	h->len = 0;
}
static void fwd_ahead(struct vsock_hdr *h)
{
	h->fwd_cnt = 1000;
}
static void fwd_behind(struct vsock_hdr *h)
{
	h->fwd_cnt = UINT32_MAX;
}
static void shutdown_flags(struct vsock_hdr *h)
{
	h->op = VSOCK_OP_SHUTDOWN;
	h->len = 0;
	h->flags = 0xf0;
}
static void payload_on_credit(struct vsock_hdr *h)
{
	h->op = VSOCK_OP_CREDIT_UPDATE;
}

#define COUNTER(f) offsetof(struct zv_queue_stats, f)
static const struct bad_case bad_cases[] = {
	{"forged source CID", COUNTER(rx_bad_cid), false, false, forged_src},
	{"the host's own CID as source", COUNTER(rx_bad_cid), false, false, host_as_src},
	{"source CID above 32 bits", COUNTER(rx_bad_cid), false, false, wide_src},
	{"destination that is not us", COUNTER(rx_bad_cid), true, false, foreign_dst},
	{"op 0", COUNTER(rx_bad_hdr), false, false, op_zero},
	{"op 8", COUNTER(rx_bad_hdr), false, false, op_unknown},
	{"unknown type", COUNTER(rx_bad_type), true, false, type_unknown},
	{"another socket type", COUNTER(rx_bad_type), true, false, type_of_other},
	{"RW for no connection", COUNTER(rx_no_conn), true, false, unknown_conn_rw},
	{"RST for no connection", COUNTER(rx_late), false, false, unknown_conn_rst},
	{"second REQUEST", COUNTER(rx_bad_state), true, true, second_request},
	{"second RESPONSE", COUNTER(rx_bad_state), false, false, stray_response},
	{"fwd_cnt ahead of tx_cnt", COUNTER(rx_bad_credit), false, false, fwd_ahead},
	{"fwd_cnt backwards", COUNTER(rx_bad_credit), false, false, fwd_behind},
	{"unknown SHUTDOWN flags", COUNTER(rx_bad_state), false, false, shutdown_flags},
	{"payload on CREDIT_UPDATE", COUNTER(rx_bad_hdr), false, false, payload_on_credit},
};

static uint64_t counter(size_t off)
{
	struct zv_queue_stats s = stats(P.h);

	return *(uint64_t *)((char *)&s + off);
}

static void test_bad_headers(void **state)
{
	struct zv_conn *g, *h, *g2, *h2;
	char buf[16];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g2, &h2); /* a bystander */
	for (size_t i = 0; i < sizeof(bad_cases) / sizeof(bad_cases[0]); i++) {
		const struct bad_case *b = &bad_cases[i];
		uint64_t before = counter(b->counter), rst;
		struct vsock_hdr hdr;

		connect_pair(ZV_STREAM, 1000, &g, &h);
		hdr = hdr_like(g, VSOCK_OP_RW, 4);
		rst = stats(P.h).rst_sent;
		b->spoil(&hdr);
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, "evil"), 0);
		pump();
		if (counter(b->counter) != before + 1)
			fail_msg("%s: not counted", b->name);
		if (stats(P.h).rst_sent - rst != b->rst)
			fail_msg("%s: %s", b->name, b->rst ? "no RST" : "a RST");
		if (!!(seen_host.events & ZV_EV_ERR) != b->reset)
			fail_msg("%s: connection %s", b->name, b->reset ? "lives" : "died");
		zv_conn_close(g);
		zv_conn_close(h);
		pump();
		assert_int_equal(zv_send(g2, "ok", 2, 0), 2);
		pump();
		assert_int_equal(zv_recv(h2, buf, sizeof(buf), NULL), 2);
	}
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	zv_conn_close(g2);
	zv_conn_close(h2);
}

static void test_rst_is_never_answered(void **state)
{
	struct vsock_hdr hdr = {.src_cid = FAKE_CID,
				.dst_cid = ZV_CID_HOST,
				.src_port = 1,
				.dst_port = 2,
				.type = ZV_STREAM,
				.op = VSOCK_OP_RST};
	uint64_t sent = stats(P.h).tx_packets;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		hdr.src_port = (uint32_t)i;
		hdr.type = (uint16_t)(i % 4);
		hdr.dst_cid = i % 3 ? ZV_CID_HOST : 9;
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
		pump();
	}
	assert_int_equal(stats(P.h).tx_packets, sent);
}

static void test_rw_before_response_resets(void **state)
{
	struct vsock_hdr hdr;
	struct zv_conn *h;

	(void)state;
	assert_int_equal(zv_connect(P.h, 0, 44, ZV_STREAM, &h), 0);
	hdr = hdr_like(h, VSOCK_OP_RW, 4); /* as seen from the host: turn it round */
	hdr = (struct vsock_hdr){.src_cid = hdr.dst_cid,
				 .dst_cid = hdr.src_cid,
				 .src_port = hdr.dst_port,
				 .dst_port = hdr.src_port,
				 .len = 4,
				 .type = ZV_STREAM,
				 .op = VSOCK_OP_RW};
	fake_drain(ZV_ROLE_GUEST, 0); /* the real guest must not answer */
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, "data"), 0);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	zv_conn_close(h);
}

static void test_credit_overrun_resets_that_connection_only(void **state)
{
	static uint8_t data[4096];
	struct zv_conn *g, *h, *g2, *h2;
	struct vsock_hdr hdr;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	connect_pair(ZV_STREAM, 1000, &g2, &h2);
	hdr = hdr_like(g, VSOCK_OP_RW, sizeof(data));
	for (int i = 0; i < 16; i++) {
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, data), 0);
		pump();
		assert_false(seen_host.events & ZV_EV_ERR);
	}
	hdr.len = 1;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, data), 0);
	pump();
	assert_int_equal(seen_host.err, -ECONNRESET);
	assert_int_equal(stats(P.h).rx_overrun, 1);
	assert_int_equal(zv_send(g2, "ok", 2, 0), 2);
	pump();
	assert_int_equal(zv_recv(h2, data, 10, NULL), 2);
	zv_conn_close(g);
	zv_conn_close(h);
	zv_conn_close(g2);
	zv_conn_close(h2);
}

static void test_seqpacket_without_eom_is_bounded(void **state)
{
	static uint8_t data[4096];
	struct zv_conn *g, *h;
	struct vsock_hdr hdr;
	int i;

	(void)state;
	connect_pair(ZV_SEQPACKET, 1000, &g, &h);
	hdr = hdr_like(g, VSOCK_OP_RW, sizeof(data));
	for (i = 0; i < 100 && !(seen_host.events & ZV_EV_ERR); i++) {
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, data), 0);
		pump();
	}
	assert_int_equal(i, 17);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0) <= 32, 1);
	zv_conn_close(g);
	zv_conn_close(h);
	pump();
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
}

static void test_a_full_transmit_ring_does_not_stop_receiving(void **state)
{
	struct vsock_hdr hdr = {.src_cid = FAKE_CID,
				.dst_cid = ZV_CID_HOST,
				.dst_port = 2,
				.type = ZV_STREAM,
				.op = VSOCK_OP_REQUEST};
	struct zv_conn *g, *h;
	char buf[8];

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	fake_limit_tx(ZV_ROLE_HOST, 0, 0); /* the guest posts no buffer any more */
	for (int i = 0; i < 500; i++) {
		hdr.src_port = 5000 + (uint32_t)i;
		assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
		pump();
	}
	assert_int_equal(stats(P.h).rst_dropped, 500 - 64);
	assert_int_equal(zv_send(g, "still", 5, 0), 5);
	pump();
	assert_int_equal(zv_recv(h, buf, 8, NULL), 5);
	assert_int_equal(zv_send(h, "x", 1, 0), -EAGAIN);
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	pump();
	assert_int_equal(stats(P.h).rst_sent, 64); /* drained in full once there is room */
	assert_true(seen_host.events & ZV_EV_OUT);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_response_is_never_overtaken(void **state)
{
	struct vsock_hdr hdr = {.src_cid = FAKE_CID,
				.dst_cid = ZV_CID_HOST,
				.src_port = 3,
				.dst_port = 1000,
				.type = ZV_STREAM,
				.op = VSOCK_OP_REQUEST,
				.buf_alloc = 65536};
	struct zv_conn *h;

	(void)state;
	assert_int_equal(zv_listen(P.host, 1000, ZV_STREAM, 0), 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, 0);
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
	pump();
	assert_int_equal(zv_accept(P.h, 1000, &h), 0);
	fake_limit_tx(ZV_ROLE_HOST, 0, -1);
	assert_int_equal(zv_send(h, "early", 5, 0), -EAGAIN);
	zv_poll(P.h, &(struct zv_event){0}, 1);
	assert_int_equal(zv_send(h, "late", 4, 0), 4);
	assert_true(fake_peek(ZV_ROLE_GUEST, 0, 0, &hdr));
	assert_int_equal(hdr.op, VSOCK_OP_RESPONSE);
	assert_true(fake_peek(ZV_ROLE_GUEST, 0, 1, &hdr));
	assert_int_equal(hdr.op, VSOCK_OP_RW);
	zv_conn_close(h);
}

static void test_hello_only_from_low_ports_and_once(void **state)
{
	struct vsock_hdr hdr = {.src_cid = FAKE_CID,
				.dst_cid = ZV_CID_HOST,
				.src_port = 1024,
				.dst_port = ZV_CTRL_PORT,
				.type = ZV_STREAM,
				.op = VSOCK_OP_REQUEST,
				.buf_alloc = 65536};
	struct zv_dev_info info = {.size = sizeof(info)};
	uint64_t rst = stats(P.h).rst_sent;

	(void)state;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
	zv_poll(P.h, &(struct zv_event){0}, 1);
	assert_int_equal(stats(P.h).rst_sent, rst + 1);
	/* from a low port, but with rubbish: that connection is reset, the queue stays plain */
	hdr.src_port = 700;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr, NULL), 0);
	hdr.op = VSOCK_OP_RW;
	hdr.len = 64;
	assert_int_equal(fake_inject(ZV_ROLE_HOST, 0, &hdr,
				     "rubbish, rubbish, rubbish, rubbish, "
				     "rubbish, rubbish, rubbish, rubb"),
			 0);
	zv_poll(P.h, &(struct zv_event){0}, 1);
	assert_int_equal(stats(P.h).rx_bad_state, 1);
	assert_int_equal(zv_dev_info(P.host, &info), 0);
	assert_int_equal(info.peer, ZV_PEER_ZVSOCK); /* the other queue is not concerned */
}

static void test_small_packets_share_memory_and_a_budget(void **state)
{
	struct zv_conn *g, *h;
	char got[512];
	int sent = 0;

	(void)state;
	/*
	 * No HELLO: a stock peer may charge each packet. 64 KiB / 1 KiB = 64 packets unread, less
	 * what the packets themselves may be charged.
	 */
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while (zv_send(g, "x", 1, 0) == 1) {
		sent++;
		pump();
		assert_true(sent <= 64);
	}
	assert_true(sent >= 60);
	assert_true(fake_held(ZV_ROLE_HOST, 0) <= 32);
	assert_true(stats(P.h).rx_copied >= 25);
	assert_int_equal(zv_recv(h, got, sizeof(got), NULL), sent);
	pump(); /* the sender has asked for credit and hears of it */
	assert_true(seen_guest.events & ZV_EV_OUT);
	assert_int_equal(zv_send(g, "x", 1, 0), 1);
	zv_conn_close(g);
	zv_conn_close(h);
}

static void test_slow_reader_does_not_stall_others(void **state)
{
	static uint8_t data[4096], got[4096];
	struct zv_conn *slow_g, *slow_h, *g, *h;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &slow_g, &slow_h);
	connect_pair(ZV_STREAM, 1000, &g, &h);
	while (zv_send(slow_g, data, 1000, 0) > 0)
		pump();
	for (int i = 0; i < 500; i++) {
		memset(data, i, sizeof(data));
		assert_int_equal(zv_send(g, data, sizeof(data), 0), sizeof(data));
		pump();
		assert_int_equal(zv_recv(h, got, sizeof(got), NULL), sizeof(got));
		assert_memory_equal(data, got, sizeof(got));
	}
	zv_conn_close(g);
	zv_conn_close(h);
	zv_conn_close(slow_g);
	zv_conn_close(slow_h);
}

static void test_payload_in_pieces(void **state)
{
	static uint8_t data[4000], got[4000];
	struct zv_conn *g, *h;
	struct zv_buf b[8];
	size_t off = 0;
	int n;

	(void)state;
	connect_pair(ZV_STREAM, 1000, &g, &h);
	fake_config.nseg = 5;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	zv_send(g, data, sizeof(data), 0);
	pump();
	n = zv_buf_recv(h, b, 8);
	assert_int_equal(n, 5);
	for (int i = 0; i < n; i++) {
		memcpy(got + off, b[i].data, b[i].len);
		off += b[i].len;
	}
	assert_int_equal(off, sizeof(data));
	assert_memory_equal(data, got, sizeof(data));
	zv_buf_release(P.h, b, 1); /* the one that holds the buffer goes first */
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 1);
	zv_buf_release(P.h, b + 1, 4);
	assert_int_equal(fake_held(ZV_ROLE_HOST, 0), 0);
	zv_conn_close(g);
	zv_conn_close(h);
}

/* rx_packet() calls the descriptor of whatever type the check of the header lets through. */
static void test_each_type_that_is_let_through_has_its_descriptor(void **state)
{
	unsigned found = 0;

	(void)state;
	for (uint32_t type = 0; type <= UINT16_MAX; type++) {
		struct vsock_hdr h = {2, 3, 1, 2, 0, (uint16_t)type, VSOCK_OP_RW, 0, 0, 0};
		const struct sock_type *t = sock_type_find(type);
		bool passes = vsock_hdr_check(&h, 3, 2) == VSOCK_HDR_OK;

		assert_int_equal(passes, t != NULL);
		if (!t)
			continue;
		found++;
		assert_int_equal(t->type, type);
		assert_true(t->name && t->unconnected);
		assert_true(t->connectionless || (t->send && t->buf_send && t->recv));
		assert_ptr_equal(sock_type_of_conns(type), t->connectionless ? NULL : t);
	}
	assert_true(found >= 3 && sock_type_find(ZV_STREAM) && sock_type_find(ZV_SEQPACKET));
	assert_null(sock_type_find(UINT32_MAX));
}

int main(void)
{
#define T(f)	 cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
#define PLAIN(f) cmocka_unit_test_setup_teardown(f, pair_setup_plain, pair_teardown)
	const struct CMUnitTest tests[] = {
		T(test_bad_headers),
		T(test_rst_is_never_answered),
		T(test_rw_before_response_resets),
		T(test_credit_overrun_resets_that_connection_only),
		T(test_seqpacket_without_eom_is_bounded),
		T(test_a_full_transmit_ring_does_not_stop_receiving),
		T(test_response_is_never_overtaken),
		T(test_hello_only_from_low_ports_and_once),
		PLAIN(test_small_packets_share_memory_and_a_budget),
		T(test_slow_reader_does_not_stall_others),
		T(test_payload_in_pieces),
		cmocka_unit_test(test_each_type_that_is_let_through_has_its_descriptor),
	};

	return cmocka_run_group_tests_name("socket, hostile peer", tests, NULL, NULL);
}
