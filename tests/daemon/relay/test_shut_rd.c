/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd when one end receives no more: the other end learns it before it has sent
 * anything that would be lost, and the direction back goes on.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	 5000u
#define TCP_PORT 80u

static struct zv_dev *A, *B;
static const char *program;
static int listener[3]; /* stream, seqpacket, TCP */
static unsigned lcores;

/* A write without a byte: it fails like any other, and sends nothing. */
static bool host_write_would_fail(void *arg)
{
	return send(*(int *)arg, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EPIPE;
}

static bool guest_write_would_fail(void *arg)
{
	return zv_send(((struct zf_conn *)arg)->c, NULL, 0, 0) == -EPIPE;
}

static bool changed(void *arg)
{
	struct epoll_event ev;

	return epoll_wait(*(int *)arg, &ev, 1, 0) == 1;
}

static struct zf_conn *open_conn(unsigned how, int *fd)
{
	struct zf_conn *c = zf_connect(A, 0, ZV_CID_HOST, how == 2 ? TCP_PORT : PORT + how,
				       how == 1 ? ZV_SEQPACKET : ZV_STREAM, NULL);

	assert_non_null(c);
	*fd = hs_accept(listener[how]);
	assert_true(*fd >= 0);
	return c;
}

static void the_guest_still_sends(struct zf_conn *c, int fd)
{
	char b[8];

	assert_true(zf_send(c, "on", 2, 0));
	assert_int_equal(hs_recv(fd, b, 2), 2);
	assert_true(hs_lcore_sleeps("a"));
	zf_close(c);
	assert_int_equal(hs_recv(fd, b, 1), 0);
	close(fd);
}

static void a_guest_program_stops_reading_stream(void **state)
{
	int fd;
	struct zf_conn *c = open_conn(0, &fd);

	(void)state;
	assert_int_equal(zv_shutdown(c->c, 0), 0);
	assert_true(zf_until(host_write_would_fail, &fd));
	the_guest_still_sends(c, fd);
}

/* An empty message would be one: what changes about the socket wakes, the first write fails. */
static void a_guest_program_stops_reading_messages(void **state)
{
	struct epoll_event ev = {.events = EPOLLOUT | EPOLLET};
	int fd, ep = epoll_create1(EPOLL_CLOEXEC);
	struct zf_conn *c = open_conn(1, &fd);

	(void)state;
	assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
	assert_true(changed(&ep)); /* what is so already */
	assert_int_equal(zv_shutdown(c->c, 0), 0);
	assert_true(zf_until(changed, &ep));
	assert_int_equal(send(fd, "lost", 4, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
	assert_int_equal(errno, EPIPE);
	close(ep);
	the_guest_still_sends(c, fd);
}

/* TCP has no word for it: what still comes is thrown away, so that the program is not stuck. */
static void a_guest_program_stops_reading_tcp(void **state)
{
	static const char data[65536];
	int fd;
	struct zf_conn *c = open_conn(2, &fd);

	(void)state;
	assert_int_equal(zv_shutdown(c->c, 0), 0);
	for (unsigned done = 0; done < 16u << 20;) {
		ssize_t n = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);

		assert_true(n > 0 || errno == EAGAIN);
		done += n > 0 ? (unsigned)n : 0;
		zf_poll();
	}
	the_guest_still_sends(c, fd);
}

struct jam {
	int fd;
	unsigned still; /* rounds in which nothing has moved */
};

static bool host_is_full(void *arg)
{
	static const char data[1000];
	struct jam *j = arg;

	if (send(j->fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		j->still = 0;
	else
		usleep(1000);
	return j->still++ > 100;
}

/* It leaves while bytes wait for which it has no room. */
static void a_guest_program_stops_reading_what_waits(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		struct jam j = {0};
		struct zf_conn *c = open_conn(how, &j.fd);

		assert_true(zf_until(host_is_full, &j));
		assert_int_equal(zv_shutdown(c->c, 0), 0);
		if (!how)
			assert_true(zf_until(host_write_would_fail, &j.fd));
		the_guest_still_sends(c, j.fd);
	}
}

static void a_sibling_stops_reading(enum zv_type type, uint32_t port, bool server)
{
	struct zf_conn *a, *b, *reader, *writer;
	char buf[8];

	assert_int_equal(zv_listen(B, port, type, 0), 0);
	a = zf_connect(A, 0, 12, port, type, NULL);
	assert_non_null(a);
	b = zf_accept(B, port);
	assert_non_null(b);
	reader = server ? b : a;
	writer = server ? a : b;
	assert_int_equal(zv_shutdown(reader->c, 0), 0);
	assert_true(zf_until(guest_write_would_fail, writer));
	assert_true(zf_send(reader, "on", 2, ZV_EOM));
	assert_int_equal(zf_recv(writer, buf, 2, NULL), 2);
	assert_true(hs_lcore_sleeps("a"));
	assert_int_equal(a->err | b->err, 0);
	zf_close(a);
	assert_int_equal(zf_recv(b, buf, 1, NULL), 0);
	zf_close(b);
	assert_int_equal(zv_unlisten(B, port), 0);
}

static void a_sibling_stops_reading_stream(void **state)
{
	(void)state;
	a_sibling_stops_reading(ZV_STREAM, 70, false);
	a_sibling_stops_reading(ZV_STREAM, 71, true);
}

static void a_sibling_stops_reading_messages(void **state)
{
	(void)state;
	a_sibling_stops_reading(ZV_SEQPACKET, 72, false);
	a_sibling_stops_reading(ZV_SEQPACKET, 73, true);
}

/* ---- the host program receives no more ---- */

/* The kernel tells the writer: the guest's first bytes are lost, its next write fails. */
static void a_host_program_stops_reading(void **state)
{
	char b[8];

	(void)state;
	for (unsigned how = 0; how < 2; how++) {
		int fd;
		struct zf_conn *c = open_conn(how, &fd);

		assert_int_equal(shutdown(fd, SHUT_RD), 0);
		assert_true(zf_send(c, "x", 1, 0));
		assert_true(zf_until(guest_write_would_fail, c));
		assert_int_equal(send(fd, "on", 2, MSG_NOSIGNAL), 2);
		assert_int_equal(zf_recv(c, b, 2, NULL), 2);
		assert_true(hs_lcore_sleeps("a"));
		assert_int_equal(c->err, 0);
		close(fd);
		assert_int_equal(zf_recv(c, b, 1, NULL), 0);
		zf_close(c);
	}
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	uint16_t port;
	char conf[256];

	(void)state;
	listener[2] = hs_listen_tcp(&port);
	if (listener[2] < 0)
		return -1;
	snprintf(conf, sizeof(conf),
		 "[guest a]\ncid = 11\nsocket = @a\nunix = @u\ntcp = 80=127.0.0.1:%u\n"
		 "groups = one\n[guest b]\ncid = 12\nsocket = @b\ngroups = one\n",
		 port);
	if (!zf_start(program, conf, lcores))
		return -1;
	A = zf_guest(0, "a", 1);
	B = zf_guest(1, "b", 1);
	listener[0] = hs_listen("u_5000", SOCK_STREAM);
	listener[1] = hs_listen("u_5001", SOCK_SEQPACKET);
	return A && B && listener[0] >= 0 && listener[1] >= 0 ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		close(listener[i]);
	return zf_stop() ? 0 : -1;
}

/* The two sides of a splice, each in a thread of its own. */
static int two_lcores(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sibling_stops_reading_stream),
		cmocka_unit_test(a_sibling_stops_reading_messages),
	};

	lcores = 2;
	return cmocka_run_group_tests_name("two lcores", tests, group_start, group_end);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_program_stops_reading_stream),
		cmocka_unit_test(a_guest_program_stops_reading_messages),
		cmocka_unit_test(a_guest_program_stops_reading_tcp),
		cmocka_unit_test(a_guest_program_stops_reading_what_waits),
		cmocka_unit_test(a_sibling_stops_reading_stream),
		cmocka_unit_test(a_sibling_stops_reading_messages),
		cmocka_unit_test(a_host_program_stops_reading),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	lcores = 1;
	return cmocka_run_group_tests_name("one lcore", tests, group_start, group_end) ||
	       two_lcores();
}
