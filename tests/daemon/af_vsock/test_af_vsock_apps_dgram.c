/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams between AF_VSOCK programs and applications of the host (`daemon:`) on one machine, with
 * a real zvsockd that has no guest: their addresses both ways, who is refused, what is lost.
 * "test_daemon_af_vsock_apps_dgram hidden URI" is an application of another user.
 */
#include "dgram_side.h"
#include "dropin_side.h"
#include "host_side.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	5000u
#define OWN	6000u
#define CID_ANY UINT32_MAX
#define OTHER	54321 /* a uid and a gid */
#define FLOOD	2000

#define FOR_USERS(uids) DS_APPS_CONF("0666", "0666") "application_users = " uids "\n"

static const uint32_t cids[] = {ZV_CID_LOCAL, ZV_CID_HOST};
static struct zv_dev *app;
static const char *program, *self;
static unsigned lcores;
static int ask;
static char sent[DROPIN_DGRAM_MAX];

static int up_with(const char *conf)
{
	app = ds_up_apps(program, conf, lcores, &ask);
	return app && zf_until(dg_ready, app) ? 0 : -1;
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

static int up_for_users(void **state)
{
	(void)state;
	return up_with(FOR_USERS("1"));
}

static int down(void **state)
{
	(void)state;
	close(ask);
	return zf_stop() ? 0 : -1;
}

static void expect(int fd, const void *data, size_t len, uint32_t cid, uint32_t port)
{
	static char got[DROPIN_DGRAM_MAX];
	struct dropin_label from;

	assert_int_equal(ds_dgram_recv(fd, got, sizeof(got), &from), len);
	assert_memory_equal(got, data, len);
	assert_int_equal(from.view, 'Z');
	assert_int_equal(from.remote.cid, cid);
	assert_int_equal(from.remote.port, port);
	assert_int_equal(from.local.cid, cid);
}

/* From the program's socket to the application, which answers. */
static void question_and_answer(int fd, const struct dropin_msg *m, uint32_t cid, size_t len)
{
	struct zv_dgram_addr a;

	memset(sent, 'a' + (int)(len % 26), len);
	assert_true(ds_dgram_send(fd, m, cid, PORT, sent, len));
	a = dg_expect(app, PORT, sent, len);
	assert_int_equal(a.peer_cid, ZV_CID_HOST);
	assert_int_equal(a.peer_port, m->local.port);
	assert_int_equal(a.local_cid, ZV_CID_HOST);
	if (!len) /* none of that size reaches a program */
		return;
	assert_int_equal(zv_dgram_send(zv_queue(app, 0), &a, sent, len, 0), len);
	expect(fd, sent, len, cid, PORT);
}

static void there_and_back(void **state)
{
	static const size_t sizes[] = {0, 1, 4000, 30000, DROPIN_DGRAM_MAX};

	(void)state;
	dg_bind(app, PORT);
	for (unsigned i = 0; i < 4; i++) {
		struct dropin_msg m;
		/* bound at any CID, and at another than it sends to */
		int fd = ds_dgram(ask, i / 2 ? CID_ANY : cids[!(i % 2)], OWN, &m);

		assert_true(fd >= 0);
		for (unsigned k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++)
			question_and_answer(fd, &m, cids[i % 2], sizes[k]);
		/* each is as long as it was sent, and none overtakes another */
		assert_true(ds_dgram_send(fd, &m, cids[i % 2], PORT, "first", 5));
		assert_true(ds_dgram_send(fd, &m, cids[i % 2], PORT, "2nd", 3));
		dg_expect(app, PORT, "first", 5);
		dg_expect(app, PORT, "2nd", 3);
		close(fd);
	}
	assert_true(hs_counter_becomes("app.0", "af_vsock_dgrams_lost", 0));
	assert_true(hs_counter_becomes("app.0", "dgram_lost", 0));
}

/* To programs that have sent nothing yet. */
static void an_application_speaks_first(void **state)
{
	uint32_t mine = dg_bind(app, ZV_PORT_ANY);

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const uint32_t cid = cids[i % 2];
		struct dropin_msg m;
		int fd = ds_dgram(ask, i / 2 ? CID_ANY : cid, OWN, &m);

		assert_true(fd >= 0);
		assert_int_equal(dg_send(app, mine, cid, OWN, "hello", 5), 5);
		expect(fd, "hello", 5, cid, mine);
		close(fd);
	}
}

