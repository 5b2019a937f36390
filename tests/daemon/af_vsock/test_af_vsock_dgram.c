/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagram sockets of programs at a drop-in directory, step by step: what zvsockd answers, and who
 * may not send. Programs that know nothing of this: test_dropin_dgram.py. */
#include "dropin_side.h"

#include "zvsock_dgram.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY UINT32_MAX
#define NOBODY	65534
#define PORT	1234u
#define PEERS	16u   /* for which zvsockd has a socket for each port: docs/threat-model.md */
#define HOARD	200u  /* ports, whose sockets would be more than FEW_FDS */
#define FEW_FDS 1000u /* that zvsockd may have */

static const char *program;

static int up(void **state)
{
	(void)state;
	return ds_up(program) ? 0 : -1;
}

static int up_with_few_fds(void **state)
{
	int ret;

	zf_nofile = FEW_FDS;
	ret = up(state);
	zf_nofile = 0;
	return ret;
}

static int down(void **state)
{
	(void)state;
	return ds_down() ? 0 : -1;
}

static int32_t bind_port(int ask, int type, uint32_t port, struct dropin_msg *m)
{
	dropin_msg_init(m, DROPIN_BIND);
	m->sock_type = (uint16_t)type;
	m->local = (struct dropin_addr){CID_ANY, port};
	assert_true(ds_question(ask, m));
	return m->result;
}

static int32_t about(int ask, enum dropin_type type, const char *label)
{
	struct dropin_msg m;

	ds_about(&m, type, label);
	assert_true(ds_question(ask, &m));
	return m.result;
}

/* A socket with that name that takes any datagram. */
static int taker(const char *label)
{
	return ds_socket(SOCK_DGRAM, label);
}

static void ports_and_keys(void **state)
{
	struct dropin_msg m, other;
	int ask = ds_ask(), fd;

	(void)state;
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &m), 0);
	assert_true(m.bytes != 0);
	assert_int_equal(about(ask, DROPIN_BOUND, m.label), -EINVAL); /* it is not */
	fd = taker(m.label);
	assert_true(fd >= 0);
	assert_int_equal(about(ask, DROPIN_BOUND, m.label), 0);
	assert_int_equal(about(ask, DROPIN_BOUND, "zvsock:P:2"), -EINVAL);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &other), -EADDRINUSE);
	/* connections have ports of their own, and no key */
	assert_int_equal(bind_port(ask, SOCK_STREAM, PORT, &other), 0);
	assert_int_equal(other.bytes, 0);
	assert_int_equal(about(ask, DROPIN_BOUND, other.label), -EINVAL);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, CID_ANY, &other), 0);
	assert_true(other.local.port >= 1024 && other.bytes != m.bytes);
	close(fd);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &other), 0); /* it is free */
	close(ask);
}

/* Neither takes a port from the other: an application of the host and a program. */
static void an_application_takes_no_port(void **state)
{
	uint32_t taken = 6002, free_port = 6003;
	struct zv_dev *app = zf_app(2, "apps", 1);
	int ask = ds_ask(), fd;
	struct dropin_msg m;

	(void)state;
	assert_non_null(app);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, taken, &m), 0);
	fd = taker(m.label);
	assert_true(fd >= 0);
	assert_int_equal(zv_dgram_bind(app, &taken, 0), -EADDRINUSE);
	assert_int_equal(zv_dgram_bind(app, &free_port, 0), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, free_port, &m), -EADDRINUSE);
	assert_int_equal(bind_port(ask, SOCK_STREAM, free_port, &m), 0); /* another port */
	close(fd);
	assert_int_equal(zv_dgram_bind(app, &taken, 0), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, taken, &m), -EADDRINUSE);
	assert_true(zf_guest_close(2));
	close(ask);
}

/* A program that gets no CPU between the answer to BIND and bind(2) keeps its port: the timer that
 * looks for closed sockets runs each second. */
static void who_binds_late_has_the_port(void **state)
{
	struct dropin_msg m, other;
	int ask = ds_ask(), fd;

	(void)state;
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &m), 0);
	sleep(3);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &other), -EADDRINUSE);
	fd = taker(m.label);
	assert_int_equal(about(ask, DROPIN_BOUND, m.label), 0);
	close(fd);
	close(ask);
}

