/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real zvsockd when a host program sends no more but still listens: it may close altogether at
 * any time after, and be noticed though the guest does nothing; it may also read slowly, and cost
 * no CPU time meanwhile.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	 5000u
#define TCP_PORT 80u
#define MSG	 1000u

static struct zv_dev *G;
static const char *program;
static int listener[3]; /* stream, seqpacket, TCP */

/* A connection by the guest whose host program has said all that it has to say. */
struct half {
	struct zf_conn *c;
	unsigned fds; /* of the daemon, before */
	int fd;
	uint64_t sent;
	unsigned still;
};

static void open_half(struct half *h, unsigned how)
{
	char b[4];

	memset(h, 0, sizeof(*h));
	h->fds = zf_fds();
	h->c = zf_connect(G, 0, ZV_CID_HOST, how == 2 ? TCP_PORT : PORT + how,
			  how == 1 ? ZV_SEQPACKET : ZV_STREAM, NULL);
	assert_non_null(h->c);
	h->fd = hs_accept(listener[how]);
	assert_true(h->fd >= 0);
	assert_int_equal(send(h->fd, "bye", 3, MSG_NOSIGNAL), 3);
	assert_int_equal(shutdown(h->fd, SHUT_WR), 0);
	assert_int_equal(zf_recv(h->c, b, 3, NULL), 3);
	assert_int_equal(zf_recv(h->c, b, 1, NULL), 0);
}

/* The other direction is alive, and the daemon has come to rest. */
static void settle(struct half *h)
{
	char b[4];

	assert_true(zf_send(h->c, "on", 2, 0));
	assert_int_equal(hs_recv(h->fd, b, 2), 2);
	assert_true(hs_lcore_sleeps("g"));
}

static bool gone(void *arg)
{
	return zf_fds() <= ((struct half *)arg)->fds;
}

static bool guest_reset(void *arg)
{
	return ((struct half *)arg)->c->err == -ECONNRESET;
}

static bool write_fails(void *arg)
{
	return zv_send(((struct half *)arg)->c->c, "x", 1, 0) == -EPIPE;
}

static void close_is_noticed(unsigned how)
{
	struct half h;

	open_half(&h, how);
	settle(&h);
	close(h.fd);
	assert_true(zf_until(gone, &h));
	assert_true(zf_until(write_fails, &h));
	assert_int_equal(h.c->err, 0);
	zf_close(h.c);
}

static void close_is_noticed_stream(void **state)
{
	(void)state;
	close_is_noticed(0);
}

static void close_is_noticed_messages(void **state)
{
	(void)state;
	close_is_noticed(1);
}

/* What the guest has sent is lost: that is a reset. TCP tells of no other end. */
static void unread_bytes_are_a_reset(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct half h;

		open_half(&h, how);
		settle(&h);
		assert_true(zf_send(h.c, "unread", 6, 0));
		assert_true(hs_readable(h.fd));
		close(h.fd);
		assert_true(zf_until(gone, &h));
		if (how < 2) /* of TCP after a half-close the kernel says EPIPE */
			assert_true(zf_until(guest_reset, &h));
		zf_close(h.c);
	}
}

