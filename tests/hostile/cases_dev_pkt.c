/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets from the host that no host may send. */
#include "dev_cases.h"

#include <errno.h>

static uint8_t zeroes[G_BUF];

static void rw_with(struct vsock_hdr h)
{
	dev_send(&h, "evil", h.len == 4 ? 4 : 0, 0);
}

static void src_cid(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);

	h.src_cid = c->cid;
	rw_with(h);
}

static void dst_cid(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, 4);

	h.dst_cid = c->cid;
	rw_with(h);
}

/* An op of a type (0: the connection's). */
static void op_type(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(c->op, 0);

	if (c->type)
		h.type = (uint16_t)c->type;
	rw_with(h);
}

static void with_payload(const struct dev_case *c)
{
	rw_with(dev_hdr(c->op, 4));
}

static void all_ones(const struct dev_case *c)
{
	(void)c;
	rw_with((struct vsock_hdr){UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, 0, UINT16_MAX,
				   UINT16_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX});
}

/* Packets for a connection that does not exist. */
static void stray(const struct dev_case *c)
{
	for (uint64_t i = 0; i < (c->times ? c->times : 1); i++) {
		struct vsock_hdr h = dev_hdr(c->op, c->op == VSOCK_OP_RW ? 4 : 0);

		h.dst_port ^= 0x10000;
		rw_with(h);
		if (i % 32 == 31)
			gdev_pump();
	}
}

static void storm(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(c->op, 0);

	for (uint64_t i = 0; i < c->times; i++) {
		dev_send(&h, NULL, 0, 0);
		if (i % 32 == 31)
			gdev_pump();
	}
}

static void shut(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_SHUTDOWN, 0);

	h.flags = c->flags;
	dev_send(&h, NULL, 0, 0);
}

static void data_after_shutdown(const struct dev_case *c)
{
	shut(c);
	dev_op(VSOCK_OP_RW, "evil", 4);
}

/* The guest's REQUEST is answered by something that is no RESPONSE. */
static void before_response(const struct dev_case *c)
{
	char b[4];

	dev_op(c->op, "evil", c->op == VSOCK_OP_RW ? 4 : 0);
	gdev_pump();
	assert_true(G.seen & ZV_EV_CONNECT);
	assert_int_equal(zv_recv(G.c[0], b, 4, NULL), c->err ? -c->err : -ECONNRESET);
}

static void response_of_other_type(const struct dev_case *c)
{
	op_type(c);
	dev_op(VSOCK_OP_RESPONSE, NULL, 0);
	gdev_pump();
	assert_true(G.seen & ZV_EV_CONNECT);
}

static void response_from_other_port(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RESPONSE, 0);

	(void)c;
	h.src_port = 81;
	dev_send(&h, NULL, 0, 0);
	dev_op(VSOCK_OP_RESPONSE, NULL, 0);
}

static void request(uint32_t from, uint32_t to, unsigned type)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_REQUEST, 0);

	h.src_port = from;
	h.dst_port = to;
	h.type = (uint16_t)type;
	dev_send(&h, NULL, 0, 0);
}

/* REQUESTs to one port of the guest, each from another. */
static void requests(const struct dev_case *c)
{
	struct zv_queue_stats before = guest_stats(0), after;

	for (uint32_t i = 0; i < c->times; i++) {
		request(5000 + i, c->dport, ZV_STREAM);
		if (i % 16 == 15)
			gdev_pump();
	}
	gdev_pump();
	after = guest_stats(0);
	assert_int_equal(after.conns_accepted - before.conns_accepted,
			 c->dport == G_LISTEN ? G_BACKLOG : 0);
	assert_int_equal(after.conns_refused - before.conns_refused,
			 c->times - (c->dport == G_LISTEN ? G_BACKLOG : 0));
}

static void request_of_other_type(const struct dev_case *c)
{
	request(5000, G_LISTEN, c->type);
}

/* ---- credit ---- */

static void overrun(const struct dev_case *c)
{
	for (uint32_t i = 0; i < G_CREDIT; i += G_BUF) {
		dev_op(VSOCK_OP_RW, zeroes, G_BUF);
		gdev_pump();
	}
	assert_int_equal(guest_stats(0).rx_overrun, 0);
	dev_op(VSOCK_OP_RW, zeroes, c->len);
}

static void credit(uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_CREDIT_UPDATE, 0);

	h.buf_alloc = buf_alloc;
	h.fwd_cnt = fwd_cnt;
	dev_send(&h, NULL, 0, 0);
}

