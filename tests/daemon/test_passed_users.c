/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A user sends many descriptors that take an hour to close to sockets that all users share, on a
 * kernel that cannot refuse them (no_passrights.c). Others are served as before.
 */
#include "host_side.h"
#include "slow_fd.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <proto/local/client_msg.h>
#include <proto/local/dropin_msg.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ATTACKER   54321 /* uids */
#define OTHER	   54322
#define BACKLOG	   64 /* of the client socket; the kernel takes one more */
#define PROGRAMS   20
#define AT_ONCE	   253u /* SCM_MAX_FD */
#define PATIENCE_S 60
#define CONF                                                                                       \
	"applications = @apps\napplications_mode = 0666\n"                                         \
	"af_vsock = @\naf_vsock_mode = 0666\n"                                                     \
	"[guest g]\ncid = 11\nsocket = @g\nunix = @u\n"

static const char *program;
static unsigned fds_before;

/* ---- users ---- */

static void needs_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("no other user can be had without root\n");
	skip();
}

/* A socket that @uid has connected to zf_dir/@name. */
static int connect_as(uid_t uid, const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), ret;

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s", zf_dir, name);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	/* Of this thread alone. */
	assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
	ret = connect(fd, (struct sockaddr *)&sa, sizeof(sa));
	assert_int_equal(syscall(SYS_setresuid, -1, 0, -1), 0);
	assert_int_equal(ret, 0);
	return fd;
}

/* Sends a byte with @b, @n times, and closes that. While zvsockd is held: it will be the last to
 * close it. */
static void send_bomb(int sock, int b, unsigned n)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(AT_ONCE * sizeof(int))];
	} ctl = {.align = {.cmsg_len = CMSG_LEN(n * sizeof(int)),
			   .cmsg_level = SOL_SOCKET,
			   .cmsg_type = SCM_RIGHTS}};
	struct iovec iov = {(void *)(uintptr_t) "x", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.buf,
			   .msg_controllen = CMSG_SPACE(n * sizeof(int))};

	for (unsigned i = 0; i < n; i++)
		memcpy(CMSG_DATA(&ctl.align) + i * sizeof(b), &b, sizeof(b));
	assert_int_equal(sendmsg(sock, &m, MSG_NOSIGNAL), 1);
	slow_close(b);
}

/* zvsockd has hung up, and has perhaps said why. */
static void is_hung_up(int fd)
{
	char b[sizeof(struct client_msg)];
	ssize_t n;

	do
		n = recv(fd, b, sizeof(b), 0);
	while (n > 0);
	assert_true(n == 0 || errno == ECONNRESET);
	close(fd);
}

/* ---- applications ---- */

/* Asks as @uid to be attached. The answer is in *m. */
static void attach(uid_t uid, struct client_msg *m)
{
	int fd = connect_as(uid, "apps");

	client_msg_init(m, CLIENT_ATTACH);
	m->queues = 1;
	(void)send(fd, m, sizeof(*m), MSG_NOSIGNAL); /* it may have been turned away already */
	assert_int_equal(recv(fd, m, sizeof(*m), 0), sizeof(*m)); /* the device is dropped */
	close(fd);
}

static void others_attach(void **state)
{
	int fd[BACKLOG + 1], end[BACKLOG + 1];
	struct client_msg m;

	(void)state;
	needs_root();
	zf_asleep(); /* only once: a signal ends the waiting of a close */
	for (unsigned i = 0; i <= BACKLOG; i++) {
		fd[i] = connect_as(ATTACKER, "apps");
		send_bomb(fd[i], slow_fd(&end[i]), 1);
	}
	zf_awake();
	for (unsigned i = 0; i <= BACKLOG; i++) {
		is_hung_up(fd[i]);
	}
	attach(OTHER, &m);
	assert_int_equal(m.result, 0);
	attach(0, &m);
	assert_int_equal(m.result, 0);
	attach(ATTACKER, &m);
	assert_int_equal(m.result, -EBUSY);
	assert_non_null(strstr(m.text, "take long to close"));
	for (unsigned i = 0; i <= BACKLOG; i++)
		close(end[i]);
	assert_true(zf_fds_back(fds_before));
	attach(ATTACKER, &m);
	assert_int_equal(m.result, 0);
	assert_true(zf_fds_back(fds_before));
}

/* ---- AF_VSOCK programs ---- */

/* What is received of a user while others of its descriptors are being closed would add up to all
 * that connections may hold, those of guests among them. */
static void programs_take_no_descriptors(void **state)
{
	int fd[PROGRAMS], end[PROGRAMS], other;
	struct dropin_msg m;

	(void)state;
	needs_root();
	zf_asleep();
	for (unsigned i = 0; i < PROGRAMS; i++) {
		fd[i] = connect_as(ATTACKER, "ask");
		send_bomb(fd[i], slow_fd(&end[i]), AT_ONCE);
	}
	zf_awake();
	for (unsigned i = 0; i < PROGRAMS; i++)
		is_hung_up(fd[i]);
	/* What the first program has sent, and the sockets of all. */
	assert_true(zf_fds_back(fds_before + AT_ONCE + PROGRAMS));
	other = connect_as(OTHER, "ask");
	dropin_msg_init(&m, DROPIN_HELLO);
	assert_int_equal(send(other, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	assert_int_equal(recv(other, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, 0);
	close(other);
	for (unsigned i = 0; i < PROGRAMS; i++)
		close(end[i]);
	assert_true(zf_fds_back(fds_before));
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	(void)state;
	if (!hs_raise_fd_limit(20000) || !zf_start(program, CONF, 1) || chmod(zf_dir, 0711))
		return -1;
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
		cmocka_unit_test(others_attach),
		cmocka_unit_test(programs_take_no_descriptors),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD_PASSED\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests_name("passed_users", tests, group_start, group_end);
}
