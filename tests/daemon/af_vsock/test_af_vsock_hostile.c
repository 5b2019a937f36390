/* SPDX-License-Identifier: BSD-3-Clause */
/* What programs at a drop-in directory can do wrong, on purpose or by dying, and guests with them:
 * the daemon goes on serving the others after each. */
#include "dropin_side.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY UINT32_MAX
#define NOBODY	65534
#define MANY	200

static const char *program;
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

static void connect_answer(int ask, uint32_t flags, struct dropin_msg *m)
{
	ds_connect_msg(m, SOCK_STREAM, 3, 80);
	m->flags = flags;
	assert_true(ds_question(ask, m));
	assert_int_equal(m->result, 0);
}

/* ---- labels ---- */

static void sockets_without_a_call_are_closed(void **state)
{
	static const char *const labels[] = {"", "nonsense", "zvsock:P:1:2:1024:3:80:",
					     "zvsock:Z:1:2:1024:3:80:", "zvsock:P:1:2"};
	char name[DROPIN_LABEL] = ""; /* of this process alone */

	(void)state;
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		int fd;

		if (i)
			snprintf(name, sizeof(name), "%s%032x", labels[i], (unsigned)getpid());
		fd = ds_socket(SOCK_STREAM, name);
		assert_true(fd >= 0 && ds_join(fd, SOCK_STREAM) == 0 && ds_hung_up(fd));
		close(fd);
		fd = ds_socket(SOCK_SEQPACKET, name);
		assert_true(fd >= 0 && ds_join(fd, SOCK_SEQPACKET) == 0 && ds_hung_up(fd));
		close(fd);
	}
}

/* Exits with 0 when zvsockd has closed the socket. */
static void steal(const struct dropin_msg *m)
{
	int fd = ds_socket(SOCK_STREAM, m->label);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char c;

	if (fd < 0 || ds_join(fd, SOCK_STREAM) < 0)
		_exit(1);
	_exit(poll(&p, 1, 60000) == 1 && recv(fd, &c, 1, 0) == 0 ? 0 : 2);
}

static void a_label_is_its_process_s(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m;

	(void)state;
	connect_answer(ask, 0, &m);
	assert_int_equal(ds_as(0, steal, &m), 0);
	assert_int_equal(ds_as(NOBODY, steal, &m), 0);
	fd = ds_socket(SOCK_STREAM, m.label); /* it waits for its own still */
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	assert_int_equal(send(fd, "x", 1, 0), 1);
	zf_close(zf_accept(dev, 80));
	assert_true(ds_hung_up(fd));
	/* It was for one socket. */
	assert_int_equal(ds_as(0, steal, &m), 1); /* the name is taken */
	close(fd);
	assert_int_equal(ds_as(0, steal, &m), 0);
	close(ask);
}

/* CONNECT from a socket with the label of @port, which zvsockd has not given. Its result. */
static int from_made_up(int ask, uint32_t port, bool socket)
{
	struct dropin_label l = {.view = 'P',
				 .sock_type = SOCK_STREAM,
				 .local = {CID_ANY, port},
				 .token = {(uint64_t)getpid(), port}};
	struct dropin_msg m;
	int fd = -1;

	ds_connect_msg(&m, SOCK_STREAM, 3, 81);
	dropin_label_write(&l, m.label);
	if (socket)
		fd = ds_socket(SOCK_STREAM, m.label);
	assert_true(ds_question(ask, &m));
	if (fd >= 0)
		close(fd);
	return m.result;
}

static bool listens(void *app)
{
	return zv_listen(app, 6002, ZV_STREAM, 0) == 0;
}

/* Between the answer to BIND and bind(2) an application does not get the port. */
static void an_assigned_port_is_nobody_elses(void **state)
{
	struct dropin_msg m = {DROPIN_MAGIC, DROPIN_VERSION, DROPIN_BIND, .sock_type = SOCK_STREAM,
			       .local = {CID_ANY, 6002}};
	struct zv_dev *app = zf_app(2, "apps", 1);
	int ask = ds_ask(), fd;

	(void)state;
	assert_true(app && ds_question(ask, &m) && m.result == 0);
	assert_int_equal(zv_listen(app, 6002, ZV_STREAM, 0), -EADDRINUSE);
	close(ask); /* it never did */
	assert_true(zf_until(listens, app));
	ask = ds_ask(); /* who did, and has closed its socket, leaves the port */
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6003, &m);
	assert_true(fd >= 0 && zv_listen(app, 6003, ZV_STREAM, 0) == -EADDRINUSE);
	close(fd);
	assert_int_equal(zv_listen(app, 6003, ZV_STREAM, 0), 0);
	assert_true(zf_guest_close(2));
	close(ask);
}

