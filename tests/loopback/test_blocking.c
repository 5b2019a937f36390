/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The blocking calls between two threads, over real rings: a guest that does one thing at a time, a
 * host that waits for all its queues at once and is woken when it shall end.
 */
#include "loop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#define PORT   4000u
#define SECOND 1000000000ull
#define QUEUES 2u
#define LEN    (3u << 20)
#define ROUNDS 300

static struct zv_dev *guest, *host;

static void open_both(uint32_t flags, uint64_t spin_ns)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = QUEUES,
			    .flags = flags | ZV_OPT_NO_HUGE,
			    .spin_ns = spin_ns,
			    .connect_timeout_ns = 3600 * SECOND}; /* nobody answers some */

	assert_int_equal(zv_open(&host, "loophost:", &o), 0);
	assert_int_equal(zv_open(&guest, "loopguest:", &o), 0);
	assert_int_equal(zv_listen(host, PORT, ZV_STREAM, 0), 0);
}

static void close_both(void)
{
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
}

/* ---- zv_wake, in all ways of waiting ---- */

static int wait_asleep(struct zv_queue *q, struct zv_event *ev)
{
	return zv_wait(q, ev, 1, UINT64_MAX);
}

/* Where the kernel does not know the system call that sleeps, for this thread. */
static int wait_old_kernel(struct zv_queue *q, struct zv_event *ev)
{
	static _Thread_local bool filtered;
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {.len = sizeof(f) / sizeof(f[0]), .filter = f};

	if (!filtered && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
			  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog)))
		return -errno;
	filtered = true;
	return wait_asleep(q, ev);
}

static int wait_epoll(struct zv_queue *q, struct zv_event *ev)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};
	int n;

	while ((n = zv_poll(q, ev, 1)) == 0)
		if (zv_arm(q) == 0)
			(void)poll(&p, 1, -1);
	return n;
}

static int wait_both_queues(struct zv_queue *q, struct zv_event *ev)
{
	struct zv_queue *all[QUEUES] = {zv_queue(host, 1), q};

	return zv_wait_queues(all, QUEUES, ev, 1, UINT64_MAX);
}

/* A blocking call ends and leaves the wake to the next look. */
static int wait_blocked(struct zv_queue *q, struct zv_event *ev)
{
	struct zv_conn *c;
	int ret = zv_connect_wait(q, 0, 9, ZV_STREAM, UINT64_MAX, &c);

	return ret == -EINTR ? zv_wait(q, ev, 1, 0) : ret;
}

struct sleeper {
	int (*wait)(struct zv_queue *q, struct zv_event *ev);
	unsigned asked, woken; /* of rounds */
	int bad;
};

static void bad(struct sleeper *s, int why)
{
	__atomic_store_n(&s->bad, why, __ATOMIC_RELAXED);
}

static void *sleep_thread(void *arg)
{
	struct zv_queue *q = zv_queue(host, 0);
	struct sleeper *s = arg;
	struct zv_event ev;
	struct zv_conn *c = NULL;

	/* Nobody answers: the queue has a time-out of its own to wait for, too. */
	if (zv_connect(q, 0, 9, ZV_STREAM, &c))
		bad(s, 3);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		int n = s->wait(q, &ev);

		if (n != 1 || ev.events != ZV_EV_WAKE || ev.conn)
			bad(s, 1);
		/* What was written before the wake is there. */
		if (s->asked != i)
			bad(s, 2);
		__atomic_store_n(&s->woken, i, __ATOMIC_RELEASE);
		if (s->bad)
			break;
	}
	zv_conn_close(c);
	return NULL;
}

