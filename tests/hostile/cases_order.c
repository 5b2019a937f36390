/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages out of order, of wrong size, with wrong content, or that nobody knows. */
#include "msg_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

int64_t ring_num(struct raw *r, unsigned ring)
{
	return raw_state(r, REQ_SET_VRING_NUM, ring, RAW_N);
}

int64_t ring_call(struct raw *r, unsigned ring)
{
	uint64_t no = ring;

	return raw_ask(r, REQ_SET_VRING_CALL, &no, sizeof(no), &r->ring[ring].call, 1);
}

int64_t ring_kick(struct raw *r, unsigned ring)
{
	uint64_t no = ring;

	return raw_ask(r, REQ_SET_VRING_KICK, &no, sizeof(no), &r->ring[ring].kick, 1);
}

int64_t ring_enable(struct raw *r, unsigned ring)
{
	return raw_state(r, REQ_SET_VRING_ENABLE, ring, 1);
}

static void enable_first(struct raw *r, const struct msg_case *c)
{
	(void)c;
	assert_int_equal(ring_enable(r, RAW_RX), 0);
	assert_int_equal(ring_enable(r, RAW_TX), 0);
	assert_true(raw_handshake(r));
	assert_true(raw_start(r));
}

static void kick_first(struct raw *r, const struct msg_case *c)
{
	raw_rings_reset(r);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ring_kick(r, i), 0);
		assert_int_equal(ring_call(r, i), 0);
		assert_int_equal(ring_enable(r, i), 0);
	}
	assert_false(testbed_victim_up());
	if (c->want != GOES_ON)
		return;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ring_num(r, i), 0);
		assert_int_equal(raw_addr(r, i), 0);
	}
}

static void addr_first(struct raw *r, const struct msg_case *c)
{
	struct {
		uint32_t index, flags;
		uint64_t a[4];
	} addr = {.index = 0};

	assert_int_equal(raw_ask(r, REQ_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), c->answer);
	assert_true(raw_handshake(r));
	assert_true(raw_start(r));
}

/* A message with a ring and a number: SET_VRING_NUM and its like. */
static void state(struct raw *r, const struct msg_case *c)
{
	int64_t v = raw_state(r, c->req, c->ring, c->num);

	assert_int_equal(v, c->answer);
}

static void get_base(struct raw *r, const struct msg_case *c)
{
	uint32_t s[2] = {c->ring, 0};

	assert_int_equal(raw_query(r, REQ_GET_VRING_BASE, s, sizeof(s), -1, s, sizeof(s), NULL),
			 c->answer);
}

/* SET_VRING_ADDR with addresses at which no ring can be: the queue must not run. */
static void bad_addr(struct raw *r, const struct msg_case *c)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {.index = c->ring,
	       .desc = c->parts.desc,
	       .used = c->parts.used,
	       .avail = c->parts.avail};

	(void)raw_ask(r, REQ_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	assert_false(testbed_victim_up());
}

/* All three parts of both rings at one place: a guest may ruin itself. */
static void rings_overlap(struct raw *r, const struct msg_case *c)
{
	struct {
		uint32_t index, flags;
		uint64_t desc, used, avail, log;
	} a = {0, 0, RAW_UVA, RAW_UVA, RAW_UVA, 0};

	(void)c;
	for (a.index = 0; a.index < 2; a.index++)
		(void)raw_ask(r, REQ_SET_VRING_ADDR, &a, sizeof(a), NULL, 0);
	raw_kick(r, RAW_TX);
}

/* A 64-bit message. */
static void u64(struct raw *r, const struct msg_case *c)
{
	uint64_t v = c->low | (uint64_t)c->high << 32;

	assert_int_equal(raw_ask(r, c->req, &v, sizeof(v), NULL, 0), c->answer);
}

/* The header says c->size bytes, and c->sent bytes follow. */
static void sized(struct raw *r, const struct msg_case *c)
{
	static uint8_t junk[8192];

	memset(junk, 0x41, sizeof(junk));
	(void)raw_send_as(r, c->req, 1, c->size, junk, c->sent, NULL, 0);
}

static void truncated(struct raw *r, const struct msg_case *c)
{
	static const uint8_t junk[12] = {REQ_SET_FEATURES, 0, 0, 0, 1, 0, 0, 0, 8};

	(void)!send(r->sock, junk, c->sent, MSG_NOSIGNAL);
	shutdown(r->sock, SHUT_WR);
}

/* A request whose header has the case's flags. */
static void request(struct raw *r, const struct msg_case *c)
{
	uint8_t p[32] = {0};

	(void)raw_send_as(r, c->req, c->flags, c->size, p, c->size, NULL, 0);
}

