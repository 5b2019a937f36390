/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Applications of the host that attach themselves to a real zvsockd (`daemon:`): connections with
 * guests and with each other, their ports, their end, and whoever speaks nonsense on the client
 * socket. "test_daemon_apps app URI PORT" is an application that listens until it is killed.
 */
#include "conversation.h"
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/local/client_msg.h"

#define CID_A	    11u
#define PORT	    5000u
#define MANY	    64u /* applications that zvsockd takes */
#define STREAM_SIZE (4u << 20)

#define CONF                                                                                       \
	"applications = @apps\napplication_ports = 5000-5999, 7\n"                                 \
	"[guest a]\ncid = 11\nsocket = @a.sock\nqueues = 2\n"                                      \
	"[guest b]\ncid = 12\nsocket = @b.sock\nbuiltin = echo:9\n"

static struct zv_dev *A, *app, *other;
static const char *program, *self;

static int testbed_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program, CONF, 2))
		return -1;
	A = zf_guest(0, "a.sock", 2);
	app = zf_app(2, "apps", 1);
	return A && app ? 0 : -1;
}

static int testbed_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

static struct zv_conn_info info_of(const struct zf_conn *c)
{
	struct zv_conn_info ci = {.size = sizeof(ci)};

	assert_int_equal(zv_conn_info(c->c, &ci), 0);
	return ci;
}

static void guests_reach_an_application(void **state)
{
	static const enum zv_type types[] = {ZV_STREAM, ZV_SEQPACKET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct zf_conn *g, *a;
		int err;

		assert_null(zf_connect(A, i, ZV_CID_HOST, PORT + i, types[i], &err));
		assert_int_equal(err, -ECONNREFUSED);
		assert_int_equal(zv_listen(app, PORT + i, types[i], 0), 0);
		/* of the other type nobody listens */
		assert_null(zf_connect(A, i, ZV_CID_HOST, PORT + i, types[!i], &err));
		assert_int_equal(err, -ECONNREFUSED);
		g = zf_connect(A, i, ZV_CID_HOST, PORT + i, types[i], &err);
		assert_non_null(g);
		a = zf_accept(app, PORT + i);
		assert_non_null(a);
		assert_int_equal(info_of(a).peer_cid, CID_A);
		assert_int_equal(info_of(a).peer_port, info_of(g).local_port);
		assert_int_equal(info_of(a).local_cid, ZV_CID_HOST);
		conv_whole(i ? g : a, i ? a : g, types[i]);
		assert_int_equal(zv_unlisten(app, PORT + i), 0);
		assert_null(zf_connect(A, i, ZV_CID_HOST, PORT + i, types[i], &err));
		assert_int_equal(err, -ECONNREFUSED);
	}
}