/* What is sent back comes from the address that it is connected to. */
static void connected_programs(void **state)
{
	(void)state;
	dg_bind(app, PORT);
	for (unsigned i = 0; i < 2; i++) {
		struct dropin_msg bound, m;
		int fd = ds_dgram(ask, CID_ANY, OWN, &bound);
		struct zv_dgram_addr a;

		assert_true(fd >= 0);
		ds_connect_msg(&m, SOCK_DGRAM, cids[i], PORT);
		memcpy(m.label, bound.label, sizeof(m.label));
		assert_true(ds_question(ask, &m));
		assert_int_equal(m.result, 0);
		assert_int_equal(m.local.cid, cids[i]);
		assert_int_equal(ds_to(fd, m.where), 0);
		/* it has not sent anything */
		assert_int_equal(dg_send(app, PORT, ZV_CID_HOST, OWN, "early", 5), 5);
		expect(fd, "early", 5, cids[i], PORT);
		assert_int_equal(send(fd, "connected", 9, 0), 9);
		a = dg_expect(app, PORT, "connected", 9);
		assert_int_equal(a.peer_port, OWN);
		assert_int_equal(zv_dgram_send(zv_queue(app, 0), &a, "answer", 6, 0), 6);
		expect(fd, "answer", 6, cids[i], PORT);
		close(fd);
	}
}

static void to_nobody(void **state)
{
	uint32_t mine = dg_bind(app, ZV_PORT_ANY);
	struct dropin_msg m;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m);

	(void)state;
	assert_true(fd >= 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(dg_send(app, mine, cids[i], PORT, "x", 1), 1);
	assert_true(hs_counter_becomes("app.0", "af_vsock_dgrams_lost", 2));
	/* none that is empty reaches a program */
	assert_int_equal(dg_send(app, mine, ZV_CID_HOST, OWN, "", 0), 0);
	assert_true(hs_counter_becomes("app.0", "af_vsock_dgrams_lost", 3));
	close(fd);
}

/* ---- too many ---- */

/* A byte there and back on the connection. */
static void on_the_stream(int stream, struct zf_conn *c, char byte)
{
	char b;

	assert_int_equal(send(stream, &byte, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
	assert_int_equal(b, byte);
	assert_true(zf_send(c, &byte, 1, 0));
	assert_true(ds_poll(stream, POLLIN));
	assert_int_equal(recv(stream, &b, 1, 0), 1);
	assert_int_equal(b, byte);
}

/* As for guests: what finds no room is lost and counted, and a connection goes on beside it. */
static void floods(void **state)
{
	struct dropin_msg m;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m), stream;
	struct zf_conn *c;

	(void)state;
	assert_true(fd >= 0);
	dg_bind(app, PORT);
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	do /* the application is this process too */
		stream = ds_connect(ask, SOCK_STREAM, ZV_CID_LOCAL, PORT);
	while (stream == -ETIMEDOUT);
	c = zf_accept(app, PORT);
	assert_true(stream >= 0 && c);
	/* The program reads nothing. */
	for (int i = 0; i < FLOOD || !hs_counter("app.0", "af_vsock_dgrams_lost"); i++) {
		(void)dg_send(app, PORT, ZV_CID_HOST, OWN, sent, 4000);
		if (i % 2)
			assert_true(ds_dgram_send(fd, &m, ZV_CID_LOCAL, PORT, sent, 4000));
		zf_poll();
		if (i % 50 == 0)
			on_the_stream(stream, c, (char)i);
	}
	assert_true(hs_counter("app.0", "af_vsock_dgrams") > 0);
	zf_close(c);
	close(stream);
	close(fd);
}

/* It holds up nobody, and its port is free for a program. */
static void an_application_that_goes(void **state)
{
	struct dropin_msg m, bound;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m), other = -EADDRINUSE;

	(void)state;
	assert_true(fd >= 0);
	dg_bind(app, PORT);
	for (int i = 0; i < FLOOD; i++) {
		assert_true(ds_dgram_send(fd, &m, ZV_CID_LOCAL, PORT, sent, 4000));
		if (i < FLOOD / 2)
			(void)dg_send(app, PORT, ZV_CID_HOST, OWN, sent, 4000);
		if (i == FLOOD / 2)
			assert_true(zf_guest_close(0));
		zf_poll();
	}
	while (other == -EADDRINUSE)
		other = ds_dgram(ask, CID_ANY, PORT, &bound);
	assert_true(other >= 0);
	close(other);
	close(fd);
}

/* ---- zvsockd is started again ---- */

