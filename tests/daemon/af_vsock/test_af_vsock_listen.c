/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_VSOCK programs that listen, and their end; many connections; a reload. */
#include "dropin_side.h"

#include <errno.h>
#include <poll.h>
#include <regex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY UINT32_MAX
#define MANY	200

static const char *program, *zvsockctl;
static struct zv_dev *dev;

static int up(void **state)
{
	(void)state;
	dev = ds_up(program);
	return dev ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	return ds_down() ? 0 : -1;
}

static int ready;

/* ---- listeners ---- */

static void a_full_backlog_refuses(void **state)
{
	int ask = ds_ask(), fd, err = 0;
	struct dropin_msg m;
	struct zf_conn *c[8];
	unsigned n = 0;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 5000, &m); /* a backlog of 1 */
	assert_true(fd >= 0);
	while (n < 8 && (c[n] = zf_connect(dev, 0, ZV_CID_HOST, 5000, ZV_STREAM, &err)))
		n++;
	assert_true(n > 0 && n < 8);
	assert_int_equal(err, -ECONNREFUSED);
	while (n)
		zf_close(c[--n]);
	close(fd);
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 5000, ZV_STREAM, &err));
	close(ask);
}

static void listen_and_wait(const struct dropin_msg *m)
{
	struct dropin_msg b;
	int fd = ds_listen(ds_ask(), SOCK_STREAM, CID_ANY, 6000, &b);

	(void)m;
	if (fd < 0 || write(ready, "", 1) != 1)
		_exit(1);
	pause();
}

static void a_killed_listener_frees_its_port(void **state)
{
	int ask = ds_ask(), fd, pipes[2], err;
	struct dropin_msg m;
	struct zf_conn *c;
	pid_t pid;
	char b;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	ready = pipes[1];
	pid = fork();
	if (pid == 0) {
		listen_and_wait(NULL);
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &b, 1), 1);
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 6000, &m), -EADDRINUSE);
	c = zf_connect(dev, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err);
	assert_non_null(c);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_true(zf_recv(c, &b, 1, NULL) <= 0);
	zf_close(c);
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6000, &m);
	assert_true(fd >= 0);
	c = zf_connect(dev, 0, ZV_CID_HOST, 6000, ZV_STREAM, &err);
	assert_non_null(c);
	zf_close(c);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	close(ask);
}

/* Binds and listens, closes the socket when told, and lives on: as a supervisor that asked for a
 * program. */
static void listen_until_told(int in)
{
	struct dropin_msg m;
	int ask = ds_ask(), fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6001, &m);
	char b;

	close(ask); /* as it does after bind(2) */
	if (fd < 0 || write(ready, "", 1) != 1 || read(in, &b, 1) != 1)
		_exit(1);
	close(fd);
	if (write(ready, "", 1) != 1)
		_exit(1);
	pause();
}

static int bind_question(int ask, uint32_t port, struct dropin_msg *m)
{
	dropin_msg_init(m, DROPIN_BIND);
	m->sock_type = SOCK_STREAM;
	m->local = (struct dropin_addr){CID_ANY, port};
	assert_true(ds_question(ask, m));
	return m->result;
}

/* A program that is stopped before its bind(2) keeps the port: others are told, however late. */
static void a_slow_program_keeps_its_port(void **state)
{
	int slow = ds_ask(), other = ds_ask(), fd, conn;
	struct dropin_msg m, n;
	struct zf_conn *c;

	(void)state;
	assert_int_equal(bind_question(slow, 6010, &m), 0);
	usleep(300000);
	assert_int_equal(bind_question(other, 6010, &n), -EADDRINUSE);
	fd = ds_socket(SOCK_STREAM, m.label);
	assert_true(fd >= 0);
	assert_int_equal(listen(fd, 1), 0);
	close(slow);
	assert_int_equal(bind_question(other, 6010, &n), -EADDRINUSE);
	c = zf_connect(dev, 0, ZV_CID_HOST, 6010, ZV_STREAM, NULL);
	assert_non_null(c);
	conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(conn >= 0);
	zf_close(c);
	close(conn);
	close(fd);
	/* One that hangs up without a bind(2) has had it. */
	slow = ds_ask();
	assert_int_equal(bind_question(slow, 6010, &m), 0);
	assert_int_equal(bind_question(slow, 6010, &m), 0); /* asks again: it has not bound it */
	close(slow);
	while ((fd = ds_listen(other, SOCK_STREAM, CID_ANY, 6010, &n)) == -EADDRINUSE)
		zf_poll(); /* zvsockd may see the one before the other */
	assert_true(fd >= 0);
	close(fd);
	close(other);
}

