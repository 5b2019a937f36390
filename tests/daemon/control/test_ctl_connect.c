/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "zvsockctl connect" with the real zvsockd and a guest in this process: bytes, half-closes, ends
 * that are none, refusals, ways in, the socket handed over.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT "5000"
#define MANY 40u
#define SIZE 300000u

static struct zv_dev *G;
static const char *program, *ctl;
static unsigned fds_before;

/* A run of zvsockctl: its standard input and output, two pipes or one socket, and its words. */
struct run {
	pid_t pid;
	int in, out, err;
	char said[512];
};

static void start(struct run *r, const char *const *args, bool one_socket)
{
	int in[2], out[2], err[2];

	assert_int_equal(pipe2(err, O_CLOEXEC), 0);
	if (one_socket) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in), 0);
		out[0] = in[1];
		out[1] = in[0];
	} else {
		assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC), 0);
	}
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		char path[96], *argv[16] = {(char *)(uintptr_t) "zvsockctl", "-s", path};

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves it behind */
		(void)snprintf(path, sizeof(path), "%scontrol.sock", zf_dir);
		for (unsigned i = 0; args[i]; i++)
			argv[3 + i] = (char *)(uintptr_t)args[i];
		(void)signal(SIGPIPE, SIG_DFL);
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)dup2(err[1], STDERR_FILENO);
		execv(ctl, argv);
		_exit(98);
	}
	close(in[0]);
	if (!one_socket)
		close(out[1]);
	close(err[1]);
	r->in = in[1];
	r->out = out[0];
	r->err = err[0];
	fcntl(r->in, F_SETFL, O_NONBLOCK);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})
#define CONNECT	  ARGS("connect", "g", PORT)

static bool has_ended(void *arg)
{
	struct run *r = arg;
	int st;

	if (waitpid(r->pid, &st, WNOHANG) != r->pid)
		return false;
	r->pid = WIFEXITED(st) ? WEXITSTATUS(st) : 256 + WTERMSIG(st);
	return true;
}

/* Its exit code; what it has said is in r->said. */
static int finish(struct run *r)
{
	ssize_t n;

	if (r->in >= 0)
		close(r->in);
	if (r->out >= 0 && r->out != r->in)
		close(r->out);
	assert_true(zf_until(has_ended, r));
	n = read(r->err, r->said, sizeof(r->said) - 1);
	r->said[n > 0 ? n : 0] = 0;
	close(r->err);
	return r->pid;
}

/* One line, with @part in it, and the exit code @code. */
static void complains(struct run *r, int code, const char *part)
{
	int got = finish(r);
	const char *nl = strchr(r->said, '\n');

	if (got != code || !strstr(r->said, part) || !nl || nl[1])
		fail_msg("exit code %d, \"%s\"; wanted %d, \"%s\"", got, r->said, code, part);
}

static int group_end_of_fds(void **state)
{
	(void)state;
	assert_true(zf_fds_back(fds_before));
	return 0;
}