/* The guest has stopped to read before: the same, though nobody waits for bytes of the host. */
static void the_guest_reads_no_more_either(void **state)
{
	struct half h;
	char b[4];

	(void)state;
	h.fds = zf_fds();
	h.c = zf_connect(G, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	assert_non_null(h.c);
	h.fd = hs_accept(listener[0]);
	assert_int_equal(zv_shutdown(h.c->c, 0), 0);
	assert_true(zf_send(h.c, "on", 2, 0));
	assert_int_equal(hs_recv(h.fd, b, 2), 2);
	assert_int_equal(shutdown(h.fd, SHUT_WR), 0);
	assert_true(hs_lcore_sleeps("g"));
	close(h.fd);
	assert_true(zf_until(gone, &h));
	zf_close(h.c);
}

/* ---- a reader that does not read ---- */

static bool jammed(void *arg)
{
	static const char data[MSG];
	struct half *h = arg;
	ssize_t n = zv_send(h->c->c, data, sizeof(data), 0);

	h->sent += n > 0 ? (uint64_t)n : 0;
	h->still = n > 0 ? 0 : h->still + 1;
	if (h->still)
		usleep(1000);
	return h->still > 100;
}

static void all_is_there(struct half *h)
{
	uint64_t got = 0;
	char buf[MSG];

	while (got < h->sent) {
		uint64_t left = h->sent - got;
		ssize_t n = hs_recv(h->fd, buf, left < MSG ? (size_t)left : MSG);

		assert_true(n > 0);
		got += (uint64_t)n;
	}
}

/* A full socket of a program that sends no more is waited for asleep, twice, and then goes on. */
static void a_full_socket_costs_nothing(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how += 2) {
		struct half h;

		open_half(&h, how);
		for (unsigned again = 0; again < 2; again++) {
			h.sent = h.still = 0;
			assert_true(zf_until(jammed, &h));
			assert_true(h.sent > 0);
			assert_true(hs_lcore_sleeps("g"));
			all_is_there(&h);
			settle(&h);
		}
		zf_close(h.c);
		assert_int_equal(hs_recv(h.fd, (char[1]){0}, 1), 0);
		close(h.fd);
		assert_true(zf_until(gone, &h));
	}
}

static bool host_jammed(void *arg)
{
	static const char data[MSG];
	struct half *h = arg;
	ssize_t n = send(h->fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);

	h->sent += n > 0 ? (uint64_t)n : 0;
	h->still = n > 0 ? 0 : h->still + 1;
	if (h->still)
		usleep(1000);
	return h->still > 100;
}

/* Both directions are full, and the end of the host's lies behind bytes that nobody reads. */
static void an_end_not_reached_costs_nothing(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how += 2) {
		struct half h = {.fds = zf_fds()};
		uint64_t from_host, got = 0;
		char buf[MSG];
		ssize_t n;

		h.c = zf_connect(G, 0, ZV_CID_HOST, how ? TCP_PORT : PORT, ZV_STREAM, NULL);
		assert_non_null(h.c);
		h.fd = hs_accept(listener[how]);
		assert_true(zf_until(host_jammed, &h));
		assert_int_equal(shutdown(h.fd, SHUT_WR), 0);
		from_host = h.sent;
		h.sent = h.still = 0;
		assert_true(zf_until(jammed, &h));
		assert_true(hs_lcore_sleeps("g"));
		all_is_there(&h);
		while ((n = zf_recv(h.c, buf, sizeof(buf), NULL)) > 0)
			got += (uint64_t)n;
		assert_int_equal(n, 0);
		assert_int_equal(got, from_host);
		settle(&h);
		close(h.fd);
		zf_close(h.c);
		assert_true(zf_until(gone, &h));
	}
}

/* Closed while the daemon still holds bytes for it. */
static void a_full_socket_is_closed(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		struct half h;

		open_half(&h, how);
		assert_true(zf_until(jammed, &h));
		close(h.fd);
		assert_true(zf_until(gone, &h));
		zf_close(h.c);
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
		 "[guest g]\ncid = 11\nsocket = @g\nunix = @u\ntcp = 80=127.0.0.1:%u\n", port);
	if (!zf_start(program, conf, 1))
		return -1;
	G = zf_guest(0, "g", 1);
	listener[0] = hs_listen("u_5000", SOCK_STREAM);
	listener[1] = hs_listen("u_5001", SOCK_SEQPACKET);
	return G && listener[0] >= 0 && listener[1] >= 0 ? 0 : -1;
}

static int group_end(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		close(listener[i]);
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_is_noticed_stream),
		cmocka_unit_test(close_is_noticed_messages),
		cmocka_unit_test(unread_bytes_are_a_reset),
		cmocka_unit_test(the_guest_reads_no_more_either),
		cmocka_unit_test(a_full_socket_costs_nothing),
		cmocka_unit_test(an_end_not_reached_costs_nothing),
		cmocka_unit_test(a_full_socket_is_closed),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
