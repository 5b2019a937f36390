/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd with four guests in this process: a and b share a group, c is in another, d in
 * none. Siblings, builtin services and tcp, each with its ends and its refusals; at the end the
 * daemon has no more descriptors open than at the beginning, and exits with 0.
 */
#include "zvd_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_A 11u
#define CID_B 12u
#define CID_C 13u
#define PORT  5000u
#define BIG   (3u << 20)

static struct zv_dev *A, *B, *C, *D;
static const char *program;
static int tcp_listener;
static unsigned fds_before;

static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void pair(enum zv_type type, struct zf_conn **a, struct zf_conn **b)
{
	int err = 0;

	*a = zf_connect(A, 0, CID_B, PORT + (type == ZV_SEQPACKET), type, &err);
	assert_int_equal(err, 0);
	*b = zf_accept(B, PORT + (type == ZV_SEQPACKET));
	assert_non_null(*b);
}

static void close_both(struct zf_conn *a, struct zf_conn *b)
{
	zf_close(a);
	zf_close(b);
	for (int i = 0; i < 100; i++)
		zf_poll();
}

/* ---- siblings ---- */

static void sibling_sees_the_asking_guest(void **state)
{
	struct zv_conn_info ia = {.size = sizeof(ia)}, ib = {.size = sizeof(ib)};
	struct zf_conn *a, *b;

	(void)state;
	pair(ZV_STREAM, &a, &b);
	zv_conn_info(a->c, &ia);
	zv_conn_info(b->c, &ib);
	assert_int_equal(ib.peer_cid, CID_A);
	assert_int_equal(ib.peer_port, ia.local_port);
	assert_int_equal(ia.peer_cid, CID_B);
	close_both(a, b);
}

struct flow {
	struct zf_conn *from, *to;
	uint32_t sent, got;
	bool ok;
};

static void flow_step(struct flow *f)
{
	uint8_t buf[40000];
	ssize_t n;

	if (f->sent < BIG) {
		uint32_t len = BIG - f->sent < sizeof(buf) ? BIG - f->sent : sizeof(buf);

		for (uint32_t i = 0; i < len; i++)
			buf[i] = byte_at(f->sent + i);
		n = zv_send(f->from->c, buf, len, 0);
		f->sent += n > 0 ? (uint32_t)n : 0;
		f->ok &= n > 0 || n == -EAGAIN;
	}
	n = zv_recv(f->to->c, buf, 30011, NULL);
	for (ssize_t i = 0; i < n; i++)
		f->ok &= buf[i] == byte_at(f->got + (uint32_t)i);
	f->got += n > 0 ? (uint32_t)n : 0;
	f->ok &= n > 0 || n == -EAGAIN;
}

static bool flows_done(void *arg)
{
	struct flow *f = arg;

	flow_step(&f[0]);
	flow_step(&f[1]);
	return (f[0].got == BIG && f[1].got == BIG) || !f[0].ok || !f[1].ok;
}

static void sibling_carries_both_directions(void **state)
{
	struct zf_conn *a, *b;

	(void)state;
	pair(ZV_STREAM, &a, &b);
	struct flow f[2] = {{a, b, 0, 0, true}, {b, a, 0, 0, true}};

	assert_true(zf_until(flows_done, f));
	assert_true(f[0].ok && f[1].ok);
	close_both(a, b);
}

static void sibling_half_close(void **state)
{
	struct zf_conn *a, *b;
	char buf[16];

	(void)state;
	pair(ZV_STREAM, &a, &b);
	assert_true(zf_send(a, "question", 8, 0));
	assert_int_equal(zv_shutdown(a->c, 1), 0);
	assert_int_equal(zf_recv(b, buf, sizeof(buf), NULL), 8); /* and the end */
	assert_memory_equal(buf, "question", 8);
	assert_true(zf_send(b, "answer", 6, 0));
	assert_int_equal(zf_recv(a, buf, 6, NULL), 6);
	assert_memory_equal(buf, "answer", 6);
	assert_int_equal(zv_shutdown(b->c, 1), 0);
	assert_int_equal(zf_recv(a, buf, 1, NULL), 0);
	close_both(a, b);
}

