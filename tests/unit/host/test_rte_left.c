/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory that the devices of a local user leave to be unmapped counts, until it is. */
#include "front_fix.h"

#include "map_limit.h"

#include <sys/prctl.h>

#define LEFT_USER 64u /* devices, as in vu_backend.c */
#define USER	  4000000001u
#define MAPS	  4000000101u /* others: a second sleep in munmap() would be charged to USER */
#define OTHER	  4000000002u

/* The socket layer's table of its own transports; not needed here. */
const struct transport_ops *const zv_builtin_transports[] = {NULL};
const struct transport_ops *ops;

static bool held; /* nothing is unmapped meanwhile; atomic */

int __real_munmap(void *addr, size_t len);
int __wrap_munmap(void *addr, size_t len);

int __wrap_munmap(void *addr, size_t len)
{
	char name[16];

	(void)prctl(PR_GET_NAME, name);
	while (strcmp(name, "zvsock-unmap") == 0 && __atomic_load_n(&held, __ATOMIC_ACQUIRE))
		(void)usleep(1000);
	return __real_munmap(addr, len);
}

/* A device of @user; *front: the other end of its socket. 0 or what the transport says. */
static int attach(unsigned user, struct transport_dev **d, int *front)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = 2};
	const struct timeval tv = {.tv_sec = FRONT_PATIENCE_S};
	char rest[64];
	int pair[2], ret;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	snprintf(rest, sizeof(rest), "fd=%d,cid=3,name=app,user=%u", pair[0], user);
	ret = ops->open(d, rest, &o);
	close(pair[0]);
	*front = pair[1];
	setsockopt(*front, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (ret < 0)
		close(*front);
	return ret;
}

/* Attaches, with memory, and goes. */
static int come_and_go(unsigned user)
{
	struct transport_dev *d;
	struct front f;
	int fd, ret = attach(user, &d, &fd);

	if (ret < 0)
		return ret;
	front_on(&f, fd, NRINGS, 3);
	front_free(&f);
	ops->close(d);
	return 0;
}

static unsigned come_and_go_until_refused(unsigned user)
{
	unsigned n = 0;
	int ret = 0;

	for (; n <= LEFT_USER && (ret = come_and_go(user)) == 0; n++)
		;
	assert_int_equal(ret, -EBUSY);
	assert_non_null(strstr(zv_error_text(), "memory that takes long to unmap"));
	return n;
}

static void hold(bool yes)
{
	__atomic_store_n(&held, yes, __ATOMIC_RELEASE);
}

static void wait_until_admitted(unsigned user)
{
	int ret;

	for (int i = 0; i < 60000 && (ret = come_and_go(user)) == -EBUSY; i++)
		(void)usleep(1000);
	assert_int_equal(ret, 0);
}

/* Each has a thread and mappings of this process. */
static void devices_of_a_user_are_limited(void **state)
{
	(void)state;
	hold(true);
	assert_int_equal(come_and_go_until_refused(USER), LEFT_USER);
	assert_int_equal(come_and_go(OTHER), 0);
	hold(false);
	wait_until_admitted(USER);
}

/* They are a part of what the kernel lets a process have. */
static void mappings_are_limited(void **state)
{
	(void)state;
	map_limit_set(64); /* 8 more than are planned for */
	hold(true);
	assert_int_equal(come_and_go_until_refused(MAPS), 4);
	assert_int_equal(come_and_go_until_refused(MAPS + 1), 4);
	assert_int_equal(come_and_go_until_refused(MAPS + 2), 0);
	assert_int_equal(come_and_go(0), 0);
	hold(false);
	wait_until_admitted(MAPS);
}

/* All is unmapped before the next test. */
static int settle(void **state)
{
	(void)state;
	hold(false);
	map_limit_set(0);
	for (int i = 0; i < 60000 && guest_mem_maps(); i++)
		(void)usleep(1000);
	return guest_mem_maps() ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(devices_of_a_user_are_limited, settle),
		cmocka_unit_test_teardown(mappings_are_limited, settle),
	};
	const char *rest;

	if (zv_host_init() < 0 || !(ops = zv_transport_find("host:", &rest)))
		return 99;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
