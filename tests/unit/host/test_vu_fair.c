/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread has other sockets too: dear messages, and descriptors that take for ever to
 * close. */
#include "mem_look.h"
#include "ring/vhost_ring.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEAR_NS	 5000000u /* CPU time of a message */
#define MANY	 100u	  /* fit into the socket */
#define TURNS	 40u
#define LINGER_S 3600
#define HOUR_NS	 3600000000000ull

struct device {
	uint32_t messages;
	bool dear;
	bool busy;	 /* atomic */
	bool is_busy;	 /* with the first message */
	uint64_t sleeps; /* ns in a message */
	struct zv_log_limit log;
	struct vu_socket *sk;
	char path[64];
};

static struct vu_terms terms = {.nrings = 3, .ring_max = VU_VRING_SIZE_MAX, .mem_max = 1 << 20};
static struct device dev[2];
static char dir[] = "/tmp/zvsock-fair-XXXXXX";

static uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void on_refused(void *ctx, const struct vu_msg *m)
{
	(void)ctx;
	(void)m;
}

static int on_message(void *ctx, struct vu_exchange *x)
{
	struct device *d = ctx;
	uint64_t end = clock_ns(CLOCK_THREAD_CPUTIME_ID) + DEAR_NS;

	while (d->dear && clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		;
	if (d->is_busy)
		__atomic_store_n(&d->busy, true, __ATOMIC_SEQ_CST);
	mem_payer()->sleep.noted = UINT64_MAX; /* it is not the first */
	mem_sleep_charge(&mem_payer()->sleep, clock_ns(CLOCK_MONOTONIC), d->sleeps);
	__atomic_add_fetch(&d->messages, 1, __ATOMIC_SEQ_CST);
	x->answer.size = 8;
	x->answer.payload.u64 = 1;
	return 1;
}

static int no_link(const char *name, void **link)
{
	(void)name;
	(void)link;
	return zv_err(-EMFILE, "no link");
}

static bool on_busy(void *ctx)
{
	return __atomic_load_n(&((struct device *)ctx)->busy, __ATOMIC_SEQ_CST);
}

static const struct vu_server_ops ops = {.attached = nothing,
					 .message = on_message,
					 .refused = on_refused,
					 .gone = nothing,
					 .again = nothing,
					 .busy = on_busy};
static const struct vu_link_ops link_ops = {no_link, nothing};

static int setup(void **state)
{
	(void)state;
	terms.layout = vhost_ring_layout_of(0);
	for (int i = 0; i < 2; i++) {
		struct vu_socket_config c = {.path = dev[i].path,
					     .fd = -1,
					     .sockmode = -1,
					     .terms = &terms,
					     .ops = &ops,
					     .link = &link_ops,
					     .ctx = &dev[i],
					     .log = &dev[i].log};

		memset(&dev[i], 0, sizeof(dev[i]));
		(void)snprintf(dev[i].path, sizeof(dev[i].path), "%s/%d", dir, i);
		if (vu_server_add(&dev[i].sk, &c) < 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		vu_server_remove(dev[i].sk);
	return 0;
}

static int dial(const struct device *d)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 60};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", d->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* GET_QUEUE_NUM, with a descriptor (-1: none), which it has no use for. */
static bool try_ask(int sock, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct vu_msg m = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};
	struct iovec iov = {&m, VU_HEAD_LEN};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		mh.msg_control = ctl.buf;
		mh.msg_controllen = sizeof(ctl.buf);
		memcpy(CMSG_DATA(&ctl.align), &fd, sizeof(fd));
	}
	return sendmsg(sock, &mh, MSG_NOSIGNAL) == VU_HEAD_LEN;
}

static void ask(int sock)
{
	assert_true(try_ask(sock, -1));
}

static void answered(int sock)
{
	struct vu_msg m;

	assert_int_equal(recv(sock, &m, VU_HEAD_LEN + 8, MSG_WAITALL), VU_HEAD_LEN + 8);
}

static void *read_answers(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[256];

	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
	return NULL;
}

/* One asks for dear things without an end, and gets a part of the thread. */
static void a_dear_frontend_has_a_share(void **state)
{
	int greedy = dial(&dev[0]), other = dial(&dev[1]);
	uint64_t begun, took, spent;
	pthread_t reader;

	(void)state;
	dev[0].dear = true;
	assert_int_equal(pthread_create(&reader, NULL, read_answers, (void *)(intptr_t)greedy), 0);
	for (unsigned i = 0; i < MANY; i++)
		ask(greedy);
	begun = clock_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < TURNS; i++) {
		ask(other);
		answered(other);
		(void)usleep(10000);
	}
	spent = (uint64_t)__atomic_load_n(&dev[0].messages, __ATOMIC_SEQ_CST) * DEAR_NS;
	took = clock_ns(CLOCK_MONOTONIC) - begun;
	/* A quarter, and a turn that was begun. Whatever else the machine does makes it less. */
	assert_true(spent <= took / 4 + 2 * VU_TURN * DEAR_NS);
	assert_true(spent > 0);
	(void)shutdown(greedy, SHUT_RDWR);
	assert_int_equal(pthread_join(reader, NULL), 0);
	(void)close(greedy);
	(void)close(other);
}