static bool has_error(void *arg)
{
	return ((struct zf_conn *)arg)->err != 0;
}

static void sibling_reset_is_carried_over(void **state)
{
	struct zf_conn *a, *b;

	(void)state;
	pair(ZV_STREAM, &a, &b);
	zv_conn_reset(a->c);
	free(a);
	assert_true(zf_until(has_error, b));
	assert_int_equal(b->err, -ECONNRESET);
	zf_close(b);
}

static void sibling_keeps_messages(void **state)
{
	static const uint32_t len[] = {1, 64, 5000, 100000, 3, 65536, 200000};
	static uint8_t msg[262144], got[262144];
	struct zf_conn *a, *b;
	uint32_t flags;

	(void)state;
	pair(ZV_SEQPACKET, &a, &b);
	for (unsigned i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		for (uint32_t k = 0; k < len[i]; k++)
			msg[k] = byte_at(k + i);
		assert_true(zf_send(a, msg, len[i], i % 2 ? ZV_EOR : 0));
		assert_int_equal(zf_recv(b, got, sizeof(got), &flags), len[i]);
		assert_memory_equal(got, msg, len[i]);
		assert_true(flags & ZV_EOM);
		assert_int_equal(!!(flags & ZV_EOR), i % 2);
	}
	close_both(a, b);
}

static void sibling_without_listener_is_refused(void **state)
{
	int err = 0;

	(void)state;
	assert_null(zf_connect(A, 0, CID_B, 4999, ZV_STREAM, &err));
	assert_true(err == -ECONNREFUSED || err == -ECONNRESET);
}

static void guests_of_other_groups_are_refused(void **state)
{
	int err = 0;

	(void)state;
	assert_null(zf_connect(A, 0, CID_C, PORT, ZV_STREAM, &err));
	assert_true(err == -ECONNREFUSED || err == -ECONNRESET);
	assert_null(zf_connect(D, 0, CID_B, PORT, ZV_STREAM, &err));
	assert_int_not_equal(err, 0);
	assert_null(zf_connect(A, 0, CID_A, PORT, ZV_STREAM, &err));
	assert_int_not_equal(err, 0);
}

/* A guest that goes away takes its half of every splice with it, and nothing else. */
static void sibling_that_dies_resets_the_other(void **state)
{
	struct zf_conn *c[8];
	struct zv_dev *gone;
	char buf[8];

	(void)state;
	assert_true(zf_guest_close(3)); /* d has nothing to do any more */
	gone = zf_guest(3, "e", 1);
	assert_non_null(gone);
	for (int i = 0; i < 8; i++) {
		c[i] = zf_connect(gone, 0, CID_B, PORT, ZV_STREAM, NULL);
		assert_non_null(c[i]);
		assert_true(zf_send(c[i], "x", 1, 0));
	}
	struct zf_conn *b[8];
	for (int i = 0; i < 8; i++) {
		b[i] = zf_accept(B, PORT);
		assert_non_null(b[i]);
		assert_int_equal(zf_recv(b[i], buf, 1, NULL), 1);
	}
	assert_true(zf_guest_close(3));
	for (int i = 0; i < 8; i++)
		free(c[i]);
	for (int i = 0; i < 8; i++) {
		/* closed in order or reset, whichever came first; but told */
		ssize_t n = zf_recv(b[i], buf, 1, NULL);

		assert_true(n == 0 || n == -ECONNRESET);
		zf_close(b[i]);
	}
}

/* ---- builtin ---- */

static void builtin_echo(void **state)
{
	struct zf_conn *a = zf_connect(A, 0, ZV_CID_HOST, 7, ZV_STREAM, NULL);

	(void)state;
	assert_non_null(a);
	struct flow f[2] = {{a, a, 0, 0, true}, {a, a, BIG, BIG, true}};

	while (f[0].got < BIG && f[0].ok) {
		flow_step(&f[0]);
		zf_poll();
	}
	assert_true(f[0].ok);
	assert_int_equal(zv_shutdown(a->c, 1), 0);
	assert_int_equal(zf_recv(a, &f, 1, NULL), 0);
	zf_close(a);
}