/* Each wake comes at another moment: while the other thread polls, arms, sleeps. */
static void every_wake_arrives(void **state)
{
	struct sleeper s = *(const struct sleeper *)*state;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, sleep_thread, &s), 0);
	for (unsigned i = 1; i <= ROUNDS; i++) {
		unsigned pause = i % 3 == 0 ? 0 : i * 7919 % 100000;

		nanosleep(&(struct timespec){0, pause}, NULL);
		s.asked = i;
		zv_wake(zv_queue(host, 0));
		while (__atomic_load_n(&s.woken, __ATOMIC_ACQUIRE) != i && i < ROUNDS) {
			if (__atomic_load_n(&s.bad, __ATOMIC_RELAXED))
				break;
			sched_yield();
		}
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(s.bad, 0);
}

static int setup_asleep(void **state)
{
	(void)state;
	open_both(0, 0);
	return 0;
}

/* It does not poll before it sleeps. */
static int setup_at_once(void **state)
{
	(void)state;
	open_both(0, 1);
	return 0;
}

static int setup_busy(void **state)
{
	(void)state;
	open_both(ZV_OPT_BUSY_POLL, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close_both();
	return 0;
}

/* ---- time-outs and signals of who sleeps at once ---- */

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* A wait that is woken leaves its time-out behind; those after it have their own. */
static void each_wait_has_its_own_time_out(void **state)
{
	static const unsigned ms[] = {20, 1000, 40, 10, 30};
	struct zv_queue *q = zv_queue(host, 0);
	struct zv_event ev;

	(void)state;
	for (unsigned i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		uint64_t t = now();

		if (i % 2) { /* asleep, or about to be */
			zv_wake(q);
			assert_int_equal(zv_wait(q, &ev, 1, ms[i] * (SECOND / 1000)), 1);
			assert_int_equal(ev.events, ZV_EV_WAKE);
			continue;
		}
		assert_int_equal(zv_wait(q, &ev, 1, ms[i] * (SECOND / 1000)), 0);
		assert_true(now() - t >= ms[i] * (SECOND / 1000));
	}
}

static int reported;

static void on_signal(int sig)
{
	(void)sig;
}

static void *signalled(void *arg)
{
	int *result = arg;
	struct zv_event ev;

	*result = zv_wait(zv_queue(host, 0), &ev, 1, UINT64_MAX);
	__atomic_store_n(&reported, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Signals come until one is reported: the first may come before the wait has begun. */
static void a_signal_ends_a_wait_that_sleeps_at_once(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
	int result = 0;
	pthread_t t;

	(void)state;
	reported = 0;
	assert_int_equal(sigaction(SIGUSR1, &sa, &before), 0);
	assert_int_equal(pthread_create(&t, NULL, signalled, &result), 0);
	while (!__atomic_load_n(&reported, __ATOMIC_ACQUIRE)) {
		(void)pthread_kill(t, SIGUSR1);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
	assert_int_equal(result, -EINTR);
}

/* ---- a client that blocks, a server that waits for all queues ---- */

static int echo(struct zv_conn *c)
{
	static uint8_t buf[65536];
	ssize_t n;

	while ((n = zv_recv(c, buf, sizeof(buf), NULL)) > 0)
		if (zv_send_all(c, buf, (size_t)n, 0, 60 * SECOND, NULL))
			return -1;
	return n == -EAGAIN ? 1 : (int)n;
}

static void *server(void *arg)
{
	struct zv_queue *q[QUEUES] = {zv_queue(host, 0), zv_queue(host, 1)};
	struct zv_event ev[4];
	struct zv_conn *c;
	int *result = arg;

	for (;;) {
		int n = zv_wait_queues(q, QUEUES, ev, 4, UINT64_MAX);

		if (n <= 0)
			return NULL;
		for (int i = 0; i < n; i++) {
			if (ev[i].events & ZV_EV_WAKE) {
				*result = ev[i].queue == 1 ? 0 : -2;
				return NULL;
			}
			if (ev[i].events & ZV_EV_ACCEPT) {
				if (zv_accept(q[ev[i].queue], ev[i].port, &c))
					return NULL;
			} else if (echo(ev[i].conn) <= 0) {
				zv_conn_close(ev[i].conn);
			}
		}
	}
}

/* One thread cannot send and receive at once: in pieces that fit into the credit of both ways. */
static void talk(struct zv_queue *q, size_t piece)
{
	uint8_t *out = malloc(LEN), *in = malloc(LEN);
	struct zv_conn *c;
	size_t sent;

	assert_true(out && in);
	for (size_t i = 0; i < LEN; i++)
		out[i] = (uint8_t)(i * 31 + i / 251);
	assert_int_equal(zv_connect_wait(q, ZV_CID_HOST, PORT, ZV_STREAM, 60 * SECOND, &c), 0);
	for (size_t at = 0, got = 0; at < LEN; at += sent) {
		size_t n = LEN - at < piece ? LEN - at : piece;

		assert_int_equal(zv_send_all(c, out + at, n, 0, 60 * SECOND, &sent), 0);
		assert_int_equal(sent, n);
		while (got < at + n) {
			ssize_t r = zv_recv(c, in + got, at + n - got, NULL);

			if (r == -EAGAIN)
				assert_int_equal(zv_conn_wait(c, ZV_EV_IN, 60 * SECOND), ZV_EV_IN);
			else
				assert_true(r > 0);
			got += r > 0 ? (size_t)r : 0;
		}
	}
	assert_memory_equal(out, in, LEN);
	assert_int_equal(zv_shutdown(c, 1), 0);
	assert_true(zv_conn_wait(c, ZV_EV_HUP, 60 * SECOND) & ZV_EV_HUP);
	assert_int_equal(zv_conn_close(c), 0);
	free(out);
	free(in);
}

static void a_conversation_of_blocking_calls(void **state)
{
	struct zv_conn *c;
	pthread_t t;
	int result = -1;

	(void)state;
	assert_int_equal(pthread_create(&t, NULL, server, &result), 0);
	assert_int_equal(zv_connect_wait(zv_queue(guest, 1), ZV_CID_HOST, PORT + 1, ZV_STREAM,
					 60 * SECOND, &c),
			 -ECONNREFUSED);
	assert_null(c);
	talk(zv_queue(guest, 0), 100000);
	talk(zv_queue(guest, 1), 4097);
	zv_wake(zv_queue(host, 1));
	assert_int_equal(pthread_join(t, NULL), 0);
	assert_int_equal(result, 0);
}

int main(void)
{
	static struct sleeper sleepers[] = {{.wait = wait_asleep},
					    {.wait = wait_epoll},
					    {.wait = wait_both_queues},
					    {.wait = wait_blocked},
					    {.wait = wait_old_kernel}};
#define WAKES(name, setup, i)                                                                      \
	{                                                                                          \
		name, every_wake_arrives, setup, teardown, &sleepers[i]                            \
	}
	const struct CMUnitTest tests[] = {
		WAKES("every wake ends a zv_wait", setup_asleep, 0),
		WAKES("every wake ends a zv_wait that sleeps at once", setup_at_once, 0),
		WAKES("every wake ends a zv_wait that never sleeps", setup_busy, 0),
		WAKES("every wake makes zv_fd readable", setup_asleep, 1),
		WAKES("every wake ends a wait for several queues", setup_asleep, 2),
		WAKES("every wake ends a blocking connect", setup_asleep, 3),
		cmocka_unit_test_setup_teardown(a_conversation_of_blocking_calls, setup_asleep,
						teardown),
		cmocka_unit_test_setup_teardown(each_wait_has_its_own_time_out, setup_at_once,
						teardown),
		cmocka_unit_test_setup_teardown(a_signal_ends_a_wait_that_sleeps_at_once,
						setup_at_once, teardown),
		/* From here on the library does without. */
		WAKES("every wake ends a zv_wait on an old kernel", setup_asleep, 4),
		cmocka_unit_test_setup_teardown(each_wait_has_its_own_time_out, setup_at_once,
						teardown),
	};

	return cmocka_run_group_tests_name("blocking", tests, NULL, NULL);
}
