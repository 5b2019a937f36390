/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two drop-in directories of one zvsockd, each with a guest: programs and guests of one reach
 * nobody of the other, and the same port is there in both.
 */
#include "dgram_side.h"
#include "dropin_side.h"
#include "host_side.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT	9000u
#define CID_ANY UINT32_MAX

static const char conf[] = "log_level = debug\n"
			   "[guest a]\ncid = 3\nsocket = @a.sock\naf_vsock = @one\n"
			   "[guest b]\ncid = 4\nsocket = @b.sock\naf_vsock = @two\n";
static const char *const spaces[] = {"one/", "two/"};
static const uint32_t cids[] = {3, 4};

static const char *program;
static struct zv_dev *guest[2];
static int ask[2];

static int up(void **state)
{
	(void)state;
	zf_keep_log = true;
	if (!zf_start(program, conf, 2))
		return -1;
	guest[0] = zf_zvsock_guest(0, "a.sock", 1);
	guest[1] = zf_zvsock_guest(1, "b.sock", 1);
	for (unsigned i = 0; i < 2; i++) {
		ds_space = spaces[i];
		ask[i] = ds_ask();
		if (ask[i] < 0 || !guest[i] || !zf_until(dg_ready, guest[i]))
			return -1;
	}
	return zf_logged("zvsockd .* is up") ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	close(ask[0]);
	close(ask[1]);
	return zf_stop() ? 0 : -1;
}

/* connect(2) of a program in directory @i. The guest is this process too: on a busy machine it may
 * not answer in time. */
static int connect_in(unsigned i, uint32_t cid)
{
	int fd = -ETIMEDOUT;

	ds_space = spaces[i];
	while (fd == -ETIMEDOUT)
		fd = ds_connect(ask[i], SOCK_STREAM, cid, PORT);
	return fd;
}

static void programs_reach_their_guests(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(zv_listen(guest[i], PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		int fd = connect_in(i, cids[i]);

		assert_true(fd >= 0);
		close(fd);
		assert_int_equal(connect_in(i, cids[!i]), -ENODEV);
	}
}

static bool has_a_client(int listener)
{
	return poll(&(struct pollfd){.fd = listener, .events = POLLIN}, 1, 0) > 0;
}

static void guests_reach_their_programs(void **state)
{
	struct zf_conn *c[2];
	struct dropin_msg m;
	int listener[2], err;

	(void)state;
	listener[0] = ds_listen(ask[0], SOCK_STREAM, CID_ANY, PORT, &m);
	assert_true(listener[0] >= 0);
	assert_null(zf_connect(guest[1], 0, ZV_CID_HOST, PORT, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	assert_int_equal(connect_in(1, ZV_CID_LOCAL), -ECONNRESET);
	assert_false(has_a_client(listener[0]));
	/* the port is taken in one of them only */
	listener[1] = ds_listen(ask[1], SOCK_STREAM, CID_ANY, PORT, &m);
	assert_true(listener[1] >= 0);
	for (unsigned i = 0; i < 2; i++) {
		struct dropin_label peer;
		int fd;

		c[i] = zf_connect(guest[i], 0, ZV_CID_HOST, PORT, ZV_STREAM, &err);
		assert_non_null(c[i]);
		assert_true(has_a_client(listener[i]));
		fd = accept(listener[i], NULL, NULL);
		assert_true(ds_peer(fd, &peer));
		assert_int_equal(peer.remote.cid, cids[i]);
		assert_false(has_a_client(listener[0]) || has_a_client(listener[1]));
		close(fd);
		zf_close(c[i]);
	}
	close(listener[0]);
	close(listener[1]);
}

static void datagrams(void **state)
{
	uint32_t port[] = {dg_bind(guest[0], ZV_PORT_ANY), dg_bind(guest[1], ZV_PORT_ANY)};
	struct dropin_msg m, other;
	struct dropin_label from;
	char got[16];
	int fd, elsewhere;

	(void)state;
	ds_space = spaces[0];
	fd = ds_dgram(ask[0], CID_ANY, PORT, &m);
	assert_true(fd >= 0);
	assert_int_equal(dg_send(guest[1], port[1], ZV_CID_HOST, PORT, "other", 5), 5);
	assert_true(hs_counter_becomes("b", "af_vsock_dgrams_lost", 1));
	ds_space = spaces[1];
	elsewhere = ds_dgram(ask[1], CID_ANY, PORT + 1, &other);
	assert_true(elsewhere >= 0);
	assert_true(ds_dgram_send(elsewhere, &other, ZV_CID_LOCAL, PORT, "local", 5));
	assert_true(ds_dgram_send(elsewhere, &other, cids[0], port[0], "guest", 5));
	assert_true(zf_logged("a datagram from port 9001 to port 9000 of this machine is lost"));
	assert_int_equal(dg_send(guest[0], port[0], ZV_CID_HOST, PORT, "own", 3), 3);
	assert_int_equal(ds_dgram_recv(fd, got, sizeof(got), &from), 3); /* the first to come */
	assert_memory_equal(got, "own", 3);
	/* to its own guest, behind the one to the other's */
	dg_bind(guest[1], PORT);
	assert_true(ds_dgram_send(elsewhere, &other, cids[1], PORT, "mine", 4));
	dg_expect(guest[1], PORT, "mine", 4);
	assert_int_equal(hs_counter("a", "af_vsock_dgrams"), 1);
	close(elsewhere);
	close(fd);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(programs_reach_their_guests, up, down),
		cmocka_unit_test_setup_teardown(guests_reach_their_programs, up, down),
		cmocka_unit_test_setup_teardown(datagrams, up, down),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
