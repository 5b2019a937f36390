/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vsock endpoint of the real zvsockd: a guest in this process, and host programs that listen on
 * the kernel's AF_VSOCK, at the local CID. Skipped where the kernel has no loopback for AF_VSOCK;
 * ./run vmtest runs the same program in a VM that has one.
 *
 * AF_VSOCK knows no SO_LINGER 0 and never says ECONNRESET on a connected stream: to its programs
 * every end is an end of file, and EPIPE for who still writes. So the tests ask for an end, in
 * bounded time, and not for how it is called.
 */
#include "host_flow.h"
#include "host_side.h"

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <errno.h>
#include <linux/vm_sockets.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define STREAM	 7000u /* served as a stream */
#define MESSAGES 7001u /* served as SEQPACKET */
#define NOBODY	 7002u /* forwarded, and nobody listens */
#define OUTSIDE	 7010u /* somebody listens, and it is not on the list */
#define SKIP	 77

static const char *program;
static struct zv_dev *A;
static int stream_listener, message_listener, outside_listener;
static unsigned fds_before;

static int vsock_listen(unsigned port, int type)
{
	struct sockaddr_vm sa = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = port};
	int fd = socket(AF_VSOCK, type | SOCK_CLOEXEC, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 16) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void join(struct zf_conn **c, int *fd)
{
	*c = zf_connect(A, 0, ZV_CID_HOST, STREAM, ZV_STREAM, NULL);
	assert_non_null(*c);
	*fd = hs_accept(stream_listener);
	assert_true(*fd >= 0);
}

/* ---- streams ---- */

static void flow_with(uint32_t chunk, unsigned g_lazy, unsigned h_lazy)
{
	struct flow f = {.chunk = chunk, .g_lazy = g_lazy, .h_lazy = h_lazy, .ok = true};

	join(&f.c, &f.fd);
	assert_true(zf_until(flow_done, &f));
	assert_true(f.ok);
	zf_close(f.c);
	close(f.fd);
}

static void a_stream_carries_both_directions(void **state)
{
	(void)state;
	flow_with(40000, 1, 1);
}

static void slow_readers_lose_nothing(void **state)
{
	(void)state;
	flow_with(100000, 7, 1);
	flow_with(100000, 1, 7);
}

static void the_guest_ends_first_and_gets_its_answer(void **state)
{
	struct zf_conn *c;
	char buf[16];
	int fd;

	(void)state;
	join(&c, &fd);
	assert_true(zf_send(c, "question", 8, 0));
	assert_int_equal(zv_shutdown(c->c, 1), 0);
	assert_int_equal(hs_recv(fd, buf, sizeof(buf)), 8); /* and the end */
	assert_memory_equal(buf, "question", 8);
	assert_int_equal(send(fd, "answer", 6, MSG_NOSIGNAL), 6);
	assert_int_equal(zf_recv(c, buf, 6, NULL), 6);
	assert_memory_equal(buf, "answer", 6);
	close(fd);
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
}

static void the_host_ends_first_and_gets_its_answer(void **state)
{
	struct zf_conn *c;
	char buf[16];
	int fd;

	(void)state;
	join(&c, &fd);
	assert_int_equal(send(fd, "question", 8, MSG_NOSIGNAL), 8);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(zf_recv(c, buf, sizeof(buf), NULL), 8); /* and the end */
	assert_memory_equal(buf, "question", 8);
	assert_true(zf_send(c, "answer", 6, 0));
	assert_int_equal(hs_recv(fd, buf, 6), 6);
	assert_memory_equal(buf, "answer", 6);
	zf_close(c);
	assert_int_equal(hs_recv(fd, buf, 1), 0);
	close(fd);
}

/* ---- sudden ends ---- */

/* The guest's connection takes no more. */
static bool guest_told(void *arg)
{
	struct zf_conn *c = arg;
	ssize_t n = c->err ? c->err : zv_send(c->c, "x", 1, 0);

	return n < 0 && n != -EAGAIN;
}

