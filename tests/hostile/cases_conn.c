/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections: states, credit, floods. */
#include "host_cases.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define BIG 8000u

static uint8_t zeroes[BIG];

static void send_op(struct raw *r, const struct host_case *c)
{
	(void)raw_pkt(r, c->op, NULL, 0);
}

/* Packets for a connection that does not exist. */
static void stray(struct raw *r, const struct host_case *c)
{
	r->sport = r->next_port++;
	for (uint64_t i = 0; i < (c->times ? c->times : 1); i++)
		if (!raw_pkt(r, c->op, "evil", c->op == VSOCK_OP_RW ? 4 : 0))
			fail_msg("no room in the ring");
}

/* Each packet is answered by RST, or the RST is counted as dropped. */
static void stray_answered(struct raw *r, const struct host_case *c)
{
	struct zv_queue_stats before = testbed_stats(), after;

	stray(r, c);
	assert_true(raw_sync(r));
	after = testbed_stats();
	assert_in_range(after.rst_sent + after.rst_dropped - before.rst_sent - before.rst_dropped,
			c->times + 1, c->times + 10);
}

/* The same packet on the case's connection, again and again. */
static void storm(struct raw *r, const struct host_case *c)
{
	for (uint64_t i = 0; i < c->times; i++)
		if (!raw_pkt(r, c->op, NULL, 0))
			fail_msg("no room in the ring");
}

static void churn(struct raw *r, const struct host_case *c)
{
	for (uint64_t i = 0; i < c->times; i++)
		if (!raw_pkt(r, VSOCK_OP_RST, NULL, 0) || !raw_pkt(r, VSOCK_OP_REQUEST, NULL, 0))
			fail_msg("no room in the ring");
	(void)raw_pkt(r, VSOCK_OP_RST, NULL, 0);
}

static void shut(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_SHUTDOWN, 0);

	h.flags = c->flags;
	for (uint64_t i = 0; i < (c->times ? c->times : 1); i++)
		(void)raw_pkt_as(r, &h, NULL, 0);
}

static void data_after_shutdown(struct raw *r, const struct host_case *c)
{
	shut(r, c);
	(void)raw_pkt(r, VSOCK_OP_RW, "evil", 4);
}

static void data_after_rst(struct raw *r, const struct host_case *c)
{
	(void)c;
	(void)raw_pkt(r, VSOCK_OP_RST, NULL, 0);
	(void)raw_pkt(r, VSOCK_OP_RW, "evil", 4);
}

/* ---- the host connects, the guest answers with something else ---- */

static void host_connects(struct raw *r, unsigned op, unsigned type)
{
	uint32_t mark = raw_mark(r);
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;
	const struct raw_pkt *p = NULL;
	struct vsock_hdr h;

	testbed_connect(77);
	while (!p && raw_now_ms() < end) {
		raw_pump(r);
		for (uint32_t i = mark; i != r->npkts && !p; i++)
			if (r->log[i % RAW_LOG].h.op == VSOCK_OP_REQUEST)
				p = &r->log[i % RAW_LOG];
	}
	assert_non_null(p);
	r->sport = 77;
	r->dport = p->h.src_port;
	h = raw_hdr(r, op, op == VSOCK_OP_RW ? 4 : 0);
	h.type = (uint16_t)type;
	assert_true(raw_pkt_as(r, &h, "evil", h.len));
}

static void instead_of_response(struct raw *r, const struct host_case *c)
{
	host_connects(r, c->op, VSOCK_TYPE_STREAM);
	assert_true(testbed_connect_failed(c->err ? -c->err : -ECONNRESET));
}

static void response_of_other_type(struct raw *r, const struct host_case *c)
{
	(void)c;
	host_connects(r, VSOCK_OP_RESPONSE, VSOCK_TYPE_SEQPACKET);
	assert_true(raw_pkt(r, VSOCK_OP_RESPONSE, NULL, 0));
	assert_int_equal(testbed_connect_result(), 0);
}

/* ---- floods ---- */

static void request(struct raw *r, uint32_t sport, uint32_t dport, unsigned type)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_REQUEST, 0);

	h.src_port = sport;
	h.dst_port = dport;
	h.type = (uint16_t)type;
	if (!raw_pkt_as(r, &h, NULL, 0))
		fail_msg("no room in the ring");
}

