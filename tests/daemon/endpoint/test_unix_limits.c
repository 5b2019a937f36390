/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hybrid Unix sockets at their limits: descriptors, full backlogs, ports below 1024, and a guest
 * that floods while another one works.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT   5000u
#define FDS    8u
#define NOBODY 65534u
#define FLOOD  20000u

static struct zv_dev *G, *H, *R;
static const char *program;

static bool none_left(void *arg)
{
	return hs_counter("g", "host_accepted") >= 0 && zf_fds() <= *(unsigned *)arg;
}

/* A client that the daemon has taken and joined; -1: it was turned away. */
static int try_client(struct zf_conn **c)
{
	static const char line[] = "CONNECT 5000\n";
	const ssize_t len = sizeof(line) - 1;
	int fd = hs_connect("u", NULL);
	char b;

	assert_true(fd >= 0);
	/* Who is turned away may be so before the line is on its way. */
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len || hs_recv(fd, &b, 1) != 1) {
		close(fd);
		return -1;
	}
	assert_int_equal(b, 'O');
	*c = zf_accept(G, PORT);
	assert_non_null(*c);
	return fd;
}

static void descriptors_of_a_guest_are_limited(void **state)
{
	unsigned before = zf_fds(), n = 0;
	struct zf_conn *c[FDS + 1];
	int fd[FDS + 1], err = 0;

	(void)state;
	while (n <= FDS && (fd[n] = try_client(&c[n])) >= 0)
		n++;
	assert_int_equal(n, FDS);
	assert_true(hs_counter("g", "fd_limit") >= 1);
	/* The guest is refused as well, at once. */
	assert_null(zf_connect(G, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	/* The others are not harmed, and there is room again when they end. */
	assert_true(zf_send(c[0], "x", 1, 0));
	for (unsigned i = 0; i < n; i++) {
		zf_close(c[i]);
		close(fd[i]);
	}
	assert_true(zf_until(none_left, &before));
	fd[0] = try_client(&c[0]);
	assert_true(fd[0] >= 0);
	zf_close(c[0]);
	close(fd[0]);
	assert_true(zf_until(none_left, &before));
}

static void full_backlog_is_waited_for(void **state)
{
	int listener = hs_listen("u_6100", SOCK_STREAM), other, fd;
	struct zv_conn *zc;
	struct zf_conn c = {0};

	(void)state;
	assert_int_equal(listen(listener, 0), 0); /* room for one */
	other = hs_connect("u_6100", NULL);
	assert_true(other >= 0);
	assert_int_equal(zv_connect(zv_queue(G, 0), zf_daemon_cid(G), 6100, ZV_STREAM, &zc), 0);
	zv_set_user(zc, &c);
	for (int i = 0; i < 5000; i++)
		zf_poll();
	assert_false(c.connected);
	assert_int_equal(c.err, 0);
	close(hs_accept(listener));
	fd = hs_accept(listener);
	assert_true(fd >= 0);
	close(fd);
	close(other);
	close(listener);
	zv_conn_close(zc);
}

/* Who listens counts, not who has made the socket: the child has other rights. */
static pid_t listen_as(uid_t uid, int fd)
{
	int ready[2];
	char b = 0;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (pid == 0) { /* touches no device */
		b = setgid(uid) == 0 && setuid(uid) == 0 && listen(fd, 8) == 0;
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* setuid() has forgotten an earlier one */
		(void)!write(ready[1], &b, 1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &b, 1), 1);
	assert_true(b);
	close(ready[0]);
	close(ready[1]);
	return pid;
}

static int bound(const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s", zf_dir, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void low_ports_need_rights(void **state)
{
	int fd, fd_h, err = 0;
	struct zf_conn *c;
	pid_t pid, pid_h;

	(void)state;
	if (geteuid() != 0) {
		print_message("only root can be somebody else\n");
		skip();
	}
	fd = bound("u_80");
	fd_h = bound("v_80");
	pid = listen_as(NOBODY, fd);
	pid_h = listen_as(NOBODY, fd_h);
	assert_null(zf_connect(G, 0, ZV_CID_HOST, 80, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_true(hs_counter("g", "low_port_denied") >= 1);
	c = zf_connect(H, 0, ZV_CID_HOST, 80, ZV_STREAM, &err); /* its low_port_users say so */
	assert_non_null(c);
	zf_close(c);
	kill(pid, SIGKILL);
	kill(pid_h, SIGKILL);
	waitpid(pid, NULL, 0);
	waitpid(pid_h, NULL, 0);
	close(fd);
	close(fd_h);
}

/* What somebody plants beside the hybrid socket leads a guest nowhere else. */
static void links_lead_nowhere(void **state)
{
	static const char *const planted[] = {"u_81", "u_82", "u_83"};
	int listener = hs_listen("target", SOCK_STREAM), own = hs_listen("u_84", SOCK_STREAM), err;
	struct zf_conn *c;
	char from[128], to[128];

	(void)state;
	snprintf(from, sizeof(from), "%starget", zf_dir);
	snprintf(to, sizeof(to), "%su_81", zf_dir);
	assert_int_equal(symlink(from, to), 0);
	snprintf(to, sizeof(to), "%su_82", zf_dir);
	assert_int_equal(symlink("v", to), 0); /* another guest's hybrid socket */
	snprintf(to, sizeof(to), "%su_83", zf_dir);
	assert_int_equal(link(from, to), 0);
	for (unsigned port = 81; port <= 83; port++) {
		err = 0;
		assert_null(zf_connect(G, 0, ZV_CID_HOST, port, ZV_STREAM, &err));
		assert_int_equal(err, -ECONNREFUSED);
	}
	err = 0;
	c = zf_connect(G, 0, ZV_CID_HOST, 84, ZV_STREAM, &err); /* as always */
	assert_non_null(c);
	zf_close(c);
	for (size_t i = 0; i < sizeof(planted) / sizeof(planted[0]); i++) {
		snprintf(to, sizeof(to), "%s%s", zf_dir, planted[i]);
		assert_int_equal(unlink(to), 0);
	}
	close(listener);
	close(own);
}

/* A VM manager has made the directory again: the log says why nobody is found there. */
static void a_removed_directory_is_named(void **state)
{
	char dir[128], path[128];
	int err = 0, listener;

	(void)state;
	snprintf(dir, sizeof(dir), "%sown", zf_dir);
	snprintf(path, sizeof(path), "%sown/w", zf_dir);
	assert_null(zf_connect(R, 0, ZV_CID_HOST, PORT, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(hs_counter("r", "connect_refused"), 1); /* nobody listens, no more */
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%sown/w.lock", zf_dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	listener = hs_listen("own/w_5000", SOCK_STREAM);
	assert_true(listener >= 0);
	assert_null(zf_connect(R, 0, ZV_CID_HOST, PORT, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_true(zf_logged("level=warn .*=r .*own/w_5000: the directory .* has been removed"));
	assert_int_equal(hs_counter("r", "connect_refused"), 1);
	assert_int_equal(hs_counter("r", "connect_failed"), 1);
	close(listener);
	snprintf(path, sizeof(path), "%sown/w_5000", zf_dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void flood_of_requests_hurts_nobody_else(void **state)
{
	int listener = hs_listen("v_6000", SOCK_STREAM), fd, err = 0;
	unsigned before = zf_fds();
	struct zf_conn *c;
	char b;

	(void)state;
	c = zf_connect(H, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err);
	assert_non_null(c);
	fd = hs_accept(listener);
	for (unsigned i = 0; i < FLOOD; i++) {
		struct zv_conn *zc;

		/* Nobody there; closed without a look at the answer. */
		if (zv_connect(zv_queue(G, 0), zf_daemon_cid(G), 6999, ZV_STREAM, &zc) == 0)
			zv_conn_close(zc);
		if (i % 1000)
			continue;
		b = (char)i;
		assert_true(zf_send(c, &b, 1, 0));
		assert_int_equal(hs_recv(fd, &b, 1), 1);
		assert_int_equal(b, (char)i);
	}
	close(fd);
	zf_close(c);
	close(listener);
	assert_true(zf_until(none_left, &before));
}

static int group_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program,
		      "max_fds = 8\n"
		      "[guest g]\ncid = 11\nsocket = @g\nunix = @u\n"
		      "[guest h]\ncid = 12\nsocket = @h\nunix = @v\nlow_port_users = 65534\n"
		      "[guest r]\ncid = 13\nsocket = @r\nunix = @own/w\n",
		      2))
		return -1;
	G = zf_guest(0, "g", 1);
	H = zf_guest(1, "h", 1);
	R = zf_guest(2, "r", 1);
	if (!G || !H || !R || zv_listen(G, PORT, ZV_STREAM, 0))
		return -1;
	(void)hs_counter("g", "host_accepted"); /* the daemon is up */
	for (int i = 0; i < 1000; i++)
		zf_poll();
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
		cmocka_unit_test(descriptors_of_a_guest_are_limited),
		cmocka_unit_test(full_backlog_is_waited_for),
		cmocka_unit_test(low_ports_need_rights),
		cmocka_unit_test(links_lead_nowhere),
		cmocka_unit_test(a_removed_directory_is_named),
		cmocka_unit_test(flood_of_requests_hurts_nobody_else),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
