/* SPDX-License-Identifier: BSD-3-Clause */
/* HELLO on the wire: golden bytes, truncation, every invalid field, room for later fields. */
#include "proto_test.h"

#include "proto/ctrl/hello.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Written by hand from the table in hello.h. */
static const uint8_t golden[HELLO_WIRE_LEN] = {
	'Z',  'V',  'S',  'K',				/* magic */
	0x01, 0x00,					/* version */
	0x01, 0x00,					/* type: HELLO */
	0x2c, 0x00, 0x00, 0x00,				/* length: 44 */
	0x00, 0x00, 0x00, 0x00,				/* reserved */
	0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* nonce */
	0x03, 0x00,					/* pair */
	0x04, 0x00,					/* npairs */
	0x03, 0x00, 0x00, 0x00,				/* caps */
	0x00, 0x00, 0x10, 0x00,				/* max_pkt: 1 MiB */
	0x01, 0x00, 0x00, 0x00,				/* flags */
	0x00, 0x00, 0x00, 0x00,				/* reserved */
};

static const struct hello sample = {
	.type = CTRL_HELLO,
	.version = ZV_CTRL_VERSION,
	.nonce = 0x1122334455667788,
	.pair = 3,
	.npairs = 4,
	.caps = ZV_CAP_BIG_PKT | ZV_CAP_MANY_PKTS,
	.max_pkt = 1 << 20,
	.flags = ZV_HELLO_INCOMING,
};

static void assert_hello_equal(const struct hello *a, const struct hello *b)
{
	assert_int_equal(a->type, b->type);
	assert_int_equal(a->version, b->version);
	assert_true(a->nonce == b->nonce);
	assert_int_equal(a->pair, b->pair);
	assert_int_equal(a->npairs, b->npairs);
	assert_int_equal(a->caps, b->caps);
	assert_int_equal(a->max_pkt, b->max_pkt);
	assert_int_equal(a->flags, b->flags);
}

static void test_golden_bytes(void **state)
{
	uint8_t wire[HELLO_WIRE_LEN + 1];
	struct hello h;

	(void)state;
	memset(wire, 0xa5, sizeof(wire));
	hello_put(wire, &sample);
	assert_memory_equal(wire, golden, HELLO_WIRE_LEN);
	assert_int_equal(wire[HELLO_WIRE_LEN], 0xa5);
	assert_int_equal(hello_get(&h, golden, sizeof(golden)), HELLO_WIRE_LEN);
	assert_hello_equal(&h, &sample);
}

static void test_round_trip_at_every_alignment(void **state)
{
	uint8_t buf[HELLO_WIRE_LEN + 16];
	uint64_t seed = 7;

	(void)state;
	for (unsigned off = 0; off < 16; off++) {
		struct hello h,
			in = {
				.type = (uint16_t)test_between(&seed, 1, 2),
				.version = ZV_CTRL_VERSION,
				.nonce = (uint64_t)test_rand(&seed) << 32 | test_rand(&seed),
				.pair = (uint16_t)test_between(&seed, 0, 127),
				.npairs = 128,
				.caps = test_rand(&seed),
				.max_pkt = test_between(&seed, 65536, UINT32_MAX),
				.flags = test_rand(&seed),
			};

		hello_put(buf + off, &in);
		assert_int_equal(hello_get(&h, buf + off, HELLO_WIRE_LEN), HELLO_WIRE_LEN);
		assert_hello_equal(&h, &in);
	}
}

static void test_truncated_at_every_length(void **state)
{
	(void)state;
	for (size_t len = 0; len < HELLO_WIRE_LEN; len++) {
		/* A heap block of exactly that size: a sanitizer sees any byte read beyond. */
		uint8_t *part = malloc(len ? len : 1);
		struct hello h = sample;

		assert_non_null(part);
		memcpy(part, golden, len);
		h.pair = 77;
		assert_int_equal(hello_get(&h, part, len), 0);
		assert_int_equal(h.pair, 77); /* *h is written on success only */
		free(part);
	}
}

/* Puts @v, little endian, into a copy of the golden message and parses it. */
static int get_with(size_t off, size_t size, uint64_t v)
{
	uint8_t wire[HELLO_WIRE_LEN];
	struct hello h;

	memcpy(wire, golden, sizeof(wire));
	for (size_t i = 0; i < size; i++)
		wire[off + i] = (uint8_t)(v >> 8 * i);
	return hello_get(&h, wire, sizeof(wire));
}

static void test_every_invalid_field(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(get_with(i, 1, golden[i] ^ 0x20u), -EPROTO); /* magic */
	assert_int_equal(get_with(6, 2, 0), -EPROTO);			      /* type */
	assert_int_equal(get_with(6, 2, 3), -EPROTO);
	assert_int_equal(get_with(6, 2, 0x0101), -EPROTO);
	assert_int_equal(get_with(6, 2, CTRL_HELLO_ACK), HELLO_WIRE_LEN);
	assert_int_equal(get_with(8, 4, 0), -EPROTO); /* length */
	assert_int_equal(get_with(8, 4, HELLO_WIRE_LEN - 1), -EPROTO);
	assert_int_equal(get_with(8, 4, ZV_CTRL_MAX_LEN + 1), -EPROTO);
	assert_int_equal(get_with(8, 4, UINT32_MAX), -EPROTO);
	assert_int_equal(get_with(8, 4, 0x80000000), -EPROTO);
	assert_int_equal(get_with(24, 2, 4), -EPROTO); /* pair >= npairs */
	assert_int_equal(get_with(24, 2, UINT16_MAX), -EPROTO);
	assert_int_equal(get_with(26, 2, 0), -EPROTO); /* npairs */
	assert_int_equal(get_with(26, 2, 128), HELLO_WIRE_LEN);
	assert_int_equal(get_with(26, 2, 129), -EPROTO);
	assert_int_equal(get_with(26, 2, UINT16_MAX), -EPROTO);
	assert_int_equal(get_with(32, 4, 65535), -EPROTO); /* max_pkt */
	assert_int_equal(get_with(32, 4, 0), -EPROTO);
	assert_int_equal(get_with(32, 4, 65536), HELLO_WIRE_LEN);
}