/* As for a program that had its port before zvsockd was restarted: it gets what BIND would give. */
static void a_made_up_label_takes_no_port(void **state)
{
	int ask = ds_ask(), fd;
	struct zv_dev *app = zf_app(2, "apps", 1);
	struct dropin_msg m;

	(void)state;
	assert_non_null(app);
	assert_int_equal(zv_listen(app, 6003, ZV_STREAM, 0), 0);
	assert_int_equal(from_made_up(ask, 6003, true), -EADDRINUSE);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 6004, &m);
	assert_true(fd >= 0);
	assert_int_equal(from_made_up(ask, 6004, true), -EINVAL);
	close(fd);
	assert_int_equal(from_made_up(ask, 6005, false), -EINVAL);
	assert_int_equal(from_made_up(ask, 6005, true), -ECONNRESET); /* the guest's answer */
	assert_true(zf_guest_close(2));
	close(ask);
}

/* CONNECT by another type of socket than the label's, which is the program's own. */
static void a_label_is_of_its_type(void **state)
{
	static const uint16_t types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	int ask = ds_ask();

	(void)state;
	for (unsigned bound = 0; bound < 3; bound++) {
		struct dropin_msg b, m;

		dropin_msg_init(&b, DROPIN_BIND);
		b.sock_type = types[bound];
		b.local = (struct dropin_addr){CID_ANY, UINT32_MAX};
		assert_true(ds_question(ask, &b));
		assert_int_equal(b.result, 0);
		for (unsigned other = 1; other < 3; other++) {
			ds_connect_msg(&m, types[(bound + other) % 3], ZV_CID_HOST, 80);
			memcpy(m.label, b.label, sizeof(m.label));
			assert_true(ds_question(ask, &m));
			assert_int_equal(m.result, -EINVAL);
			m.result = 0;
			m.text[0] = 0;
			m.remote.cid = 3;
			assert_true(ds_question(ask, &m));
			assert_int_equal(m.result, -EINVAL);
		}
	}
	close(ask);
}

static int squatter;

static void squat(const struct dropin_msg *m)
{
	int fd = ds_socket(SOCK_STREAM, m->label);

	if (fd < 0 || listen(fd, 5) < 0 || write(squatter, "", 1) != 1)
		_exit(1);
	pause();
}

static void another_users_socket_is_not_the_ports(void **state)
{
	int ask = ds_ask(), fd, pipes[2], err = 0;
	struct dropin_msg m;
	pid_t pid;
	char c;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 443, &m);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(pipe(pipes), 0);
	squatter = pipes[1];
	pid = fork();
	if (pid == 0) {
		if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(99);
		squat(&m);
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 443, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_true(zf_logged("port 443 was bound by uid 0, and pid [0-9]+, uid 65534 listens"));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 443, &m);
	assert_true(fd >= 0);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	close(ask);
}

/* ---- questions ---- */

static void nonsense_is_hung_up_on(void **state)
{
	struct dropin_msg m;
	int ask;

	(void)state;
	for (int i = 0; i < 5; i++) {
		ask = ds_ask();
		dropin_msg_init(&m, DROPIN_HELLO);
		m.magic ^= i == 0;
		m.version = (uint16_t)(m.version + (i == 1));
		m.type = i == 2 ? 99 : m.type;
		if (i == 3)
			memset(m.label, 'x', sizeof(m.label));
		assert_int_equal(send(ask, &m, i == 4 ? 7 : sizeof(m), 0), i == 4 ? 7 : sizeof(m));
		assert_true(ds_hung_up(ask));
		close(ask);
	}
	assert_true(zf_logged("was refused, and it is hung up on"));
}

static bool send_descriptor(int to, const void *data, size_t len)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = ctl.buf,
			    .msg_controllen = sizeof(ctl.buf)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &to, sizeof(int));
	return sendmsg(to, &mh, MSG_NOSIGNAL) == (ssize_t)len;
}