/* REQUESTs to one port, each from another: what the host keeps of them is bounded. */
static void request_flood(struct raw *r, const struct host_case *c)
{
	struct zv_queue_stats before = testbed_stats(), after;
	uint64_t heap = testbed_heap();

	for (uint64_t i = 0; i < c->times; i++)
		request(r, (uint32_t)(0x10000 + i), c->dport, r->type);
	assert_true(raw_sync(r));
	after = testbed_stats();
	if (c->dport == PORT_BACKLOG)
		assert_int_equal(after.conns_accepted - before.conns_accepted, BACKLOG);
	assert_in_range(after.conns_accepted - before.conns_accepted, 1, MAX_CONNS);
	assert_in_range(after.conns_accepted - before.conns_accepted + after.conns_refused -
				before.conns_refused,
			c->times + 1, c->times + 10); /* raw_sync asks at least once */
	assert_in_range(testbed_heap(), 0, heap + (4u << 20));
}

/* Answers that find no room: at most 64 wait beside those of connections, the rest is lost and
 * counted.
 */
static void answers_without_room(struct raw *r, const struct host_case *c)
{
	uint64_t dropped = testbed_counter(CNT(rst_dropped)), heap = testbed_heap();

	r->no_repost = true;
	for (uint64_t i = 0; i < c->times; i++)
		request(r, (uint32_t)(0x10000 + i), PORT_CLOSED, VSOCK_TYPE_STREAM);
	assert_true(raw_tx_free(r) >= 0);
	assert_in_range(testbed_heap(), 0, heap + (1u << 20));
	r->no_repost = false;
	for (unsigned i = 0; i < RAW_RX_BUFS; i++)
		raw_post_rx(r, i);
	raw_publish(r, RAW_RX);
	/* the test's own probe must not be among the lost */
	for (uint64_t end = raw_now_ms() + RAW_PATIENCE_MS; r->npkts < 64 && raw_now_ms() < end;)
		raw_pump(r);
	assert_in_range(testbed_counter(CNT(rst_dropped)) - dropped, c->times - 200 - testbed_asks,
			c->times);
}

/* A connection that sends to a guest which takes nothing. */
static void takes_nothing(struct raw *r, const struct host_case *c)
{
	(void)c;
	r->no_repost = true;
	for (int i = 0; i < 50; i++) {
		raw_pump(r);
		testbed_nap();
	}
	r->no_repost = false;
	for (unsigned i = 0; i < RAW_RX_BUFS; i++)
		raw_post_rx(r, i);
	raw_publish(r, RAW_RX);
}

static void requests_of(struct raw *r, const struct host_case *c)
{
	r->sport = r->next_port++;
	r->dport = c->dport;
	r->type = (uint16_t)c->type;
	(void)raw_pkt(r, VSOCK_OP_REQUEST, NULL, 0);
}

static void port_max(struct raw *r, const struct host_case *c)
{
	(void)c;
	assert_true(raw_connect(r, UINT32_MAX, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(r, "port 2^32 - 1", 13));
}

/* ---- credit ---- */

static void data(struct raw *r, uint32_t len)
{
	assert_true(raw_pkt(r, VSOCK_OP_RW, zeroes, len));
}

static void overrun(struct raw *r, const struct host_case *c)
{
	uint64_t counted = testbed_counter(CNT(rx_overrun));
	uint32_t left = BUF_ALLOC;

	(void)c;
	for (; left > BIG; left -= BIG)
		data(r, BIG);
	data(r, left);
	assert_true(raw_sync(r));
	assert_int_equal(testbed_counter(CNT(rx_overrun)), counted);
	data(r, 1);
}

static void overrun_at_once(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, BUF_ALLOC + 1);

	(void)c;
	vsock_hdr_put(raw_at(r, PKT_OFF), &h);
	raw_desc(r, RAW_TX, D0, PKT, VSOCK_HDR_LEN + BUF_ALLOC + 1, 0, 0);
	offer(r, D0);
}

