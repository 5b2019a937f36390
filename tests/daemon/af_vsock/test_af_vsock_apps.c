/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK programs and applications of the host (`daemon:`) on one machine, with a real zvsockd
 * that has no guest: connections both ways, their ports and addresses, who is refused.
 * "test_daemon_af_vsock_apps app URI" is an application that listens until it is killed, "...
 * hidden URI" one of another user.
 */
#include "dropin_side.h"
#include "host_side.h"

#include <errno.h>
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

#define PORT	5000u
#define CID_ANY UINT32_MAX
#define OTHER	54321 /* a uid and a gid */
#define LARGE	(300u << 10)

static const uint32_t cids[] = {ZV_CID_LOCAL, ZV_CID_HOST};
static struct zv_dev *app;
static const char *program, *self;
static int ask;

static int up_with(const char *conf)
{
	app = ds_up_apps(program, conf, 2, &ask);
	return app ? 0 : -1;
}

/* Both may be used by everybody: each test of other users restricts one of them. */
static int up(void **state)
{
	(void)state;
	return up_with(DS_APPS_CONF("0666", "0666"));
}

static int up_apps_closed(void **state)
{
	(void)state;
	return up_with(DS_APPS_CONF("0600", "0666"));
}

static int up_dir_closed(void **state)
{
	(void)state;
	return up_with(DS_APPS_CONF("0666", "0600"));
}

static int down(void **state)
{
	(void)state;
	close(ask);
	return zf_stop() ? 0 : -1;
}

static int type_of(enum zv_type type)
{
	return type == ZV_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
}

static uint32_t eom(enum zv_type type)
{
	return type == ZV_SEQPACKET ? ZV_EOM : 0;
}

/* What the program's socket receives; polls the application meanwhile. */
static ssize_t program_recv(int fd, void *buf, size_t len)
{
	return ds_poll(fd, POLLIN) ? recv(fd, buf, len, 0) : -ETIMEDOUT;
}

/* Both ways, and an end of each direction by itself. */
static void converse(int fd, struct zf_conn *c, enum zv_type type)
{
	static uint8_t large[LARGE], got[LARGE];
	const size_t len = type == ZV_STREAM ? LARGE : LARGE / 8;
	char buf[64];
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		large[i] = (uint8_t)(i * 31 + (i >> 8));
	assert_int_equal(send(fd, "question", 8, MSG_NOSIGNAL), 8);
	assert_int_equal(zf_recv(c, buf, type == ZV_STREAM ? 8 : sizeof(buf), NULL), 8);
	assert_memory_equal(buf, "question", 8);
	assert_true(zf_send(c, large, len, eom(type)));
	while (n < len) {
		ssize_t ret = program_recv(fd, got + n, len - n);

		assert_true(ret > 0);
		n += (size_t)ret;
	}
	assert_memory_equal(got, large, len);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_int_equal(zf_recv(c, buf, sizeof(buf), NULL), 0);
	assert_true(zf_send(c, "half closed", 11, eom(type)));
	assert_int_equal(program_recv(fd, buf, sizeof(buf)), 11);
	assert_int_equal(zv_shutdown(c->c, SHUT_WR), 0);
	assert_int_equal(program_recv(fd, buf, sizeof(buf)), 0);
	zf_close(c);
	close(fd);
}

static struct zv_conn_info info_of(const struct zf_conn *c)
{
	struct zv_conn_info ci = {.size = sizeof(ci)};

	assert_int_equal(zv_conn_info(c->c, &ci), 0);
	return ci;
}

/* The application is this process too: on a busy machine it may not answer in time. */
static int connect_app(int type, uint32_t cid)
{
	int fd = -ETIMEDOUT;

	while (fd == -ETIMEDOUT)
		fd = ds_connect(ask, type, cid, PORT);
	return fd;
}

static void programs_reach_an_application(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const enum zv_type type = i / 2 ? ZV_SEQPACKET : ZV_STREAM;
		const uint32_t cid = cids[i % 2];
		struct dropin_label own;
		struct zf_conn *c;
		int fd;

		assert_int_equal(ds_connect(ask, type_of(type), cid, PORT), -ECONNRESET);
		assert_int_equal(zv_listen(app, PORT, type, 0), 0);
		/* of the other type nobody listens */
		assert_int_equal(ds_connect(ask, type == ZV_STREAM ? SOCK_SEQPACKET : SOCK_STREAM,
					    cid, PORT),
				 -ECONNRESET);
		fd = connect_app(type_of(type), cid);
		assert_true(fd >= 0);
		c = zf_accept(app, PORT);
		assert_non_null(c);
		assert_true(ds_own(fd, &own));
		assert_int_equal(own.local.cid, cid);
		assert_int_equal(own.remote.cid, cid);
		assert_int_equal(own.remote.port, PORT);
		assert_int_equal(info_of(c).peer_cid, ZV_CID_HOST);
		assert_int_equal(info_of(c).peer_port, own.local.port);
		converse(fd, c, type);
		assert_int_equal(zv_unlisten(app, PORT), 0);
	}
}

