/* SPDX-License-Identifier: BSD-3-Clause */
/* A kick reaches an eventfd or a register, and nothing beside it. */
#include "virtq_notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <sys/eventfd.h>

static void test_eventfd(void **state)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct virtq_notify n = virtq_notify_eventfd(fd);
	uint64_t count = 0, full = UINT64_MAX - 1;

	(void)state;
	assert_true(fd >= 0);
	virtq_notify(&n);
	virtq_notify(&n);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 2);
	/* a full counter neither blocks nor matters: the reader is being woken */
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	virtq_notify(&n);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, full);
	close(fd);
	/* no descriptor: nobody is told, and nothing else happens */
	n = virtq_notify_eventfd(-1);
	virtq_notify(&n);
}

static void test_register_of_16_bits(void **state)
{
	uint16_t bar[4] = {0xaaaa, 0xaaaa, 0xaaaa, 0xaaaa};
	struct virtq_notify n = virtq_notify_reg16(&bar[1], 0x1234);

	(void)state;
	virtq_notify(&n);
	assert_int_equal(le16toh(bar[1]), 0x1234);
	assert_int_equal(bar[0], 0xaaaa);
	assert_int_equal(bar[2], 0xaaaa);
	bar[1] = 0; /* each kick is a store */
	virtq_notify(&n);
	assert_int_equal(le16toh(bar[1]), 0x1234);
}

static void test_register_of_32_bits(void **state)
{
	uint32_t bar[3] = {~0u, ~0u, ~0u};
	struct virtq_notify n = virtq_notify_reg32(&bar[1], 33);

	(void)state;
	virtq_notify(&n);
	assert_int_equal(le32toh(bar[1]), 33);
	assert_int_equal(bar[0], ~0u);
	assert_int_equal(bar[2], ~0u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eventfd),
		cmocka_unit_test(test_register_of_16_bits),
		cmocka_unit_test(test_register_of_32_bits),
	};

	return cmocka_run_group_tests_name("virtq_notify", tests, NULL, NULL);
}