static void crumbs(struct raw *r, const struct host_case *c)
{
	uint64_t heap = testbed_heap();

	for (uint64_t i = 0; i < c->times; i++)
		data(r, 1);
	assert_true(raw_sync(r));
	assert_in_range(testbed_heap(), 0, heap + (1u << 20));
}

static void credit(struct raw *r, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_CREDIT_UPDATE, 0);

	h.buf_alloc = buf_alloc;
	h.fwd_cnt = fwd_cnt;
	(void)raw_pkt_as(r, &h, NULL, 0);
}

static void fwd_cnt(struct raw *r, const struct host_case *c)
{
	credit(r, 262144, c->fwd_cnt);
}

/* 100 bytes come back and are acknowledged; then comes the case's fwd_cnt. */
static void fwd_back(struct raw *r, const struct host_case *c)
{
	assert_true(raw_echo(r, zeroes, 100));
	credit(r, 262144, 100);
	credit(r, 262144, c->fwd_cnt);
}

static void fwd_storm(struct raw *r, const struct host_case *c)
{
	uint32_t x = 12345;

	for (uint64_t i = 0; i < c->times; i++) {
		x = x * 1664525u + 1013904223u;
		credit(r, x, x | 1);
	}
}

static void buf_alloc_zero(struct raw *r, const struct host_case *c)
{
	uint32_t mark = raw_mark(r);
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	(void)c;
	h.buf_alloc = 0;
	credit(r, 0, 0);
	(void)raw_pkt_as(r, &h, "evil", 4);
	assert_true(raw_sync(r));
	assert_int_equal(raw_count(r, mark, VSOCK_OP_RW, r->sport, r->dport), 0);
	credit(r, 262144, 0);
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RW, r->sport, r->dport));
}

static void buf_alloc_max(struct raw *r, const struct host_case *c)
{
	(void)c;
	credit(r, UINT32_MAX, 0);
	assert_true(raw_echo(r, "evil", 4));
}

/* The promise shrinks below what is in flight, and grows again. */
static void buf_alloc_back(struct raw *r, const struct host_case *c)
{
	(void)c;
	assert_true(raw_echo(r, zeroes, 100));
	for (int i = 0; i < 500; i++) {
		credit(r, 50, 0);
		credit(r, 0, 0);
	}
	credit(r, 262144, 0);
}

/* ---- SEQPACKET ---- */

static void no_eom(struct raw *r, const struct host_case *c)
{
	uint32_t mark = raw_mark(r);

	(void)c;
	for (unsigned i = 0; i <= BUF_ALLOC / BIG; i++)
		data(r, BIG);
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RST, r->sport, r->dport));
}

/* Empty packets cost no credit: something else must bound them. */
static void empty_for_ever(struct raw *r, const struct host_case *c)
{
	uint32_t mark = raw_mark(r);
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 0);
	uint64_t heap = testbed_heap();
	unsigned i;

	h.flags = c->eom ? VSOCK_SEQ_EOM : 0;
	for (i = 0; i < 50000 && !raw_count(r, mark, VSOCK_OP_RST, r->sport, r->dport); i++)
		(void)raw_pkt_as(r, &h, NULL, 0);
	assert_in_range(i, 1, 49999);
	assert_in_range(testbed_heap(), 0, heap + (4u << 20));
}

static void eor_alone(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	(void)c;
	h.flags = VSOCK_SEQ_EOR;
	(void)raw_pkt_as(r, &h, "evil", 4);
}

/* Loans that the application keeps take at most half of the ring. */
static void loans(struct raw *r, const struct host_case *c)
{
	uint32_t sport = r->sport;

	(void)c;
	for (int i = 0; i < 100; i++)
		data(r, 100);
	assert_true(raw_sync(r));
	assert_true(testbed_loans() > 0);
	assert_true(raw_connect(r, 0, PORT_ECHO, VSOCK_TYPE_STREAM));
	for (int i = 0; i < 50; i++)
		assert_true(raw_echo(r, "beside the loans", 16));
	testbed_release();
	r->sport = sport;
	r->dport = PORT_HOLD;
}