static void descriptors_are_hung_up_on(void **state)
{
	int ask = ds_ask(), other = ds_ask(), fd;
	struct dropin_msg m, f;

	(void)state;
	dropin_msg_init(&m, DROPIN_HELLO);
	if (!send_descriptor(ask, &m, sizeof(m))) { /* from Linux 6.16 on */
		assert_int_equal(errno, EPERM);
	} else {
		assert_true(ds_hung_up(ask));
	}
	/* Among what fills a socket. */
	connect_answer(other, DROPIN_NONBLOCK, &m);
	fd = ds_socket(SOCK_STREAM, m.label);
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	if (send_descriptor(fd, "0", 1)) {
		ds_about(&f, DROPIN_FILLED, m.label);
		f.bytes = 1;
		assert_true(ds_question(other, &f));
		assert_true(ds_hung_up(fd));
	}
	close(fd);
	close(ask);
	close(other);
}

/* Asks and reads nothing until zvsockd has had enough. */
static void who_takes_no_answers_is_hung_up_on(void **state)
{
	int ask = ds_ask(), n = 0;
	struct dropin_msg m;
	struct pollfd p = {.fd = ask, .events = POLLOUT};

	(void)state;
	dropin_msg_init(&m, DROPIN_HELLO);
	while (n++ < 100000 && poll(&p, 1, 60000) == 1 &&
	       send(ask, &m, sizeof(m), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(m))
		;
	assert_true(n < 100000);
	assert_true(errno == EPIPE || errno == ECONNRESET);
	close(ask);
}

#define ASKING 1000

static void a_thousand_may_ask(void **state)
{
	static int ask[ASKING];
	struct dropin_msg m;
	int fd;

	(void)state;
	for (int i = 0; i < ASKING; i++)
		assert_true((ask[i] = ds_ask()) >= 0);
	dropin_msg_init(&m, DROPIN_HELLO);
	for (int i = 0; i < ASKING; i += 37)
		assert_true(ds_question(ask[i], &m));
	fd = ds_connect(ask[ASKING - 1], SOCK_STREAM, 3, 80);
	assert_true(fd >= 0);
	close(fd);
	for (int i = 0; i < ASKING; i++)
		close(ask[i]);
}

/* Exits with 0 when it is turned away with the reason, and neither too early nor never. */
static void ask_too_often(const struct dropin_msg *unused)
{
	struct dropin_msg m;
	unsigned n = 0;

	(void)unused;
	(void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){4096, 4096});
	for (;; n++) {
		int ask = ds_ask();

		if (ask < 0 || n > 2000)
			_exit(1);
		dropin_msg_init(&m, DROPIN_HELLO);
		(void)send(ask, &m, sizeof(m), MSG_NOSIGNAL);
		if (recv(ask, &m, sizeof(m), 0) != sizeof(m))
			_exit(2);
		if (m.result)
			break;
	}
	/* 1024, or an eighth of the descriptors, where the machine's hard limit is low. */
	_exit(m.result == -EUSERS && m.text[0] && n > 500 && n <= 1024 ? 0 : 3);
}

static void one_user_does_not_take_all_places(void **state)
{
	(void)state;
	assert_int_equal(ds_as(NOBODY, ask_too_often, NULL), 0);
}

static void bind_low(const struct dropin_msg *unused)
{
	struct dropin_msg m;
	int ask = ds_ask();

	(void)unused;
	if (ds_listen(ask, SOCK_STREAM, CID_ANY, 1023, &m) != -EACCES)
		_exit(1);
	_exit(ds_listen(ask, SOCK_STREAM, CID_ANY, 1024, &m) >= 0 ? 0 : 2);
}

static void low_ports_are_for_root(void **state)
{
	(void)state;
	assert_int_equal(ds_as(NOBODY, bind_low, NULL), 0);
}

/* ---- half of a dialogue ---- */

static void who_does_not_come_is_reset(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m;
	struct zf_conn *c;

	(void)state;
	connect_answer(ask, 0, &m);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	assert_true(zf_recv(c, &m, 1, NULL) < 0);
	zf_close(c);
	assert_true(zf_logged("does not come for it: reset"));
	/* With its socket, but without FILLED. */
	connect_answer(ask, DROPIN_NONBLOCK, &m);
	fd = ds_socket(SOCK_STREAM, m.label);
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	assert_true(ds_hung_up(fd));
	close(fd);
	close(ask);
}

