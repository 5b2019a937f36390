/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A process sends, closes and exits, and only then does its peer look: nothing of what was sent
 * before the close is missing, and it ends as a close ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_host.h>

#define PORT   7u
#define BYTES  100000u
#define WAIT_S 60u

/* The other process may get no CPU for seconds. */
static const struct zv_opts patient = {.size = sizeof(patient),
				       .connect_timeout_ns = WAIT_S * 1000000000ull};

static char dir[] = "/tmp/zvsock-last-XXXXXX";
static char host_uri[256], guest_uri[256];

static char byte_at(size_t i)
{
	return (char)('A' + i % 23);
}

/* Waits for events. False: an error, or none within a long time. */
static bool wait_events(struct zv_queue *q)
{
	struct zv_event ev[8];

	return zv_wait(q, ev, 8, WAIT_S * 1000000000ull) > 0;
}

/* The device on guest_uri, as soon as its other side is there. */
static struct zv_dev *open_guest(void)
{
	struct zv_dev *d = NULL;

	for (unsigned i = 0; i < WAIT_S * 100 && zv_open(&d, guest_uri, &patient); i++)
		usleep(10000);
	return d;
}

/* ---- the process that sends and goes: 0, or where it failed ---- */

static int host_main(void)
{
	static char data[BYTES];
	struct zv_conn *c;
	struct zv_dev *d;

	if (zv_host_init() || zv_open(&d, host_uri, NULL) || zv_listen(d, PORT, ZV_STREAM, 0))
		return 1;
	while (zv_accept(zv_queue(d, 0), PORT, &c))
		if (!wait_events(zv_queue(d, 0)))
			return 2;
	for (size_t i = 0; i < BYTES; i++)
		data[i] = byte_at(i);
	if (zv_send(c, data, BYTES, 0) != BYTES || zv_conn_close(c) || zv_close(d))
		return 3;
	return 0;
}

static int guest_main(void)
{
	static char data[BYTES];
	struct zv_dev *d = open_guest();
	struct zv_conn *c;

	if (!d || zv_connect(zv_queue(d, 0), ZV_CID_HOST, PORT, ZV_STREAM, &c) ||
	    !wait_events(zv_queue(d, 0)))
		return 1;
	for (size_t i = 0; i < BYTES; i++)
		data[i] = byte_at(i);
	if (zv_send(c, data, BYTES, 0) != BYTES || zv_conn_close(c))
		return 2;
	return 0; /* without zv_close, as one that is killed */
}

static pid_t start(int (*fn)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn());
	}
	return pid;
}

/* ---- the process that reads afterwards ---- */

static void all_then_the_end(struct zv_conn *c)
{
	static char b[BYTES + 1];
	size_t got = 0;
	ssize_t n;

	while ((n = zv_recv(c, b + got, sizeof(b) - got, NULL)) > 0)
		got += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(got, BYTES);
	for (size_t i = 0; i < BYTES; i++)
		assert_true(b[i] == byte_at(i));
}

static void the_host_sends_and_exits(void **state)
{
	pid_t host = start(host_main);
	struct zv_conn *c;
	struct zv_dev *d = open_guest();
	int status;

	(void)state;
	assert_non_null(d);
	assert_int_equal(zv_connect(zv_queue(d, 0), ZV_CID_HOST, PORT, ZV_STREAM, &c), 0);
	assert_true(wait_events(zv_queue(d, 0)));
	assert_int_equal(waitpid(host, &status, 0), host);
	assert_int_equal(status, 0);
	/* The end of the session is no secret by now. */
	for (unsigned i = 0; i < WAIT_S * 100; i++) {
		struct zv_dev_info info = {.size = sizeof(info)};

		assert_int_equal(zv_dev_info(d, &info), 0);
		if (!info.queues_up)
			break;
		usleep(10000);
	}
	all_then_the_end(c);
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(d), 0);
}

static void the_guest_sends_and_exits(void **state)
{
	struct zv_conn *c;
	struct zv_dev *d;
	struct zv_dev_info info = {.size = sizeof(info)};
	pid_t guest = start(guest_main); /* before this process has threads */
	int status;

	(void)state;
	assert_int_equal(zv_host_init(), 0);
	assert_int_equal(zv_open(&d, host_uri, NULL), 0);
	assert_int_equal(zv_listen(d, PORT, ZV_STREAM, 0), 0);
	while (zv_accept(zv_queue(d, 0), PORT, &c))
		assert_true(wait_events(zv_queue(d, 0)));
	assert_int_equal(waitpid(guest, &status, 0), guest);
	assert_int_equal(status, 0);
	for (unsigned i = 0; i < WAIT_S * 100; i++) {
		assert_int_equal(zv_dev_info(d, &info), 0);
		if (!info.queues_up)
			break;
		usleep(10000);
	}
	assert_int_equal(info.queues_up, 0);
	all_then_the_end(c);
	assert_int_equal(zv_conn_close(c), 0);
	assert_int_equal(zv_close(d), 0);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(host_uri, sizeof(host_uri), "host:%s/s,cid=9", dir);
	snprintf(guest_uri, sizeof(guest_uri), "vhost-user:%s/s", dir);
	return 0;
}

static int teardown(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/s", dir);
	(void)unlink(path);
	snprintf(path, sizeof(path), "%s/s.lock", dir);
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_host_sends_and_exits), /* first: no EAL before its fork */
		cmocka_unit_test(the_guest_sends_and_exits),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
