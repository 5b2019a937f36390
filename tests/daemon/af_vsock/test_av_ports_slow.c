/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of bound ports, in a directory whose lock somebody else holds. The clock, and what takes
 * time, are this file's. */
#include "endpoint/af_vsock/av_dgram.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define LINES 1025u /* more than so many that are not needed: the file is made anew */
#define MS    UINT64_C(1000000)

static char dir[] = "/tmp/zvsock-ports-XXXXXX";
static struct av_space space;
static struct av_port port;
static uint64_t now, takes, waits;
static bool sleeps;
static unsigned renames;

int __wrap_clock_gettime(clockid_t id, struct timespec *t);
uint64_t __wrap_thread_waits(void);
int __wrap_rename(const char *from, const char *to);
int __real_rename(const char *from, const char *to);

int __wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	(void)id;
	t->tv_sec = (time_t)(now / 1000000000u);
	t->tv_nsec = (long)(now % 1000000000u);
	return 0;
}

uint64_t __wrap_thread_waits(void)
{
	return waits;
}

int __wrap_rename(const char *from, const char *to)
{
	renames++;
	now += takes;
	waits += sleeps;
	return __real_rename(from, to);
}

/* As many ports are bound, and closed, as fill the file. Returns how often it was replaced. */
static unsigned fill(void)
{
	const unsigned before = renames;

	for (unsigned i = 0; i <= LINES; i++)
		av_ports_save(&space, &port);
	return renames - before;
}

static off_t size(void)
{
	struct stat st;

	assert_int_equal(fstat(space.ports_fd, &st), 0);
	return st.st_size;
}

static void a_locked_directory_is_left_alone(void **state)
{
	(void)state;
	now = 1000 * MS;
	space.ports_fd = -1;
	(void)snprintf(space.cfg.dir, sizeof(space.cfg.dir), "%s", dir);
	(void)snprintf(port.text, sizeof(port.text), "label");
	av_ports_load(&space);
	assert_true(space.ports_fd >= 0);
	assert_int_equal(fill(), 1);
	takes = 50 * MS; /* it was preempted */
	assert_int_equal(fill(), 1);
	assert_int_equal(fill(), 1);
	sleeps = true;
	assert_int_equal(fill(), 1);
	for (unsigned i = 0; i < 8; i++) { /* the file does not grow */
		assert_int_equal(fill(), 0);
		assert_in_range(size(), 0, (off_t)(LINES * 16));
	}
	now += 100 * 50 * MS - 1;
	assert_int_equal(fill(), 0);
	now += 1;
	assert_int_equal(fill(), 1);
	av_ports_close(&space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_locked_directory_is_left_alone)};
	char path[64];
	int ret;

	if (!mkdtemp(dir))
		return 99;
	ret = cmocka_run_group_tests_name("av_ports_slow", tests, NULL, NULL);
	(void)snprintf(path, sizeof(path), "%s/ports", dir);
	(void)unlink(path);
	return rmdir(dir) < 0 ? 1 : ret;
}
