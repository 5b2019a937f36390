/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about channels on the wire: golden bytes, truncation, what is refused. */
#include "proto_test.h"

#include "proto/ctrl/ctrl_msg.h"

#include <errno.h>
#include <string.h>

#define GRANT_LEN 152 /* without bells */

/* Written by hand from docs/protocol.md, section 6. */
static const uint8_t
	golden_grant[GRANT_LEN] =
		{
			'Z',  'V',  'S',  'K',	1,    0,    6,	  0,	152, 0,	   0,  0, 0,  0,
			0,    0,					/* frame */
			0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* region */
			2,    0,    0,	  0,	0,    0,    0,	  0,	/* peer_cid */
			0x88, 0x13, 0,	  0,				/* peer_port */
			0,    0xc0, 0,	  0,				/* local_port */
			2,    0,					/* type */
			1,    0,					/* role */
			1,    0,    0,	  0,				/* version */
			9,    0,    0,	  0,				/* generation */
			0,    0,    0,	  0,				/* reserved */
			0,    0x10, 0,	  0,	0,    0,    0,	  0,	/* offset */
			0,    0,    0x20, 0,	0,    0,    0,	  0,	/* length */
			0,    1,    0,	  0,	1,    0,    0,	  0,	0,   0x10, 0,  0, 32, 0,
			0,    0, /* A to B */
			0,    0,    0,	  0,	0,    0,    0,	  0,	0,   0,	   0,  0, 0,  0,
			0,    0,    0,	  0,	0,    0,    0,	  0,	0,   0,	   64, 0, 0,  0,
			0,    0,    0,	  0,	0,    0,    0,	  0,	0,   0,	   0,  0, /* B to A
											   */
			0,    0,    0,	  0,	0,    0,    0,	  0,	0,   0,	   0,  0, 0,  0,
			0,    0,    0,	  0,	0,    0,    0,	  0,	0,   0,
};

static struct ctrl_msg sample(unsigned type)
{
	struct ctrl_msg m;

	memset(&m, 0, sizeof(m));
	m.type = (uint16_t)type;
	switch (type) {
	case CTRL_OFFER:
		m.offer = (struct ctrl_offer){1ull << 32, 1 << 26};
		break;
	case CTRL_REGION:
		m.region.id = 5;
		m.region.size = 4096;
		m.region.gpa = CTRL_BY_FD;
		break;
	case CTRL_REGION_ACK:
		m.region_ack.id = 5;
		m.region_ack.result = -EACCES;
		break;
	case CTRL_GRANT:
		m.grant.region = 0x1122334455667788;
		m.grant.peer_cid = 2;
		m.grant.peer_port = 5000;
		m.grant.local_port = 49152;
		m.grant.type = 2;
		m.grant.role = SHM_ROLE_B;
		m.grant.desc.version = 1;
		m.grant.desc.generation = 9;
		m.grant.desc.offset = 4096;
		m.grant.desc.length = 1 << 21;
		m.grant.desc.dir[0].entries = 256;
		m.grant.desc.dir[0].classes = 1;
		m.grant.desc.dir[0].cls[0] = (struct shm_slot_class){4096, 32};
		m.grant.desc.dir[1].entries = 64;
		break;
	case CTRL_CLAIM:
		m.claim = (struct ctrl_claim){1025, 5000, 2, 1, CTRL_CLAIM_NO_LISTEN};
		break;
	default:
		m.release.region = 5;
		m.release.offset = 8192;
		m.release.generation = 77;
		m.release.left = type == CTRL_HOLDS ? 3 : 0;
	}
	return m;
}

static void a_grant_has_these_bytes(void **state)
{
	uint8_t wire[CTRL_MSG_MAX];
	struct ctrl_msg m = sample(CTRL_GRANT), got;

	(void)state;
	assert_int_equal(ctrl_msg_put(wire, &m), GRANT_LEN);
	assert_memory_equal(wire, golden_grant, GRANT_LEN);
	assert_int_equal(ctrl_msg_get(&got, golden_grant, GRANT_LEN), GRANT_LEN);
	assert_memory_equal(&got, &m, sizeof(m));
}

