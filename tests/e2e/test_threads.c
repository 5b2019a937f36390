/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of several threads at once. Calls on one device are serialised by its user; those on
 * different devices are not, from the very first zv_host_init and zv_open of the process to the
 * last zv_close.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_host.h>

#include <cmocka.h>

#define THREADS	 4
#define ROUNDS	 25
#define QUEUES	 8
#define PATIENCE 60000000000u /* a wait ends in vain after that */

static char dir[] = "/tmp/zvsock-threads-XXXXXX";
static pthread_barrier_t start;

/* Polls both until @wanted comes on @q. */
static bool until(struct zv_queue *q, struct zv_queue *other, uint32_t wanted)
{
	struct zv_event ev[4];

	for (unsigned i = 0; i < 1000000; i++) {
		int n = zv_wait(q, ev, 4, 1000000);

		for (int k = 0; k < n; k++)
			if (ev[k].events & wanted)
				return ev[k].err == 0;
		(void)zv_poll(other, ev, 4);
	}
	return false;
}

/* One byte from a guest to a host device of this thread's. NULL, or what went wrong. */
static const char *one_round(unsigned id)
{
	const struct zv_opts o = {.size = sizeof(o), .connect_timeout_ns = PATIENCE};
	struct zv_dev *host, *guest;
	struct zv_conn *g, *h;
	struct zv_queue *gq, *hq;
	char uri[128], c;

	snprintf(uri, sizeof(uri), "host:%s/s%u,cid=%u", dir, id, 10 + id);
	if (zv_open(&host, uri, &o) || zv_listen(host, 7, ZV_STREAM, 0))
		return zv_error_text();
	snprintf(uri, sizeof(uri), "vhost-user:%s/s%u", dir, id);
	if (zv_open(&guest, uri, &o))
		return zv_error_text();
	gq = zv_queue(guest, 0);
	hq = zv_queue(host, 0);
	if (zv_connect(gq, ZV_CID_HOST, 7, ZV_STREAM, &g) || zv_send(g, "x", 1, 0) != -ENOTCONN)
		return zv_error_text();
	if (!until(gq, hq, ZV_EV_CONNECT) || zv_send(g, "x", 1, 0) != 1)
		return "not connected";
	if (!until(hq, gq, ZV_EV_ACCEPT) || zv_accept(hq, 7, &h))
		return "not accepted";
	if (!until(hq, gq, ZV_EV_IN) || zv_recv(h, &c, 1, NULL) != 1)
		return "no byte";
	return zv_close(guest) || zv_close(host) ? zv_error_text() : NULL;
}

/* Opens and closes; now and then the first of the process, or the last. */
static const char *in_and_out(unsigned id)
{
	struct zv_dev *host;
	char uri[128];

	snprintf(uri, sizeof(uri), "host:%s/s%u,cid=%u", dir, id, 10 + id);
	return zv_open(&host, uri, NULL) || zv_close(host) ? zv_error_text() : NULL;
}

/* Atomic: the guest has been here; the host device is closed; a thread has failed. */
static bool attached, gone, round_failed;

/*
 * Its queues are not polled before the other thread's guest is here: nothing but the calls on the
 * device itself orders what the threads of both do.
 */
static const char *wait_for_guest(void)
{
	const struct zv_opts o = {.size = sizeof(o), .queues = QUEUES};
	struct zv_event ev[4];
	struct zv_dev *host;
	char uri[128];

	snprintf(uri, sizeof(uri), "host:%s/w,cid=8", dir);
	if (zv_open(&host, uri, &o))
		return zv_error_text();
	while (!__atomic_load_n(&attached, __ATOMIC_RELAXED))
		usleep(100);
	for (unsigned i = 0; i < QUEUES; i++)
		(void)zv_poll(zv_queue(host, i), ev, 4);
	return zv_close(host) ? zv_error_text() : NULL;
}

/* The first thread opens a host device, and the guest of the other one does not wait until it has.
 */
static const char *guest_is_early(unsigned id)
{
	const struct zv_opts o = {
		.size = sizeof(o), .queues = QUEUES, .connect_timeout_ns = PATIENCE};
	const char *failed = NULL;
	struct zv_dev *guest;
	char uri[128];
	int ret;

	(void)pthread_barrier_wait(&start);
	if (id == 0) {
		failed = wait_for_guest();
		__atomic_store_n(&gone, true, __ATOMIC_RELAXED);
	} else {
		snprintf(uri, sizeof(uri), "vhost-user:%s/w", dir);
		do
			ret = zv_open(&guest, uri, &o);
		while ((ret == -ENOENT || ret == -ECONNREFUSED) &&
		       !__atomic_load_n(&gone, __ATOMIC_RELAXED));
		__atomic_store_n(&attached, true, __ATOMIC_RELAXED);
		if (ret || zv_close(guest))
			failed = zv_error_text();
	}
	if (failed)
		__atomic_store_n(&round_failed, true, __ATOMIC_RELAXED);
	(void)pthread_barrier_wait(&start);
	__atomic_store_n(id == 0 ? &gone : &attached, false, __ATOMIC_RELAXED);
	return failed || !__atomic_load_n(&round_failed, __ATOMIC_RELAXED)
		       ? failed
		       : "the other thread has failed";
}