static bool arrives(void *arg)
{
	struct dg_wait w = {.dev = app, .port = PORT};
	const struct dropin_msg *m = arg;
	struct dropin_msg reach;

	/* The application's port may not have been announced again yet. */
	ds_about(&reach, DROPIN_REACH, m->label);
	reach.sock_type = SOCK_DGRAM;
	reach.remote.cid = ZV_CID_LOCAL;
	assert_true(ds_question(ask, &reach));
	assert_int_equal(reach.result, 0);
	assert_true(ds_dgram_send((int)m->error, m, ZV_CID_LOCAL, PORT, "again", 5));
	zf_poll();
	return dg_arrived(&w) && w.len == 5;
}

/* Both sides go on; and a port that a program has kept is not the application's that has meanwhile
 * bound it, so that it cannot send from there. */
static void zvsockd_is_killed(void **state)
{
	struct dropin_msg m, kept;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m), keeper = ds_dgram(ask, CID_ANY, PORT + 1, &kept);

	(void)state;
	assert_true(fd >= 0 && keeper >= 0);
	dg_bind(app, PORT);
	question_and_answer(fd, &m, ZV_CID_LOCAL, 100);
	close(ask);
	assert_true(zf_kill());
	assert_true(zf_until(dg_away, app));
	dg_bind(app, PORT + 1);
	assert_true(zf_start_again(program));
	assert_true(zf_until(dg_back, app));
	ask = ds_ask(); /* not earlier: what is left of the first zvsockd might still accept */
	assert_true(ask >= 0);
	m.error = fd;
	assert_true(zf_until(arrives, &m));
	assert_int_equal(hs_counter("app.0", "dgram_lost"), 0);
	assert_int_equal(dg_send(app, PORT + 1, ZV_CID_HOST, OWN, "false", 5), 5);
	assert_true(hs_counter_becomes("app.0", "dgram_lost", 1));
	assert_int_equal(hs_counter("app.0", "af_vsock_dgrams_lost"), 0);
	close(keeper);
	close(fd);
}

/* ---- other users ---- */

static void needs_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("no other user can be had without root\n");
	skip();
}

/* What a program of another user does, in a child, which must not poll the application of its
 * parent. */
struct other {
	struct dropin_msg bound;
	int ask, fd;
};

static void other_binds(struct other *o)
{
	struct dropin_msg m;

	o->ask = ds_ask_alone();
	dropin_msg_init(&o->bound, DROPIN_BIND);
	o->bound.sock_type = SOCK_DGRAM;
	o->bound.local = (struct dropin_addr){CID_ANY, CID_ANY};
	if (o->ask < 0 || !ds_question_alone(o->ask, &o->bound))
		_exit(1);
	o->fd = ds_socket(SOCK_DGRAM, o->bound.label);
	ds_about(&m, DROPIN_BOUND, o->bound.label);
	if (o->fd < 0 || !ds_question_alone(o->ask, &m))
		_exit(2);
}

/* Whether CID 1 takes datagrams. */
static void other_asks(const struct other *o)
{
	struct dropin_msg m;

	ds_about(&m, DROPIN_REACH, o->bound.label);
	m.remote.cid = ZV_CID_LOCAL;
	if (!ds_question_alone(o->ask, &m))
		_exit(3);
}

static void other_sends(const struct other *o, uint32_t cid)
{
	if (!ds_dgram_send(o->fd, &o->bound, cid, PORT, "other", 5))
		_exit(4);
}

/* In each way that there is. */
static void be_other(const struct dropin_msg *unused)
{
	struct dropin_msg m;
	struct other o;

	(void)unused;
	other_binds(&o);
	other_sends(&o, ZV_CID_LOCAL);
	other_asks(&o);
	other_sends(&o, ZV_CID_HOST);
	ds_connect_msg(&m, SOCK_DGRAM, ZV_CID_LOCAL, PORT);
	memcpy(m.label, o.bound.label, sizeof(m.label));
	if (!ds_question_alone(o.ask, &m) || ds_to(o.fd, m.where) || send(o.fd, "other", 5, 0) != 5)
		_exit(5);
}

static void reload(const char *conf, unsigned times)
{
	assert_true(zf_reload(conf, lcores));
	while (zf_log_lines("the new configuration is in force") < times)
		zf_poll();
}

static void a_user_who_may_not_attach_reaches_no_application(void **state)
{
	struct dg_wait w = {.dev = app, .port = PORT};
	struct dropin_msg m;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m);

	(void)state;
	needs_root();
	assert_true(fd >= 0);
	dg_bind(app, PORT);
	assert_int_equal(ds_as(OTHER, be_other, NULL), 0);
	assert_true(hs_counter_becomes("app.0", "app_not_admitted", 3));
	assert_true(zf_logged("a datagram of uid 54321 to port 5000 is dropped: only users who"));
	assert_false(dg_arrived(&w));
	question_and_answer(fd, &m, ZV_CID_LOCAL, 10);
	close(fd);
}