static void a_program_does_not_wait(void **state)
{
	struct dropin_msg m, filled;
	struct zf_conn *c;
	int fd;

	(void)state;
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	ds_connect_msg(&m, SOCK_STREAM, ZV_CID_LOCAL, PORT);
	m.flags = DROPIN_NONBLOCK;
	assert_true(ds_question(ask, &m));
	assert_int_equal(m.result, 0);
	assert_int_equal(m.flags & DROPIN_LOCAL, 0);
	fd = ds_pending(SOCK_STREAM, m.label, &filled);
	assert_true(fd >= 0);
	assert_true(ds_question(ask, &filled));
	assert_int_equal(filled.result, 0);
	c = zf_accept(app, PORT);
	assert_non_null(c);
	assert_true(ds_poll(fd, POLLOUT) & POLLOUT);
	converse(fd, c, ZV_STREAM);
	/* Nobody listens: that is told later, too, or at once. */
	assert_int_equal(zv_unlisten(app, PORT), 0);
	ds_connect_msg(&m, SOCK_STREAM, ZV_CID_LOCAL, PORT);
	m.flags = DROPIN_NONBLOCK;
	assert_true(ds_question(ask, &m));
	assert_int_equal(m.result, -ECONNRESET);
}

static void an_application_reaches_programs(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const enum zv_type type = i / 2 ? ZV_SEQPACKET : ZV_STREAM;
		struct dropin_msg m;
		struct dropin_label peer;
		struct zf_conn *c;
		int listener, fd, err;

		assert_null(zf_connect(app, i % 2, cids[i % 2], PORT, type, &err));
		assert_int_equal(err, -ECONNREFUSED);
		listener = ds_listen(ask, type_of(type), i / 2 ? CID_ANY : cids[i % 2], PORT, &m);
		assert_true(listener >= 0);
		assert_null(zf_connect(app, i % 2, cids[i % 2], PORT,
				       type == ZV_STREAM ? ZV_SEQPACKET : ZV_STREAM, &err));
		assert_int_equal(err, -ECONNREFUSED);
		c = zf_connect(app, i % 2, cids[i % 2], PORT, type, &err);
		assert_non_null(c);
		fd = accept(listener, NULL, NULL);
		assert_true(fd >= 0);
		assert_true(ds_peer(fd, &peer));
		assert_int_equal(peer.view, 'Z');
		assert_int_equal(peer.local.cid, cids[i % 2]);
		assert_int_equal(peer.local.port, PORT);
		assert_int_equal(peer.remote.cid, cids[i % 2]);
		assert_int_equal(peer.remote.port, info_of(c).local_port);
		converse(fd, c, type);
		close(listener);
	}
}

/* It would be taken for a privileged program, or for the one that listens there. */
static void an_application_passes_for_nobody_else(void **state)
{
	struct zv_dev *other = zf_app(1, "apps", 1);
	struct dropin_msg m;
	int listener = ds_listen(ask, SOCK_STREAM, CID_ANY, PORT, &m), victim, at_host;
	const uint32_t ports[] = {80, PORT + 1, PORT + 2, PORT + 3};

	(void)state;
	assert_non_null(other);
	victim = ds_listen(ask, SOCK_STREAM, CID_ANY, PORT + 1, &m);
	at_host =
		ds_listen(ask, SOCK_STREAM, ZV_CID_HOST, PORT + 3, &m); /* not where it connects */
	assert_true(listener >= 0 && victim >= 0 && at_host >= 0);
	assert_int_equal(zv_listen(other, PORT + 2, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		struct dropin_label peer;
		struct zv_conn *c;
		int fd;

		assert_int_equal(zv_connect_from(zv_queue(app, 0), 0, ports[i], ZV_CID_LOCAL, PORT,
						 ZV_STREAM, &c),
				 0);
		assert_true(ds_poll(listener, POLLIN));
		fd = accept(listener, NULL, NULL);
		assert_true(ds_peer(fd, &peer));
		assert_int_not_equal(peer.remote.port, ports[i]);
		assert_true(peer.remote.port >= 1024);
		zv_conn_reset(c);
		close(fd);
	}
	/* Its own port is its own. */
	assert_int_equal(zv_unlisten(other, PORT + 2), 0);
	assert_true(zf_guest_close(1));
	close(at_host);
	close(victim);
	close(listener);
}

static void a_port_is_of_one_of_them(void **state)
{
	static const uint32_t at[] = {ZV_CID_LOCAL, ZV_CID_HOST, CID_ANY};
	struct dropin_msg m;
	int fd;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
		assert_int_equal(ds_listen(ask, SOCK_STREAM, at[i], PORT, &m), -EADDRINUSE);
		assert_non_null(strstr(m.text, "an application of zvsockd listens on port 5000"));
		assert_int_equal(zv_unlisten(app, PORT), 0);
		fd = ds_listen(ask, SOCK_STREAM, at[i], PORT, &m);
		assert_true(fd >= 0);
		assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), -EADDRINUSE);
		assert_non_null(strstr(zv_error_text(), "an AF_VSOCK program has bound port 5000"));
		close(fd);
	}
}

