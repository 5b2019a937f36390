/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost-user/frontend_msg.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

/* What goes over the socket, byte by byte (little endian machines). */
static void expect_bytes(const struct vu_msg *m, const uint8_t *want, size_t len)
{
	assert_int_equal(vu_msg_len(m), len);
	assert_memory_equal(m, want, len);
}

static void test_build(void **state)
{
	static const uint8_t owner[] = {3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t feat[] = {2, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1};
	static const uint8_t num[] = {8, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0};
	static const uint8_t addr[] = {9,    0, 0, 0, 1, 0, 0,	  0, 40, 0, 0, 0, 2, 0,
				       0,    0, 0, 0, 0, 0, 0x11, 0, 0,	 0, 0, 0, 0, 0, /* desc */
				       0x33, 0, 0, 0, 0, 0, 0,	  0,			/* used */
				       0x22, 0, 0, 0, 0, 0, 0,	  0,			/* avail */
				       0,    0, 0, 0, 0, 0, 0,	  0};
	static const uint8_t mem[] = {
		5, 0,	 0, 0, 1, 0, 0, 0, 40, 0,    0, 0, 1, 0,
		0, 0,	 0, 0, 0, 0, 0, 0, 0,  0x40, 0, 0, 0, 0, /* guest address */
		0, 0x10, 0, 0, 0, 0, 0, 0,			 /* size */
		0, 0x20, 0, 0, 0, 0, 0, 0,			 /* user address */
		0, 0,	 0, 0, 0, 0, 0, 0};
	static const uint8_t conf[] = {24, 0, 0, 0, 1, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0,
				       8,  0, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0};
	struct vu_msg m;

	(void)state;
	memset(&m, 0xff, sizeof(m));
	frontend_msg_empty(&m, VU_SET_OWNER);
	expect_bytes(&m, owner, sizeof(owner));
	memset(&m, 0xff, sizeof(m));
	frontend_msg_u64(&m, VU_SET_FEATURES, 0x0102030405060708ull);
	expect_bytes(&m, feat, sizeof(feat));
	frontend_msg_state(&m, VU_SET_VRING_NUM, 5, 256);
	expect_bytes(&m, num, sizeof(num));
	memset(&m, 0xff, sizeof(m));
	frontend_msg_addr(&m, 2, (struct uva){0x11}, (struct uva){0x22}, (struct uva){0x33});
	expect_bytes(&m, addr, sizeof(addr));
	memset(&m, 0xff, sizeof(m));
	frontend_msg_mem(&m);
	frontend_msg_mem_add(&m, (struct gpa){0x40000000}, 0x1000, (struct uva){0x2000}, 0);
	expect_bytes(&m, mem, sizeof(mem));
	memset(&m, 0xff, sizeof(m));
	frontend_msg_config(&m, 0, 8);
	expect_bytes(&m, conf, sizeof(conf));
}

static void test_reply(void **state)
{
	struct vu_msg sent, r;

	(void)state;
	frontend_msg_empty(&sent, VU_GET_FEATURES);
	frontend_msg_u64(&r, VU_GET_FEATURES, 1);
	r.flags = VU_VERSION | VU_FLAG_REPLY;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_OK);
	r.flags = VU_VERSION | VU_FLAG_REPLY | VU_FLAG_NEED_REPLY; /* echoed by some */
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_OK);
	r.flags = VU_VERSION;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_NOT_REPLY);
	r.flags = VU_FLAG_REPLY;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_BAD_VERSION);
	r.flags = VU_FLAG_REPLY | 2;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_BAD_VERSION);
	r.flags = VU_FLAG_REPLY | VU_VERSION;
	r.request = VU_GET_QUEUE_NUM;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_BAD_REQUEST);
	r.request = VU_GET_FEATURES;
	for (uint32_t size = 0; size < 64; size++) {
		r.size = size;
		assert_int_equal(frontend_reply_check(&r, &sent, 8),
				 size == 8 ? FRONTEND_OK : FRONTEND_BAD_SIZE);
	}
	r.size = UINT32_MAX;
	assert_int_equal(frontend_reply_check(&r, &sent, 8), FRONTEND_BAD_SIZE);
}

static void test_config(void **state)
{
	struct vu_msg sent, r;
	uint64_t cid = 0;

	(void)state;
	frontend_msg_config(&sent, 0, sizeof(cid));
	r = sent;
	r.flags |= VU_FLAG_REPLY;
	r.payload.config.data[0] = 42;
	assert_int_equal(frontend_reply_check(&r, &sent, 20), FRONTEND_OK);
	assert_int_equal(frontend_reply_config(&r, &sent, &cid), FRONTEND_OK);
	assert_int_equal(cid, 42);
	r.payload.config.size = 0; /* how a backend says that it has none */
	assert_int_equal(frontend_reply_config(&r, &sent, &cid), FRONTEND_BAD_CONFIG);
	r.payload.config.size = 9;
	assert_int_equal(frontend_reply_config(&r, &sent, &cid), FRONTEND_BAD_CONFIG);
	r.payload.config.size = 8;
	r.payload.config.offset = 1;
	assert_int_equal(frontend_reply_config(&r, &sent, &cid), FRONTEND_BAD_CONFIG);
	/* nothing is read beyond the message */
	sent.payload.config.size = r.payload.config.size = VU_CONFIG_SIZE + 1;
	r.payload.config.offset = 0;
	assert_int_equal(frontend_reply_config(&r, &sent, &cid), FRONTEND_BAD_CONFIG);
}

static void test_names(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 300; i++)
		assert_non_null(vu_request_name(i));
	assert_string_equal(vu_request_name(VU_GET_CONFIG), "GET_CONFIG");
	assert_string_equal(vu_request_name(0), "request");
	for (int i = FRONTEND_OK; i <= FRONTEND_BAD_CONFIG; i++)
		assert_string_not_equal(frontend_fault_text((enum frontend_fault)i),
					"an unknown fault");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_build),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("frontend_msg", tests, NULL, NULL);
}
