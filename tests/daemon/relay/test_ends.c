/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd when one end goes while both directions are full: the other end must hear of it,
 * gets what had been sent to it before, and nothing is left in the daemon.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define UNIX_PORT 5000u
#define TCP_PORT  80u
#define MSG	  1000u

static struct zv_dev *G;
static const char *program;
static int tcp_listener;

/* One connection, by the guest, both of whose directions are filled while nobody reads. */
struct jam {
	struct zf_conn *c;
	int fd;
	uint64_t from_guest, from_host;
	unsigned still; /* rounds in which nothing has moved */
};

static bool jammed(void *arg)
{
	static const char data[MSG];
	struct jam *j = arg;
	ssize_t n = zv_send(j->c->c, data, sizeof(data), 0);
	ssize_t m = send(j->fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);

	j->from_guest += n > 0 ? (uint64_t)n : 0;
	j->from_host += m > 0 ? (uint64_t)m : 0;
	j->still = n > 0 || m > 0 ? 0 : j->still + 1;
	if (j->still)
		usleep(1000);
	return j->still > 100;
}

static void jam(struct jam *j, int listener, uint32_t port, enum zv_type type)
{
	memset(j, 0, sizeof(*j));
	j->c = zf_connect(G, 0, ZV_CID_HOST, port, type, NULL);
	assert_non_null(j->c);
	j->fd = hs_accept(listener);
	assert_true(j->fd >= 0);
	assert_true(zf_until(jammed, j));
	assert_true(j->from_guest > 0 && j->from_host > 0);
}