/* The host program's socket takes no more. */
static bool host_told(void *arg)
{
	return send(*(int *)arg, "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EAGAIN;
}

static void a_host_program_that_closes_amid_data_ends_the_guests_connection(void **state)
{
	struct linger now = {.l_onoff = 1};
	struct zf_conn *c;
	int fd;

	(void)state;
	join(&c, &fd);
	assert_true(zf_send(c, "unread", 6, 0));
	assert_true(hs_readable(fd));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	assert_true(zf_until(guest_told, c));
	zf_close(c);
}

static void a_host_program_that_is_killed_ends_the_guests_connection(void **state)
{
	struct zf_conn *c = zf_connect(A, 0, ZV_CID_HOST, STREAM, ZV_STREAM, NULL);
	char buf[8];
	pid_t pid;

	(void)state;
	assert_non_null(c);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = accept(stream_listener, NULL, NULL);

		(void)!write(fd, "here", 4);
		for (;;)
			pause();
	}
	assert_int_equal(zf_recv(c, buf, 4, NULL), 4);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(zf_until(guest_told, c));
	zf_close(c);
}

static void a_guests_reset_reaches_the_host_program(void **state)
{
	struct zf_conn *c;
	char buf[8];
	ssize_t n;
	int fd;

	(void)state;
	join(&c, &fd);
	zv_conn_reset(c->c);
	free(c);
	assert_true(hs_readable(fd));
	n = recv(fd, buf, sizeof(buf), 0);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	assert_true(zf_until(host_told, &fd));
	close(fd);
}

/* ---- refusals ---- */

static void refused(unsigned port, enum zv_type type)
{
	int err = 0;

	assert_null(zf_connect(A, 0, ZV_CID_HOST, port, type, &err));
	assert_true(err == -ECONNREFUSED || err == -ECONNRESET);
}

static void a_port_that_nobody_listens_on_is_refused(void **state)
{
	long before = hs_counter("a", "connect_refused");

	(void)state;
	refused(NOBODY, ZV_STREAM);
	assert_int_equal(hs_counter("a", "connect_refused"), before + 1);
}

/* AF_VSOCK cannot take messages without waiting; that there is a listener for them is no help. */
static void messages_are_refused(void **state)
{
	(void)state;
	refused(MESSAGES, ZV_SEQPACKET);
	refused(MESSAGES, ZV_STREAM);
	refused(STREAM, ZV_SEQPACKET);
}

static void a_port_outside_the_list_is_refused(void **state)
{
	(void)state;
	refused(OUTSIDE, ZV_STREAM);
	assert_int_equal(accept(outside_listener, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- all of it ---- */

static void no_descriptor_is_left(void **state)
{
	(void)state;
	assert_true(zf_fds_back(fds_before));
}

static int group_start(void **state)
{
	(void)state;
	if (!zf_start(program,
		      "[guest a]\ncid = 11\nsocket = @a\nvsock = 7000-7002\nbuiltin = echo:7\n", 1))
		return -1;
	A = zf_guest(0, "a", 1);
	if (!A)
		return -1;
	zf_close(zf_connect(A, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL));
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stream_carries_both_directions),
		cmocka_unit_test(slow_readers_lose_nothing),
		cmocka_unit_test(the_guest_ends_first_and_gets_its_answer),
		cmocka_unit_test(the_host_ends_first_and_gets_its_answer),
		cmocka_unit_test(a_host_program_that_closes_amid_data_ends_the_guests_connection),
		cmocka_unit_test(a_host_program_that_is_killed_ends_the_guests_connection),
		cmocka_unit_test(a_guests_reset_reaches_the_host_program),
		cmocka_unit_test(a_port_that_nobody_listens_on_is_refused),
		cmocka_unit_test(messages_are_refused),
		cmocka_unit_test(a_port_outside_the_list_is_refused),
		cmocka_unit_test(no_descriptor_is_left),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	stream_listener = vsock_listen(STREAM, SOCK_STREAM);
	if (stream_listener < 0) {
		printf("skipped: no AF_VSOCK loopback here (%s); it is the kernel module "
		       "vsock_loopback\n",
		       strerror(errno));
		return SKIP;
	}
	message_listener = vsock_listen(MESSAGES, SOCK_SEQPACKET);
	outside_listener = vsock_listen(OUTSIDE, SOCK_STREAM | SOCK_NONBLOCK);
	if (message_listener < 0 || outside_listener < 0) {
		perror("listen on AF_VSOCK");
		return 1;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
