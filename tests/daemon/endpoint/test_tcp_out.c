/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * "tcp_out": a guest of the real zvsockd asks by SOCKS5 for TCP connections, to servers of this
 * test on the loopback interface. What the rules allow and what not, names, ends, and requests that
 * are none, slow, or too many.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT  1080u /* rules */
#define MANY  1500u
#define SHORT 10u /* bytes of a reply */
#define FDS   8u  /* max_fds */

static struct zv_dev *G;
static const char *program;
static int listener, other, dead; /* dead: bound, so that nobody else takes its port */
static uint16_t open_port, other_port, dead_port; /* 127.0.0.1; other: by name alone */
static unsigned fds_before;

static struct zf_conn *hello(void)
{
	struct zf_conn *c = zf_connect(G, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	uint8_t back[2];

	assert_non_null(c);
	assert_true(zf_send(c, "\5\1", 2, 0)); /* in pieces */
	assert_true(zf_send(c, "\0", 1, 0));
	assert_int_equal(zf_recv(c, back, 2, NULL), 2);
	assert_memory_equal(back, "\5\0", 2);
	return c;
}

static size_t put_port(uint8_t *msg, size_t len, uint16_t port)
{
	msg[len] = (uint8_t)(port >> 8);
	msg[len + 1] = (uint8_t)port;
	return len + 2;
}

static void ask_address(struct zf_conn *c, const char *four, uint16_t port)
{
	uint8_t msg[10] = {5, 1, 0, 1};

	memcpy(msg + 4, four, 4);
	assert_true(zf_send(c, msg, put_port(msg, 8, port), 0));
}

static void ask_name(struct zf_conn *c, const char *name, uint16_t port)
{
	uint8_t msg[300] = {5, 1, 0, 3, (uint8_t)strlen(name)};

	memcpy(msg + 5, name, strlen(name));
	assert_true(zf_send(c, msg, put_port(msg, 5 + strlen(name), port), 0));
}

/* The reply's code; after a refusal the end of the stream. */
static int code(struct zf_conn *c)
{
	uint8_t r[SHORT + 1];

	assert_int_equal(zf_recv(c, r, SHORT, NULL), SHORT);
	assert_int_equal(r[0], 5);
	assert_memory_equal(r + 2, "\0\1\0\0\0\0\0\0", 8);
	if (r[1])
		assert_int_equal(zf_recv(c, r + SHORT, 1, NULL), 0);
	return r[1];
}

static int asked_address(const char *four, uint16_t port)
{
	struct zf_conn *c = hello();
	int got;

	ask_address(c, four, port);
	got = code(c);
	zf_close(c);
	return got;
}

static int asked_name(const char *name, uint16_t port)
{
	struct zf_conn *c = hello();
	int got;

	ask_name(c, name, port);
	got = code(c);
	zf_close(c);
	return got;
}

#define HERE "\177\0\0\1"

/* ---- what is allowed ---- */

/* Bytes that follow the request in the same packet are the connection's. */
static void address_and_bytes(void **state)
{
	uint8_t msg[14] = {5, 1, 0, 1, 127, 0, 0, 1};
	struct zf_conn *c = hello();
	char buf[8];
	int fd;

	(void)state;
	(void)put_port(msg, 8, open_port);
	memcpy(msg + 10, "ping", 4);
	assert_true(zf_send(c, msg, 14, 0));
	assert_int_equal(code(c), 0);
	fd = hs_accept(listener);
	assert_int_equal(hs_recv(fd, buf, 4), 4);
	assert_memory_equal(buf, "ping", 4);
	assert_int_equal(send(fd, "pong", 4, MSG_NOSIGNAL), 4);
	assert_int_equal(zf_recv(c, buf, 4, NULL), 4);
	assert_memory_equal(buf, "pong", 4);
	zv_shutdown(c->c, 1); /* half-close goes through */
	assert_int_equal(hs_recv(fd, buf, 1), 0);
	assert_int_equal(send(fd, "end", 3, MSG_NOSIGNAL), 3);
	close(fd);
	assert_int_equal(zf_recv(c, buf, 8, NULL), 3);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

static void a_name_that_resolves(void **state)
{
	struct zf_conn *c = hello();
	char b;
	int fd;

	(void)state;
	ask_name(c, "localhost", open_port); /* no rule of its own; the address has one */
	assert_int_equal(code(c), 0);
	fd = hs_accept(listener);
	assert_true(zf_send(c, "x", 1, 0));
	assert_int_equal(hs_recv(fd, &b, 1), 1);
	close(fd);
	zf_close(c);
	c = hello();
	ask_name(c, "127.0.0.1", open_port); /* an address, written as a name */
	assert_int_equal(code(c), 0);
	close(hs_accept(listener));
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

static void reset_by_the_server(void **state)
{
	struct linger abort = {.l_onoff = 1};
	struct zf_conn *c = hello();
	char b;
	int fd;

	(void)state;
	ask_address(c, HERE, open_port);
	assert_int_equal(code(c), 0);
	fd = hs_accept(listener);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	close(fd);
	assert_int_equal(zf_recv(c, &b, 1, NULL), -ECONNRESET);
	zf_close(c);
	assert_true(zf_fds_back(fds_before));
}

/* ---- what is not ---- */

static bool nobody_came(int fd)
{
	return poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 0;
}

static void rules_are_kept(void **state)
{
	long before = hs_counter("g", "tcp_out_denied");

	(void)state;
	assert_int_equal(asked_address(HERE, other_port), 2);	   /* the loopback, by no rule */
	assert_int_equal(asked_address("\0\0\0\0", open_port), 2); /* which is this machine */
	assert_int_equal(asked_address("\177\0\0\2", open_port), 2);
	assert_int_equal(asked_address("\300\0\2\1", 80), 2);
	/* A name with a rule that leads to the loopback: DNS rebinding. */
	assert_int_equal(asked_name("localhost", other_port), 2);
	/* A name for which no rule can be: it is not even looked up. */
	assert_int_equal(asked_name("nobody.invalid", 22), 2);
	assert_int_equal(hs_counter("g", "tcp_out_denied"), before + 6);
	assert_true(nobody_came(listener) && nobody_came(other));
	assert_true(zf_fds_back(fds_before));
}

static void failures_have_codes(void **state)
{
	(void)state;
	assert_int_equal(asked_address(HERE, dead_port), 5); /* refused */
	assert_int_equal(asked_name("nobody.invalid", open_port), 4);
	assert_true(zf_fds_back(fds_before));
}

/* ---- descriptors ---- */

/* Who comes too late is told, the log says what to do, and those that are there go on. */
static void descriptors_of_the_guest_are_used_up(void **state)
{
	long before = hs_counter("g", "fd_limit");
	struct zf_conn *c[FDS];
	int fd[FDS];
	char b;

	(void)state;
	for (unsigned i = 0; i < FDS; i++) {
		c[i] = hello();
		ask_address(c[i], HERE, open_port);
		assert_int_equal(code(c[i]), 0);
		fd[i] = hs_accept(listener);
	}
	assert_int_equal(asked_address(HERE, open_port), 1);
	assert_int_equal(hs_counter("g", "fd_limit"), before + 1);
	assert_true(zf_logged("guest=g .*its connections hold 8 descriptors.*raise max_fds"));
	for (unsigned i = 0; i < FDS; i++) {
		assert_true(zf_send(c[i], "x", 1, 0));
		assert_int_equal(hs_recv(fd[i], &b, 1), 1);
		close(fd[i]);
		zf_close(c[i]);
	}
	assert_true(zf_fds_back(fds_before));
}

/* The number that zvsockd's next descriptor would have. */
static rlim_t next_descriptor(void)
{
	char path[64];
	rlim_t n = 0;

	do
		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)zf_pid, (unsigned)n++);
	while (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
	return n - 1;
}

static void zvsockd_has_no_descriptor_left(void **state)
{
	long before = hs_counter("g", "fd_limit");
	struct rlimit was, none;

	(void)state;
	assert_true(zf_fds_back(fds_before));
	assert_int_equal(prlimit(zf_pid, RLIMIT_NOFILE, NULL, &was), 0);
	/* Not 0: poll(2) of more descriptors than the limit fails, and zvsockd would end. */
	none = (struct rlimit){next_descriptor(), was.rlim_max};
	assert_int_equal(prlimit(zf_pid, RLIMIT_NOFILE, &none, NULL), 0);
	assert_int_equal(asked_address(HERE, open_port), 1);
	assert_int_equal(prlimit(zf_pid, RLIMIT_NOFILE, &was, NULL), 0);
	assert_int_equal(hs_counter("g", "fd_limit"), before + 1);
	assert_true(zf_logged("guest=g .*no descriptor for another connection.*ulimit -n"));
	assert_true(zf_fds_back(fds_before));
}

/* ---- requests that are none ---- */

static void says(const char *msg, size_t len, int want)
{
	struct zf_conn *c = hello();

	assert_true(zf_send(c, msg, len, 0));
	assert_int_equal(code(c), want);
	zf_close(c);
}

static void is_reset(const char *msg, size_t len, bool greeted)
{
	struct zf_conn *c =
		greeted ? hello() : zf_connect(G, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	char b;

	assert_non_null(c);
	assert_true(zf_send(c, msg, len, 0));
	assert_int_equal(zf_recv(c, &b, 1, NULL), -ECONNRESET);
	zf_close(c);
}

static void nonsense_is_refused(void **state)
{
	long before = hs_counter("g", "tcp_out_bad");
	struct zf_conn *c;
	uint8_t back[3];

	(void)state;
	says("\5\2\0\1\177\0\0\1\0\120", 10, 7); /* BIND */
	says("\5\3\0\1\177\0\0\1\0\120", 10, 7);
	says("\5\1\0\2\0", 5, 8);
	says("\5\1\0\3\0\0\120", 7, 8); /* no name */
	says("\5\1\0\3\3a\0b\0\120", 10, 8);
	says("\5\1\0\1\177\0\0\1\0\0", 10, 8);	    /* port 0 */
	is_reset("\4\1\0\120\177\0\0\1", 8, false); /* SOCKS4 */
	is_reset("GET / HTTP/1.1\r\n", 16, false);
	is_reset("\4", 1, true);
	c = zf_connect(G, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	assert_non_null(c);
	assert_true(zf_send(c, "\5\1\2", 3, 0)); /* with a password only */
	assert_int_equal(zf_recv(c, back, 3, NULL), 2);
	assert_memory_equal(back, "\5\377", 2);
	zf_close(c);
	c = hello(); /* half a request, and the end */
	assert_true(zf_send(c, "\5\1\0\3\377abc", 8, 0));
	zf_close(c);
	c = hello();
	assert_true(zf_send(c, "\5\1\0", 3, 0));
	zv_shutdown(c->c, 1);
	assert_int_equal(zf_recv(c, back, 1, NULL), -ECONNRESET);
	zf_close(c);
	assert_true(hs_counter("g", "tcp_out_bad") >= before + 5);
	assert_true(zf_fds_back(fds_before));
}

/* Thousands of half requests; whoever asks for something meanwhile gets it. */
static void many_half_requests(void **state)
{
	static struct zf_conn *c[MANY];
	char b;

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		c[i] = zf_connect(G, i % 2, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
		assert_non_null(c[i]);
		assert_true(zf_send(c[i], "\5\1\0\5\1\0\3", 1 + i % 7, 0));
	}
	for (unsigned i = 0; i < 3; i++) {
		struct zf_conn *good = hello();

		ask_address(good, HERE, open_port);
		assert_int_equal(code(good), 0);
		close(hs_accept(listener));
		zf_close(good);
	}
	for (unsigned i = 0; i < MANY; i += 2) {
		zf_close(c[i]);
		c[i] = NULL;
	}
	for (unsigned i = 1; i < MANY; i += 2) { /* their time is over */
		ssize_t n;

		while ((n = zf_recv(c[i], &b, 1, NULL)) == 1)
			;
		assert_int_equal(n, -ECONNRESET);
		zf_close(c[i]);
	}
	assert_true(zf_fds_back(fds_before));
}

/* Many names at once: some are refused for that, none is forgotten. */
static void many_names(void **state)
{
	static struct zf_conn *c[100];
	unsigned none = 0, busy = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		c[i] = hello();
		ask_name(c[i], "nobody.invalid", open_port);
	}
	for (unsigned i = 0; i < 100; i++) {
		int got = code(c[i]);

		none += got == 4 || got == 6;
		busy += got == 1;
		zf_close(c[i]);
	}
	assert_int_equal(none + busy, 100);
	assert_true(none > 0);
	assert_true(zf_fds_back(fds_before));
}

static int group_start(void **state)
{
	char conf[512];

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	zf_keep_log = true;
	listener = hs_listen_tcp(&open_port);
	other = hs_listen_tcp(&other_port);
	dead = hs_bind_tcp(&dead_port);
	snprintf(conf, sizeof(conf),
		 "max_fds = 8\n[guest g]\ncid = 11\nsocket = @g\nqueues = 2\ntcp_out = %u\n"
		 "tcp_allow = 127.0.0.1:%u, 127.0.0.1:%u\ntcp_allow = localhost:%u, 0.0.0.0/0:81\n",
		 PORT, open_port, dead_port, other_port);
	if (listener < 0 || other < 0 || dead < 0 || !zf_start(program, conf, 2))
		return -1;
	G = zf_guest(0, "g", 2);
	if (!G)
		return -1;
	(void)hs_counter("g", "host_accepted"); /* the daemon is up */
	for (int i = 0; i < 1000; i++)
		zf_poll();
	(void)asked_name("nobody.invalid", open_port); /* what the resolver opens for good */
	fds_before = zf_fds();
	return 0;
}

static int group_end(void **state)
{
	(void)state;
	close(listener);
	close(other);
	close(dead);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(address_and_bytes),
		cmocka_unit_test(a_name_that_resolves),
		cmocka_unit_test(reset_by_the_server),
		cmocka_unit_test(rules_are_kept),
		cmocka_unit_test(descriptors_of_the_guest_are_used_up),
		cmocka_unit_test(zvsockd_has_no_descriptor_left),
		cmocka_unit_test(failures_have_codes),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(many_half_requests),
		cmocka_unit_test(many_names),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