static void answered(struct raw *r, const struct msg_case *c)
{
	uint8_t p[64] = {0};

	assert_int_equal(raw_ask(r, c->req, p, c->size, NULL, 0), c->answer);
}

static void config(struct raw *r, const struct msg_case *c)
{
	struct {
		uint32_t off, size, flags;
		uint8_t space[256];
	} m = {.off = c->offset, .size = c->size};
	uint8_t out[300];
	int n = raw_query(r, REQ_GET_CONFIG, &m, 12 + (c->size < 256 ? c->size : 256), -1, out,
			  sizeof(out), NULL);

	if (c->want == GOES_ON)
		assert_int_equal(n, 12 + c->size);
	else
		assert_int_equal(n, -1);
}

static void set_config(struct raw *r, const struct msg_case *c)
{
	uint8_t p[20] = {0};

	p[4] = (uint8_t)c->size; /* size; 8 bytes follow */
	assert_int_equal(raw_ask(r, REQ_SET_CONFIG, p, sizeof(p), NULL, 0), c->answer);
}

static void config_without_payload(struct raw *r, const struct msg_case *c)
{
	uint8_t out[300];

	(void)c;
	(void)raw_query(r, REQ_GET_CONFIG, NULL, 0, -1, out, sizeof(out), NULL);
}

/* An in-flight buffer for more queues than there are: passed on, rte_vhost would allocate it. */
static void inflight(struct raw *r, const struct msg_case *c)
{
	struct {
		uint64_t size, offset;
		uint16_t queues, entries;
		uint32_t pad;
	} m = {4096, 0, 256, 65535, 0};

	assert_int_equal(raw_ask(r, c->req, &m, sizeof(m), &r->memfd, c->nfd), REFUSED);
}

static void iotlb(struct raw *r, const struct msg_case *c)
{
	struct {
		uint64_t iova, size, uaddr;
		uint8_t perm, type, pad[6];
	} m = {0, 4096, RAW_UVA, 3, (uint8_t)c->type, {0}};

	assert_int_equal(raw_ask(r, REQ_IOTLB, &m, sizeof(m), NULL, 0), REFUSED);
}

/* Translations of anything to anything, in a session that is to have them from now on. */
static void iotlb_flood(struct raw *r, const struct msg_case *c)
{
	uint64_t features = RAW_FEATURES | 1ull << 33, seed = 33, v;

	/* Again: by now it is known that this frontend can translate. */
	assert_int_equal(raw_query(r, REQ_GET_FEATURES, NULL, 0, -1, &v, 8, NULL), 8);
	assert_int_equal(raw_ask(r, REQ_SET_FEATURES, &features, sizeof(features), NULL, 0), 0);
	for (uint32_t i = 0; i < c->times; i++) {
		struct {
			uint64_t iova, size, uaddr;
			uint8_t perm, type, pad[6];
		} m = {0};
		int answer;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		m.iova = seed >> (seed >> 58);
		m.size = i % 3 ? 4096 : seed >> (seed >> 57 & 63);
		m.uaddr = i % 2 ? RAW_UVA + (seed >> 40) : seed;
		m.perm = (uint8_t)(seed >> 20);
		m.type = (uint8_t)(i % 16 ? 2 + i % 2 : seed >> 30);
		answer = (int)raw_ask(r, REQ_IOTLB, &m, sizeof(m), NULL, 0);
		assert_true(answer == 0 || answer == REFUSED);
	}
	(void)raw_start(r);
}

static void call_storm(struct raw *r, const struct msg_case *c)
{
	for (uint32_t i = 0; i < c->times; i++)
		assert_int_equal(ring_call(r, i % 2), 0);
}

static void enable_storm(struct raw *r, const struct msg_case *c)
{
	for (uint32_t i = 0; i < c->times; i++) {
		assert_int_equal(raw_state(r, REQ_SET_VRING_ENABLE, RAW_TX, i % 2), 0);
		/* Not always while the ring is down: with all descriptors out it would be waited
		 * for. */
		if (i % 2 || i < 32)
			(void)raw_pkt(r, VSOCK_OP_CREDIT_UPDATE, NULL, 0);
	}
	assert_int_equal(ring_enable(r, RAW_TX), 0);
}

static void stop_storm(struct raw *r, const struct msg_case *c)
{
	for (uint32_t i = 0; i < c->times; i++) {
		uint32_t s[2] = {i % 2, 0};

		assert_int_equal(
			raw_query(r, REQ_GET_VRING_BASE, s, sizeof(s), -1, s, sizeof(s), NULL), 8);
		if (i % 2)
			assert_true(raw_start(r));
	}
}

