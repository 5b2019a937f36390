/* SPDX-License-Identifier: BSD-3-Clause */
/* The control connection. */
#include "host_cases.h"
#include "proto/ctrl/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define HELLO_BYTES 100u

/* A good HELLO in 100 bytes: the last 56 are of a later version. */
static void good(uint8_t *b)
{
	struct hello h = {.type = CTRL_HELLO,
			  .version = ZV_CTRL_VERSION,
			  .nonce = 1,
			  .npairs = 1,
			  .caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS,
			  .max_pkt = 65536};

	memset(b, 0xaa, HELLO_BYTES);
	hello_put(b, &h);
}

static void put32(uint8_t *b, uint32_t v)
{
	memcpy(b, &v, sizeof(v)); /* little endian machines only, as the driver */
}

static void dial(struct raw *r, uint32_t sport)
{
	assert_true(raw_connect(r, sport, ZV_CTRL_PORT, VSOCK_TYPE_STREAM));
}

static void refused(struct raw *r, const struct host_case *c)
{
	assert_false(raw_connect(r, c->sport, ZV_CTRL_PORT, c->type));
}

/* A HELLO in which one word is wrong. */
static void spoilt(struct raw *r, const struct host_case *c)
{
	uint8_t b[HELLO_BYTES];

	dial(r, 700);
	good(b);
	put32(b + c->offset, c->value);
	assert_true(raw_pkt(r, VSOCK_OP_RW, b, HELLO_WIRE_LEN));
}

/* The first c->len bytes of a good HELLO, in packets of c->piece bytes. */
static void in_pieces(struct raw *r, const struct host_case *c)
{
	uint8_t b[HELLO_BYTES];

	dial(r, 700);
	good(b);
	for (uint32_t i = 0; i < c->len; i += c->piece)
		assert_true(raw_pkt(r, VSOCK_OP_RW, b + i, c->piece));
}

static void with_tail(struct raw *r, const struct host_case *c)
{
	uint8_t b[HELLO_BYTES];

	(void)c;
	dial(r, 700);
	good(b);
	put32(b + 8, HELLO_BYTES);
	assert_true(raw_pkt(r, VSOCK_OP_RW, b, HELLO_BYTES));
}

static void hello(struct raw *r)
{
	uint32_t mark = raw_mark(r);
	uint8_t b[HELLO_BYTES];

	good(b);
	assert_true(raw_pkt(r, VSOCK_OP_RW, b, HELLO_WIRE_LEN));
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RW, r->sport, r->dport));
}

static void twice(struct raw *r, const struct host_case *c)
{
	uint8_t b[HELLO_BYTES];

	(void)c;
	dial(r, 700);
	hello(r);
	good(b);
	assert_true(raw_pkt(r, VSOCK_OP_RW, b, HELLO_WIRE_LEN));
}

/* From another port: the guest has started over, the first connection is reset. */
static void starts_over(struct raw *r, const struct host_case *c)
{
	uint32_t mark;

	(void)c;
	dial(r, 700);
	hello(r);
	mark = raw_mark(r);
	dial(r, 701);
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RST, 700, ZV_CTRL_PORT));
	hello(r);
}

static void over_and_over(struct raw *r, const struct host_case *c)
{
	uint64_t heap = testbed_heap();

	(void)c;
	for (uint32_t i = 0; i < 1000; i++) {
		dial(r, 1 + i % 1023);
		hello(r);
	}
	assert_in_range(testbed_heap(), 0, heap + (1u << 20));
}

static void garbage_behind(struct raw *r, const struct host_case *c)
{
	uint8_t b[1000];

	(void)c;
	dial(r, 700);
	hello(r);
	memset(b, 0x5a, sizeof(b));
	assert_true(raw_pkt(r, VSOCK_OP_RW, b, sizeof(b)));
}

/* A message announced with 4096 bytes, of which only credit bounds what comes. */
static void never_ends(struct raw *r, const struct host_case *c)
{
	uint8_t b[HELLO_BYTES];

	(void)c;
	dial(r, 700);
	good(b);
	put32(b + 8, ZV_CTRL_MAX_LEN);
	for (int i = 0; i < 40; i++)
		assert_true(raw_pkt(r, VSOCK_OP_RW, b, HELLO_BYTES));
}