/* A program that only waits for room gets it, or learns that nobody reads any more. */
static bool writable(void *arg)
{
	struct pollfd p = {.fd = ((struct jam *)arg)->fd, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && p.revents & POLLOUT;
}

static bool write_fails(void *arg)
{
	static const char data[MSG];

	return send(((struct jam *)arg)->fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	       errno != EAGAIN;
}

/* Everything that the guest had sent, then the end. */
static void all_is_there(struct jam *j)
{
	uint64_t got = 0;
	char buf[MSG];
	ssize_t n;

	while ((n = hs_recv(j->fd, buf, sizeof(buf))) > 0)
		got += (uint64_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(got, j->from_guest);
}

static void guest_goes(int listener, uint32_t port, enum zv_type type)
{
	unsigned before = zf_fds();
	struct jam j;

	jam(&j, listener, port, type);
	zf_close(j.c);
	assert_true(zf_until(writable, &j));
	if (port == UNIX_PORT)
		assert_true(zf_until(write_fails, &j));
	all_is_there(&j);
	close(j.fd);
	assert_true(zf_fds_back(before));
}

static void guest_goes_unix(void **state)
{
	int listener = hs_listen("u_5000", SOCK_STREAM);

	(void)state;
	guest_goes(listener, UNIX_PORT, ZV_STREAM);
	close(listener);
}

static void guest_goes_messages(void **state)
{
	int listener = hs_listen("u_5001", SOCK_SEQPACKET);

	(void)state;
	guest_goes(listener, UNIX_PORT + 1, ZV_SEQPACKET);
	close(listener);
}

/*
 * TCP cannot tell its peer that nobody reads: the bytes are taken and thrown away, and no RST may
 * overtake what the guest had sent.
 */
static void guest_goes_tcp(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		guest_goes(tcp_listener, TCP_PORT, ZV_STREAM);
}

/* It got everything and does not end: the daemon does, some time. */
static void tcp_program_that_stays(void **state)
{
	unsigned before = zf_fds();
	struct jam j;

	(void)state;
	jam(&j, tcp_listener, TCP_PORT, ZV_STREAM);
	zf_close(j.c);
	all_is_there(&j);
	assert_true(zf_fds_back(before));
	close(j.fd);
}

static bool guest_hears(void *arg)
{
	struct jam *j = arg;
	char b[MSG];

	return j->c->err || zv_recv(j->c->c, b, sizeof(b), NULL) == 0;
}

static bool guest_write_fails(void *arg)
{
	ssize_t n = zv_send(((struct jam *)arg)->c->c, "x", 1, 0);

	return n < 0 && n != -EAGAIN;
}

static void host_goes(int listener, uint32_t port, enum zv_type type)
{
	unsigned before = zf_fds();
	struct jam j;

	jam(&j, listener, port, type);
	close(j.fd);
	assert_true(zf_until(guest_hears, &j));
	assert_true(zf_until(guest_write_fails, &j));
	zf_close(j.c);
	assert_true(zf_fds_back(before));
}

static void host_goes_unix(void **state)
{
	int listener = hs_listen("u_5002", SOCK_STREAM);

	(void)state;
	host_goes(listener, UNIX_PORT + 2, ZV_STREAM);
	close(listener);
}

static void host_goes_messages(void **state)
{
	int listener = hs_listen("u_5003", SOCK_SEQPACKET);

	(void)state;
	host_goes(listener, UNIX_PORT + 3, ZV_SEQPACKET);
	close(listener);
}

static void host_goes_tcp(void **state)
{
	(void)state;
	host_goes(tcp_listener, TCP_PORT, ZV_STREAM);
}

/* ---- a connection that is cut: docs/daemon.md, "Where connections go" ---- */

/* The guest sends, resets. What the host program gets behind what came: 0: end of file; or -errno.
 */
static int cut(int listener, uint32_t port, bool host_sends)
{
	struct jam j = {.from_guest = 0};
	unsigned before = zf_fds();
	char buf[MSG];
	ssize_t n;

	if (host_sends) {
		jam(&j, listener, port, ZV_STREAM); /* nothing of it is taken any more */
	} else {
		j.c = zf_connect(G, 0, ZV_CID_HOST, port, ZV_STREAM, NULL);
		assert_non_null(j.c);
		j.fd = hs_accept(listener);
		assert_true(j.fd >= 0);
		assert_true(zf_send(j.c, "rest", 4, 0));
		assert_int_equal(hs_recv(j.fd, buf, 4), 4);
	}
	assert_int_equal(zv_conn_reset(j.c->c), 0);
	free(j.c);
	assert_true(zf_fds_back(before));
	do {
		assert_true(hs_readable(j.fd));
		n = recv(j.fd, buf, sizeof(buf), MSG_DONTWAIT);
	} while (n > 0);
	n = n < 0 ? -errno : 0;
	close(j.fd);
	return (int)n;
}

static void guest_cuts(void **state)
{
	int listener = hs_listen("u_5004", SOCK_STREAM);

	(void)state;
	assert_int_equal(cut(listener, UNIX_PORT + 4, false), 0);
	assert_int_equal(cut(listener, UNIX_PORT + 4, true), -ECONNRESET);
	assert_int_equal(cut(tcp_listener, TCP_PORT, false), -ECONNRESET);
	assert_int_equal(cut(tcp_listener, TCP_PORT, true), -ECONNRESET);
	close(listener);
}

/* ---- all of it ---- */

static int group_start(void **state)
{
	uint16_t port;
	char conf[256];

	(void)state;
	tcp_listener = hs_listen_tcp(&port);
	if (tcp_listener < 0)
		return -1;
	snprintf(conf, sizeof(conf),
		 "[guest g]\ncid = 11\nsocket = @g\nunix = @u\n"
		 "tcp = 80=127.0.0.1:%u\n",
		 port);
	if (!zf_start(program, conf, 1))
		return -1;
	G = zf_guest(0, "g", 1);
	return G ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	close(tcp_listener);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_goes_unix), cmocka_unit_test(guest_goes_messages),
		cmocka_unit_test(guest_goes_tcp),  cmocka_unit_test(tcp_program_that_stays),
		cmocka_unit_test(host_goes_unix),  cmocka_unit_test(host_goes_messages),
		cmocka_unit_test(host_goes_tcp),   cmocka_unit_test(guest_cuts),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