static void builtin_echo_keeps_messages(void **state)
{
	struct zf_conn *a = zf_connect(A, 0, ZV_CID_HOST, 7, ZV_SEQPACKET, NULL);
	static char got[70000], msg[60000];
	uint32_t flags;

	(void)state;
	assert_non_null(a);
	memset(msg, 'm', sizeof(msg));
	assert_true(zf_send(a, msg, sizeof(msg), ZV_EOR));
	assert_true(zf_send(a, "s", 1, 0));
	assert_int_equal(zf_recv(a, got, sizeof(got), &flags), sizeof(msg));
	assert_memory_equal(got, msg, sizeof(msg));
	assert_true(flags & ZV_EOR);
	assert_int_equal(zf_recv(a, got, sizeof(got), &flags), 1);
	zf_close(a);
}

static void builtin_discard_and_source(void **state)
{
	struct zf_conn *d = zf_connect(A, 0, ZV_CID_HOST, 9, ZV_STREAM, NULL);
	struct zf_conn *s = zf_connect(A, 0, ZV_CID_HOST, 19, ZV_STREAM, NULL);
	static char buf[1 << 20];

	(void)state;
	assert_non_null(d);
	assert_non_null(s);
	for (int i = 0; i < 4; i++)
		assert_true(zf_send(d, buf, sizeof(buf), 0));
	zv_shutdown(d->c, 1);
	assert_int_equal(zf_recv(d, buf, 1, NULL), 0);
	for (int i = 0; i < 4; i++) {
		memset(buf, 1, sizeof(buf));
		assert_int_equal(zf_recv(s, buf, sizeof(buf), NULL), sizeof(buf));
		assert_true(buf[0] == 0 && memcmp(buf, buf + 1, sizeof(buf) - 1) == 0);
	}
	close_both(d, s);
}

/* The credit that the daemon gives to a connection of @dev. */
static uint32_t credit_of(struct zv_dev *dev)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	struct zf_conn *c = zf_connect(dev, 0, ZV_CID_HOST, 9, ZV_STREAM, NULL);

	assert_non_null(c);
	zv_conn_info(c->c, &info);
	zf_close(c);
	return info.peer_buf_alloc;
}

static void rx_memory_bounds_credit(void **state)
{
	(void)state;
	assert_int_equal(credit_of(A), 262144);
	assert_int_equal(credit_of(C), 4096); /* a 64th of 64 KiB would be less */
}

static void nothing_configured_is_refused(void **state)
{
	int err = 0;

	(void)state;
	assert_null(zf_connect(A, 0, ZV_CID_HOST, 8, ZV_STREAM, &err));
	assert_true(err == -ECONNREFUSED || err == -ECONNRESET);
}

/* ---- tcp ---- */

static int tcp_accept(void)
{
	struct pollfd p = {.fd = tcp_listener, .events = POLLIN};

	for (int i = 0; i < 60000 && poll(&p, 1, 1) == 0; i++)
		zf_poll();
	return accept(tcp_listener, NULL, NULL);
}