/* ---- an end that comes without warning ---- */

static int be_app(const char *uri)
{
	struct zv_event ev[8];
	struct zv_conn *c;
	struct zv_dev *dev;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves it behind */
	if (zv_open(&dev, uri, NULL) || zv_listen(dev, PORT, ZV_STREAM, 0)) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	for (;;) {
		(void)zv_wait(zv_queue(dev, 0), ev, 8, UINT64_MAX);
		(void)zv_accept(zv_queue(dev, 0), ZV_PORT_ANY, &c);
	}
}

static pid_t start_other(const char *what)
{
	char uri[128];
	pid_t pid;

	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	pid = fork();
	if (pid == 0) {
		execl(self, self, what, uri, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static bool reached(void *arg)
{
	int *fd = arg;

	*fd = ds_connect(ask, SOCK_STREAM, ZV_CID_LOCAL, PORT);
	return *fd >= 0;
}

static void a_killed_application_is_missed(void **state)
{
	pid_t pid = start_other("app");
	struct dropin_msg m;
	int fd;

	(void)state;
	assert_true(zf_until(reached, &fd));
	/* Its port is free, whether zvsockd has read of its end or not. */
	zf_asleep();
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = SOCK_STREAM;
	m.local = (struct dropin_addr){CID_ANY, PORT};
	ds_send(ask, &m);
	zf_awake();
	assert_true(ds_answer(ask, &m));
	assert_int_equal(m.result, 0);
	assert_true(ds_hung_up(fd));
	close(fd);
}

static bool failed(void *arg)
{
	return ((struct zf_conn *)arg)->err;
}

static struct dropin_msg bound; /* the answer to BIND */

static bool reloaded(void *arg)
{
	return zf_log_lines("the new configuration is in force") > *(unsigned *)arg;
}

static void reload(const char *conf)
{
	unsigned before = zf_log_lines("the new configuration is in force");

	assert_true(zf_reload(conf, 2));
	assert_true(zf_until(reloaded, &before));
}

static bool connected(void *arg)
{
	struct zf_conn **c = arg;
	int err;

	*c = zf_connect(app, 0, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	return *c;
}

/* Whoever was in the directory attaches again, and is in no other; then it comes back. */
static void a_reload_takes_the_directory_away(void **state)
{
	struct zf_conn *c;
	int listener = ds_listen(ask, SOCK_STREAM, CID_ANY, PORT, &bound), fd;
	char b;

	(void)state;
	assert_true(listener >= 0);
	assert_true(connected(&c));
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	reload(DS_APPS_CONF("0666", "0666") "drain_ms = 1\n"); /* nothing that concerns them */
	assert_true(zf_send(c, "x", 1, 0));
	assert_int_equal(program_recv(fd, &b, 1), 1);
	/* Whether there are applications is not for a reload: those that there are stay. */
	reload("af_vsock = @\naf_vsock_mode = 0666\nlog_level = debug\n"
	       "[guest a]\ncid = 5\nsocket = @a\n");
	assert_true(zf_logged("changed, but in force only after a restart: applications"));
	assert_true(zf_send(c, "y", 1, 0) && program_recv(fd, &b, 1) == 1);
	reload("applications = @apps\napplications_mode = 0666\nlog_level = debug\n");
	assert_true(zf_until(failed, c));
	assert_int_equal(c->err, -ECONNRESET);
	assert_true(ds_hung_up(fd));
	zf_close(c);
	close(fd);
	close(listener);
	close(ask);
	reload(DS_APPS_CONF("0666", "0666"));
	ask = ds_ask();
	listener = ds_listen(ask, SOCK_STREAM, CID_ANY, PORT, &bound);
	assert_true(listener >= 0);
	assert_true(zf_guest_close(0)); /* it has attached again in between, without a directory */
	app = zf_app(0, "apps", 1);
	assert_non_null(app);
	assert_true(zf_until(connected, &c));
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	converse(fd, c, ZV_STREAM);
	close(listener);
}

/* ---- other users ---- */

static void needs_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("no other user can be had without root\n");
	skip();
}

/* In a child, which must not poll the application of its parent. */
static void is_refused(const struct dropin_msg *m)
{
	struct dropin_msg answer = *m;
	int fd = ds_ask_alone();

	if (fd < 0 || ds_question_alone(fd, &answer))
		_exit(1);
	if (answer.result != -ECONNRESET || !strstr(answer.text, "who may attach"))
		_exit(2);
}

static unsigned long counter(const char *name)
{
	char said[16384] = "", key[64];
	int fd = hs_connect("control.sock", "{\"v\":1,\"cmd\":\"stats\"}\n");
	const char *at;

	assert_true(fd >= 0);
	for (size_t n = 0; !strchr(said, '\n'); n++)
		assert_true(n < sizeof(said) - 1 && hs_recv(fd, said + n, 1) == 1);
	close(fd);
	snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(said, key);
	assert_non_null(at);
	return strtoul(at + strlen(key), NULL, 10);
}

static void a_user_who_may_not_attach_reaches_no_application(void **state)
{
	struct dropin_msg m;
	int fd;

	(void)state;
	needs_root();
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 4; i++) {
		ds_connect_msg(&m, SOCK_STREAM, cids[i % 2], PORT);
		m.flags = i / 2 ? DROPIN_NONBLOCK : 0;
		assert_int_equal(ds_as(OTHER, is_refused, &m), 0);
	}
	assert_int_equal(counter("app_not_admitted"), 4);
	fd = connect_app(SOCK_STREAM, ZV_CID_LOCAL);
	assert_true(fd >= 0);
	close(fd);
}

/* An application of another user, who may not use the directory. */
static int be_hidden(const char *uri)
{
	const struct zv_opts o = {.size = sizeof(o), .connect_timeout_ns = UINT64_MAX};
	struct zv_event ev = {0};
	struct zv_conn *c;
	struct zv_dev *dev;

	if (setresgid(OTHER, OTHER, OTHER) || setresuid(OTHER, OTHER, OTHER) ||
	    zv_open(&dev, uri, &o) ||
	    zv_connect(zv_queue(dev, 0), ZV_CID_LOCAL, PORT, ZV_STREAM, &c)) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	while (!(ev.events & (ZV_EV_CONNECT | ZV_EV_ERR)))
		(void)zv_wait(zv_queue(dev, 0), &ev, 1, UINT64_MAX);
	zv_conn_close(c);
	zv_close(dev);
	return ev.err == -ECONNREFUSED ? 0 : 2;
}

static void a_user_who_may_not_use_the_directory_reaches_no_program(void **state)
{
	int listener = ds_listen(ask, SOCK_STREAM, CID_ANY, PORT, &bound), status;
	struct zf_conn *c;
	pid_t pid;

	(void)state;
	needs_root();
	assert_true(listener >= 0);
	pid = start_other("hidden");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(zf_logged("uid 54321 may not use .*it does not reach AF_VSOCK programs"));
	assert_true(connected(&c));
	zf_close(c);
	close(listener);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(programs_reach_an_application, up, down),
		cmocka_unit_test_setup_teardown(a_program_does_not_wait, up, down),
		cmocka_unit_test_setup_teardown(an_application_reaches_programs, up, down),
		cmocka_unit_test_setup_teardown(an_application_passes_for_nobody_else, up, down),
		cmocka_unit_test_setup_teardown(a_port_is_of_one_of_them, up, down),
		cmocka_unit_test_setup_teardown(a_killed_application_is_missed, up, down),
		cmocka_unit_test_setup_teardown(a_reload_takes_the_directory_away, up, down),
		cmocka_unit_test_setup_teardown(a_user_who_may_not_attach_reaches_no_application,
						up_apps_closed, down),
		cmocka_unit_test_setup_teardown(
			a_user_who_may_not_use_the_directory_reaches_no_program, up_dir_closed,
			down),
	};

	if (argc == 3 && strcmp(argv[1], "app") == 0)
		return be_app(argv[2]);
	if (argc == 3 && strcmp(argv[1], "hidden") == 0)
		return be_hidden(argv[2]);
	if (argc < 2)
		return 2;
	self = argv[0];
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