/* A TCP socket whose last close() waits until *reader has taken what it sends, or is closed. */
static int lingers(int *reader)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger linger = {1, LINGER_S};
	static const char some[65536];
	socklen_t len = sizeof(in);
	int ls = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(ls, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(ls, 1), 0);
	assert_int_equal(getsockname(ls, (struct sockaddr *)&in, &len), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	*reader = accept(ls, NULL, NULL);
	assert_true(*reader >= 0);
	(void)close(ls);
	while (send(fd, some, sizeof(some), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

/*
 * Sends @n of them to @sock, a message each, from a process that ends: so the last close is not
 * this one's, wherever else it is.
 */
static void send_lingering(int sock, int *reader, unsigned n)
{
	int fd[2], go[2], status;
	pid_t pid;
	char c;

	for (unsigned i = 0; i < n; i++)
		fd[i] = lingers(&reader[i]);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)close(go[1]);
		(void)!read(go[0], &c, 1); /* until the others are closed */
		for (unsigned i = 0; i < n; i++)
			(void)try_ask(sock, fd[i]);
		_exit(0);
	}
	for (unsigned i = 0; i < n; i++)
		(void)close(fd[i]);
	(void)close(go[0]);
	(void)close(go[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

static void serves(const struct device *d)
{
	int fd = dial(d);

	ask(fd);
	answered(fd);
	(void)close(fd);
}

/* In a message that is refused, and in one that is never read because the first was. */
static void slow_closes_delay_nobody(void **state)
{
	int front = dial(&dev[0]), reader[2];

	(void)state;
	send_lingering(front, reader, 2);
	serves(&dev[1]);
	serves(&dev[1]);
	for (unsigned i = 0; i < 2; i++)
		(void)close(reader[i]); /* with a reset: nobody lingers any more */
	(void)close(front);
	serves(&dev[0]);
}

/* Nobody waits for them when the socket goes either. */
static void slow_closes_outlive_the_socket(void **state)
{
	int front = dial(&dev[0]), reader;

	send_lingering(front, &reader, 1);
	serves(&dev[1]);
	(void)close(front);
	assert_int_equal(teardown(state), 0);
	assert_int_equal(setup(state), 0);
	serves(&dev[0]);
	(void)close(reader);
}

/* A message that leaves something to be finished is the last one until that is done. */
static void a_busy_owner_gets_no_message(void **state)
{
	struct vu_msg m = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};
	uint8_t all[VU_TURN][VU_HEAD_LEN];
	int front = dial(&dev[0]);

	(void)state;
	dev[0].is_busy = true;
	for (unsigned i = 0; i < VU_TURN; i++)
		memcpy(all[i], &m, VU_HEAD_LEN);
	assert_int_equal(send(front, all, sizeof(all), MSG_NOSIGNAL), sizeof(all)); /* at once */
	answered(front);
	for (unsigned i = 0; i < 5; i++)
		serves(&dev[1]);
	assert_int_equal(__atomic_load_n(&dev[0].messages, __ATOMIC_SEQ_CST), 1);
	__atomic_store_n(&dev[0].busy, false, __ATOMIC_SEQ_CST);
	answered(front);
	assert_int_equal(__atomic_load_n(&dev[0].messages, __ATOMIC_SEQ_CST), 2);
	(void)close(front);
	__atomic_store_n(&dev[0].busy, false, __ATOMIC_SEQ_CST);
	serves(&dev[1]);
}

/* ---- memory that the thread sleeps on ---- */

static uint32_t messages_of(const struct device *d)
{
	return __atomic_load_n(&d->messages, __ATOMIC_SEQ_CST);
}

/* The thread goes round several times. */
static void others_are_served(void)
{
	for (unsigned i = 0; i < 4; i++)
		serves(&dev[1]);
}

static void who_makes_the_thread_sleep_waits(void **state)
{
	int fd = dial(&dev[0]), again;

	(void)state;
	dev[0].sleeps = HOUR_NS;
	ask(fd);
	answered(fd);
	others_are_served(); /* its turn is over */
	ask(fd);
	others_are_served();
	assert_int_equal(messages_of(&dev[0]), 1);
	(void)close(fd);
	again = dial(&dev[0]); /* who comes again has gained nothing */
	ask(again);
	others_are_served();
	assert_int_equal(messages_of(&dev[0]), 1);
	(void)close(again);
}

static void a_short_sleep_costs_nothing(void **state)
{
	(void)state;
	dev[0].sleeps = MEM_SLEEP_FREE_NS / 5;
	serves(&dev[0]);
	serves(&dev[0]);
	assert_int_equal(messages_of(&dev[0]), 2);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(a_dear_frontend_has_a_share),	     T(a_busy_owner_gets_no_message),
		T(slow_closes_delay_nobody),	     T(slow_closes_outlive_the_socket),
		T(who_makes_the_thread_sleep_waits), T(a_short_sleep_costs_nothing),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	(void)rmdir(dir);
	return ret;
}
