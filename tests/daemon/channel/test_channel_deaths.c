/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of an application that has channels, and of zvsockd: the other end is told, and no part
 * of the region is lost. "test_daemon_channel_deaths app URI PORT HOW" is an application in a
 * process of its own (be_app).
 */
#include "chan_side.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DEATHS		2000u
#define DEATHS_AT_GUEST 300u
#define ALIVE		8u /* clients at a time */

#define CONF_SMALL CONF "application_region = 8M\nchannel_size = 256K\n"

#define CID		 11u
#define GUEST		 2u /* its index in the fixture */
#define A_GUEST		 "application_region = 0\n[guest a]\ncid = 11\nsocket = @a.sock\n"
#define CONF_GUEST	 CONF A_GUEST
#define CONF_SMALL_GUEST CONF "channel_size = 256K\n" A_GUEST

static const char *program, *self;

static int start_plain(void **state)
{
	(void)state;
	return cs_start(program, CONF);
}

static int start_guest(void **state)
{
	(void)state;
	return cs_start(program, CONF_GUEST);
}

static int start_small_guest(void **state)
{
	(void)state;
	return cs_start(program, CONF_SMALL_GUEST);
}

static int start_small(void **state)
{
	(void)state;
	return cs_start(program, CONF_SMALL);
}

/*
 * An application (or a guest) that connects to PORT and says a word, or, by "listen",
 * accepts one that does and answers; then it waits to be killed, or ("die") kills itself. It
 * connects to another application, or ("die at guest") to the guest.
 */
static int be_app(const char *uri, const char *port, const char *how)
{
	const char *vm = strncmp(how, "vm=", 3) ? NULL : how + 3;
	bool listens = strcmp(how, "listen") == 0 || vm, die = strncmp(how, "die", 3) == 0;
	uint64_t to = strcmp(how, "die at guest") ? ZV_CID_LOCAL : CID;
	/* On a busy machine the other end may be slow, which is no death. */
	struct zv_opts o = {.size = sizeof(o),
			    .connect_timeout_ns = UINT64_MAX,
			    .hello_timeout_ns = UINT64_MAX};
	struct zv_conn *c = NULL;
	struct zv_event ev[8];
	struct zv_dev *dev;
	struct zv_queue *q;
	int ret;

	do /* zvsockd may have had no CPU for seconds, and hangs up on who attaches for so long */
		ret = zv_open(&dev, uri, &o);
	while (ret == -ETIMEDOUT || ret == -EPROTO);
	if (ret || (listens && zv_listen(dev, (uint32_t)atoi(port), ZV_STREAM, 0))) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	q = zv_queue(dev, 0);
	ret = -ECONNREFUSED;
	/* zvsockd says that it is refused when who listens has had no CPU for 2 s. */
	while (!listens && (ret == -ECONNREFUSED || ret == -ENETDOWN))
		ret = zv_connect_wait(q, to, (uint32_t)atoi(port), ZV_STREAM, UINT64_MAX, &c);
	if (!listens && ret) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	if (vm &&
	    fork() == 0) {  /* the VM: it has all that is open, and ends when there is the file */
		alarm(120); /* or when the test has failed and nobody makes the file */
		while (unlink(vm))
			usleep(20000);
		_exit(0);
	}
	for (;;) {
		if (c)
			(void)zv_send(c, "word", 4, 0); /* or the other end has gone */
		if (c && die) {
			(void)zv_poll(q, ev, 8);
			(void)raise(SIGKILL);
		}
		if (zv_wait(q, ev, 8, 1000000000u) > 0 && listens && !c)
			(void)zv_accept(q, ZV_PORT_ANY, &c);
	}
}