/* SET_VRING_NUM for all 256 rings that a message can name. */
static void all_rings(struct raw *r, const struct msg_case *c)
{
	for (uint32_t i = 0; i < 256; i++)
		(void)raw_state(r, REQ_SET_VRING_NUM, i, c->num);
}

#define N(x) .req = REQ_##x

const struct msg_case order_cases[] = {
	{"SET_VRING_ENABLE before anything else", enable_first, .from = FROM_DIAL},
	{"SET_VRING_KICK before ADDR and NUM", kick_first, .from = FROM_MEMORY},
	{"SET_VRING_ADDR before the memory table", addr_first, .from = FROM_DIAL,
	 .answer = REFUSED},
	{"rings without SET_VRING_ADDR", kick_first, .want = DOWN, .from = FROM_MEMORY},
	{"ring of size 0", state, N(SET_VRING_NUM), .ring = 0, .num = 0, .answer = REFUSED},
	{"ring of size 3", state, N(SET_VRING_NUM), .ring = 0, .num = 3, .answer = REFUSED},
	{"ring of size 65536", state, N(SET_VRING_NUM), .num = 65536, .answer = REFUSED},
	{"ring of size 32768 over what else is there", state, .want = UNKNOWN, N(SET_VRING_NUM),
	 .num = 32768},
	{"SET_VRING_BASE under a running ring", state, N(SET_VRING_BASE), .want = UNKNOWN,
	 .num = 0x1234},
	{"SET_VRING_NUM of ring 255", state, N(SET_VRING_NUM), .ring = 255, .num = 64,
	 .answer = REFUSED},
	{"SET_VRING_NUM of ring 256", state, N(SET_VRING_NUM), .ring = 256, .num = 64,
	 .answer = REFUSED},
	{"SET_VRING_ENABLE of ring 200", state, N(SET_VRING_ENABLE), .ring = 200, .num = 1,
	 .answer = REFUSED},
	{"SET_VRING_ENABLE of ring 2^32 - 1", state, N(SET_VRING_ENABLE), .ring = UINT32_MAX,
	 .num = 1, .answer = REFUSED},
	{"SET_VRING_NUM 32768 of 256 rings", all_rings, .num = 32768},
	{"GET_VRING_BASE of a ring that was never set up", get_base, .want = UNKNOWN, .ring = 2,
	 .answer = 8},
	{"GET_VRING_BASE of ring 200", get_base, .want = HANGS_UP, .ring = 200, .answer = -1},
	{"GET_VRING_BASE of ring 256", get_base, .want = HANGS_UP, .ring = 256, .answer = -1},
	{"GET_VRING_BASE of ring 2^32 - 1", get_base, .want = HANGS_UP, .ring = UINT32_MAX,
	 .answer = -1},
	{"ring at address 0", bad_addr, .want = DOWN, .ring = 1, .parts = {.desc = 0}},
	{"ring at address 2^64 - 1", bad_addr, .want = DOWN, .ring = 1,
	 .parts = {.desc = UINT64_MAX, .avail = UINT64_MAX, .used = UINT64_MAX}},
	{"ring at an odd address", bad_addr, .want = DOWN, .ring = 1,
	 .parts = {.desc = RAW_UVA + 1, .avail = RAW_UVA + 0x1000, .used = RAW_UVA + 0x2000}},
	{"descriptor table runs out of memory", bad_addr, .want = DOWN, .ring = 1,
	 .parts = {.desc = RAW_UVA + RAW_A_SIZE - 16,
		   .avail = RAW_UVA + 0x1000,
		   .used = RAW_UVA + 0x2000}},
	{"avail ring runs out of memory", bad_addr, .want = DOWN, .ring = 1,
	 .parts = {.desc = RAW_UVA + 0x4000,
		   .avail = RAW_UVA + RAW_A_SIZE - 4,
		   .used = RAW_UVA + 0x6000}},
	{"used ring wraps at 2^64", bad_addr, .want = DOWN, .ring = 1,
	 .parts = {.desc = RAW_UVA + 0x4000, .avail = RAW_UVA + 0x5000, .used = UINT64_MAX - 100}},
	{"ring at guest physical addresses", bad_addr, .want = DOWN, .ring = 0,
	 .parts = {.desc = RAW_A, .avail = RAW_A + 0x1000, .used = RAW_A + 0x2000}},
	{"all rings at one place", rings_overlap, .want = UNKNOWN},
	{"SET_FEATURES with unknown bits", u64, N(SET_FEATURES), .low = UINT32_MAX,
	 .high = UINT32_MAX, .answer = REFUSED},
	{"SET_FEATURES with IN_ORDER", u64, N(SET_FEATURES), .low = 3, .high = 9,
	 .answer = REFUSED},
	{"SET_PROTOCOL_FEATURES with unknown bits", u64, N(SET_PROTOCOL), .low = UINT32_MAX,
	 .answer = REFUSED},
	{"header says 2^32 - 1 bytes", sized, .want = HANGS_UP, N(SET_FEATURES), .size = UINT32_MAX,
	 .sent = 8},
	{"header says 633 bytes, one more than the largest message", sized, .want = HANGS_UP,
	 N(SET_VRING_NUM), .size = 633, .sent = 633},
	{"header says 4096 bytes", sized, .want = HANGS_UP, N(SET_MEM_TABLE), .size = 4096,
	 .sent = 4096},
	{"SET_VRING_ADDR of 8 bytes", sized, .want = HANGS_UP, N(SET_VRING_ADDR), .size = 8,
	 .sent = 8},
	{"SET_MEM_TABLE of 4 bytes", sized, .want = HANGS_UP, N(SET_MEM_TABLE), .size = 4,
	 .sent = 4},
	{"SET_VRING_NUM of 0 bytes", sized, .want = HANGS_UP, N(SET_VRING_NUM), .size = 0,
	 .sent = 0},
	{"SET_VRING_KICK of 0 bytes", sized, .want = HANGS_UP, N(SET_VRING_KICK), .size = 0,
	 .sent = 0},
	{"GET_VRING_BASE of 0 bytes", sized, .want = HANGS_UP, N(GET_VRING_BASE), .size = 0,
	 .sent = 0},
	{"end of file after 6 bytes", truncated, .want = HANGS_UP, .sent = 6},
	{"end of file after the header", truncated, .want = HANGS_UP, .sent = 12},
	{"end of file at once", truncated, .want = HANGS_UP, .sent = 0, .from = FROM_DIAL},
	{"request 0", request, .want = HANGS_UP, .req = 0, .flags = 1},
	{"request 23", request, .want = HANGS_UP, .req = 23, .flags = 1},
	{"request 99", request, .want = HANGS_UP, .req = 99, .size = 8, .flags = 1},
	{"request 2^32 - 1", request, .want = HANGS_UP, .req = UINT32_MAX, .flags = 1},
	{"request 200 that wants an answer", answered, .req = 200, .size = 8, .answer = REFUSED},
	{"request 2^31 that wants an answer", answered, .req = 1u << 31, .answer = REFUSED},
	{"all flags set", request, .want = HANGS_UP, N(SET_OWNER), .flags = UINT32_MAX},
	{"version 0", request, .want = HANGS_UP, N(SET_OWNER), .flags = 0},
	{"RESET_OWNER under running rings", answered, .want = UNKNOWN, N(RESET_OWNER), .answer = 0},
	{"GET_CONFIG beyond the config space", config, .want = HANGS_UP, .offset = 300, .size = 8},
	{"GET_CONFIG of 2^32 - 1 bytes", config, .want = HANGS_UP, .offset = 0, .size = UINT32_MAX},
	{"GET_CONFIG that wraps", config, .want = HANGS_UP, .offset = UINT32_MAX, .size = 8},
	{"GET_CONFIG of all 256 bytes", config, .offset = 0, .size = 256},
	{"GET_CONFIG of the last byte", config, .offset = 255, .size = 1},
	{"GET_CONFIG without payload", config_without_payload, .want = HANGS_UP},
	{"SET_CONFIG is ignored", set_config, .size = 8, .answer = 0},
	{"SET_CONFIG that says another size", set_config, .size = 9, .answer = REFUSED},
	{"POSTCOPY_ADVISE, which would hand out our memory", answered, N(POSTCOPY_ADVISE),
	 .answer = REFUSED},
	{"POSTCOPY_LISTEN", answered, N(POSTCOPY_LISTEN), .answer = REFUSED},
	{"GET_INFLIGHT_FD of gigabytes", inflight, N(GET_INFLIGHT_FD)},
	{"SET_INFLIGHT_FD smaller than it says", inflight, N(SET_INFLIGHT_FD), .nfd = 1},
	{"SET_LOG_BASE", answered, N(SET_LOG_BASE), .size = 16, .answer = REFUSED},
	{"IOTLB update without ACCESS_PLATFORM", iotlb, .type = 2},
	{"IOTLB invalidate without ACCESS_PLATFORM", iotlb, .type = 3},
	{"20,000 random translations", iotlb_flood, .want = UNKNOWN, .times = 20000},
	{"2,000 SET_VRING_CALL", call_storm, .times = 2000},
	{"500 times disabled and enabled under traffic", enable_storm, .times = 500},
	{"200 times GET_VRING_BASE and start", stop_storm, .times = 200},
};
const unsigned n_order_cases = sizeof(order_cases) / sizeof(order_cases[0]);