static void an_application_reaches_guests(void **state)
{
	struct zf_conn *a[2], *g[2];
	int err;

	(void)state;
	other = zf_app(3, "apps", 2);
	assert_non_null(other);
	assert_int_equal(zv_listen(A, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 2; i++) { /* they choose the same port, and know nothing of it */
		a[i] = zf_connect(i ? other : app, 0, CID_A, PORT, ZV_STREAM, &err);
		assert_non_null(a[i]);
		g[i] = zf_accept(A, PORT);
		assert_non_null(g[i]);
		assert_int_equal(info_of(g[i]).peer_cid, ZV_CID_HOST);
		assert_int_equal(info_of(a[i]).peer_cid, CID_A);
	}
	conv_whole(a[0], g[0], ZV_STREAM);
	conv_whole(g[1], a[1], ZV_STREAM);
	assert_null(zf_connect(app, 0, 13, PORT, ZV_STREAM, &err)); /* there is no such guest */
	assert_int_equal(err, -ECONNREFUSED);
	assert_null(zf_connect(app, 0, 12, PORT, ZV_STREAM, &err)); /* nobody is attached there */
	assert_int_equal(err, -ECONNREFUSED);
	assert_null(zf_connect(app, 0, CID_A, PORT + 1, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(zv_unlisten(A, PORT), 0);
	assert_true(zf_guest_close(3));
}

static void applications_reach_each_other(void **state)
{
	static const uint64_t cids[] = {ZV_CID_LOCAL, ZV_CID_HOST};
	struct zf_conn *a, *b;
	int err;

	(void)state;
	other = zf_app(3, "apps", 1);
	assert_non_null(other);
	assert_int_equal(zv_listen(other, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		a = zf_connect(app, 0, cids[i], PORT, ZV_STREAM, &err);
		assert_non_null(a);
		b = zf_accept(other, PORT);
		assert_non_null(b);
		conv_whole(a, b, ZV_STREAM);
	}
	assert_null(zf_connect(app, 0, ZV_CID_LOCAL, 9, ZV_STREAM, &err)); /* b's echo is b's */
	/* and itself */
	a = zf_connect(other, 0, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	assert_non_null(a);
	b = zf_accept(other, PORT);
	assert_non_null(b);
	conv_whole(a, b, ZV_STREAM);
	assert_true(zf_guest_close(3));
}

/* The answer to "guests", in @list. */
static void guests_listed(char *list, size_t size)
{
	int ctl = hs_connect("control.sock", "{\"v\":1,\"cmd\":\"guests\"}\n");

	assert_true(ctl >= 0);
	memset(list, 0, size);
	for (size_t n = 0; !strchr(list, '\n'); n++)
		assert_true(n < size - 1 && hs_recv(ctl, list + n, 1) == 1);
	close(ctl);
}

static void ports_are_given_once(void **state)
{
	char list[8192];

	(void)state;
	other = zf_app(3, "apps", 1);
	assert_non_null(other);
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), -EADDRINUSE);
	assert_int_equal(zv_listen(other, PORT, ZV_STREAM, 0), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "taken by another application: "));
	guests_listed(list, sizeof(list));
	assert_non_null(strstr(list, "\"ports\":[{\"port\":5000,\"type\":\"stream\"}]"));
	assert_non_null(strstr(list, "\"ports\":[]"));
	assert_int_equal(zv_listen(other, 6000, ZV_STREAM, 0), -EACCES);
	assert_non_null(strstr(zv_error_text(), "application_ports"));
	assert_int_equal(zv_listen(other, 7, ZV_STREAM, 0), 0); /* zvsockd is of the same user */
	assert_int_equal(zv_unlisten(app, PORT), 0);
	assert_int_equal(zv_listen(other, PORT, ZV_STREAM, 0), 0);
	assert_true(zf_guest_close(3)); /* its ports are free at once */
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_unlisten(app, PORT), 0);
}

static void much_passes_unchanged(void **state)
{
	struct zf_conn *a, *g;
	int err;

	(void)state;
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	g = zf_connect(A, 0, ZV_CID_HOST, PORT, ZV_STREAM, &err);
	a = zf_accept(app, PORT);
	assert_true(g && a);
	conv_bulk(a, g, STREAM_SIZE);
	conv_bulk(g, a, STREAM_SIZE);
	/* A reload does not touch it. */
	assert_true(zf_reload(CONF "[guest c]\ncid = 13\nsocket = @c.sock\n", 2));
	assert_true(zf_guest(1, "c.sock", 1) != NULL);
	conv_whole(a, g, ZV_STREAM);
	assert_true(zf_guest_close(1));
	assert_int_equal(zv_unlisten(app, PORT), 0);
}

/* ---- the end of an application ---- */

static int be_app(const char *uri, const char *port)
{
	struct zv_event ev[8];
	struct zv_conn *c;
	struct zv_dev *dev;

	if (zv_open(&dev, uri, NULL) || zv_listen(dev, (uint32_t)atoi(port), ZV_STREAM, 0)) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	for (;;) {
		(void)zv_wait(zv_queue(dev, 0), ev, 8, UINT64_MAX);
		(void)zv_accept(zv_queue(dev, 0), ZV_PORT_ANY, &c);
	}
}

static bool failed(void *arg)
{
	return ((struct zf_conn *)arg)->err;
}

static bool listens(void *arg)
{
	struct zf_conn **c = arg;
	int err;

	*c = zf_connect(A, 0, ZV_CID_HOST, PORT + 9, ZV_STREAM, &err);
	return *c;
}

static void a_killed_application_is_missed(void **state)
{
	char uri[128];
	unsigned fds = zf_fds();

	(void)state;
	snprintf(uri, sizeof(uri), "daemon:%sapps", zf_dir);
	for (unsigned i = 0; i < 3; i++) {
		struct zf_conn *g;
		pid_t pid = fork();

		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves it behind */
			execl(self, self, "app", uri, "5009", (char *)NULL);
			_exit(127);
		}
		assert_true(zf_until(listens, &g));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		assert_true(zf_until(failed, g)); /* no clean end */
		assert_int_equal(g->err, -ECONNRESET);
		zf_close(g);
		assert_true(zf_logged("application=app.1 .*detached"));
	}
	assert_true(zf_fds_back(fds));
}

/* ---- nonsense on the client socket ---- */

static int raw(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval long_time = {.tv_sec = 60};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90sapps", zf_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof(long_time));
	return fd;
}

/* Sends @m; the result of the answer. */
static int ask(int fd, struct client_msg *m)
{
	uint16_t type = m->type;

	assert_int_equal(send(fd, m, sizeof(*m), MSG_NOSIGNAL), sizeof(*m));
	assert_int_equal(recv(fd, m, sizeof(*m), 0), sizeof(*m));
	assert_null(client_msg_refused(m, sizeof(*m)));
	assert_int_equal(m->type, type);
	return m->result;
}

static void hangs_up(int fd)
{
	char byte;

	assert_int_equal(recv(fd, &byte, 1, 0), 0);
	close(fd);
}