static void filled_is_true(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m, f;

	(void)state;
	connect_answer(ask, DROPIN_NONBLOCK, &m);
	fd = ds_socket(SOCK_STREAM, m.label);
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	assert_int_equal(send(fd, "0123456789", 10, 0), 10);
	ds_about(&f, DROPIN_FILLED, m.label);
	f.bytes = UINT64_MAX;
	assert_true(ds_question(ask, &f));
	assert_true(ds_hung_up(fd));
	assert_true(ds_question(ask, &f)); /* a second time */
	assert_int_equal(f.result, -ENOENT);
	close(fd);
	close(ask);
}

/* The guest is not polled, so it does not answer. */
static bool answer_alone(int ask, struct dropin_msg *m)
{
	struct pollfd p = {.fd = ask, .events = POLLIN};

	return poll(&p, 1, 60000) == 1 && recv(ask, m, sizeof(*m), 0) == sizeof(*m);
}

static void time_is_over(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m, f;
	struct pollfd p;

	(void)state;
	close(ds_connect(ask, SOCK_STREAM, 3, 80)); /* the guest is there */
	ds_connect_msg(&m, SOCK_STREAM, 3, 80);
	m.timeout_ms = 50;
	ds_send(ask, &m);
	assert_true(answer_alone(ask, &m));
	assert_int_equal(m.result, -ETIMEDOUT);
	ds_connect_msg(&m, SOCK_STREAM, 3, 80);
	m.timeout_ms = 50;
	m.flags = DROPIN_NONBLOCK;
	ds_send(ask, &m);
	assert_true(answer_alone(ask, &m));
	assert_int_equal(m.result, 0);
	fd = ds_pending(SOCK_STREAM, m.label, &f);
	assert_true(fd >= 0);
	ds_send(ask, &f);
	assert_true(answer_alone(ask, &f));
	p = (struct pollfd){.fd = fd, .events = POLLOUT};
	assert_int_equal(poll(&p, 1, 60000), 1);
	assert_true(p.revents & POLLERR);
	ds_about(&f, DROPIN_ERROR, m.label);
	ds_send(ask, &f);
	assert_true(answer_alone(ask, &f));
	assert_int_equal(f.error, ETIMEDOUT);
	close(fd);
	close(ask);
}

static void a_connect_is_withdrawn(void **state)
{
	struct dropin_msg m;
	int ask, fd;
	char b = 'x';
	ssize_t n;

	(void)state;
	close(ds_connect(ds_ask(), SOCK_STREAM, 3, 80)); /* the guest is there */
	for (int i = 0; i < MANY; i++) {
		ask = ds_ask();
		ds_connect_msg(&m, SOCK_STREAM, 3, 80);
		ds_send(ask, &m);
		ds_send(ask, &m); /* waits */
		if (i % 2)
			usleep(200);
		close(ask);
	}
	/* Whatever the guest gets to see of them is over; the last one is not. */
	fd = ds_connect(ds_ask(), SOCK_STREAM, 3, 80);
	assert_true(fd >= 0);
	assert_int_equal(send(fd, &b, 1, 0), 1);
	do {
		struct zf_conn *c = zf_accept(dev, 80);

		assert_non_null(c);
		n = zf_recv(c, &b, 1, NULL);
		zf_close(c);
	} while (n <= 0);
	close(fd);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(sockets_without_a_call_are_closed),
		T(a_label_is_its_process_s),
		T(an_assigned_port_is_nobody_elses),
		T(a_made_up_label_takes_no_port),
		T(a_label_is_of_its_type),
		T(another_users_socket_is_not_the_ports),
		T(nonsense_is_hung_up_on),
		T(descriptors_are_hung_up_on),
		T(who_takes_no_answers_is_hung_up_on),
		T(a_thousand_may_ask),
		T(one_user_does_not_take_all_places),
		T(low_ports_are_for_root),
		T(who_does_not_come_is_reset),
		T(filled_is_true),
		T(time_is_over),
		T(a_connect_is_withdrawn),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