static void fwd(const struct dev_case *c)
{
	assert_int_equal(zv_send(G.c[0], zeroes, 100, 0), 100);
	gdev_pump();
	credit(262144, c->fwd_cnt);
	gdev_pump();
	credit(262144, c->fwd_cnt_then);
}

static void credit_at_random(const struct dev_case *c)
{
	uint32_t x = 99;

	for (uint64_t i = 0; i < c->times; i++) {
		x = x * 1664525u + 1013904223u;
		credit(x, x | 1);
		if (i % 32 == 31)
			gdev_pump();
	}
}

static void buf_alloc_zero(const struct dev_case *c)
{
	(void)c;
	credit(0, 0);
	gdev_pump();
	assert_int_equal(zv_send(G.c[0], "x", 1, 0), -EAGAIN);
	credit(1000, 0);
	gdev_pump();
	assert_true(G.seen & ZV_EV_OUT);
	assert_int_equal(zv_send(G.c[0], "x", 1, 0), 1);
}

static void buf_alloc_back(const struct dev_case *c)
{
	(void)c;
	assert_int_equal(zv_send(G.c[0], zeroes, 100, 0), 100);
	gdev_pump();
	credit(50, 0);
	gdev_pump();
	assert_int_equal(zv_send(G.c[0], "x", 1, 0), -EAGAIN);
	credit(0, 100);
	gdev_pump();
	assert_int_equal(zv_send(G.c[0], "x", 1, 0), -EAGAIN);
	credit(262144, 100);
}

/* Credit without limit: what the guest can send is bounded by its ring. */
static void promises_4_gigabytes(const struct dev_case *c)
{
	uint64_t sent = 0;
	ssize_t n;

	(void)c;
	credit(UINT32_MAX, 0);
	gdev_pump();
	while ((n = zv_send(G.c[0], zeroes, sizeof(zeroes), 0)) > 0)
		sent += (uint64_t)n;
	assert_int_equal(n, -EAGAIN);
	assert_in_range(sent, 1, G_N * G_BUF);
	gdev_pump();
}

/* ---- SEQPACKET ---- */

static void for_ever(const struct dev_case *c)
{
	struct vsock_hdr h = dev_hdr(VSOCK_OP_RW, c->len);
	uint32_t i;

	h.flags = c->flags;
	for (i = 0; i < 100000 && !(G.seen & ZV_EV_ERR); i++) {
		dev_send(&h, zeroes, c->len, 0);
		if (i % 16 == 15)
			gdev_pump();
	}
	assert_in_range(i, 1, 99999);
}

/* ---- HELLO ---- */

/* A HELLO_ACK in which one word is wrong. The guest has sent its HELLO by now. */
static void hello(const struct dev_case *c)
{
	struct hello ack = {.type = CTRL_HELLO_ACK,
			    .version = ZV_CTRL_VERSION,
			    .nonce = 1,
			    .npairs = 2,
			    .caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS,
			    .max_pkt = UINT32_MAX};
	struct vsock_hdr h;
	uint8_t b[HELLO_WIRE_LEN];
	uint32_t v = c->value;

	vsock_hdr_rst_for(&h, &G.ctrl);
	h.op = VSOCK_OP_RW;
	h.len = sizeof(b);
	h.buf_alloc = 262144;
	hello_put(b, &ack);
	memcpy(b + c->offset, &v, sizeof(v));
	dev_send(&h, b, sizeof(b), 0);
	gdev_pump();
}

static void hello_twice(const struct dev_case *c)
{
	struct dev_case first = {.offset = 16, .value = 1}, second = {.offset = 16, .value = 2};

	(void)c;
	hello(&first);
	hello(&second);
}

#define FORGED(v)  src_cid, .counter = CNT(rx_bad_cid), .count = 1, .cid = (v)
#define FOREIGN(v) dst_cid, .counter = CNT(rx_bad_cid), .count = 1, .rst = 1, .cid = (v)
#define BAD_OP(v)  op_type, .counter = CNT(rx_bad_hdr), .count = 1, .op = (v)
#define BAD_TYPE(o, t)                                                                             \
	op_type, .counter = CNT(rx_bad_type), .count = 1, .rst = 1, .op = (o), .type = (t)