static void test_unknown_version(void **state)
{
	uint8_t wire[HELLO_WIRE_LEN];
	struct hello h;

	(void)state;
	assert_int_equal(get_with(4, 2, 0), -EPROTONOSUPPORT);
	assert_int_equal(get_with(4, 2, 2), -EPROTONOSUPPORT);
	assert_int_equal(get_with(4, 2, 0x0101), -EPROTONOSUPPORT);
	/* Fields behind the version may mean anything there: the version is what is told. */
	memset(wire, 0xff, sizeof(wire));
	memcpy(wire, golden, 4);
	assert_int_equal(hello_get(&h, wire, sizeof(wire)), -EPROTONOSUPPORT);
	/* It is told as soon as it is seen. */
	assert_int_equal(hello_get(&h, wire, 6), -EPROTONOSUPPORT);
	assert_int_equal(hello_get(&h, wire, 5), 0);
}

static void test_garbage_is_refused_before_it_is_complete(void **state)
{
	uint8_t wire[HELLO_WIRE_LEN];
	struct hello h;

	(void)state;
	assert_int_equal(hello_get(&h, "GET ", 4), -EPROTO);
	memcpy(wire, golden, sizeof(wire));
	wire[9] = 0x40; /* length 16 KiB: nobody waits for the rest */
	assert_int_equal(hello_get(&h, wire, 12), -EPROTO);
	memcpy(wire, golden, sizeof(wire));
	wire[8] = 100;
	wire[26] = 0; /* npairs 0 in the body of a message whose tail is missing */
	assert_int_equal(hello_get(&h, wire, sizeof(wire)), -EPROTO);
}

static void test_longer_message_is_accepted(void **state)
{
	static const uint32_t lengths[] = {HELLO_WIRE_LEN + 1, 64, 1000, ZV_CTRL_MAX_LEN};
	uint8_t *wire = malloc(ZV_CTRL_MAX_LEN + 8);
	struct hello h;

	(void)state;
	assert_non_null(wire);
	for (unsigned i = 0; i < COUNT_OF(lengths); i++) {
		uint32_t len = lengths[i];

		memset(wire, 0xff, ZV_CTRL_MAX_LEN + 8); /* a tail of a later minor change */
		memcpy(wire, golden, sizeof(golden));
		wire[8] = (uint8_t)len;
		wire[9] = (uint8_t)(len >> 8);
		assert_int_equal(hello_get(&h, wire, HELLO_WIRE_LEN), 0);
		assert_int_equal(hello_get(&h, wire, len - 1), 0);
		assert_int_equal(hello_get(&h, wire, len), (int)len);
		assert_hello_equal(&h, &sample);
		/* Bytes of the next message do not matter. */
		assert_int_equal(hello_get(&h, wire, len + 8), (int)len);
	}
	free(wire);
}

static void test_reserved_bytes_are_ignored(void **state)
{
	(void)state;
	assert_int_equal(get_with(12, 4, UINT32_MAX), HELLO_WIRE_LEN);
	assert_int_equal(get_with(40, 4, UINT32_MAX), HELLO_WIRE_LEN);
}

/* Whatever the bytes, the answer is in range, and what is accepted holds the promises. */
static void test_random_bytes(void **state)
{
	uint64_t seed = 99;

	(void)state;
	for (unsigned n = 0; n < 20000; n++) {
		uint8_t wire[HELLO_WIRE_LEN + 8];
		struct hello h;
		int ret;

		memcpy(wire, golden, sizeof(golden));
		memset(wire + HELLO_WIRE_LEN, 0, 8);
		for (unsigned i = test_between(&seed, 1, 4); i--;)
			wire[test_between(&seed, 4, sizeof(wire) - 1)] = (uint8_t)test_rand(&seed);
		ret = hello_get(&h, wire, sizeof(wire));
		assert_true(ret >= -EPROTONOSUPPORT && ret <= (int)sizeof(wire));
		if (ret <= 0) {
			assert_true(ret == 0 || ret == -EPROTO || ret == -EPROTONOSUPPORT);
			continue;
		}
		assert_true(ret >= (int)HELLO_WIRE_LEN);
		assert_true(h.version == 1 && h.npairs <= 128 && h.pair < h.npairs);
		assert_true(h.max_pkt >= 65536);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_round_trip_at_every_alignment),
		cmocka_unit_test(test_truncated_at_every_length),
		cmocka_unit_test(test_every_invalid_field),
		cmocka_unit_test(test_unknown_version),
		cmocka_unit_test(test_garbage_is_refused_before_it_is_complete),
		cmocka_unit_test(test_longer_message_is_accepted),
		cmocka_unit_test(test_reserved_bytes_are_ignored),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests_name("proto: HELLO", tests, NULL, NULL);
}
