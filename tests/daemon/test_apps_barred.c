/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application that makes zvsockd wait, by a full eventfd without O_NONBLOCK for its calls: its
 * device is not called any more, and its user gets no other device for a while.
 */
#include "hostile/raw_layout.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <proto/local/client_msg.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SOMEBODY 54321 /* a uid and a gid */
#define ROUNDS	 100u
#define WAIT_US	 100000u

static const char *program;

/* Attaches. 0, or the error of the answer, whose text is in @m; -1: there is none. */
static int attach(struct raw *r, int *fd, struct client_msg *m)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl;
	struct iovec iov = {m, sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = ctl.buf,
			    .msg_controllen = sizeof(ctl.buf)};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	*fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%sapps", zf_dir);
	client_msg_init(m, CLIENT_ATTACH);
	m->queues = 1;
	if (connect(*fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    send(*fd, m, sizeof(*m), MSG_NOSIGNAL) != (ssize_t)sizeof(*m) ||
	    recvmsg(*fd, &mh, 0) != (ssize_t)sizeof(*m))
		return -1;
	if (m->result || !CMSG_FIRSTHDR(&mh))
		return m->result ? m->result : -1;
	raw_init(r);
	memcpy(&r->sock, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(r->sock));
	r->cid = m->cid;
	r->layout = &raw_split;
	return 0;
}

/* Has zvsockd call, by eventfds that block. */
static bool block(struct raw *r)
{
	if (!raw_handshake(r) || !raw_start(r))
		return false;
	for (unsigned k = RAW_RX; k <= RAW_TX; k++) {
		(void)!eventfd_write(r->ring[k].call, UINT64_MAX - 1);
		(void)fcntl(r->ring[k].call, F_SETFL, 0);
	}
	for (unsigned i = 0; i < 10; i++) {
		shm_store16(&r->ring[RAW_TX].avail->ring[RAW_N], r->ring[RAW_TX].used_seen);
		shm_store16(&r->ring[RAW_RX].avail->ring[RAW_N], r->ring[RAW_RX].used_seen);
		(void)raw_pkt(r, VSOCK_OP_RW, "x", 1); /* of no connection: answered with RST */
		raw_pump(r);
	}
	usleep(WAIT_US);
	return true;
}

static int be_blocker(void)
{
	static struct raw r;
	struct client_msg m;

	if (setgroups(0, NULL) || setgid(SOMEBODY) || setuid(SOMEBODY))
		return 2;
	/* A call may be late: once more. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		int fd, ret = attach(&r, &fd, &m);

		if (ret == -EBUSY && i && strstr(m.text, "block"))
			return 0;
		if (ret || !block(&r)) {
			fprintf(stderr, "round %u: %d, %s\n", i, ret, m.text);
			return 3;
		}
		raw_close(&r);
		close(fd);
	}
	return 4;
}

static void who_makes_calls_block_may_not_come_again(void **state)
{
	struct zv_dev *other;
	int status = -1;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message("no other user can be had without root\n");
		skip();
	}
	assert_int_equal(chmod(zf_dir, 0711), 0);
	pid = fork();
	if (pid == 0)
		_exit(be_blocker());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(zf_logged("uid 54321.* was turned away: .* block"));
	other = zf_app(0, "apps", 1); /* of another user */
	assert_non_null(other);
}

static int testbed_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	return zf_start(program, "applications = @apps\napplications_mode = 0666\n", 1) &&
			       zf_logged("zvsockd .* is up")
		       ? 0
		       : -1;
}

static int testbed_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_makes_calls_block_may_not_come_again),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests_name("apps_barred", tests, testbed_start, testbed_end);
}