/* Goes on whenever its parent says so. */
static void be_asked(int told)
{
	struct other o;
	char what;

	if (setresgid(OTHER, OTHER, OTHER) || setresuid(OTHER, OTHER, OTHER))
		_exit(99);
	other_binds(&o);
	while (read(told, &what, 1) == 1) {
		if (what == '?')
			other_asks(&o);
		other_sends(&o, ZV_CID_LOCAL);
	}
	_exit(0);
}

/* A port that is bound: REACH, which a program asks once a second while it sends, decides again. */
static void permission_is_asked_for_again(void **state)
{
	int told[2], status;
	pid_t pid;

	(void)state;
	needs_root();
	dg_bind(app, PORT);
	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		close(told[1]);
		be_asked(told[0]);
	}
	close(told[0]);
	assert_int_equal(write(told[1], ".", 1), 1);
	assert_true(hs_counter_becomes("app.0", "app_not_admitted", 1));
	reload(FOR_USERS("1, 54321"), 1);
	assert_int_equal(write(told[1], ".", 1), 1);
	assert_true(hs_counter_becomes("app.0", "app_not_admitted", 2));
	assert_int_equal(write(told[1], "?", 1), 1);
	dg_expect(app, PORT, "other", 5);
	reload(FOR_USERS("1"), 2);
	assert_int_equal(write(told[1], "?", 1), 1);
	assert_true(hs_counter_becomes("app.0", "app_not_admitted", 3));
	close(told[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* An application of another user, who may not use the directory. */
static int be_hidden(const char *uri)
{
	const struct zv_dgram_addr to = {
		.peer_cid = ZV_CID_LOCAL, .local_port = PORT, .peer_port = OWN};
	uint32_t port = PORT;
	struct zv_event ev;
	struct zv_dev *dev;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setresgid(OTHER, OTHER, OTHER) || setresuid(OTHER, OTHER, OTHER) ||
	    zv_open(&dev, uri, NULL) || zv_dgram_bind(dev, &port, 0)) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	while (zv_dgram_send(zv_queue(dev, 0), &to, "hidden", 6, 0) != 6)
		(void)zv_wait(zv_queue(dev, 0), &ev, 1, 1000000);
	for (;;) /* until it is killed */
		(void)zv_wait(zv_queue(dev, 0), &ev, 1, UINT64_MAX);
}

static void a_user_who_may_not_use_the_directory_reaches_no_program(void **state)
{
	uint32_t mine = dg_bind(app, ZV_PORT_ANY);
	struct dropin_msg m;
	int fd = ds_dgram(ask, CID_ANY, OWN, &m);
	char uri[128];
	pid_t pid;

	(void)state;
	needs_root();
	assert_true(fd >= 0);
	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	pid = fork();
	if (pid == 0) {
		execl(self, self, "hidden", uri, (char *)NULL);
		_exit(127);
	}
	assert_true(zf_logged("uid 54321 may not use .*it does not reach AF_VSOCK programs"));
	assert_true(hs_counter_becomes("app.1", "dgram_lost", 1));
	assert_int_equal(dg_send(app, mine, ZV_CID_HOST, OWN, "mine", 4), 4);
	expect(fd, "mine", 4, ZV_CID_HOST, mine); /* nothing has come before */
	/* what a program sends arrives there: its user may attach applications */
	assert_true(ds_dgram_send(fd, &m, ZV_CID_LOCAL, PORT, "x", 1));
	assert_true(hs_counter_becomes("app.1", "af_vsock_dgrams", 1));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(fd);
}

static int run(const char *name)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
	const struct CMUnitTest tests[] = {
		T(there_and_back),
		T(an_application_speaks_first),
		T(connected_programs),
		T(to_nobody),
		T(floods),
		T(an_application_that_goes),
		T(zvsockd_is_killed),
		cmocka_unit_test_setup_teardown(a_user_who_may_not_attach_reaches_no_application,
						up_apps_closed, down),
		cmocka_unit_test_setup_teardown(permission_is_asked_for_again, up_for_users, down),
		cmocka_unit_test_setup_teardown(
			a_user_who_may_not_use_the_directory_reaches_no_program, up_dir_closed,
			down),
	};
#undef T

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	int bad;

	if (argc == 3 && strcmp(argv[1], "hidden") == 0)
		return be_hidden(argv[2]);
	if (argc < 2)
		return 2;
	self = argv[0];
	program = argv[1];
	lcores = 1;
	bad = run("one lcore");
	lcores = 2;
	return run("two lcores") || bad;
}
