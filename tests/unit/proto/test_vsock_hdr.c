/* SPDX-License-Identifier: BSD-3-Clause */
/* The packet header: layout, alignment, checks, the RST that answers a packet. */
#include "proto_test.h"

#include "proto/vsock/vsock_hdr.h"

#define GUEST 0x12345678u

/* Field by field as VIRTIO 1.2, section 5.10.6 lays it out; every byte differs from its neighbour.
 */
static const uint8_t golden[VSOCK_HDR_LEN] = {
	0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, /* src_cid */
	0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, /* dst_cid */
	0x21, 0x22, 0x23, 0x24,				/* src_port */
	0x31, 0x32, 0x33, 0x34,				/* dst_port */
	0x41, 0x42, 0x43, 0x44,				/* len */
	0x51, 0x52,					/* type */
	0x61, 0x62,					/* op */
	0x71, 0x72, 0x73, 0x74,				/* flags */
	0x81, 0x82, 0x83, 0x84,				/* buf_alloc */
	0x91, 0x92, 0x93, 0x94,				/* fwd_cnt */
};

static const struct vsock_hdr golden_hdr = {
	.src_cid = 0x0807060504030201,
	.dst_cid = 0x1817161514131211,
	.src_port = 0x24232221,
	.dst_port = 0x34333231,
	.len = 0x44434241,
	.type = 0x5251,
	.op = 0x6261,
	.flags = 0x74737271,
	.buf_alloc = 0x84838281,
	.fwd_cnt = 0x94939291,
};

static void assert_hdr_equal(const struct vsock_hdr *a, const struct vsock_hdr *b)
{
	assert_true(a->src_cid == b->src_cid && a->dst_cid == b->dst_cid);
	assert_int_equal(a->src_port, b->src_port);
	assert_int_equal(a->dst_port, b->dst_port);
	assert_int_equal(a->len, b->len);
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->op, b->op);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->buf_alloc, b->buf_alloc);
	assert_int_equal(a->fwd_cnt, b->fwd_cnt);
}

static void test_golden_bytes(void **state)
{
	uint8_t wire[VSOCK_HDR_LEN];
	struct vsock_hdr h;

	(void)state;
	vsock_hdr_get(&h, golden);
	assert_hdr_equal(&h, &golden_hdr);
	vsock_hdr_put(wire, &golden_hdr);
	assert_memory_equal(wire, golden, sizeof(wire));
}

static void test_round_trip_at_every_alignment(void **state)
{
	uint8_t buf[VSOCK_HDR_LEN + 64 + 2];
	uint64_t seed = 1;

	(void)state;
	for (unsigned off = 1; off <= 64; off++) {
		struct vsock_hdr in = {
			.src_cid = (uint64_t)test_rand(&seed) << 32 | test_rand(&seed),
			.dst_cid = (uint64_t)test_rand(&seed) << 32 | test_rand(&seed),
			.src_port = test_rand(&seed),
			.dst_port = test_rand(&seed),
			.len = test_rand(&seed),
			.type = (uint16_t)test_rand(&seed),
			.op = (uint16_t)test_rand(&seed),
			.flags = test_rand(&seed),
			.buf_alloc = test_rand(&seed),
			.fwd_cnt = test_rand(&seed),
		};
		struct vsock_hdr out;

		memset(buf, 0xa5, sizeof(buf));
		vsock_hdr_put(buf + off, &in);
		vsock_hdr_get(&out, buf + off);
		assert_hdr_equal(&in, &out);
		/* Nothing beside the 44 bytes is touched. */
		for (unsigned i = 0; i < sizeof(buf); i++) {
			if (i < off || i >= off + VSOCK_HDR_LEN)
				assert_int_equal(buf[i], 0xa5);
		}
	}
}