/* A driver that does not know of bells reads the first part, as it always did. */
static void bells_come_behind_it(void **state)
{
	static const uint8_t tail[] = {70, 0, 0, 0, 1, 4, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0};
	struct ctrl_msg m = sample(CTRL_GRANT), got;
	uint8_t wire[CTRL_MSG_MAX];
	int len;

	(void)state;
	m.grant.bells = (struct ctrl_bells){70, 1025, 258};
	len = (int)ctrl_msg_put(wire, &m);
	assert_int_equal(len, CTRL_MSG_MAX);
	assert_int_equal(wire[8], CTRL_MSG_MAX);
	wire[8] = GRANT_LEN;
	assert_memory_equal(wire, golden_grant, GRANT_LEN);
	assert_memory_equal(wire + GRANT_LEN, tail, sizeof(tail));
	assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), GRANT_LEN);
	assert_int_equal(got.grant.bells.ring_page, 0);
	wire[8] = CTRL_MSG_MAX - 1; /* half a tail is none */
	assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), CTRL_MSG_MAX - 1);
	assert_int_equal(got.grant.bells.bell, 0);
	wire[8] = CTRL_MSG_MAX;
	for (int n = 0; n < len; n++)
		assert_int_equal(ctrl_msg_get(&got, wire, (size_t)n), 0);
	assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), len);
	assert_memory_equal(&got, &m, sizeof(m));
}

static void every_message_comes_back_as_it_was(void **state)
{
	(void)state;
	for (unsigned type = CTRL_OFFER; type <= CTRL_HOLDS; type++) {
		uint8_t wire[CTRL_MSG_MAX + 8] = {0};
		struct ctrl_msg m = sample(type), got;
		int len = (int)ctrl_msg_put(wire, &m);

		for (int n = 0; n < len; n++)
			assert_int_equal(ctrl_msg_get(&got, wire, (size_t)n), 0);
		assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), len);
		assert_memory_equal(&got, &m, sizeof(m));
		wire[8] += 8; /* a later version may have a tail */
		assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), 0);
		assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len + 8), len + 8);
		wire[8] -= 9; /* one byte is missing */
		assert_int_equal(ctrl_msg_get(&got, wire, (size_t)len), -EPROTO);
	}
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct {
		unsigned type, at;
		uint8_t byte;
	} bad[] = {
		{CTRL_REGION, 7, 1},	   /* type 260 */
		{CTRL_REGION, 6, 1},	   /* HELLO */
		{CTRL_REGION, 6, 10},	   /* unknown */
		{CTRL_REGION, 25, 0},	   /* size 0 */
		{CTRL_REGION_ACK, 25, 16}, /* errno 4109 */
		{CTRL_GRANT, 42, 2},	   /* role */
		{CTRL_CLAIM, 34, 4},	   /* what */
	};
	struct ctrl_msg m, got;
	uint8_t wire[CTRL_MSG_MAX];
	uint32_t len;

	(void)state;
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		m = sample(bad[i].type);
		len = ctrl_msg_put(wire, &m);
		wire[bad[i].at] = bad[i].byte;
		assert_int_equal(ctrl_msg_get(&got, wire, len), -EPROTO);
	}
	m = sample(CTRL_OFFER);
	m.offer.gpa = UINT64_MAX - 100;
	len = ctrl_msg_put(wire, &m);
	assert_int_equal(ctrl_msg_get(&got, wire, len), -EPROTO);
	m = sample(CTRL_REGION);
	m.region.gpa = UINT64_MAX - 100;
	len = ctrl_msg_put(wire, &m);
	assert_int_equal(ctrl_msg_get(&got, wire, len), -EPROTO);
	m.region.flags = CTRL_REGION_GONE; /* only the id counts */
	len = ctrl_msg_put(wire, &m);
	assert_int_equal(ctrl_msg_get(&got, wire, len), len);
	wire[4] = 2;
	assert_int_equal(ctrl_msg_get(&got, wire, len), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_grant_has_these_bytes),
		cmocka_unit_test(bells_come_behind_it),
		cmocka_unit_test(every_message_comes_back_as_it_was),
		cmocka_unit_test(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
