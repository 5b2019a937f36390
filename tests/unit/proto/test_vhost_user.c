/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages lie on the wire as QEMU's docs/interop/vhost-user.rst has them. */
#include "proto_test.h"

#include "proto/vhost_user.h"

#include <linux/vhost.h>
#include <stdbool.h>
#include <string.h>

/* Messages as QEMU 7.2 sends them, and how they are read. */
static void a_message_of_qemu_is_read_right(void **state)
{
	static const uint8_t addr[] = {9,    0, 0, 0, 1, 0, 0,	  0, 40, 0, 0, 0, /* header */
				       3,    0, 0, 0, 7, 0, 0,	  0,		  /* index, flags */
				       0x11, 0, 0, 0, 0, 0, 0x7f, 0,		  /* desc */
				       0x22, 0, 0, 0, 0, 0, 0x7f, 0,		  /* used */
				       0x33, 0, 0, 0, 0, 0, 0x7f, 0,		  /* avail */
				       0x44, 0, 0, 0, 0, 0, 0,	  0};		  /* log */
	static const uint8_t mem[] = {5,    0,	  0, 0, 9, 0, 0,    0,	 40, 0,
				      0,    0,	  1, 0, 0, 0, 0,    0,	 0,  0, /* one region */
				      0,    0,	  0, 1, 0, 0, 0,    0,		/* guest address */
				      0,    0x10, 0, 0, 0, 0, 0,    0,		/* size */
				      0,    0x20, 0, 0, 0, 0, 0x7f, 0,	   /* frontend's address */
				      0x55, 0,	  0, 0, 0, 0, 0,    0x66}; /* offset */
	static const uint8_t conf[] = {
		24,   0, 0, 0, 1, 0, 0, 0,   20, 0, 0, 0, /* header */
		4,    0, 0, 0, 8, 0, 0, 0,   1,	 0, 0, 0, /* offset, size, flags */
		0xa1, 0, 0, 0, 0, 0, 0, 0xa8};
	struct vu_msg m;

	(void)state;
	memcpy(&m, addr, sizeof(addr));
	assert_int_equal(m.request, VU_SET_VRING_ADDR);
	assert_int_equal(m.flags, VU_VERSION);
	assert_int_equal(vu_msg_len(&m), sizeof(addr));
	assert_int_equal(m.payload.addr.index, 3);
	assert_int_equal(m.payload.addr.flags, 7);
	assert_int_equal(m.payload.addr.desc, 0x7f000000000011);
	assert_int_equal(m.payload.addr.used, 0x7f000000000022);
	assert_int_equal(m.payload.addr.avail, 0x7f000000000033);
	assert_int_equal(m.payload.addr.log, 0x44);
	memcpy(&m, mem, sizeof(mem));
	assert_int_equal(m.flags, VU_VERSION | VU_FLAG_NEED_REPLY);
	assert_int_equal(vu_msg_len(&m), sizeof(mem));
	assert_int_equal(m.payload.mem.nregions, 1);
	assert_int_equal(m.payload.mem.region[0].gpa, 1u << 24);
	assert_int_equal(m.payload.mem.region[0].size, 0x1000);
	assert_int_equal(m.payload.mem.region[0].uva, 0x7f000000002000);
	assert_true(m.payload.mem.region[0].offset == 0x6600000000000055);
	memcpy(&m, conf, sizeof(conf));
	assert_int_equal(m.size, VU_CONFIG_HEAD + 8);
	assert_int_equal(m.payload.config.offset, 4);
	assert_int_equal(m.payload.config.size, 8);
	assert_int_equal(m.payload.config.flags, 1);
	assert_int_equal(m.payload.config.data[0], 0xa1);
	assert_int_equal(m.payload.config.data[7], 0xa8);
}

/* Linux's vhost has the same structures. */
static void ring_messages_are_those_of_linux(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct vu_vring_state), sizeof(struct vhost_vring_state));
	assert_int_equal(sizeof(struct vu_vring_addr), sizeof(struct vhost_vring_addr));
	assert_int_equal(offsetof(struct vu_vring_addr, desc),
			 offsetof(struct vhost_vring_addr, desc_user_addr));
	assert_int_equal(offsetof(struct vu_vring_addr, used),
			 offsetof(struct vhost_vring_addr, used_user_addr));
	assert_int_equal(offsetof(struct vu_vring_addr, avail),
			 offsetof(struct vhost_vring_addr, avail_user_addr));
}

static void the_longest_payloads_fit(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct vu_mem_table), VU_TABLE_HEAD + 8 * 32);
	assert_int_equal(sizeof(struct vu_config_space), VU_CONFIG_HEAD + 256);
	assert_int_equal(sizeof(struct vu_msg), VU_HEAD_LEN + 8 + 256 * 8); /* GET_SHMEM_CONFIG */
}

static void every_request_has_a_name(void **state)
{
	static const uint32_t known[] = {1,  2,	 3,  4,	 5,  8,	 9,  10, 11, 12, 13,
					 14, 15, 16, 17, 18, 21, 22, 24, 25, 44};
	size_t next = 0;

	(void)state;
	assert_string_equal(vu_request_name(VU_SET_MEM_TABLE), "SET_MEM_TABLE");
	assert_string_equal(vu_request_name(VU_SET_BACKEND_REQ_FD), "SET_BACKEND_REQ_FD");
	for (uint32_t i = 0; i < 70; i++) {
		bool is_known = next < COUNT_OF(known) && known[next] == i;

		next += is_known;
		if (is_known)
			assert_string_not_equal(vu_request_name(i), "request");
		else
			assert_string_equal(vu_request_name(i), "request");
	}
	assert_int_equal(next, COUNT_OF(known));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_of_qemu_is_read_right),
		cmocka_unit_test(ring_messages_are_those_of_linux),
		cmocka_unit_test(the_longest_payloads_fit),
		cmocka_unit_test(every_request_has_a_name),
	};

	return cmocka_run_group_tests_name("vhost_user", tests, NULL, NULL);
}