static const char *(*round_fn)(unsigned id);
static unsigned nrounds;

static void *rounds(void *arg)
{
	const char *failed = NULL;

	(void)pthread_barrier_wait(&start);
	if (zv_host_init() < 0)
		failed = zv_error_text();
	for (unsigned i = 0; i < nrounds && !failed; i++)
		failed = round_fn((unsigned)(uintptr_t)arg);
	return failed ? strdup(failed) : NULL; /* the text is the thread's */
}

static void run(unsigned threads)
{
	pthread_t t[THREADS];
	void *failed = NULL, *one;

	assert_int_equal(pthread_barrier_init(&start, NULL, threads), 0);
	for (uintptr_t i = 0; i < threads; i++)
		assert_int_equal(pthread_create(&t[i], NULL, rounds, (void *)i), 0);
	for (unsigned i = 0; i < threads; i++) {
		assert_int_equal(pthread_join(t[i], &one), 0);
		if (one)
			failed = one;
	}
	if (failed)
		fail_msg("%s", (char *)failed);
	assert_int_equal(pthread_barrier_destroy(&start), 0);
}

static void devices_of_several_threads(void **state)
{
	(void)state;
	round_fn = one_round;
	nrounds = ROUNDS;
	run(THREADS);
}

static void the_first_and_the_last_device_meet(void **state)
{
	(void)state;
	round_fn = in_and_out;
	nrounds = 20 * ROUNDS;
	run(2);
}

static void a_guest_waits_for_the_socket(void **state)
{
	(void)state;
	round_fn = guest_is_early;
	nrounds = ROUNDS;
	run(2);
}

/* Threads of ours that take no signal; -1: one that would take @sig. */
static int deaf_threads(int sig)
{
	DIR *tasks = opendir("/proc/self/task");
	char path[300], line[256];
	const struct dirent *e;
	int n = 0;

	while (tasks && n >= 0 && (e = readdir(tasks))) {
		unsigned long long blocked = 0;
		FILE *f;

		if (e->d_name[0] == '.' || atoi(e->d_name) == (int)getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status", e->d_name);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "SigBlk: %llx", &blocked) == 1)
				break;
		if (f)
			fclose(f);
		n = blocked >> (sig - 1) & 1 ? n + 1 : -1;
	}
	if (tasks)
		closedir(tasks);
	return n;
}

static void on_signal(int sig)
{
	(void)sig;
}

/* A signal for the process finds the thread that waits, not one of the library's. */
static void signals_are_the_applications(void **state)
{
	const struct zv_opts o = {.size = sizeof(o), .flags = ZV_OPT_BUSY_POLL};
	const struct itimerval t = {{0, 20000}, {0, 20000}}, off = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_signal};
	struct zv_dev *host, *guest;
	struct zv_event ev;
	char uri[128];

	(void)state;
	snprintf(uri, sizeof(uri), "host:%s/s,cid=9", dir);
	assert_int_equal(zv_open(&host, uri, &o), 0);
	snprintf(uri, sizeof(uri), "vhost-user:%s/s", dir);
	assert_int_equal(zv_open(&guest, uri, &o), 0);
	assert_true(deaf_threads(SIGALRM) >= 2); /* of the guest, of the host, of EAL */
	assert_int_equal(sigaction(SIGALRM, &sa, NULL), 0);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(setitimer(ITIMER_REAL, &t, NULL), 0);
		assert_int_equal(zv_wait(zv_queue(i % 2 ? host : guest, 0), &ev, 1, PATIENCE),
				 -EINTR);
	}
	assert_int_equal(setitimer(ITIMER_REAL, &off, NULL), 0);
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
}

static int setup(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_of_several_threads),
		cmocka_unit_test(the_first_and_the_last_device_meet),
		cmocka_unit_test(a_guest_waits_for_the_socket),
		cmocka_unit_test(signals_are_the_applications),
	};

	return cmocka_run_group_tests_name("threads", tests, setup, teardown);
}