/* read(2) from the program's output, polling the guest. */
static ssize_t get(int fd, void *buf, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n;

		assert_true(hs_readable(fd));
		n = read(fd, (char *)buf + have, len - have);
		assert_true(n >= 0);
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static char byte_at(size_t i)
{
	return (char)(i * 7 + i / 251);
}

/* ---- bytes and ends ---- */

/* Both directions, half-closed by the program first: exit 0. */
static void bytes_both_ways(void **state)
{
	char *sent = malloc(SIZE), *got = malloc(SIZE);
	size_t off = 0, have = 0;
	struct zf_conn *c;
	struct run r;

	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		sent[i] = byte_at(i);
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	while (have < SIZE) {
		ssize_t n = off < SIZE ? write(r.in, sent + off, SIZE - off) : 0;

		off += n > 0 ? (size_t)n : 0;
		n = zv_recv(c->c, got + have, SIZE - have, NULL);
		assert_true(n > 0 || n == -EAGAIN);
		have += n > 0 ? (size_t)n : 0;
		zf_poll();
	}
	assert_memory_equal(sent, got, SIZE);
	close(r.in);
	r.in = -1;
	assert_int_equal(zf_recv(c, got, 1, NULL), 0);
	/* The guest goes on. */
	for (off = have = 0; have < SIZE;) {
		ssize_t n = off < SIZE ? zv_send(c->c, sent + off, SIZE - off, 0) : 0;

		off += n > 0 ? (size_t)n : 0;
		if (poll(&(struct pollfd){.fd = r.out, .events = POLLIN}, 1, 0) == 1) {
			n = read(r.out, got + have, SIZE - have);
			assert_true(n > 0);
			have += (size_t)n;
		}
		zf_poll();
	}
	assert_memory_equal(sent, got, SIZE);
	zf_close(c);
	assert_int_equal(get(r.out, got, 1), 0);
	assert_int_equal(finish(&r), 0);
	free(sent);
	free(got);
}

/* The guest half-closes first; standard input goes on. */
static void half_close_by_the_guest(void **state)
{
	struct zf_conn *c;
	struct run r;
	char buf[8];

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_true(zf_send(c, "bye", 3, 0));
	zv_shutdown(c->c, 1);
	assert_int_equal(get(r.out, buf, 8), 3); /* and the end of the file */
	assert_int_equal(write(r.in, "more", 4), 4);
	assert_int_equal(zf_recv(c, buf, 4, NULL), 4);
	close(r.in);
	r.in = -1;
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
	assert_int_equal(finish(&r), 0);
}

/* The guest closes while standard input is open, as a server does that says goodbye. */
static void closed_by_the_guest(void **state)
{
	struct zf_conn *c;
	struct run r;
	char buf[8];

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_true(zf_send(c, "bye", 3, 0));
	zf_close(c);
	assert_int_equal(get(r.out, buf, 8), 3);
	assert_true(zf_until(has_ended, &r));
	assert_int_equal(r.pid, 0);
	close(r.in);
	close(r.out);
	close(r.err);
}

/* A cut stream is no clean end. */
static void reset_by_the_guest(void **state)
{
	struct zf_conn *c;
	struct run r;
	char b;

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_true(zf_send(c, "x", 1, 0));
	assert_int_equal(get(r.out, &b, 1), 1);
	zv_conn_reset(c->c);
	free(c);
	complains(&r, 1, "g, port 5000: the connection was reset");
}

static void the_program_is_killed(void **state)
{
	struct zf_conn *c;
	struct run r;
	char b;

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_int_equal(kill(r.pid, SIGKILL), 0);
	assert_true(zf_recv(c, &b, 1, NULL) <= 0);
	zf_close(c);
	assert_int_equal(finish(&r), 256 + SIGKILL);
}

static void many_at_once(void **state)
{
	struct zf_conn *c[MANY];
	struct run r[MANY], more;
	char b;

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		start(&r[i], CONNECT, false);
	for (unsigned i = 0; i < MANY; i++) {
		c[i] = zf_accept(G, 5000);
		assert_non_null(c[i]);
		assert_true(zf_send(c[i], "y", 1, 0));
	}
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(get(r[i].out, &b, 1), 1);
	/* Each holds two descriptors, and these are all that they may. */
	start(&more, CONNECT, false);
	complains(&more, 1, "g: no connection: no descriptor left for it; the daemon's log says");
	assert_true(zf_logged("its connections hold 80 descriptors.*raise max_fds"));
	for (unsigned i = 0; i < MANY; i++)
		zf_close(c[i]); /* in another order than the programs */
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(finish(&r[i]), 0);
}

/* ---- ways in ---- */

static void once(const char *const *args)
{
	struct zf_conn *c;
	struct run r;
	char b;

	start(&r, args, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_int_equal(write(r.in, "q", 1), 1);
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_true(zf_send(c, "a", 1, 0));
	assert_int_equal(get(r.out, &b, 1), 1);
	assert_int_equal(b, 'a');
	zf_close(c);
	assert_int_equal(finish(&r), 0);
}

static void by_cid_and_by_hybrid_socket(void **state)
{
	char path[96];

	(void)state;
	(void)snprintf(path, sizeof(path), "%su", zf_dir);
	once(ARGS("connect", "11", PORT));
	once(ARGS("connect", path, PORT));
}

/* As ssh with ProxyUseFdpass=yes: the program ends, its socket is ours. */
static void socket_is_handed_over(void **state)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} room;
	char b;
	struct iovec iov = {&b, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &room,
			   .msg_controllen = sizeof(room)};
	struct zf_conn *c;
	struct run r;
	int fd;

	(void)state;
	start(&r, ARGS("connect", "--pass-fd", "g", PORT), true);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_true(hs_readable(r.out));
	assert_int_equal(recvmsg(r.out, &m, MSG_CMSG_CLOEXEC), 1);
	assert_non_null(CMSG_FIRSTHDR(&m));
	assert_int_equal(CMSG_FIRSTHDR(&m)->cmsg_type, SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	assert_int_equal(finish(&r), 0);
	assert_true(zf_send(c, "z", 1, 0));
	assert_int_equal(hs_recv(fd, &b, 1), 1); /* nothing of zvsockd's line is left in it */
	assert_int_equal(b, 'z');
	close(fd);
	assert_true(zf_recv(c, &b, 1, NULL) <= 0);
	zf_close(c);
	start(&r, ARGS("connect", "--pass-fd", "g", PORT), false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	complains(&r, 1, "--pass-fd: standard output: Socket operation on non-socket");
	zf_close(c);
}

/* ---- refusals ---- */

static void refused_in_one_line(void **state)
{
	struct run r;

	(void)state;
	start(&r, ARGS("connect", "g", "5001"), false);
	complains(&r, 1, "g, port 5001: refused: nobody listens there");
	start(&r, ARGS("connect", "off", PORT), false);
	complains(&r, 1, "off, port 5000: ");
	start(&r, ARGS("connect", "web", PORT), false);
	complains(&r, 1, "no guest or device \"web\" here; there are: ");
	start(&r, ARGS("connect", "99", PORT), false);
	complains(&r, 1, "no guest or device \"99\" here");
	start(&r, ARGS("connect", "g"), false);
	complains(&r, 2, "connect g: the port is needed");
	start(&r, ARGS("connect"), false);
	complains(&r, 2, "the name of a guest is needed");
	start(&r, ARGS("connect", "g", "4294967295"), false);
	complains(&r, 2, "port 4294967295: a number from 1 to 4294967294");
	start(&r, ARGS("connect", "g", "ssh"), false);
	complains(&r, 2, "port ssh: a number");
	start(&r, ARGS("connect", "/nobody/there", PORT), false);
	complains(&r, 3, "/nobody/there: No such file or directory");
	start(&r, ARGS("list", "--pass-fd"), false);
	complains(&r, 2, "--pass-fd is no option of list");
}

/* ---- others, and the end ---- */

static void asks_for_guests(int s)
{
	static const char ask[] = "{\"v\":1,\"cmd\":\"guests\"}\n";
	char answer[4096];

	assert_int_equal(send(s, ask, sizeof(ask) - 1, MSG_NOSIGNAL), sizeof(ask) - 1);
	assert_true(hs_readable(s));
	assert_true(recv(s, answer, sizeof(answer), 0) > 0);
}

/* What becomes of a connection's control socket is nothing to the client that has its place now. */
static void the_next_client_is_left_alone(void **state)
{
	struct zf_conn *c;
	struct run r;
	char b;
	int s;

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	s = hs_connect("control.sock", NULL);
	asks_for_guests(s);
	assert_int_equal(kill(r.pid, SIGKILL), 0);
	assert_true(zf_recv(c, &b, 1, NULL) <= 0);
	zf_close(c);
	assert_int_equal(finish(&r), 256 + SIGKILL);
	asks_for_guests(s);
	close(s);
}

/* zvsockd is killed: an end that nobody has vouched for is none. The last test. */
static void the_daemon_is_killed(void **state)
{
	struct zf_conn *c;
	struct run r;
	char b;

	(void)state;
	start(&r, CONNECT, false);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_true(zf_send(c, "x", 1, 0));
	assert_int_equal(get(r.out, &b, 1), 1);
	assert_true(zf_kill());
	complains(&r, 3, "the daemon has closed the connection");
	zf_close(c);
	assert_true(zf_start_again(program));
	(void)zf_fds(); /* it is up */
}

static int group_start(void **state)
{
	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	zf_keep_log = true;
	if (!hs_raise_fd_limit(1000) ||
	    !zf_start(program,
		      "max_fds = 80\n"
		      "[guest g]\ncid = 11\nsocket = @g\nqueues = 2\nunix = @u\n"
		      "[guest off]\ncid = 12\nsocket = @off\n",
		      2))
		return -1;
	G = zf_guest(0, "g", 2);
	if (!G || zv_listen(G, 5000, ZV_STREAM, MANY))
		return -1;
	(void)hs_counter("g", "host_accepted"); /* the daemon is up */
	for (int i = 0; i < 1000; i++)
		zf_poll();
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

#define CASE(fn) cmocka_unit_test_teardown(fn, group_end_of_fds)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(bytes_both_ways),
		CASE(half_close_by_the_guest),
		CASE(closed_by_the_guest),
		CASE(reset_by_the_guest),
		CASE(the_program_is_killed),
		CASE(many_at_once),
		CASE(by_cid_and_by_hybrid_socket),
		CASE(socket_is_handed_over),
		CASE(refused_in_one_line),
		CASE(the_next_client_is_left_alone),
		cmocka_unit_test(the_daemon_is_killed),
	};

	if (argc < 3) {
		fprintf(stderr, "usage: %s ZVSOCKD ZVSOCKCTL\n", argv[0]);
		return 99;
	}
	program = argv[1];
	ctl = argv[2];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
