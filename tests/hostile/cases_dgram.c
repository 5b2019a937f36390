/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams: without consent, with fields that lie, and in floods. */
#include "host_cases.h"
#include "proto/ctrl/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SRC_PORT 5555u
#define FLOOD	 20000u

/* Names datagrams to the host. The case's own connection is another one, and stays. */
static void consent(struct raw *r)
{
	const struct hello h = {.type = CTRL_HELLO,
				.version = ZV_CTRL_VERSION,
				.nonce = 1,
				.npairs = 1,
				.caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS | ZV_CAP_DGRAM,
				.max_pkt = 65536};
	uint32_t sport = r->sport, dport = r->dport, mark = raw_mark(r);
	uint16_t type = r->type;
	uint8_t wire[HELLO_WIRE_LEN];

	assert_true(raw_connect(r, 700, ZV_CTRL_PORT, VSOCK_TYPE_STREAM));
	hello_put(wire, &h);
	assert_true(raw_pkt(r, VSOCK_OP_RW, wire, sizeof(wire)));
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RW, r->sport, r->dport));
	r->sport = sport;
	r->dport = dport;
	r->type = type;
}

static struct vsock_hdr dgram(const struct raw *r, uint32_t port, uint32_t len)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, len);

	h.type = VSOCK_TYPE_DGRAM;
	h.src_port = SRC_PORT;
	h.dst_port = port;
	return h;
}

static void uninvited(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = dgram(r, c->dport, 4);

	assert_true(raw_pkt_as(r, &h, "evil", 4));
}

/* c->times datagrams of c->len bytes. */
static void flood(struct raw *r, const struct host_case *c)
{
	static const uint8_t data[1000];
	uint64_t heap = testbed_heap();

	consent(r);
	for (uint32_t i = 0; i < c->times; i++) {
		struct vsock_hdr h = dgram(r, c->dport, c->len);

		assert_true(raw_pkt_as(r, &h, data, c->len));
	}
	assert_true(raw_sync(r));
	assert_in_range(testbed_heap(), 0, heap + (1u << 20));
}

/* An honest one comes back, and nothing else does. */
static void echoed(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = dgram(r, PORT_DGRAM, 4);
	uint32_t mark = raw_mark(r);
	const struct raw_pkt *p;

	h.flags = c->flags;
	h.buf_alloc = c->flags;
	h.fwd_cnt = c->fwd_cnt;
	consent(r);
	assert_true(raw_pkt_as(r, &h, "good", 4));
	p = raw_wait(r, mark, VSOCK_OP_RW, SRC_PORT, PORT_DGRAM);
	assert_non_null(p);
	assert_int_equal(p->h.type, VSOCK_TYPE_DGRAM);
	assert_int_equal(p->h.len, 4);
	assert_memory_equal(p->data, "good", 4);
	assert_int_equal(p->h.flags + p->h.buf_alloc + p->h.fwd_cnt, 0);
}

static void op(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = dgram(r, PORT_DGRAM, 0);

	h.op = (uint16_t)c->op;
	consent(r);
	assert_true(raw_pkt_as(r, &h, NULL, 0));
}

static void cids(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = dgram(r, PORT_DGRAM, 4);

	if (c->index_too)
		h.dst_cid = c->cid;
	else
		h.src_cid = c->cid;
	consent(r);
	assert_true(raw_pkt_as(r, &h, "evil", 4));
}

/* c->len is what the header says of the 4 bytes that are there. */
static void lying(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = dgram(r, PORT_DGRAM, c->len);

	consent(r);
	assert_true(raw_pkt_as(r, &h, "evil", 4));
}

/* With the addresses of the case's own connection, which does not see it. */
static void on_a_connection(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	(void)c;
	h.type = VSOCK_TYPE_DGRAM;
	consent(r);
	assert_true(raw_pkt_as(r, &h, "evil", 4));
}

#define FULL(n, l)                                                                                 \
	flood, .needs = NEEDS_DGRAM, .dport = PORT_DGRAM_MUTE, .counter = CNT(dgram_dropped),      \
	       .count = SOME, .times = (n), .len = (l)
#define NOBODY(n, l)                                                                               \
	flood, .needs = NEEDS_DGRAM, .dport = PORT_CLOSED, .counter = CNT(dgram_unbound),          \
	       .count = (n), .times = (n), .len = (l)
#define OP(o) op, .needs = NEEDS_DGRAM, .counter = CNT(rx_bad_state), .count = 1, .op = (o)
#define CIDS  cids, .needs = NEEDS_DGRAM, .counter = CNT(rx_bad_cid), .count = 1

const struct host_case dgram_cases[] = {
	{"datagram without HELLO", uninvited, .counter = CNT(rx_bad_type), .count = 1,
	 .dport = PORT_DGRAM},
	{"datagram that is honest", echoed, .needs = NEEDS_DGRAM},
	{"datagram with all flags and counters", echoed, .needs = NEEDS_DGRAM, .flags = UINT32_MAX,
	 .fwd_cnt = UINT32_MAX},
	{"flood of datagrams to a port that nobody reads", FULL(FLOOD, 1000)},
	{"flood of empty datagrams to a port that nobody reads", FULL(FLOOD, 0)},
	{"flood of datagrams to no port", NOBODY(FLOOD, 1000)},
	{"flood of empty datagrams to no port", NOBODY(FLOOD, 0)},
	{"flood of datagrams to a port that answers", flood, .needs = NEEDS_DGRAM, .count = ANY,
	 .dport = PORT_DGRAM, .times = FLOOD, .len = 1000},
	{"datagram REQUEST", OP(VSOCK_OP_REQUEST)},
	{"datagram RESPONSE", OP(VSOCK_OP_RESPONSE)},
	{"datagram SHUTDOWN", OP(VSOCK_OP_SHUTDOWN)},
	{"datagram CREDIT_UPDATE", OP(VSOCK_OP_CREDIT_UPDATE)},
	{"datagram CREDIT_REQUEST", OP(VSOCK_OP_CREDIT_REQUEST)},
	{"datagram RST", op, .needs = NEEDS_DGRAM, .counter = CNT(rx_late), .count = 1,
	 .op = VSOCK_OP_RST},
	{"datagram from another guest", CIDS, .cid = BYSTANDER_CID},
	{"datagram from the host", CIDS, .cid = 2},
	{"datagram to another guest", CIDS, .cid = BYSTANDER_CID, .index_too = true},
	{"datagram to itself", CIDS, .cid = VICTIM_CID, .index_too = true},
	{"datagram of length 2^32 - 1", lying, .needs = NEEDS_DGRAM, .counter = CNT(rx_bad_hdr),
	 .count = 1, .len = UINT32_MAX},
	{"datagram longer than its chain", lying, .needs = NEEDS_DGRAM, .counter = CNT(rx_bad_hdr),
	 .count = 1, .len = 5},
	{"datagram with a connection's addresses", on_a_connection, .needs = NEEDS_DGRAM,
	 .counter = CNT(dgram_unbound), .count = 1},
};
const unsigned n_dgram_cases = sizeof(dgram_cases) / sizeof(dgram_cases[0]);