/* At once, though its bind(2) was a moment ago and who asked for it is alive. */
static void a_closed_listener_frees_its_port(void **state)
{
	int ask = ds_ask(), fd, out[2], in[2];
	struct dropin_msg m;
	struct zf_conn *c;
	pid_t pid;
	char b;

	(void)state;
	assert_int_equal(pipe(out), 0);
	assert_int_equal(pipe(in), 0);
	ready = out[1];
	pid = fork();
	if (pid == 0) {
		listen_until_told(in[0]);
		_exit(0);
	}
	assert_int_equal(read(out[0], &b, 1), 1);
	c = zf_connect(dev, 0, ZV_CID_HOST, 6001, ZV_STREAM, NULL);
	assert_non_null(c);
	assert_int_equal(write(in[1], "", 1), 1);
	assert_int_equal(read(out[0], &b, 1), 1);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6001, &m);
	assert_true(fd >= 0);
	zf_close(c);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fd);
	for (int i = 0; i < 2; i++) {
		close(out[i]);
		close(in[i]);
	}
	close(ask);
}

/* Neither takes a port from the other: an application of the host and a program. */
static void an_application_takes_no_port(void **state)
{
	int ask = ds_ask(), fd;
	struct zv_dev *app = zf_app(2, "apps", 1);
	struct dropin_msg m;

	(void)state;
	assert_non_null(app);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6002, &m);
	assert_true(fd >= 0);
	assert_int_equal(zv_listen(app, 6002, ZV_STREAM, 0), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "an AF_VSOCK program has bound port 6002"));
	assert_int_equal(zv_listen(app, 6003, ZV_STREAM, 0), 0);
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 6003, &m), -EADDRINUSE);
	close(fd);
	assert_int_equal(zv_listen(app, 6002, ZV_STREAM, 0), 0);
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 6002, &m), -EADDRINUSE);
	assert_true(zf_guest_close(2));
	close(ask);
}

/* ---- many, and the daemon's end ---- */