#define SURPLUS(o)  with_payload, .counter = CNT(rx_bad_hdr), .count = 1, .op = (o)
#define STATE(n)    .counter = CNT(rx_bad_state), .count = (n)
#define NOCONN(n)   .counter = CNT(rx_no_conn), .count = (n)
#define LATE(n)	    .counter = CNT(rx_late), .count = (n)
#define CREDIT(n)   .counter = CNT(rx_bad_credit), .count = (n)
#define RESET	    .conn = DIES, .rst = 1
#define TOO_SOON(x) before_response, STATE(1), RESET, .silent = true, .op = (x)
#define BAD_ACK	    STATE(1), .rst = 1, .rst_port = ZV_CTRL_PORT, .hello = true

const struct dev_case dev_pkt_cases[] = {
	/* The host may speak for siblings, but this one has no connection. */
	{"source CID of another guest", src_cid, NOCONN(1), .rst = 1, .cid = 43},
	{"source CID of the guest itself", FORGED(G_CID)},
	{"source CID 0", FORGED(0)},
	{"source CID 1", FORGED(1)},
	{"source CID 2^32 - 1", FORGED(UINT32_MAX)},
	{"source CID 2^64 - 1", FORGED(UINT64_MAX)},
	{"source CID 2 with bit 32 set", FORGED(2 | 1ull << 32)},
	{"destination CID of another guest", FOREIGN(43)},
	{"destination CID of the host", FOREIGN(2)},
	{"destination CID 2^64 - 1", FOREIGN(UINT64_MAX)},
	{"op 0", BAD_OP(0)},
	{"op 8", BAD_OP(8)},
	{"op 65535", BAD_OP(0xffff)},
	{"type 3", BAD_TYPE(VSOCK_OP_CREDIT_UPDATE, 3)},
	{"type 65535", BAD_TYPE(VSOCK_OP_REQUEST, 0xffff)},
	{"type of another connection", BAD_TYPE(VSOCK_OP_SHUTDOWN, ZV_SEQPACKET)},
	{"RST of unknown type is not answered", op_type, .counter = CNT(rx_bad_type), .count = 1,
	 .op = VSOCK_OP_RST, .type = 3},
	{"header of all ones", all_ones, .counter = CNT(rx_bad_hdr), .count = 1},
	{"REQUEST with payload", SURPLUS(VSOCK_OP_REQUEST)},
	{"RST with payload", SURPLUS(VSOCK_OP_RST)},
	{"SHUTDOWN with payload", SURPLUS(VSOCK_OP_SHUTDOWN)},
	{"CREDIT_UPDATE with payload", SURPLUS(VSOCK_OP_CREDIT_UPDATE)},
	{"RW for no connection", stray, NOCONN(1), .rst = 1, .op = VSOCK_OP_RW},
	{"RESPONSE for no connection", stray, NOCONN(1), .rst = 1, .op = VSOCK_OP_RESPONSE},
	{"SHUTDOWN for no connection", stray, NOCONN(1), .rst = 1, .op = VSOCK_OP_SHUTDOWN},
	{"CREDIT_REQUEST for no connection", stray, NOCONN(1), .rst = 1,
	 .op = VSOCK_OP_CREDIT_REQUEST},
	{"RW storm for no connection", stray, NOCONN(2000), .rst = 2000, .op = VSOCK_OP_RW,
	 .times = 2000},
	{"RST storm for no connection", stray, LATE(5000), .op = VSOCK_OP_RST, .times = 5000},
	{"RST storm on the connection", storm, LATE(1999), .conn = DIES, .op = VSOCK_OP_RST,
	 .times = 2000},
	{"CREDIT_REQUEST storm", storm, .op = VSOCK_OP_CREDIT_REQUEST, .times = 2000},
	{"second REQUEST", op_type, STATE(1), RESET, .op = VSOCK_OP_REQUEST},
	{"second RESPONSE", op_type, STATE(1), .op = VSOCK_OP_RESPONSE},
	{"RW before RESPONSE", TOO_SOON(VSOCK_OP_RW)},
	{"REQUEST before RESPONSE", TOO_SOON(VSOCK_OP_REQUEST)},
	{"SHUTDOWN before RESPONSE", TOO_SOON(VSOCK_OP_SHUTDOWN)},
	{"CREDIT_UPDATE before RESPONSE", TOO_SOON(VSOCK_OP_CREDIT_UPDATE)},
	{"CREDIT_REQUEST before RESPONSE", TOO_SOON(VSOCK_OP_CREDIT_REQUEST)},
	{"RST instead of RESPONSE", before_response, .conn = DIES, .silent = true,
	 .op = VSOCK_OP_RST, .err = ECONNREFUSED},
	{"RESPONSE of another type", response_of_other_type, .counter = CNT(rx_bad_type),
	 .count = 1, .rst = 1, .silent = true, .op = VSOCK_OP_RESPONSE, .type = ZV_SEQPACKET},
	{"RESPONSE from another port", response_from_other_port, NOCONN(1), .rst = 1,
	 .rst_port = 81, .silent = true},
	{"SHUTDOWN without flags", shut, .flags = 0},
	{"SHUTDOWN with unknown flags", shut, STATE(1), .flags = 0xfffffffcu},
	{"SHUTDOWN with all flags", shut, STATE(1), RESET, .flags = UINT32_MAX},
	{"RW after SHUTDOWN of sending", data_after_shutdown, STATE(1), .conn = DIES, .rst = ANY,
	 .flags = VSOCK_SHUTDOWN_SEND},
	{"REQUEST flood to a port where nobody listens", requests, .rst = ANY, .dport = 7,
	 .times = 2000},
	{"REQUEST flood to a full accept queue", requests, .rst = ANY, .dport = G_LISTEN,
	 .times = 2000},
	{"REQUEST to the guest's control port", requests, .rst = ANY, .dport = ZV_CTRL_PORT,
	 .times = 1},
	{"REQUEST of another type than the listener's", request_of_other_type, .rst = 1,
	 .rst_port = 5000, .type = ZV_SEQPACKET},
	{"credit overrun by one byte", overrun, .counter = CNT(rx_overrun), .count = 1, RESET,
	 .len = 1},
	{"credit overrun by a whole buffer", overrun, .counter = CNT(rx_overrun), .count = 1, RESET,
	 .len = G_BUF},
	{"fwd_cnt ahead of what was sent", fwd, CREDIT(1), .fwd_cnt = 101, .fwd_cnt_then = 100},
	{"fwd_cnt 2^32 - 1", fwd, CREDIT(1), .fwd_cnt = UINT32_MAX, .fwd_cnt_then = 100},
	{"fwd_cnt runs backwards", fwd, CREDIT(1), .rst = ANY, .fwd_cnt = 100, .fwd_cnt_then = 50},
	{"fwd_cnt back to 0", fwd, CREDIT(1), .fwd_cnt = 100, .fwd_cnt_then = 0},
	{"fwd_cnt and buf_alloc at random", credit_at_random, CREDIT(2000), .times = 2000},
	{"buf_alloc 0", buf_alloc_zero, .rst = 0},
	{"buf_alloc runs backwards", buf_alloc_back, .rst = 0},
	{"buf_alloc 2^32 - 1", promises_4_gigabytes, .rst = 0},
	{"message without EOM for ever", for_ever, .count = ANY, .conn = DIES, .rst = ANY,
	 .seq = true, .len = G_BUF, .flags = 0},
	{"empty packets without EOM for ever", for_ever, .count = ANY, .conn = DIES, .rst = ANY,
	 .seq = true, .len = 0, .flags = 0},
	{"empty messages for ever", for_ever, .count = ANY, .conn = DIES, .rst = ANY, .seq = true,
	 .len = 0, .flags = VSOCK_SEQ_EOM},
	{"HELLO_ACK with bad magic", hello, BAD_ACK, .offset = 0, .value = 1},
	{"HELLO_ACK of version 2", hello, BAD_ACK, .offset = 4, .value = 0x00020002},
	{"HELLO instead of HELLO_ACK", hello, BAD_ACK, .offset = 4, .value = 0x00010001},
	{"HELLO_ACK of length 2^32 - 1", hello, BAD_ACK, .offset = 8, .value = UINT32_MAX},
	{"HELLO_ACK for another pair", hello, BAD_ACK, .offset = 24, .value = 0x00020001},
	{"HELLO_ACK without pairs", hello, BAD_ACK, .offset = 24, .value = 0},
	{"HELLO_ACK with max_pkt 0", hello, BAD_ACK, .offset = 32, .value = 0},
	{"HELLO_ACK with max_pkt 2^32 - 1", hello, .hello = true, .offset = 32,
	 .value = UINT32_MAX},
	{"HELLO_ACK with all capabilities", hello, .hello = true, .offset = 28,
	 .value = UINT32_MAX},
	{"HELLO_ACK twice", hello_twice, BAD_ACK, .offset = 0},
};
const unsigned n_dev_pkt_cases = sizeof(dev_pkt_cases) / sizeof(dev_pkt_cases[0]);
