/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "listen": Unix and TCP sockets of the real zvsockd that stand for a port of a guest. Data, ends,
 * refusals, limits, a reload beside open connections, and what a killed daemon leaves behind. Guest
 * a is a stock one with two queues on two lcores, guest b has a zvsock driver.
 */
#include "host_flow.h"
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	 80u
#define NOBODY	 81u
#define MANY	 300u
#define FEW	 4u /* max_conns of guest b */
#define TCP_MANY 5u

static struct zv_dev *A, *B;
static const char *program;
static unsigned fds_before;
static uint16_t tcp[TCP_MANY]; /* of a; of a, nobody listens; of b; IPv6; later */
static bool ipv6;

static int held[TCP_MANY];

/*
 * Ports of 127.0.0.1 that nobody has, nor gets: a socket that is bound, and does not listen, keeps
 * each for those who share the address (SO_REUSEADDR), which is zvsockd.
 */
static bool hold_ports(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool ok = true;

	for (unsigned i = 0; i < TCP_MANY; i++) {
		socklen_t len = sizeof(sa);

		sa.sin_port = 0;
		held[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(held[i], SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
		ok &= bind(held[i], (struct sockaddr *)&sa, len) == 0 &&
		      getsockname(held[i], (struct sockaddr *)&sa, &len) == 0;
		tcp[i] = ntohs(sa.sin_port);
	}
	return ok;
}

static int connect_tcp(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_tcp6(uint16_t port)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6,
				  .sin6_port = htons(port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void close_both(struct zf_conn *c, int fd)
{
	close(fd);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* ---- data ---- */

/* Bytes between the socket @fd and the connection that it was joined with. */
static void carry_beside_others(struct zv_dev *dev, int fd)
{
	struct flow f = {.chunk = 40000, .g_lazy = 1, .h_lazy = 1, .ok = true, .fd = fd};

	assert_true(fd >= 0);
	f.c = zf_accept(dev, PORT);
	assert_non_null(f.c);
	assert_true(zf_until(flow_done, &f));
	assert_true(f.ok);
	close(f.fd);
	zf_close(f.c);
}

static void carry(struct zv_dev *dev, int fd)
{
	carry_beside_others(dev, fd);
	assert_true(zf_fds_back(fds_before));
}

static void data_over_unix(void **state)
{
	(void)state;
	carry(A, hs_connect("x", NULL));
	carry(A, hs_connect("x", NULL)); /* the other queue */
}

static void data_over_tcp(void **state)
{
	(void)state;
	carry(A, connect_tcp(tcp[0]));
	carry(A, connect_tcp(tcp[0]));
	carry(B, connect_tcp(tcp[2]));
}

static void data_over_ipv6(void **state)
{
	(void)state;
	if (!ipv6) {
		print_message("no IPv6 on the loopback interface here\n");
		skip();
	}
	carry(A, connect_tcp6(tcp[3]));
	assert_int_equal(connect_tcp(tcp[3]), -1); /* the one address alone */
}

/* What is written, and ended, before the guest has even been asked is not lost. */
static void early_data_and_its_end(void **state)
{
	char buf[16];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = i ? connect_tcp(tcp[0]) : hs_connect("x", "question");
		struct zf_conn *c;

		if (i)
			assert_int_equal(send(fd, "question", 8, 0), 8);
		shutdown(fd, SHUT_WR);
		c = zf_accept(A, PORT);
		assert_non_null(c);
		assert_int_equal(zf_recv(c, buf, 16, NULL), 8);
		assert_memory_equal(buf, "question", 8);
		assert_true(zf_send(c, "answer", 6, 0));
		assert_int_equal(hs_recv(fd, buf, 6), 6);
		assert_memory_equal(buf, "answer", 6);
		zv_shutdown(c->c, 1);
		assert_int_equal(hs_recv(fd, buf, 1), 0);
		close_both(c, fd);
	}
}

/* ---- ends ---- */

static void half_close_by_the_guest(void **state)
{
	char buf[16];

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = i ? connect_tcp(tcp[0]) : hs_connect("x", NULL);
		struct zf_conn *c = zf_accept(A, PORT);

		assert_non_null(c);
		assert_true(zf_send(c, "question", 8, 0));
		zv_shutdown(c->c, 1);
		assert_int_equal(hs_recv(fd, buf, 16), 8);
		assert_int_equal(send(fd, "answer", 6, MSG_NOSIGNAL), 6);
		shutdown(fd, SHUT_WR);
		assert_int_equal(zf_recv(c, buf, 16, NULL), 6);
		close_both(c, fd);
	}
}

static void reset_by_the_guest(void **state)
{
	char b;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		int fd = i ? connect_tcp(tcp[0]) : hs_connect("x", NULL);
		struct zf_conn *c = zf_accept(A, PORT);

		assert_non_null(c);
		zv_conn_reset(c->c);
		free(c);
		if (i) { /* a cut stream is no clean end */
			assert_int_equal(hs_recv(fd, &b, 1), -1);
			assert_int_equal(errno, ECONNRESET);
		} else {
			assert_int_equal(hs_recv(fd, &b, 1), 0);
		}
		close(fd);
	}
	assert_true(zf_fds_back(fds_before));
}

static void reset_by_the_program(void **state)
{
	struct linger abort = {.l_onoff = 1};
	int fd = connect_tcp(tcp[0]);
	struct zf_conn *c = zf_accept(A, PORT);
	char b;

	(void)state;
	assert_non_null(c);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	close(fd);
	assert_int_equal(zf_recv(c, &b, 1, NULL), -ECONNRESET);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* ---- refusals ---- */

static void refused_by_the_guest(void **state)
{
	long before = hs_counter("a", "host_refused");
	int fd = connect_tcp(tcp[1]);
	char b;

	(void)state;
	assert_int_equal(hs_recv(fd, &b, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	fd = hs_connect("nobody", NULL);
	assert_int_equal(hs_recv(fd, &b, 1), 0);
	close(fd);
	assert_int_equal(hs_counter("a", "host_refused"), before + 2);
	assert_true(zf_logged("listen:/.*/nobody,127\\.0\\.0\\.1:[0-9]+, port 81: refused: nobody "
			      "listens there"));
	assert_true(zf_fds_back(fds_before));
}

/* One that the limit of connections turns away does no harm to those that are there. */
static void max_conns_holds(void **state)
{
	struct zf_conn *c[FEW];
	int fd[FEW + 1];
	char b;

	(void)state;
	if (zf_exchanged()) {
		print_message("the limit is zvsockd's own queue's: tried as the host\n");
		skip();
	}
	for (unsigned i = 0; i < FEW; i++) {
		fd[i] = connect_tcp(tcp[2]);
		c[i] = zf_accept(B, PORT);
		assert_non_null(c[i]);
	}
	fd[FEW] = connect_tcp(tcp[2]);
	assert_int_equal(hs_recv(fd[FEW], &b, 1), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd[FEW]);
	for (unsigned i = 0; i < FEW; i++) {
		assert_true(zf_send(c[i], "x", 1, 0));
		assert_int_equal(hs_recv(fd[i], &b, 1), 1);
		close(fd[i]);
		zf_close(c[i]);
	}
	assert_true(zf_fds_back(fds_before));
}

static void many_connections(void **state)
{
	struct zf_conn *c[MANY];
	int fd[MANY];
	char b;

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		fd[i] = i % 2 ? connect_tcp(tcp[0]) : hs_connect("x", NULL);
		assert_true(fd[i] >= 0);
	}
	for (unsigned i = 0; i < MANY; i++) {
		c[i] = zf_accept(A, PORT);
		assert_non_null(c[i]);
		assert_true(zf_send(c[i], "y", 1, 0));
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(hs_recv(fd[i], &b, 1), 1);
		if (i % 3)
			close(fd[i]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		zf_close(c[i]);
		if (!(i % 3))
			close(fd[i]);
	}
	assert_true(zf_fds_back(fds_before));
}

static void sockets_have_their_mode(void **state)
{
	char path[128];
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%sx", zf_dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
}

/* ---- a reload ---- */

#define LISTEN_B   "[guest b]\ncid = 12\nsocket = @h\nmax_conns = 4\nlisten = 127.0.0.1:%u:80\n"
#define LISTEN_A   "[guest a]\ncid = 11\nsocket = @g\nqueues = 2\nsocket_mode = 0660\n"
#define DEBUG_CONF "log_level = debug\n"

static const char *conf_text(bool reloaded)
{
	static char text[1024];
	int n = snprintf(text, sizeof(text), DEBUG_CONF LISTEN_A);

	if (reloaded) { /* x and tcp[1] have gone, y has come; one cannot be had */
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "listen = @y:80, 127.0.0.1:%u:80\nlisten = 127.0.0.1:%u:80\n", tcp[0],
			      tcp[4]);
	} else {
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "listen = @x:80, @nobody:81\nlisten = 127.0.0.1:%u:80\n"
			      "listen = 127.0.0.1:%u:81\n",
			      tcp[0], tcp[1]);
		if (ipv6)
			n += snprintf(text + n, sizeof(text) - (size_t)n, "listen = [::1]:%u:80\n",
				      tcp[3]);
	}
	n += snprintf(text + n, sizeof(text) - (size_t)n, LISTEN_B, tcp[2]);
	if (reloaded) /* what was a's is b's now */
		snprintf(text + n, sizeof(text) - (size_t)n, "listen = @nobody:80\n");
	return text;
}

#define IN_FORCE "the new configuration is in force"

static bool in_force(void *arg)
{
	return zf_log_lines(IN_FORCE) > *(unsigned *)arg;
}

static void reload(bool reloaded)
{
	unsigned before = zf_log_lines(IN_FORCE);

	assert_true(zf_reload(conf_text(reloaded), 2));
	assert_true(zf_until(in_force, &before));
}

static void says_both_ways(struct zf_conn *c, int fd)
{
	char b;

	assert_true(zf_send(c, "q", 1, 0));
	assert_int_equal(hs_recv(fd, &b, 1), 1);
	assert_int_equal(send(fd, "a", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(zf_recv(c, &b, 1, NULL), 1);
}

/* Listeners come and go; connections, those of a listener that has gone as well, do not notice. */
static void reload_changes_listeners_alone(void **state)
{
	long before = hs_counter("a", "host_accepted");
	struct zf_conn *c[2], *d;
	int fd[2], new;

	(void)state;
	/* Somebody else's: the guest runs on without it. */
	assert_int_equal(listen(held[4], 1), 0);
	fd[0] = hs_connect("x", NULL);
	c[0] = zf_accept(A, PORT);
	fd[1] = connect_tcp(tcp[0]);
	c[1] = zf_accept(A, PORT);
	assert_true(c[0] && c[1]);
	reload(true);
	new = hs_connect("y", NULL);
	assert_true(new >= 0);
	d = zf_accept(A, PORT);
	assert_non_null(d);
	says_both_ways(d, new);
	for (unsigned i = 0; i < 2; i++)
		says_both_ways(c[i], fd[i]);
	assert_int_equal(hs_connect("x", NULL), -1);
	assert_int_equal(connect_tcp(tcp[1]), -1);
	assert_true(zf_logged("level=err (guest|device)=a .*listen = 127.*does not work: .*"
			      "somebody else listens there"));
	assert_int_equal(hs_counter("a", "host_accepted"), before + 3); /* it is the same guest */
	carry_beside_others(B, hs_connect("nobody", NULL));
	for (unsigned i = 0; i < 2; i++) {
		close(fd[i]);
		zf_close(c[i]);
	}
	close(new);
	zf_close(d);
	reload(false);
	assert_int_equal(hs_connect("y", NULL), -1);
	carry(A, hs_connect("x", NULL));
}

/* ---- the daemon dies ---- */

struct
try {
	bool tcp;
	int fd;
	struct zv_conn *c;
};

/* Who has connected while the device was not yet back is refused, and tries again. */
static bool is_reached(void *arg)
{
	struct try *t = arg;
	char b;

	if (t->fd >= 0 && (recv(t->fd, &b, 1, MSG_PEEK | MSG_DONTWAIT) == 0 || errno != EAGAIN)) {
		close(t->fd);
		t->fd = -1;
	}
	if (t->fd < 0)
		t->fd = t->tcp ? connect_tcp(tcp[0]) : hs_connect("x", NULL);
	for (unsigned q = 0; t->fd >= 0 && q < zv_nqueues(A); q++)
		if (zv_accept(zv_queue(A, q), PORT, &t->c) == 0)
			return true;
	return false;
}

/* What kill -9 has left, sockets and connections that TCP still remembers, is no obstacle. */
static void a_killed_daemon_leaves_no_obstacle(void **state)
{
	int fd = connect_tcp(tcp[0]);
	struct zf_conn *c = zf_accept(A, PORT);
	char b;

	(void)state;
	if (zf_exchanged()) {
		print_message("a device that is gone is opened anew: tried as the host\n");
		zf_close(c);
		close(fd);
		skip();
	}
	assert_non_null(c);
	assert_true(zf_kill());
	assert_true(hs_recv(fd, &b, 1) <= 0);
	close(fd);
	zf_close(c);
	assert_true(zf_start_again(program));
	for (unsigned i = 0; i < 2; i++) {
		struct try t = {.tcp = i, .fd = -1};

		assert_true(zf_until(is_reached, &t));
		zv_conn_close(t.c);
		assert_int_equal(hs_recv(t.fd, &b, 1), 0);
		close(t.fd);
	}
}

static int group_start(void **state)
{
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

	(void)state;
	ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;
	close(fd);
	zf_keep_log = true;
	if (!hs_raise_fd_limit(4 * MANY + 200) || !hold_ports() ||
	    !zf_start(program, conf_text(false), 2))
		return -1;
	A = zf_guest(0, "g", 2);
	B = zf_zvsock_guest(1, "h", 1);
	if (!A || !B || zv_listen(A, PORT, ZV_STREAM, MANY) || zv_listen(B, PORT, ZV_STREAM, 0))
		return -1;
	(void)hs_counter("a", "host_accepted"); /* the daemon is up */
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
		cmocka_unit_test(data_over_unix),
		cmocka_unit_test(data_over_tcp),
		cmocka_unit_test(data_over_ipv6),
		cmocka_unit_test(early_data_and_its_end),
		cmocka_unit_test(half_close_by_the_guest),
		cmocka_unit_test(reset_by_the_guest),
		cmocka_unit_test(reset_by_the_program),
		cmocka_unit_test(refused_by_the_guest),
		cmocka_unit_test(max_conns_holds),
		cmocka_unit_test(many_connections),
		cmocka_unit_test(sockets_have_their_mode),
		cmocka_unit_test(reload_changes_listeners_alone),
		cmocka_unit_test(a_killed_daemon_leaves_no_obstacle),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