static void two_hundred_at_once(void **state)
{
	int ask = ds_ask(), fd[MANY], got[MANY], listener;
	struct zf_conn *c[MANY], *back[MANY];
	struct dropin_msg m;
	char buf[16];

	(void)state;
	listener = ds_listen(ask, SOCK_STREAM, CID_ANY, 7000, &m);
	assert_int_equal(listen(listener, MANY), 0);
	for (int i = 0; i < MANY; i++) {
		fd[i] = ds_connect(ask, SOCK_STREAM, 3, 80);
		assert_true(fd[i] >= 0);
		c[i] = zf_accept(dev, 80);
		assert_non_null(c[i]);
		back[i] = zf_connect(dev, 0, ZV_CID_HOST, 7000, ZV_STREAM, NULL);
		assert_non_null(back[i]);
		assert_true((got[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(send(fd[i], &i, sizeof(i), 0), sizeof(i));
		assert_int_equal(send(got[i], &i, sizeof(i), 0), sizeof(i));
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(zf_recv(c[i], buf, sizeof(i), NULL), sizeof(i));
		assert_memory_equal(buf, &i, sizeof(i));
		assert_int_equal(zf_recv(back[i], buf, sizeof(i), NULL), sizeof(i));
		assert_memory_equal(buf, &i, sizeof(i));
	}
	for (int i = 0; i < MANY; i++) {
		close(fd[i]);
		close(got[i]);
		zf_close(c[i]);
		zf_close(back[i]);
	}
	close(listener);
	close(ask);
}

static void a_reload_keeps_ports_and_takes_directories(void **state)
{
	static const char other[] = "af_vsock_mode = 0600\naf_vsock = @\nlog_level = debug\n"
				    "[guest a]\ncid = 4\nsocket = @b.sock\n";
	static const char none[] = "log_level = debug\n[guest a]\ncid = 4\nsocket = @b.sock\n";
	int ask = ds_ask(), fd, idle = ds_ask();
	struct zf_conn *c;
	struct dropin_msg m;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 8000, &m);
	assert_true(fd >= 0);
	assert_true(zf_guest_close(0));
	assert_true(zf_reload(other, 2));
	dev = zf_guest(0, "b.sock", 1);
	assert_non_null(dev);
	c = zf_connect(dev, 0, ZV_CID_HOST, 8000, ZV_STREAM, NULL);
	assert_non_null(c);
	zf_close(c);
	assert_int_equal(ds_connect(ask, SOCK_STREAM, 3, 80), -ENODEV);
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	m.result = ds_connect(ask, SOCK_STREAM, 4, 80);
	assert_true(m.result >= 0);
	assert_true(zf_guest_close(0));
	assert_true(zf_reload(none, 2));
	assert_true(ds_hung_up(idle));
	assert_true(ds_hung_up(ask));
	assert_true(ds_hung_up(m.result));
	close(m.result);
	close(fd);
	close(ask);
	close(idle);
}

/*
 * What "zvsockctl ss" prints, in @text: its header, and the lines with a socket of this program or
 * of its zvsockd. It lists the sockets of the whole machine, those of other tests too.
 */
static void ss(char *text, size_t size)
{
	char command[512], line[4096], pids[2][32];
	bool wanted = true; /* the header */
	size_t n = 0;
	FILE *f;

	(void)snprintf(command, sizeof(command), "%s -s %scontrol.sock ss", zvsockctl, zf_dir);
	(void)snprintf(pids[0], sizeof(pids[0]), ",pid=%d,", (int)getpid());
	(void)snprintf(pids[1], sizeof(pids[1]), ",pid=%d,", (int)zf_pid);
	f = popen(command, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (wanted || strstr(line, pids[0]) || strstr(line, pids[1]))
			n += (size_t)snprintf(text + n, size - n, "%s", line);
		assert_true(n < size);
		wanted = false;
	}
	assert_int_equal(pclose(f), 0);
}

/* A line has a match of the extended regular expression @re. */
static bool matches(const char *text, const char *re)
{
	regex_t r;
	bool is;

	assert_int_equal(regcomp(&r, re, REG_EXTENDED | REG_NOSUB | REG_NEWLINE), 0);
	is = regexec(&r, text, 0, NULL, 0) == 0;
	regfree(&r);
	return is;
}

static int at_path(struct sockaddr_un *sa, const char *name, int type, int backlog)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%selsewhere/%s", zf_dir, name);
	if (fd >= 0 &&
	    (bind(fd, (struct sockaddr *)sa, sizeof(*sa)) < 0 || listen(fd, backlog) < 0))
		return -1;
	return fd;
}

/*
 * Anybody can give sockets the names that programs' have, and paths of a directory of his own,
 * whose "ask" nobody serves. It is not asked: ss would wait there for ever.
 */
static void ss_asks_nobody_but_zvsockd(void **state)
{
	int ask = ds_ask(), stream, other, mine, got, full[8];
	struct sockaddr_un sa, where;
	static char text[65536];
	struct dropin_msg b;
	char dir[128];

	(void)state;
	(void)snprintf(dir, sizeof(dir), "%selsewhere", zf_dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	other = at_path(&sa, "ask", SOCK_SEQPACKET, 0);
	for (unsigned i = 0; i < 8; i++) { /* its backlog is full */
		full[i] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(full[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	stream = at_path(&where, "stream", SOCK_STREAM, 1);
	dropin_msg_init(&b, DROPIN_BIND);
	b.sock_type = SOCK_STREAM;
	b.local = (struct dropin_addr){CID_ANY, 903};
	assert_true(ds_question(ask, &b));
	mine = ds_socket(SOCK_STREAM, b.label);
	assert_true(other >= 0 && stream >= 0 && mine >= 0);
	assert_int_equal(connect(mine, (struct sockaddr *)&where, sizeof(where)), 0);
	got = accept4(stream, NULL, NULL,
		      SOCK_CLOEXEC); /* before that the kernel does not say who has it */
	assert_true(got >= 0);
	ss(text, sizeof(text));
	assert_true(matches(text, "^v_str +ESTAB +0 +0 +\\*:903 +\\*:\\* +users:"));
	for (unsigned i = 0; i < 8; i++)
		close(full[i]);
	close(mine);
	close(got);
	close(stream);
	close(other);
	close(ask);
	assert_int_equal(unlink(sa.sun_path) + unlink(where.sun_path) + rmdir(dir), 0);
}

static void ss_shows_what_programs_have(void **state)
{
	static char text[65536];
	int ask = ds_ask(), fd, got, out, bound;
	char line[256];
	struct dropin_msg m, b;
	struct zf_conn *c;

	(void)state;
	fd = ds_listen(ask, SOCK_SEQPACKET, CID_ANY, 9000, &m);
	c = zf_connect(dev, 0, ZV_CID_HOST, 9000, ZV_SEQPACKET, NULL);
	got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	out = ds_connect(ask, SOCK_STREAM, 3, 80);
	assert_true(fd >= 0 && c && got >= 0 && out >= 0);
	dropin_msg_init(&b, DROPIN_BIND);
	b.sock_type = SOCK_STREAM;
	b.local = (struct dropin_addr){CID_ANY, 901};
	assert_true(ds_question(ask, &b));
	bound = ds_socket(SOCK_STREAM, b.label);
	ss(text, sizeof(text));
	print_message("%s", text);
	(void)snprintf(line, sizeof(line), ",pid=%d,", (int)zf_pid);
	assert_null(strstr(text, line)); /* none of zvsockd's own ends */
	assert_true(matches(text, "^Netid +State +Recv-Q +Send-Q +Local Address:Port +"
				  "Peer Address:Port +Process$"));
	(void)snprintf(line, sizeof(line),
		       "^v_seq +LISTEN +0 +[0-9]+ +\\*:9000 +\\*:\\* +users:\\(\\(\"[^\"]+\","
		       "pid=%d,fd=%d\\)\\)$",
		       (int)getpid(), fd);
	assert_true(matches(text, line));
	assert_true(matches(text, "^v_seq +ESTAB +0 +0 +2:9000 +3:[0-9]+ +users:"));
	(void)snprintf(line, sizeof(line), "^v_str +ESTAB +0 +0 +2:[0-9]+ +3:80 +users:.*fd=%d\\)",
		       out);
	assert_true(matches(text, line));
	assert_true(matches(text, "^v_str +UNCONN +0 +0 +\\*:901 +\\*:\\* +users:"));
	ds_connect_msg(&m, SOCK_STREAM, 3, 80);
	memcpy(m.label, b.label, sizeof(m.label));
	assert_true(ds_question(ask, &m));
	assert_int_equal(ds_join(bound, SOCK_STREAM), 0);
	ss(text, sizeof(text));
	assert_true(matches(text, "^v_str +ESTAB +0 +0 +2:901 +3:80 +users:"));
	zf_close(c);
	close(got);
	close(out);
	close(bound);
	close(fd);
	close(ask);
}

static int down_only(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(a_full_backlog_refuses),
		T(a_killed_listener_frees_its_port),
		T(a_closed_listener_frees_its_port),
		T(a_slow_program_keeps_its_port),
		T(an_application_takes_no_port),
		T(two_hundred_at_once),
		T(ss_shows_what_programs_have),
		T(ss_asks_nobody_but_zvsockd),
		cmocka_unit_test_setup_teardown(a_reload_keeps_ports_and_takes_directories, up,
						down_only),
	};

	if (argc < 3)
		return 2;
	program = argv[1];
	zvsockctl = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