/* Until the guest has, or has not, said what it can do. */
static int32_t asked(int ask, struct dropin_msg *m, const struct dropin_msg *question)
{
	do {
		*m = *question;
		assert_true(ds_question(ask, m));
	} while (m->result == -EAGAIN);
	return m->result;
}

static void a_stock_guest_has_none(void **state)
{
	struct dropin_msg question, m, bound;
	int ask = ds_ask(), fd;

	(void)state;
	dropin_msg_init(&question, DROPIN_REACH);
	question.sock_type = SOCK_DGRAM;
	question.remote = (struct dropin_addr){3, PORT};
	assert_int_equal(asked(ask, &m, &question), -EOPNOTSUPP);
	question.remote.cid = 77;
	assert_int_equal(asked(ask, &m, &question), -ENODEV);
	question.remote.cid = ZV_CID_LOCAL;
	assert_int_equal(asked(ask, &m, &question), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &bound), 0);
	fd = taker(bound.label);
	ds_connect_msg(&question, SOCK_DGRAM, 3, PORT);
	assert_int_equal(asked(ask, &m, &question), -EINVAL); /* no label */
	memcpy(question.label, bound.label, sizeof(question.label));
	assert_int_equal(asked(ask, &m, &question), -EOPNOTSUPP);
	close(fd);
	close(ask);
}

static bool send_end(int fd, const struct dropin_msg *of);
static ssize_t got(int fd, const char *text);

/* What a program has sent last arrives, whatever zvsockd looks at first: its datagram, or that its
 * socket is closed. */
static void who_has_closed_is_heard(void **state)
{
	struct dropin_msg to, from;
	int ask = ds_ask(), fd, source;

	(void)state;
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &to), 0);
	fd = taker(to.label);
	assert_int_equal(about(ask, DROPIN_BOUND, to.label), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT + 1, &from), 0);
	source = taker(from.label);
	assert_int_equal(about(ask, DROPIN_BOUND, from.label), 0);
	zf_asleep();
	assert_true(send_end(source, &from));
	close(source);
	sleep(2); /* the timer is due */
	zf_awake();
	assert_int_equal(got(fd, "end"), 3);
	close(fd);
	close(ask);
}

static void low_port(const struct dropin_msg *m)
{
	struct dropin_msg own;

	(void)m;
	_exit(bind_port(ds_ask(), SOCK_DGRAM, 1023, &own) == -EACCES ? 0 : 1);
}

/* Sends "end" to @port of CID 1, from the socket that was bound by *of. */
static bool send_to(int fd, const struct dropin_msg *of, uint32_t port)
{
	return ds_dgram_send(fd, of, ZV_CID_LOCAL, port, "end", 3);
}

static bool send_end(int fd, const struct dropin_msg *of)
{
	return send_to(fd, of, PORT);
}

/* From a socket with the label of *m, whose key is not known. */
static void forge(const struct dropin_msg *m)
{
	struct dropin_msg guess = *m;
	int fd = taker(m->label);

	guess.bytes++;
	_exit(fd >= 0 && send_end(fd, &guess) ? 0 : 1);
}

/* Receives one; its length without the key. */
static ssize_t got(int fd, const char *text)
{
	char buf[64] = "";
	ssize_t n = ds_poll(fd, POLLIN) ? recv(fd, buf, sizeof(buf), 0) : -1;

	return n > 8 && strncmp(buf, text, strlen(text)) == 0 ? n - 8 : -1;
}

static void another_users_socket_sends_nothing(void **state)
{
	struct dropin_msg to, from;
	int ask = ds_ask(), fd, source;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: skipped\n");
		skip();
	}
	assert_int_equal(ds_as(NOBODY, low_port, NULL), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &to), 0);
	fd = taker(to.label);
	assert_int_equal(about(ask, DROPIN_BOUND, to.label), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, 53, &from), 0);
	source = taker(from.label);
	assert_int_equal(about(ask, DROPIN_BOUND, from.label), 0);
	close(source);
	assert_int_equal(ds_as(NOBODY, forge, &from), 0); /* as port 53 */
	assert_true(zf_logged("dgram: a datagram of uid 65534 that no program with a port"));
	assert_int_equal(bind_port(ask, SOCK_DGRAM, 54, &from), 0);
	source = taker(from.label);
	assert_int_equal(about(ask, DROPIN_BOUND, from.label), 0);
	assert_true(send_end(source, &from));
	assert_int_equal(got(fd, "end"), 3);
	assert_int_equal(recv(fd, &to, 1, MSG_DONTWAIT), -1);
	close(source);
	close(fd);
	close(ask);
}

