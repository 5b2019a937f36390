/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon has allocated for a guest goes back to the kernel when the guest has gone. */
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define CONNS 320u
#define STAY  16u /* connections of another guest */
#define MIB   (1u << 20)
#define PEAK  (64u * MIB) /* what the connections make the daemon keep, at least */
#define STAYS (44u * MIB) /* of that; the daemon lets 32 MiB be */

static const char *program;

/* Memory of the daemon that is nobody else's, nor a guest's. */
static size_t held(void)
{
	unsigned long resident, shared;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/statm", (int)zf_pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*u %lu %lu", &resident, &shared), 2);
	fclose(f);
	return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

static size_t start_held;

static bool at_peak(void *arg)
{
	static char data[65536];
	struct zf_conn **c = arg;

	for (unsigned i = 0; i < CONNS; i++)
		(void)zv_send(c[i]->c, data, sizeof(data), 0); /* -EAGAIN: no credit left */
	return held() >= start_held + PEAK;
}

static bool is_back(void *arg)
{
	(void)arg;
	usleep(20000);
	return held() < start_held + STAYS;
}

/*
 * The echo gets nothing back to guests without room, so it keeps what they send. Connections that
 * were made at the peak, and stay, lie behind all of it: malloc by itself gives back only what is
 * behind the last piece in use.
 */
static void memory_goes_back(void **state)
{
	static struct zf_conn *c[CONNS], *stays[STAY];
	struct zv_dev *dev = zf_guest(0, "a.sock", 1), *other = zf_guest(1, "b.sock", 1);

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	print_message("the sanitizer's malloc keeps what is freed\n");
	skip();
#endif
	assert_true(dev && other);
	start_held = held();
	for (unsigned i = 0; i < CONNS; i++) {
		c[i] = zf_connect(dev, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
		assert_non_null(c[i]);
	}
	assert_true(zf_until(at_peak, c));
	for (unsigned i = 0; i < STAY; i++) {
		stays[i] = zf_connect(other, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);
		assert_non_null(stays[i]);
		assert_true(zf_send(stays[i], "stay", 4, 0));
	}
	for (unsigned i = 0; i < CONNS; i++)
		zf_close(c[i]);
	assert_true(zf_guest_close(0));
	assert_true(zf_until(is_back, NULL));
	for (unsigned i = 0; i < STAY; i++)
		zf_close(stays[i]);
}

static int group_start(void **state)
{
	(void)state;
	zf_buf_alloc = 4096;
	return zf_start(program,
			"[guest a]\ncid = 3\nsocket = @a.sock\nbuiltin = echo:7\n"
			"[guest b]\ncid = 4\nsocket = @b.sock\nbuiltin = echo:7\n",
			1)
		       ? 0
		       : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_goes_back),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
