/* SPDX-License-Identifier: BSD-3-Clause */
/* A frontend that hangs up may come back, one whose process has ended does not (vu_server_life.c).
 */
#include "ring/vhost_ring.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct vu_terms terms = {.nrings = 3, .ring_max = VU_VRING_SIZE_MAX, .mem_max = 1 << 20};
static struct vu_socket *sk;
static struct zv_log_limit limit;
static char dir[] = "/tmp/zvsock-life-XXXXXX", path[64];
static uint32_t gone, died, messages; /* atomic */

static void count(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

static void nothing(void *ctx)
{
	(void)ctx;
}

static void on_gone(void *ctx)
{
	(void)ctx;
	count(&gone);
}

static void on_died(void *ctx)
{
	(void)ctx;
	count(&died);
}

static void on_refused(void *ctx, const struct vu_msg *m)
{
	(void)ctx;
	(void)m;
}

static int on_message(void *ctx, struct vu_exchange *x)
{
	(void)ctx;
	count(&messages);
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

static const struct vu_server_ops ops = {.attached = nothing,
					 .message = on_message,
					 .refused = on_refused,
					 .gone = on_gone,
					 .died = on_died};
static const struct vu_link_ops link_ops = {no_link, nothing};

static int setup(void **state)
{
	const struct vu_socket_config c = {.path = path,
					   .fd = -1,
					   .sockmode = -1,
					   .terms = &terms,
					   .ops = &ops,
					   .link = &link_ops,
					   .log = &limit};

	(void)state;
	terms.layout = vhost_ring_layout_of(0);
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	gone = died = messages = 0;
	return vu_server_add(&sk, &c) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	vu_server_remove(sk);
	return 0;
}

static void until(const uint32_t *word, uint32_t value)
{
	struct timespec t = {.tv_nsec = 1000000};

	for (int i = 0; i < 20000 && __atomic_load_n(word, __ATOMIC_SEQ_CST) != value; i++)
		(void)nanosleep(&t, NULL);
	assert_int_equal(__atomic_load_n(word, __ATOMIC_SEQ_CST), value);
}

/* ---- frontends ---- */

static int dial(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -1 : fd;
}

/* Says something, and waits for the answer. */
static bool talk(int fd)
{
	struct vu_msg m = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};

	return send(fd, &m, 12, MSG_NOSIGNAL) == 12 && recv(fd, &m, 20, MSG_WAITALL) == 20;
}

/* The thread has done what came before. */
static void settle(void)
{
	int fd = dial();

	assert_true(fd >= 0 && talk(fd));
	(void)close(fd);
}

static void who_is_killed_does_not_come_back(void **state)
{
	(void)state;
	for (uint32_t i = 1; i < 4; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			(void)talk(dial());
			for (;;)
				(void)pause();
		}
		assert_true(pid > 0);
		until(&messages, i);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		until(&died, i);
		assert_int_equal(__atomic_load_n(&gone, __ATOMIC_ACQUIRE), i);
	}
	settle();
}

static void who_hangs_up_may_come_back(void **state)
{
	(void)state;
	for (uint32_t i = 1; i < 4; i++) {
		settle();
		until(&gone, i);
	}
	settle();
	assert_int_equal(died, 0);
}

static void hand_over(int to, int fd)
{
	char c[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
	struct iovec v = {&byte, 1};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c)};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);

	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &fd, sizeof(fd));
	(void)sendmsg(to, &m, 0);
}

static int take_over(int from)
{
	char c[CMSG_SPACE(sizeof(int))], byte;
	struct iovec v = {&byte, 1};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c)};
	int fd;

	assert_int_equal(recvmsg(from, &m, 0), 1);
	assert_non_null(CMSG_FIRSTHDR(&m));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

/* Who has connected and ended has not taken along what somebody else goes on with. */
static void a_connection_that_was_handed_on(void **state)
{
	int sp[2], fd, second;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sp), 0);
	pid = fork();
	if (pid == 0) {
		fd = dial();
		(void)talk(fd);
		hand_over(sp[1], fd);
		_exit(0);
	}
	fd = take_over(sp[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* The thread may serve many messages of one connection before it looks at anything else. It
	 * must have looked at the pidfd by the time it has accepted and refused another one. */
	second = dial();
	assert_false(talk(second));
	(void)close(second);
	assert_true(talk(fd));
	(void)close(fd);
	(void)close(sp[0]);
	(void)close(sp[1]);
	until(&gone, 1);
	settle();
	assert_int_equal(died, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(who_is_killed_does_not_come_back),
		T(who_hangs_up_may_come_back),
		T(a_connection_that_was_handed_on),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	ret = cmocka_run_group_tests_name("vu_life", tests, NULL, NULL);
	(void)rmdir(dir);
	return ret;
}