/* A peer that rewrites the header after the copy changes nothing that was checked. */
static void test_the_header_is_copied_once_then_checked(void **state)
{
	const struct vsock_hdr good = {.src_cid = GUEST,
				       .dst_cid = VSOCK_CID_HOST,
				       .type = VSOCK_TYPE_STREAM,
				       .op = VSOCK_OP_RW,
				       .len = 64};
	uint8_t wire[VSOCK_HDR_LEN];
	struct vsock_hdr h;

	(void)state;
	vsock_hdr_put(wire, &good);
	vsock_hdr_get(&h, wire);
	memset(wire, 0xff, sizeof(wire));
	assert_int_equal(vsock_hdr_check(&h, VSOCK_CID_HOST, GUEST), VSOCK_HDR_OK);
	assert_hdr_equal(&h, &good);
}

static struct vsock_hdr valid(uint16_t op)
{
	return (struct vsock_hdr){
		.src_cid = GUEST,
		.dst_cid = VSOCK_CID_HOST,
		.src_port = 1024,
		.dst_port = 80,
		.type = VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = 262144,
	};
}

static enum vsock_hdr_fault check(const struct vsock_hdr *h)
{
	return vsock_hdr_check(h, VSOCK_CID_HOST, GUEST);
}

static void test_every_op_and_both_types_are_accepted(void **state)
{
	(void)state;
	for (uint16_t op = 1; op <= VSOCK_OP_MAX; op++) {
		struct vsock_hdr h = valid(op);

		assert_int_equal(check(&h), VSOCK_HDR_OK);
		h.type = VSOCK_TYPE_SEQPACKET;
		assert_int_equal(check(&h), VSOCK_HDR_OK);
	}
}

static void test_bad_op(void **state)
{
	(void)state;
	for (uint32_t op = 0; op <= UINT16_MAX; op++) {
		struct vsock_hdr h = valid((uint16_t)op);

		assert_int_equal(check(&h), op >= 1 && op <= 7 ? VSOCK_HDR_OK : VSOCK_HDR_BAD_OP);
	}
}

static void test_bad_type(void **state)
{
	(void)state;
	for (uint32_t type = 0; type <= UINT16_MAX; type++) {
		struct vsock_hdr h = valid(VSOCK_OP_REQUEST);

		h.type = (uint16_t)type;
		assert_int_equal(check(&h),
				 type >= 1 && type <= 3 ? VSOCK_HDR_OK : VSOCK_HDR_BAD_TYPE);
	}
}

/* Only the sender's own CID may stand in src_cid, and all 64 bits count. */
static void test_src_cid_must_be_the_senders(void **state)
{
	static const uint64_t forged[] = {
		0,
		1,
		VSOCK_CID_HOST,
		GUEST - 1,
		GUEST + 1,
		GUEST | 1ULL << 32,
		VSOCK_CID_ANY32,
		VSOCK_CID_ANY,
	};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(forged); i++) {
		struct vsock_hdr h = valid(VSOCK_OP_RW);

		h.src_cid = forged[i];
		assert_int_equal(check(&h), VSOCK_HDR_BAD_SRC);
	}
}

static void test_bad_dst(void **state)
{
	static const uint64_t foreign[] = {0, 1, 3, GUEST, 2 | 1ULL << 32, VSOCK_CID_ANY};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(foreign); i++) {
		struct vsock_hdr h = valid(VSOCK_OP_REQUEST);

		h.dst_cid = foreign[i];
		assert_int_equal(check(&h), VSOCK_HDR_BAD_DST);
	}
}

static void test_only_rw_carries_payload(void **state)
{
	(void)state;
	for (uint16_t op = 1; op <= VSOCK_OP_MAX; op++) {
		struct vsock_hdr h = valid(op);

		h.len = 1;
		assert_int_equal(check(&h), op == VSOCK_OP_RW ? VSOCK_HDR_OK : VSOCK_HDR_BAD_LEN);
		h.len = UINT32_MAX;
		assert_int_equal(check(&h), op == VSOCK_OP_RW ? VSOCK_HDR_OK : VSOCK_HDR_BAD_LEN);
	}
}