static pid_t spawn(const char *uri, unsigned port, const char *how)
{
	char number[16];
	pid_t pid;

	snprintf(number, sizeof(number), "%u", port);
	pid = fork();
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test does not kill it */
		execl(self, self, "app", uri, number, how, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

static pid_t spawn_app(unsigned port, const char *how)
{
	char uri[128];

	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	return spawn(uri, port, how);
}

static bool failed(void *arg)
{
	return ((struct zf_conn *)arg)->err;
}

static bool listens(void *arg)
{
	struct zf_conn **c = arg;
	int err;

	*c = zf_connect(cs_app, 0, ZV_CID_LOCAL, PORT + 9, ZV_STREAM, &err);
	return *c;
}

static void kill_app(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Either end: the one that was asked, and the one that has asked. */
static void the_survivor_is_told(void **state)
{
	struct zf_conn *c;
	char word[4];
	pid_t pid;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		pid = spawn_app(i % 2 ? PORT : PORT + 9, i % 2 ? "connect" : "listen");
		if (i % 2)
			c = zf_accept(cs_other, PORT);
		else
			assert_true(zf_until(listens, &c));
		assert_non_null(c);
		assert_int_equal(zf_recv(c, word, 4, NULL), 4);
		assert_memory_equal(word, "word", 4);
		assert_int_equal(cs_channels(), 1);
		kill_app(pid);
		assert_true(zf_until(failed, c)); /* no clean end */
		assert_int_equal(c->err, -ECONNRESET);
		zf_close(c);
		assert_true(zf_until(cs_all_free, NULL));
	}
}

/* A guest whose process ends, as QEMU when a VM is killed: nobody waits for the next one. */
static bool offers(void *arg)
{
	(void)arg;
	cs_ask("regions");
	return cs_times("\"origin\":\"a\"") == 1;
}

static bool guest_listens(void *arg)
{
	struct zf_conn **c = arg;

	*c = zf_connect(cs_app, 0, CID, PORT + 9, ZV_STREAM, NULL);
	return *c;
}

static bool lent(void *arg)
{
	struct zv_buf *loan = arg;

	return zv_buf_recv(loan->data, loan, 1) == 1;
}

static bool is_retired(void *arg)
{
	(void)arg;
	cs_ask("regions");
	return cs_times("\"retired\":true") == 1;
}

static void twenty_guests_lose_nothing(void **state)
{
	char uri[128];

	(void)state;
	snprintf(uri, sizeof(uri), "vhost-user:%sa.sock,region=16M", zf_dir);
	for (unsigned i = 0; i < 20; i++) {
		pid_t pid = spawn(uri, PORT + 9, "listen");
		struct zf_conn *c = NULL;
		struct zv_buf loan;

		assert_true(zf_until(offers, NULL));
		assert_true(zf_until(guest_listens, &c));
		loan.data = c->c;
		assert_true(zf_until(lent, &loan));
		assert_int_equal(cs_region("channels"), 1);
		kill_app(pid);
		assert_true(zf_until(failed, c));
		assert_int_equal(c->err, -ECONNRESET);
		zf_close(c);
		/* The survivor has a word on loan there: its part is not free, and stays as it is.
		 */
		assert_true(zf_until(is_retired, NULL));
		assert_int_equal(cs_region("channels"), 1);
		assert_true(loan.len == 4 && memcmp(loan.data, "word", 4) == 0);
		zv_buf_release(zv_queue(cs_app, 0), &loan, 1);
		assert_true(zf_until(cs_no_region, NULL)); /* its memory went with it */
	}
}

static bool vm_has_ended(void *arg)
{
	return access(arg, F_OK) != 0;
}

/*
 * A driver that dies in a VM that goes on: a process that it has forked keeps what is open, so its
 * vhost-user socket stays, as QEMU's would. And one that stands still for longer than anybody looks
 * has not died.
 */
static void a_driver_dies_in_a_living_vm(void **state)
{
	char uri[128], vm[128], word[4];

	(void)state;
	snprintf(uri, sizeof(uri), "vhost-user:%sa.sock,region=16M", zf_dir);
	snprintf(vm, sizeof(vm), "vm=%svm", zf_dir);
	for (unsigned i = 0; i < 3; i++) {
		pid_t pid = spawn(uri, PORT + 9, vm);
		struct zf_conn *c = NULL;

		assert_true(zf_until(offers, NULL));
		assert_true(zf_until(guest_listens, &c));
		assert_int_equal(zf_recv(c, word, 4, NULL), 4);
		assert_int_equal(cs_region("channels"), 1);
		assert_int_equal(kill(pid, SIGSTOP), 0);
		for (unsigned k = 0; k < 30; k++) {
			ssize_t ret = zv_recv(c->c, word, 4, NULL);

			/* It says its word once a second: there may be another one. */
			assert_true(ret == 4 || ret == -EAGAIN);
			usleep(100000);
		}
		kill_app(pid); /* not its child */
		assert_true(zf_until(failed, c));
		assert_int_equal(c->err, -ECONNRESET);
		zf_close(c);
		assert_true(zf_until(cs_no_region, NULL));
		close(open(vm + 3, O_CREAT | O_CLOEXEC | O_WRONLY, 0600));
		assert_true(zf_until(vm_has_ended, vm + 3));
	}
}

static bool one_has_died(void *arg)
{
	return waitpid(-1, arg, WNOHANG) > 0;
}

static void take_all(struct zv_dev *dev)
{
	struct zv_conn *taken;
	char word[4];

	for (unsigned q = 0; q < zv_nqueues(dev); q++)
		while (zv_accept(zv_queue(dev, q), PORT, &taken) == 0) {
			(void)zv_recv(taken, word, 4, NULL);
			(void)zv_conn_close(taken);
		}
}

/* @n processes that die in the middle of a conversation with @dev leave no part behind. */
static void deaths(unsigned n, const char *how, struct zv_dev *dev)
{
	unsigned born = 0, died = 0;
	int status;

	while (died < n) {
		if (born < n && born - died < ALIVE) {
			(void)spawn_app(PORT, how);
			born++;
			continue;
		}
		/* Most of what they have sent arrives; what matters is that they are gone. */
		assert_true(zf_until(one_has_died, &status));
		assert_true(WIFSIGNALED(status));
		died++;
		take_all(dev);
	}
	take_all(dev);
	assert_true(zf_until(cs_all_free, NULL));
}

static void many_deaths_lose_nothing(void **state)
{
	(void)state;
	deaths(DEATHS, "die", cs_other);
	assert_true(cs_counted("channel_granted") >= (long)DEATHS / 2);
	cs_converse(cs_joined(ZV_STREAM), ZV_STREAM);
}

/* Connects to @guest, until there is a channel: on a busy machine an end may need longer to map its
 * region than zvsockd waits. */
static struct cs_pair joined_by_channel(struct zv_dev *guest)
{
	struct cs_pair p;

	for (;;) {
		p.a = zf_connect(cs_app, 0, CID, PORT, ZV_STREAM, NULL);
		assert_non_null(p.a);
		p.b = zf_accept(guest, PORT);
		assert_non_null(p.b);
		if (cs_channels())
			return p;
		zf_close(p.a);
		zf_close(p.b);
	}
}

/* The same in the memory of a guest, which lives on. */
static void many_deaths_leave_a_guest_its_memory(void **state)
{
	struct zv_dev *guest = zf_zvsock_guest(GUEST, "a.sock,region=16M", 1);

	(void)state;
	assert_non_null(guest);
	assert_int_equal(zv_listen(guest, PORT, ZV_STREAM, 0), 0);
	assert_true(zf_until(offers, NULL));
	deaths(DEATHS_AT_GUEST, "die at guest", guest);
	cs_converse(joined_by_channel(guest), ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

static bool back(void *arg)
{
	struct cs_pair *p = arg;
	int err;

	p->a = zf_connect(cs_app, 0, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	return p->a;
}

/* Both are told, attach again by themselves, and have channels again. */
static void zvsockd_may_die(void **state)
{
	struct cs_pair p = cs_joined(ZV_STREAM);

	(void)state;
	conv_say(p.a, p.b, "before", 0);
	assert_true(zf_kill());
	assert_true(zf_until(failed, p.a) && zf_until(failed, p.b));
	assert_int_equal(p.a->err, -ECONNRESET);
	assert_int_equal(p.b->err, -ECONNRESET);
	zf_close(p.a);
	zf_close(p.b);
	assert_true(zf_start_again(program));
	assert_true(zf_until(back, &p));
	p.b = zf_accept(cs_other, PORT);
	assert_non_null(p.b);
	assert_int_equal(cs_channels(), 1);
	conv_bulk(p.a, p.b, STREAM_SIZE);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

int main(int argc, char **argv)
{
#define IN(testbed, test) cmocka_unit_test_setup_teardown(test, start_##testbed, cs_stop)
	const struct CMUnitTest tests[] = {
		IN(plain, the_survivor_is_told),
		IN(guest, twenty_guests_lose_nothing),
		IN(guest, a_driver_dies_in_a_living_vm),
		IN(small, many_deaths_lose_nothing),
		IN(small_guest, many_deaths_leave_a_guest_its_memory),
		IN(plain, zvsockd_may_die),
	};

	if (argc == 5 && strcmp(argv[1], "app") == 0)
		return be_app(argv[2], argv[3], argv[4]);
	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD [TEST]\n", argv[0]);
		return 2;
	}
	self = argv[0];
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("channel_deaths", tests, NULL, NULL);
}