static void shuts_down(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h;

	dial(r, 700);
	hello(r);
	h = raw_hdr(r, VSOCK_OP_SHUTDOWN, 0);
	h.flags = c->flags;
	assert_true(raw_pkt_as(r, &h, NULL, 0));
}

/* What it promises is believed only up to our own limits. */
static void promises(struct raw *r, const struct host_case *c)
{
	uint32_t sport = r->sport, mark = raw_mark(r);

	spoilt(r, c);
	assert_non_null(raw_wait(r, mark, VSOCK_OP_RW, r->sport, r->dport));
	r->sport = sport;
	r->dport = PORT_ECHO;
	assert_true(raw_echo(r, "with such a peer", 16));
}

#define BAD	      .counter = CNT(rx_bad_state), .count = 1, .conn = DIES, .rst = 1
#define SPOILT(at, v) spoilt, BAD, .offset = (at), .value = (v)

const struct host_case hello_cases[] = {
	{"HELLO from port 1024", refused, .conn = DIES, .rst = 1, .sport = 1024,
	 .type = VSOCK_TYPE_STREAM},
	{"HELLO from port 2^32 - 1", refused, .conn = DIES, .rst = 1, .sport = UINT32_MAX,
	 .type = VSOCK_TYPE_STREAM},
	{"HELLO over SEQPACKET", refused, .conn = DIES, .rst = 1, .sport = 700,
	 .type = VSOCK_TYPE_SEQPACKET},
	{"HELLO with bad magic", SPOILT(0, 0x12345678)},
	{"HELLO of version 0", SPOILT(4, 0x00010000)},
	{"HELLO of version 2", SPOILT(4, 0x00010002)},
	{"HELLO of type 0", SPOILT(4, 0x00000001)},
	{"HELLO_ACK from a guest", SPOILT(4, 0x00020001)},
	{"HELLO of length 0", SPOILT(8, 0)},
	{"HELLO of length 43", SPOILT(8, 43)},
	{"HELLO of length 4097", SPOILT(8, 4097)},
	{"HELLO of length 2^32 - 1", SPOILT(8, UINT32_MAX)},
	{"HELLO for another pair", SPOILT(24, 0x00020001)},
	{"HELLO with a pair beyond their number", SPOILT(24, 0x00010001)},
	{"HELLO with no pairs", SPOILT(24, 0)},
	{"HELLO with 65535 pairs", SPOILT(24, 0xffff0000)},
	{"HELLO with max_pkt 0", SPOILT(32, 0)},
	{"HELLO with max_pkt 2^32 - 1", promises, .rw = ANY, .offset = 32, .value = UINT32_MAX},
	{"HELLO with all capabilities", promises, .rw = ANY, .offset = 28, .value = UINT32_MAX},
	{"HELLO with all flags", promises, .rw = ANY, .offset = 36, .value = UINT32_MAX},
	{"HELLO truncated", in_pieces, .piece = 20, .len = 40},
	{"HELLO byte by byte", in_pieces, .rw = 1, .piece = 1, .len = HELLO_WIRE_LEN},
	{"HELLO of a later version's length", with_tail, .rw = 1},
	{"HELLO repeated", twice, BAD, .rw = 1},
	{"HELLO repeated over a new connection", starts_over, .rw = ANY},
	{"HELLO over 1,000 connections", over_and_over, .rst = ANY, .rw = ANY},
	{"HELLO with garbage behind it", garbage_behind, BAD, .rw = 1},
	{"HELLO that never ends", never_ends, .rst = 0},
	{"SHUTDOWN of the control connection", shuts_down, .conn = DIES, .rst = 1, .rw = 1,
	 .flags = VSOCK_SHUTDOWN_BOTH},
	{"half-close of the control connection", shuts_down, .conn = DIES, .rst = 1, .rw = 1,
	 .flags = VSOCK_SHUTDOWN_SEND},
};
const unsigned n_hello_cases = sizeof(hello_cases) / sizeof(hello_cases[0]);
