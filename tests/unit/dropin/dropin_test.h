/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_TEST_DROPIN_H
#define ZV_TEST_DROPIN_H

#include "common/di.h"
#include "fake_zvsockd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

static struct di di;
static char said[512]; /* the last line that the user was told */

static void hear(const char *line)
{
	size_t len = strlen(line);

	memcpy(said, line, len < sizeof(said) ? len + 1 : sizeof(said));
	said[sizeof(said) - 1] = 0;
}

static int setup(void **state)
{
	(void)state;
	di_init(&di, fake_begin());
	di.report = hear;
	said[0] = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_end();
	return 0;
}

static inline struct sockaddr_vm vm(uint32_t cid, uint32_t port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

static inline int new_socket(int type)
{
	int fd = di_socket(&di, type, 0);

	assert_true(fd >= 0);
	return fd;
}

static inline int bind_to(int fd, uint32_t cid, uint32_t port)
{
	struct sockaddr_vm a = vm(cid, port);

	return di_bind(&di, fd, &a);
}

static inline int connect_to(int fd, uint32_t cid, uint32_t port, bool nonblock)
{
	struct sockaddr_vm a = vm(cid, port);

	return di_connect(&di, fd, &a, nonblock, 0);
}

#define assert_address(a, cid, port)                                                               \
	do {                                                                                       \
		assert_int_equal((a).svm_family, AF_VSOCK);                                        \
		assert_int_equal((a).svm_cid, cid);                                                \
		assert_int_equal((a).svm_port, port);                                              \
	} while (0)

#define assert_names(fd, lcid, lport, rcid, rport)                                                 \
	do {                                                                                       \
		struct sockaddr_vm l_, r_;                                                         \
		assert_int_equal(di_names(&di, fd, &l_, &r_), 0);                                  \
		assert_address(l_, lcid, lport);                                                   \
		assert_address(r_, rcid, rport);                                                   \
	} while (0)

#endif