/* A header with every fault at once; mended one by one, the next fault in order shows. */
static void test_order_of_checks(void **state)
{
	struct vsock_hdr h = {.src_cid = GUEST + 1, .dst_cid = 7, .len = 1};

	(void)state;
	assert_int_equal(check(&h), VSOCK_HDR_BAD_OP);
	h.op = VSOCK_OP_RST;
	assert_int_equal(check(&h), VSOCK_HDR_BAD_TYPE);
	h.type = VSOCK_TYPE_STREAM;
	assert_int_equal(check(&h), VSOCK_HDR_BAD_SRC);
	h.src_cid = GUEST;
	assert_int_equal(check(&h), VSOCK_HDR_BAD_DST);
	h.dst_cid = VSOCK_CID_HOST;
	assert_int_equal(check(&h), VSOCK_HDR_BAD_LEN);
	h.len = 0;
	assert_int_equal(check(&h), VSOCK_HDR_OK);
}

static void test_reserved_cids_name_no_guest(void **state)
{
	static const uint64_t reserved[] = {
		0, 1, 2, 0xffffffff, 0x100000000, 0x100000003, UINT64_MAX - 1, UINT64_MAX};
	static const uint64_t guests[] = {3, 42, 0x7fffffff, 0x80000000, 0xfffffffe};

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(reserved); i++)
		assert_false(vsock_cid_is_guest(reserved[i]));
	for (unsigned i = 0; i < COUNT_OF(guests); i++)
		assert_true(vsock_cid_is_guest(guests[i]));
}

static void test_rst_answers_a_packet(void **state)
{
	static const struct vsock_hdr want = {
		.src_cid = 0x1817161514131211,
		.dst_cid = 0x0807060504030201,
		.src_port = 0x34333231,
		.dst_port = 0x24232221,
		.type = 0x5251, /* an unknown type too: the peer must recognise its packet */
		.op = VSOCK_OP_RST,
	};
	struct vsock_hdr h;

	(void)state;
	memset(&h, 0xff, sizeof(h));
	vsock_hdr_rst_for(&h, &golden_hdr);
	assert_hdr_equal(&h, &want);
	h = golden_hdr;
	vsock_hdr_rst_for(&h, &h); /* in place */
	assert_hdr_equal(&h, &want);
}

static void test_op_names(void **state)
{
	(void)state;
	assert_string_equal(vsock_op_name(0), "op?");
	assert_string_equal(vsock_op_name(1), "REQUEST");
	assert_string_equal(vsock_op_name(2), "RESPONSE");
	assert_string_equal(vsock_op_name(3), "RST");
	assert_string_equal(vsock_op_name(4), "SHUTDOWN");
	assert_string_equal(vsock_op_name(5), "RW");
	assert_string_equal(vsock_op_name(6), "CREDIT_UPDATE");
	assert_string_equal(vsock_op_name(7), "CREDIT_REQUEST");
	assert_string_equal(vsock_op_name(8), "op?");
	assert_string_equal(vsock_op_name(UINT16_MAX), "op?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_round_trip_at_every_alignment),
		cmocka_unit_test(test_the_header_is_copied_once_then_checked),
		cmocka_unit_test(test_every_op_and_both_types_are_accepted),
		cmocka_unit_test(test_bad_op),
		cmocka_unit_test(test_bad_type),
		cmocka_unit_test(test_src_cid_must_be_the_senders),
		cmocka_unit_test(test_bad_dst),
		cmocka_unit_test(test_only_rw_carries_payload),
		cmocka_unit_test(test_order_of_checks),
		cmocka_unit_test(test_reserved_cids_name_no_guest),
		cmocka_unit_test(test_rst_answers_a_packet),
		cmocka_unit_test(test_op_names),
	};

	return cmocka_run_group_tests_name("proto: packet header", tests, NULL, NULL);
}