static void nonsense_ends_its_sender_only(void **state)
{
	struct client_msg m;
	char much[4096] = {0};
	int fd;

	(void)state;
	client_msg_init(&m, CLIENT_ATTACH);
	for (size_t i = 0; i < 12; i++) { /* each byte of the head is checked */
		struct client_msg bad = m;

		((uint8_t *)&bad)[i] ^= 0x80;
		fd = raw();
		assert_true(send(fd, &bad, sizeof(bad), 0) > 0);
		if (i >= 8) /* the result of a question means nothing */
			assert_true(recv(fd, &bad, sizeof(bad), 0) == (ssize_t)sizeof(bad));
		else
			hangs_up(fd);
		if (i >= 8)
			close(fd);
	}
	fd = raw();
	assert_int_equal(send(fd, &m, sizeof(m) - 1, 0), sizeof(m) - 1);
	hangs_up(fd);
	fd = raw();
	memcpy(much, &m, sizeof(m));
	assert_int_equal(send(fd, much, sizeof(much), 0), sizeof(much));
	hangs_up(fd);
	fd = raw(); /* questions in the wrong order */
	client_msg_init(&m, CLIENT_LISTEN);
	m.port = PORT;
	m.sock_type = ZV_STREAM;
	assert_int_equal(ask(fd, &m), -ENOTCONN);
	client_msg_init(&m, CLIENT_UNLISTEN);
	assert_int_equal(ask(fd, &m), -ENOTCONN);
	client_msg_init(&m, CLIENT_REGION);
	assert_int_equal(ask(fd, &m), -ENOTCONN);
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 17;
	assert_int_equal(ask(fd, &m), -ERANGE);
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	assert_int_equal(ask(fd, &m), 0);
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	assert_int_equal(ask(fd, &m), -EALREADY);
	client_msg_init(&m, CLIENT_LISTEN);
	m.port = PORT;
	m.sock_type = CLIENT_DGRAM + 1;
	assert_int_equal(ask(fd, &m), -EINVAL);
	client_msg_init(&m, CLIENT_REGION); /* of which it has not been told */
	m.region = 1;
	assert_int_equal(ask(fd, &m), -ENOENT);
	close(fd);
	assert_int_equal(zv_listen(app, PORT, ZV_STREAM, 0), 0);
	assert_int_equal(zv_unlisten(app, PORT), 0);
}

static int attach_as(const char *name)
{
	struct client_msg m;
	int fd = raw();

	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	memcpy(m.text, name, strlen(name));
	assert_int_equal(ask(fd, &m), 0);
	return fd;
}

/* A name is what the application says: it must not act on a terminal, nor break a list. */
static void names_are_printable(void **state)
{
	int fd = attach_as("a\x1b[31m\nz"), unnamed = attach_as("");
	char list[8192];

	(void)state;
	guests_listed(list, sizeof(list));
	assert_non_null(strstr(list, "\"a?[31m?z, pid "));
	assert_non_null(strstr(list, "\"without a name, pid "));
	close(unnamed);
	close(fd);
}

static void descriptors_are_not_kept(void **state)
{
	unsigned before = zf_fds();
	struct client_msg m;
	int fd = raw();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(8 * sizeof(int))];
		} ctl = {0};
		struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = ctl.buf,
				    .msg_controllen = sizeof(ctl.buf)};
		struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
		int fds[8];

		for (unsigned k = 0; k < 8; k++)
			fds[k] = STDIN_FILENO;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(c), fds, sizeof(fds));
		client_msg_init(&m, CLIENT_UNLISTEN);
		if (sendmsg(fd, &mh, MSG_NOSIGNAL) < 0)
			break; /* a kernel that can refuse them does */
		assert_int_equal(recv(fd, &m, sizeof(m), 0), sizeof(m));
	}
	assert_true(zf_fds_back(before + 1));
	close(fd);
}

static void the_table_of_applications_is_full(void **state)
{
	int fd[MANY], late;
	struct client_msg m;

	(void)state;
	for (unsigned i = 0; i < MANY - 1; i++) { /* `app` is one */
		fd[i] = raw();
		client_msg_init(&m, CLIENT_ATTACH);
		m.queues = 1;
		assert_int_equal(ask(fd[i], &m), 0);
	}
	late = raw();
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	assert_int_equal(send(late, &m, sizeof(m), 0), sizeof(m));
	assert_true(zf_logged("64 applications are attached: further ones have to wait"));
	assert_int_equal(recv(late, &m, sizeof(m), MSG_DONTWAIT), -1);
	close(fd[0]);
	assert_int_equal(recv(late, &m, sizeof(m), 0), sizeof(m));
	assert_int_equal(m.result, 0);
	for (unsigned i = 1; i < MANY - 1; i++)
		close(fd[i]);
	close(late);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_reach_an_application),
		cmocka_unit_test(an_application_reaches_guests),
		cmocka_unit_test(applications_reach_each_other),
		cmocka_unit_test(ports_are_given_once),
		cmocka_unit_test(much_passes_unchanged),
		cmocka_unit_test(a_killed_application_is_missed),
		cmocka_unit_test(nonsense_ends_its_sender_only),
		cmocka_unit_test(names_are_printable),
		cmocka_unit_test(descriptors_are_not_kept),
		cmocka_unit_test(the_table_of_applications_is_full),
	};

	if (argc == 4 && strcmp(argv[1], "app") == 0)
		return be_app(argv[2], argv[3]);
	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	self = argv[0];
	program = argv[1];
	return cmocka_run_group_tests_name("apps", tests, testbed_start, testbed_end);
}