/* Connections of such rings are not known here: the driver is told so. */
static void old_rings(struct raw *r, const struct host_case *c)
{
	uint64_t end = raw_now_ms() + RAW_PATIENCE_MS;
	struct raw_ring *g = &r->ring[RAW_EVT];
	unsigned flags = r->layout->flags;
	uint32_t id = RAW_N, len = 0;
	int got;

	(void)c;
	raw_close(r);
	assert_true(raw_open(r, testbed_victim, VICTIM_CID, RAW_OLD | flags));
	while ((got = r->layout->used(g, &id, &len)) == 0 && raw_now_ms() < end)
		testbed_nap();
	assert_int_equal(got, 1);
	assert_int_equal(id, 0);
	assert_int_equal(len, 4);				/* struct virtio_vsock_event */
	assert_int_equal(*(uint32_t *)raw_at(r, RAW_EVENT), 0); /* TRANSPORT_RESET */
	/* The former connection may be reset: another port. */
	assert_true(raw_connect(r, 30000, PORT_ECHO, VSOCK_TYPE_STREAM));
	assert_true(raw_echo(r, "with old rings", 14));
}

#define STATE(n)  .counter = CNT(rx_bad_state), .count = (n)
#define NOCONN(n) .counter = CNT(rx_no_conn), .count = (n)
#define LATE(n)	  .counter = CNT(rx_late), .count = (n)
#define CREDIT(n) .counter = CNT(rx_bad_credit), .count = (n)
#define RESET	  .conn = DIES, .rst = 1