static void tcp_proxy(void **state)
{
	struct zf_conn *a = zf_connect(A, 0, ZV_CID_HOST, 80, ZV_STREAM, NULL);
	char buf[16] = "";
	int fd;

	(void)state;
	assert_non_null(a);
	fd = tcp_accept();
	assert_true(fd >= 0);
	assert_true(zf_send(a, "GET /", 5, 0));
	zv_shutdown(a->c, 1);
	zf_poll();
	assert_int_equal(recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_memory_equal(buf, "GET /", 5);
	assert_int_equal(recv(fd, buf, 1, 0), 0);
	assert_int_equal(send(fd, "page", 4, 0), 4);
	close(fd);
	assert_int_equal(zf_recv(a, buf, sizeof(buf), NULL), 4);
	assert_memory_equal(buf, "page", 4);
	zf_close(a);
}

static void tcp_reset_is_carried_over(void **state)
{
	struct zf_conn *a = zf_connect(A, 0, ZV_CID_HOST, 80, ZV_STREAM, NULL);
	struct linger now = {.l_onoff = 1};
	int fd;

	(void)state;
	assert_non_null(a);
	fd = tcp_accept();
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	assert_true(zf_until(has_error, a));
	assert_int_equal(a->err, -ECONNRESET);
	zf_close(a);
}

static void tcp_refusals(void **state)
{
	int err = 0;

	(void)state;
	assert_null(zf_connect(A, 0, ZV_CID_HOST, 81, ZV_STREAM, &err)); /* nobody listens */
	assert_int_not_equal(err, 0);
	assert_null(zf_connect(A, 0, ZV_CID_HOST, 80, ZV_SEQPACKET, &err));
	assert_int_not_equal(err, 0);
	assert_null(zf_connect(B, 0, ZV_CID_HOST, 80, ZV_STREAM, &err)); /* not on its list */
	assert_int_not_equal(err, 0);
}

/* ---- all of it ---- */

static void no_descriptor_is_left(void **state)
{
	(void)state;
	assert_true(zf_fds_back(fds_before));
}

static uint16_t tcp_listen(bool really)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    (really && listen(fd, 16) < 0) || getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return 0;
	if (really)
		tcp_listener = fd; /* the other one stays bound, so that nobody else takes it */
	return ntohs(sa.sin_port);
}

static int group_start(void **state)
{
	char conf[1024];

	(void)state;
	snprintf(conf, sizeof(conf),
		 "[guest a]\ncid = 11\nsocket = @a\nqueues = 2\ngroups = one\n"
		 "builtin = echo:7, discard:9, source:19\n"
		 "tcp = 80=127.0.0.1:%u\ntcp = 81=127.0.0.1:%u\n"
		 "[guest b]\ncid = 12\nsocket = @b\nqueues = 2\ngroups = two, one\n"
		 "[guest c]\ncid = 13\nsocket = @c\ngroups = three\n"
		 "builtin = discard:9\nrx_memory = 64K\n"
		 "[guest d]\ncid = 14\nsocket = @d\n"
		 "[guest e]\ncid = 15\nsocket = @e\ngroups = two\n",
		 tcp_listen(true), tcp_listen(false));
	if (!zf_start(program, conf, 2))
		return -1;
	A = zf_guest(0, "a", 2);
	B = zf_guest(1, "b", 2);
	C = zf_guest(2, "c", 1);
	D = zf_guest(3, "d", 1);
	if (!A || !B || !C || !D || zv_listen(B, PORT, ZV_STREAM, 0) ||
	    zv_listen(B, PORT + 1, ZV_SEQPACKET, 0) || zv_listen(C, PORT, ZV_STREAM, 0))
		return -1;
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sibling_sees_the_asking_guest),
		cmocka_unit_test(sibling_carries_both_directions),
		cmocka_unit_test(sibling_half_close),
		cmocka_unit_test(sibling_reset_is_carried_over),
		cmocka_unit_test(sibling_keeps_messages),
		cmocka_unit_test(sibling_without_listener_is_refused),
		cmocka_unit_test(guests_of_other_groups_are_refused),
		cmocka_unit_test(builtin_echo),
		cmocka_unit_test(builtin_echo_keeps_messages),
		cmocka_unit_test(builtin_discard_and_source),
		cmocka_unit_test(rx_memory_bounds_credit),
		cmocka_unit_test(nothing_configured_is_refused),
		cmocka_unit_test(tcp_proxy),
		cmocka_unit_test(tcp_reset_is_carried_over),
		cmocka_unit_test(tcp_refusals),
		cmocka_unit_test(no_descriptor_is_left),
		cmocka_unit_test(sibling_that_dies_resets_the_other),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