/* Binds ports, and sends from others, for as long as zvsockd lets it; says so to @told, and stays.
 */
static void hoard(int told)
{
	static int source[PEERS];
	static struct dropin_msg from[PEERS];
	struct dropin_msg to;
	int ask = ds_ask();

	for (unsigned i = 0; i < PEERS; i++) {
		if (bind_port(ask, SOCK_DGRAM, CID_ANY, &from[i]))
			break;
		source[i] = taker(from[i].label);
	}
	for (unsigned n = 0; n < HOARD && !bind_port(ask, SOCK_DGRAM, CID_ANY, &to); n++) {
		if (taker(to.label) < 0 || about(ask, DROPIN_BOUND, to.label))
			break;
		for (unsigned i = 0; i < PEERS; i++)
			(void)send_to(source[i], &from[i], to.local.port);
	}
	if (write(told, "", 1) == 1)
		pause();
	_exit(0);
}

/* The sockets of zvsockd that datagrams take are a part of those that all share. */
static void one_user_takes_no_descriptors_of_others(void **state)
{
	struct dropin_msg m;
	int told[2], ask, fd;
	pid_t pid;
	char b;

	(void)state;
	if (geteuid() != 0) {
		print_message("not root: skipped\n");
		skip();
	}
	assert_int_equal(pipe(told), 0);
	pid = fork();
	if (pid == 0) {
		if (setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		    setresuid(NOBODY, NOBODY, NOBODY) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
			_exit(1);
		hoard(told[1]);
	}
	close(told[1]);
	assert_int_equal(read(told[0], &b, 1), 1);
	assert_true(zf_fds() < FEW_FDS / 2);
	ask = ds_ask();
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &m), 0);
	fd = taker(m.label);
	assert_int_equal(about(ask, DROPIN_BOUND, m.label), 0);
	assert_true(send_end(fd, &m));
	assert_int_equal(got(fd, "end"), 3);
	close(fd);
	close(ask);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(told[0]);
}

/* The same as forge() in a network namespace of its own, where the label is free. */
static void forge_elsewhere(const struct dropin_msg *m)
{
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		_exit(2);
	forge(m);
}

/* There a socket can have the label of one that is bound here. */
static void another_network_namespace_sends_nothing(void **state)
{
	struct dropin_msg to, from;
	int ask = ds_ask(), fd, source, status;

	(void)state;
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT, &to), 0);
	fd = taker(to.label);
	assert_int_equal(about(ask, DROPIN_BOUND, to.label), 0);
	assert_int_equal(bind_port(ask, SOCK_DGRAM, PORT + 1, &from), 0);
	source = taker(from.label);
	assert_int_equal(about(ask, DROPIN_BOUND, from.label), 0);
	status = ds_as(geteuid() ? geteuid() : NOBODY, forge_elsewhere, &from);
	if (status == 2) {
		print_message("no namespaces for users: skipped\n");
		skip();
	}
	assert_int_equal(status, 0);
	assert_true(zf_logged("dgram: a datagram of uid"));
	assert_int_equal(recv(fd, &to, 1, MSG_DONTWAIT), -1);
	close(source);
	close(fd);
	close(ask);
}

int main(int argc, char **argv)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)
	const struct CMUnitTest tests[] = {
		T(ports_and_keys),
		T(an_application_takes_no_port),
		T(who_binds_late_has_the_port),
		T(who_has_closed_is_heard),
		T(a_stock_guest_has_none),
		T(another_users_socket_sends_nothing),
		cmocka_unit_test_setup_teardown(one_user_takes_no_descriptors_of_others,
						up_with_few_fds, down),
		T(another_network_namespace_sends_nothing),
	};
#undef T

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