const struct host_case conn_cases[] = {
	{"second REQUEST on a live connection", send_op, STATE(1), RESET, .op = VSOCK_OP_REQUEST},
	{"second RESPONSE", send_op, STATE(1), .op = VSOCK_OP_RESPONSE},
	{"RW for no connection", stray, NOCONN(1), RESET, .op = VSOCK_OP_RW},
	{"RESPONSE for no connection", stray, NOCONN(1), RESET, .op = VSOCK_OP_RESPONSE},
	{"SHUTDOWN for no connection", stray, NOCONN(1), RESET, .op = VSOCK_OP_SHUTDOWN},
	{"CREDIT_UPDATE for no connection", stray, NOCONN(1), RESET, .op = VSOCK_OP_CREDIT_UPDATE},
	{"CREDIT_REQUEST for no connection", stray, NOCONN(1), RESET,
	 .op = VSOCK_OP_CREDIT_REQUEST},
	{"RST for no connection is not answered", stray, LATE(1), .conn = DIES, .op = VSOCK_OP_RST},
	{"RST storm for no connection", stray, LATE(20000), .conn = DIES, .op = VSOCK_OP_RST,
	 .times = 20000},
	{"RST storm on a connection", storm, LATE(4999), .conn = DIES, .op = VSOCK_OP_RST,
	 .times = 5000},
	{"RW storm for no connection", stray_answered, NOCONN(5000), .conn = DIES, .rst = ANY,
	 .op = VSOCK_OP_RW, .times = 5000},
	{"REQUEST and RST in turn", churn, .conn = DIES, .times = 2000},
	{"RW after RST", data_after_rst, LATE(1), RESET},
	{"RW before RESPONSE", instead_of_response, STATE(1), RESET, .op = VSOCK_OP_RW},
	{"REQUEST before RESPONSE", instead_of_response, STATE(1), RESET, .op = VSOCK_OP_REQUEST},
	{"SHUTDOWN before RESPONSE", instead_of_response, STATE(1), RESET, .op = VSOCK_OP_SHUTDOWN},
	{"CREDIT_UPDATE before RESPONSE", instead_of_response, STATE(1), RESET,
	 .op = VSOCK_OP_CREDIT_UPDATE},
	{"CREDIT_REQUEST before RESPONSE", instead_of_response, STATE(1), RESET,
	 .op = VSOCK_OP_CREDIT_REQUEST},
	{"RST instead of RESPONSE", instead_of_response, .conn = DIES, .op = VSOCK_OP_RST,
	 .err = ECONNREFUSED},
	{"RESPONSE of another type", response_of_other_type, .counter = CNT(rx_bad_type),
	 .count = 1, .rst = 1},
	{"SHUTDOWN without flags", shut, .flags = 0},
	{"SHUTDOWN with unknown flags", shut, STATE(1), .flags = 0xfffffffcu},
	{"SHUTDOWN with all flags", shut, STATE(1), RESET, .flags = UINT32_MAX},
	{"SHUTDOWN over and over", shut, .flags = VSOCK_SHUTDOWN_RCV, .times = 1000},
	{"RW after SHUTDOWN of sending", data_after_shutdown, STATE(1), .port = PORT_MUTE,
	 .flags = VSOCK_SHUTDOWN_SEND},
	{"REQUEST flood to a full accept queue", request_flood, .rst = 0, .dport = PORT_BACKLOG,
	 .times = 3000, .needs = NEEDS_BACKLOG},
	{"REQUEST flood beyond the limit of connections", request_flood, .dport = PORT_MUTE,
	 .times = 3000},
	{"REQUEST flood without room for answers", answers_without_room, .times = 3000},
	{"REQUEST of SEQPACKET to a stream's port", requests_of, RESET, .dport = PORT_MUTE,
	 .type = VSOCK_TYPE_SEQPACKET},
	{"REQUEST of STREAM to a SEQPACKET port", requests_of, RESET, .dport = PORT_SEQ_MUTE,
	 .type = VSOCK_TYPE_STREAM},
	{"REQUEST to port 0", requests_of, RESET, .dport = 0, .type = VSOCK_TYPE_STREAM},
	{"REQUEST to port 2^32 - 1", requests_of, RESET, .dport = UINT32_MAX,
	 .type = VSOCK_TYPE_STREAM},
	{"REQUEST from port 2^32 - 1", port_max, .rw = ANY},
	{"guest that takes nothing", takes_nothing, .port = PORT_SOURCE, .rw = ANY},
	{"loans that are never released", loans, .port = PORT_HOLD, .needs = NEEDS_LOANS},
	{"credit overrun by one byte", overrun, .counter = CNT(rx_overrun), .count = 1, RESET,
	 .port = PORT_MUTE, .needs = NEEDS_EXACT_CREDIT},
	{"credit overrun in one packet", overrun_at_once, .counter = CNT(rx_overrun), .count = 1,
	 RESET},
	{"credit used up by packets of a byte", crumbs, .port = PORT_MUTE, .times = 5000},
	{"fwd_cnt ahead of what was sent", fwd_cnt, CREDIT(1), .fwd_cnt = 1},
	{"fwd_cnt 2^32 - 1", fwd_cnt, CREDIT(1), .fwd_cnt = UINT32_MAX},
	{"fwd_cnt runs backwards", fwd_back, CREDIT(1), .rw = ANY, .fwd_cnt = 50},
	{"fwd_cnt back to 0", fwd_back, CREDIT(1), .rw = ANY, .fwd_cnt = 0},
	{"fwd_cnt and buf_alloc at random", fwd_storm, CREDIT(2000), .times = 2000},
	{"buf_alloc 0", buf_alloc_zero, .rw = 1},
	{"buf_alloc 2^32 - 1", buf_alloc_max, .rw = ANY},
	{"buf_alloc runs backwards", buf_alloc_back, .rw = ANY},
	{"CREDIT_UPDATE storm", storm, .op = VSOCK_OP_CREDIT_UPDATE, .times = 5000},
	{"CREDIT_REQUEST storm", storm, .op = VSOCK_OP_CREDIT_REQUEST, .times = 2000},
	{"message without EOM for ever", no_eom, .counter = CNT(rx_overrun), .count = SOME,
	 .conn = DIES, .rst = ANY, .port = PORT_SEQ},
	{"empty packets without EOM for ever", empty_for_ever, .count = ANY, .conn = DIES,
	 .rst = ANY, .port = PORT_SEQ_MUTE},
	{"empty messages for ever", empty_for_ever, .count = ANY, .conn = DIES, .rst = ANY,
	 .port = PORT_SEQ_MUTE, .eom = true},
	{"rings that were used before", old_rings, .rw = ANY, .needs = NEEDS_EVENT_RING},
	{"EOR without EOM", eor_alone, .port = PORT_SEQ},
};
const unsigned n_conn_cases = sizeof(conn_cases) / sizeof(conn_cases[0]);
