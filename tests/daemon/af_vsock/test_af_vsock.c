/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_VSOCK programs of this machine at a real daemon: both roles of the dialogue. */
#include "dropin_side.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY UINT32_MAX

static const char *program;
static struct zv_dev *dev;

static const char conf[] = "af_vsock = @\n"
			   "[guest a]\n"
			   "cid = 3\n"
			   "socket = @a.sock\n"
			   "unix = @a.vsock\n"
			   "builtin = echo:7\n";
static const char conf_of_one[] = "af_vsock = @\n"
				  "max_fds = 1\n"
				  "[guest a]\n"
				  "cid = 3\n"
				  "socket = @a.sock\n";

/* The CID of the peer, and the own one, as programs see them. */
static uint32_t peer_cid(void)
{
	return zf_exchanged() ? ZV_CID_HOST : 3;
}

static uint32_t own_cid(void)
{
	return zf_exchanged() ? 3 : ZV_CID_HOST;
}

static int up_with(const char *text)
{
	zf_keep_log = true;
	if (!zf_start(program, text, 1))
		return -1;
	dev = zf_guest(0, "a.sock", 1);
	/* DIR/ask is there before guests and devices are. */
	return dev && zf_logged("zvsockd .* is up") ? 0 : -1;
}

static int up(void **state)
{
	(void)state;
	return up_with(conf);
}

static int up_for_one(void **state)
{
	(void)state;
	return up_with(conf_of_one);
}

static int down(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

static void answered(int ask, struct dropin_msg *m)
{
	assert_true(ds_question(ask, m));
}

/* Both ways through a connection. */
static void talk(int fd, struct zf_conn *c, int type)
{
	char buf[64];
	uint32_t flags = 0;

	assert_int_equal(send(fd, "to guest", 8, 0), 8);
	assert_int_equal(zf_recv(c, buf, 8, &flags), 8);
	assert_memory_equal(buf, "to guest", 8);
	assert_true(zf_send(c, "to host", 7, type == SOCK_SEQPACKET ? ZV_EOM : 0));
	assert_true(ds_poll(fd, POLLIN) & POLLIN);
	assert_int_equal(recv(fd, buf, sizeof(buf), 0), 7);
	assert_memory_equal(buf, "to host", 7);
}

static void hello_tells_the_cid(void **state)
{
	int ask = ds_ask();
	struct dropin_msg m;

	(void)state;
	assert_true(ask >= 0);
	dropin_msg_init(&m, DROPIN_HELLO);
	answered(ask, &m);
	assert_int_equal(m.result, 0);
	assert_int_equal(m.local.cid, own_cid());
	close(ask);
}

static void connect_of(int type)
{
	int ask = ds_ask(), fd;
	struct dropin_label own;
	struct zf_conn *c;

	assert_int_equal(zv_listen(dev, 80, type == SOCK_STREAM ? ZV_STREAM : ZV_SEQPACKET, 0), 0);
	fd = ds_connect(ask, type, peer_cid(), 80);
	assert_true(fd >= 0);
	assert_true(ds_own(fd, &own));
	assert_int_equal(own.view, 'P');
	assert_true(own.connected);
	assert_int_equal(own.local.cid, own_cid());
	assert_int_equal(own.remote.cid, peer_cid());
	assert_int_equal(own.remote.port, 80);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	talk(fd, c, type);
	close(fd);
	assert_int_equal(zf_recv(c, &own, sizeof(own), NULL), 0);
	zf_close(c);
	assert_int_equal(zv_unlisten(dev, 80), 0);
	close(ask);
}

static void stream_connects(void **state)
{
	(void)state;
	connect_of(SOCK_STREAM);
}

static void seqpacket_connects(void **state)
{
	(void)state;
	connect_of(SOCK_SEQPACKET);
}

/*
 * A program that answers and closes without having read all: the answer arrives, and an end, as
 * with the kernel's vsock (AF_UNIX says ECONNRESET of such a close).
 */
static void an_answer_survives_unread_bytes(void **state)
{
	int ask = ds_ask();

	(void)state;
	for (int i = 0; i < 200; i++) {
		bool seq = i % 2, late = i % 4 < 2;
		struct zf_conn *c;
		char buf[8];
		int fd;

		if (i < 2)
			assert_int_equal(zv_listen(dev, 80 + i, seq ? ZV_SEQPACKET : ZV_STREAM, 0),
					 0);
		fd = ds_connect(ask, seq ? SOCK_SEQPACKET : SOCK_STREAM, peer_cid(),
				80 + (seq ? 1 : 0));
		assert_true(fd >= 0);
		c = zf_accept(dev, 80 + (seq ? 1 : 0));
		assert_non_null(c);
		assert_true(zf_send(c, "unread", 6, seq ? ZV_EOM : 0));
		assert_true(ds_poll(fd, POLLIN) & POLLIN);
		assert_int_equal(send(fd, "answer", 6, 0), 6);
		if (late) /* zvsockd writes into a socket that is closed */
			assert_true(zf_send(c, "unread", 6, seq ? ZV_EOM : 0));
		close(fd);
		assert_int_equal(zf_recv(c, buf, 6, NULL), 6);
		assert_memory_equal(buf, "answer", 6);
		assert_int_equal(zf_recv(c, buf, sizeof(buf), NULL), 0);
		assert_int_equal(c->err, 0);
		zf_close(c);
	}
	assert_int_equal(zv_unlisten(dev, 80), 0);
	assert_int_equal(zv_unlisten(dev, 81), 0);
	close(ask);
}

static void errors_are_the_kernels(void **state)
{
	int ask = ds_ask();

	(void)state;
	assert_int_equal(ds_connect(ask, SOCK_STREAM, peer_cid(), 81), -ECONNRESET);
	if (!zf_exchanged())
		assert_int_equal(ds_connect(ask, SOCK_STREAM, 77, 81), -ENODEV);
	assert_int_equal(ds_connect(ask, SOCK_STREAM, ZV_CID_LOCAL, 81), -ECONNRESET);
	assert_int_equal(ds_connect(ask, SOCK_DGRAM, peer_cid(), 81), -EINVAL); /* not bound */
	assert_int_equal(ds_connect(ask, SOCK_RAW, peer_cid(), 81), -EOPNOTSUPP);
	close(ask);
}

static void guest_reaches_a_listener(void **state)
{
	int ask = ds_ask(), fd, got;
	struct dropin_label l;
	struct dropin_msg m;
	struct zf_conn *c;

	(void)state;
	for (int i = 0; i < 2; i++) {
		int type = i ? SOCK_SEQPACKET : SOCK_STREAM;

		fd = ds_listen(ask, type, CID_ANY, 1234, &m);
		assert_true(fd >= 0);
		c = zf_connect(dev, 0, ZV_CID_HOST, 1234, i ? ZV_SEQPACKET : ZV_STREAM, NULL);
		assert_non_null(c);
		got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		assert_true(got >= 0);
		assert_true(ds_peer(got, &l));
		assert_int_equal(l.view, 'Z');
		assert_int_equal(l.local.cid, own_cid());
		assert_int_equal(l.local.port, 1234);
		assert_int_equal(l.remote.cid, peer_cid());
		talk(got, c, type);
		close(got);
		zf_close(c);
		close(fd);
	}
	close(ask);
}

static void a_port_is_taken_as_long_as_it_is_bound(void **state)
{
	int ask = ds_ask(), other = ds_ask(), fd, again;
	struct dropin_msg m;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 2000, &m);
	assert_true(fd >= 0);
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 2000, &m), -EADDRINUSE);
	assert_int_equal(ds_listen(other, SOCK_SEQPACKET, CID_ANY, 2000, &m), -EADDRINUSE);
	assert_int_equal(ds_listen(other, SOCK_STREAM, ZV_CID_LOCAL, 2000, &m), -EADDRINUSE);
	close(fd);
	again = ds_listen(ask, SOCK_STREAM, CID_ANY, 2000, &m);
	assert_true(again >= 0);
	close(again);
	assert_int_equal(ds_listen(ask, SOCK_STREAM, 99, 2000, &m), -EADDRNOTAVAIL);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, UINT32_MAX, &m);
	assert_true(fd >= 0);
	assert_true(m.local.port >= 1024 && m.local.port != UINT32_MAX);
	close(fd);
	close(ask);
	close(other);
}

/* The request that is read first was sent last: the other program has closed both its sockets. */
static void a_port_is_free_before_its_program_is_looked_at(void **state)
{
	int ask = ds_ask(), other = ds_ask(), fd;
	struct dropin_msg m, hello;

	(void)state;
	dropin_msg_init(&hello, DROPIN_HELLO);
	answered(other, &hello);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 2000, &m);
	assert_true(fd >= 0);
	zf_asleep();
	dropin_msg_init(&hello, DROPIN_HELLO);
	for (int i = 0; i < 4; i++) /* as many as are read before the next program's turn */
		ds_send(other, &hello);
	close(fd);
	close(ask);
	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = SOCK_STREAM;
	m.local = (struct dropin_addr){CID_ANY, 2000};
	ds_send(other, &m);
	zf_awake();
	for (int i = 0; i < 4; i++)
		assert_true(ds_answer(other, &hello));
	assert_true(ds_answer(other, &m));
	assert_int_equal(m.result, 0);
	close(other);
}

static void what_the_configuration_serves_is_not_bound(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m;

	(void)state;
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 7, &m), -EADDRINUSE);
	assert_string_equal(m.text, "zvsockd serves port 7 of a itself, by endpoint builtin");
	fd = ds_listen(ask, SOCK_STREAM, ZV_CID_LOCAL, 7, &m); /* guests do not go there */
	assert_true(fd >= 0);
	close(fd);
	close(ask);
}

static void a_bound_socket_connects(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg b, m;
	struct zv_conn_info info = {.size = sizeof(info)};
	struct zf_conn *c;

	(void)state;
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	dropin_msg_init(&b, DROPIN_BIND);
	b.sock_type = SOCK_STREAM;
	b.local = (struct dropin_addr){CID_ANY, 900};
	answered(ask, &b);
	assert_int_equal(b.result, 0);
	fd = ds_socket(SOCK_STREAM, b.label);
	assert_true(fd >= 0);
	ds_about(&m, DROPIN_NAMES, b.label);
	answered(ask, &m);
	assert_int_equal(m.result, -ENOTCONN);
	assert_int_equal(m.bytes, geteuid());
	ds_about(&m, DROPIN_NAMES, "zvsock:P:1:1:900:-:-:00000000000000000000000000000000");
	answered(ask, &m);
	assert_int_equal(m.result, -ENOENT);
	assert_int_equal(m.bytes, 0);
	ds_connect_msg(&m, SOCK_STREAM, peer_cid(), 80);
	memcpy(m.label, b.label, sizeof(m.label));
	answered(ask, &m);
	assert_int_equal(m.result, 0);
	assert_string_equal(m.label, b.label);
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	assert_int_equal(zv_conn_info(c->c, &info), 0);
	assert_int_equal(info.peer_port, 900);
	talk(fd, c, SOCK_STREAM);
	ds_about(&m, DROPIN_NAMES, b.label);
	answered(ask, &m);
	assert_int_equal(m.result, 0);
	assert_int_equal(m.local.port, 900);
	assert_int_equal(m.remote.cid, peer_cid());
	assert_int_equal(m.remote.port, 80);
	close(fd);
	zf_close(c);
	close(ask);
}

static void programs_reach_each_other(void **state)
{
	int ask = ds_ask(), fd, c, got;
	struct dropin_label own, peer, names;
	struct dropin_msg m;
	char buf[8];

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 3000, &m);
	ds_connect_msg(&m, SOCK_STREAM, ZV_CID_LOCAL, 3000);
	answered(ask, &m);
	assert_int_equal(m.flags, DROPIN_LOCAL);
	assert_int_equal(m.bytes, geteuid());
	c = ds_connect(ask, SOCK_STREAM, ZV_CID_LOCAL, 3000);
	assert_true(fd >= 0 && c >= 0);
	got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(got >= 0);
	assert_true(ds_own(got, &own) && ds_peer(got, &peer));
	assert_true(dropin_names(&names, &own, &peer));
	assert_int_equal(names.local.port, 3000);
	assert_int_equal(names.remote.cid, ZV_CID_LOCAL);
	assert_int_equal(send(c, "hi", 2, 0), 2);
	assert_int_equal(recv(got, buf, sizeof(buf), 0), 2);
	close(c);
	c = ds_connect(ask, SOCK_STREAM, own_cid(), 3000);
	assert_true(c >= 0);
	close(c);
	close(got);
	close(fd);
	close(ask);
}

static void nonblocking_connect_succeeds(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m, f;
	struct zf_conn *c;

	(void)state;
	for (int i = 0; i < 2; i++) {
		int type = i ? SOCK_SEQPACKET : SOCK_STREAM;

		assert_int_equal(zv_listen(dev, 90, i ? ZV_SEQPACKET : ZV_STREAM, 0), 0);
		ds_connect_msg(&m, type, peer_cid(), 90);
		m.flags = DROPIN_NONBLOCK;
		answered(ask, &m);
		assert_int_equal(m.result, 0);
		fd = ds_pending(type, m.label, &f);
		assert_true(fd >= 0);
		c = zf_accept(dev, 90);
		assert_non_null(c);
		answered(ask, &f);
		assert_int_equal(f.result, 0);
		assert_int_equal(ds_poll(fd, POLLOUT), POLLOUT);
		talk(fd, c, type);
		zf_close(c);
		close(fd);
		assert_int_equal(zv_unlisten(dev, 90), 0);
	}
	close(ask);
}

static void nonblocking_connect_is_refused(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m, f;

	(void)state;
	ds_connect_msg(&m, SOCK_STREAM, peer_cid(), 91);
	m.flags = DROPIN_NONBLOCK;
	answered(ask, &m);
	assert_int_equal(m.result, 0);
	fd = ds_pending(SOCK_STREAM, m.label, &f);
	assert_true(fd >= 0);
	answered(ask, &f);
	assert_int_equal(f.result, 0);
	assert_true(ds_poll(fd, POLLOUT) & POLLERR);
	ds_about(&f, DROPIN_ERROR, m.label);
	answered(ask, &f);
	assert_int_equal(f.result, 0);
	assert_int_equal(f.error, ECONNRESET);
	close(fd);
	close(ask);
}

/* connect(2) fails, and does not end what it had reported as a connection. */
static void without_a_descriptor_there_is_no_connection(void **state)
{
	int ask = ds_ask(), fd, other;
	struct zf_conn *c;
	char byte;

	(void)state;
	for (int i = 0; i < 3; i++) /* what is refused keeps none */
		assert_int_equal(ds_connect(ask, SOCK_STREAM, peer_cid(), 81), -ECONNRESET);
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	fd = ds_connect(ask, SOCK_STREAM, peer_cid(), 80);
	assert_true(fd >= 0);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	assert_int_equal(ds_connect(ask, SOCK_STREAM, peer_cid(), 80), -ENOBUFS);
	assert_true(zf_logged("its connections hold 1 descriptors.*raise max_fds"));
	talk(fd, c, SOCK_STREAM);
	close(fd);
	assert_int_equal(zf_recv(c, &byte, 1, NULL), 0);
	zf_close(c);
	for (int i = 0; (other = ds_connect(ask, SOCK_STREAM, peer_cid(), 80)) == -ENOBUFS; i++) {
		assert_true(i < 10000); /* it is closed by now or soon */
		(void)usleep(1000);
	}
	assert_true(other >= 0);
	close(other);
	close(ask);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(hello_tells_the_cid, up, down),
		cmocka_unit_test_setup_teardown(stream_connects, up, down),
		cmocka_unit_test_setup_teardown(seqpacket_connects, up, down),
		cmocka_unit_test_setup_teardown(an_answer_survives_unread_bytes, up, down),
		cmocka_unit_test_setup_teardown(errors_are_the_kernels, up, down),
		cmocka_unit_test_setup_teardown(guest_reaches_a_listener, up, down),
		cmocka_unit_test_setup_teardown(a_port_is_taken_as_long_as_it_is_bound, up, down),
		cmocka_unit_test_setup_teardown(a_port_is_free_before_its_program_is_looked_at, up,
						down),
		cmocka_unit_test_setup_teardown(what_the_configuration_serves_is_not_bound, up,
						down),
		cmocka_unit_test_setup_teardown(a_bound_socket_connects, up, down),
		cmocka_unit_test_setup_teardown(programs_reach_each_other, up, down),
		cmocka_unit_test_setup_teardown(nonblocking_connect_succeeds, up, down),
		cmocka_unit_test_setup_teardown(nonblocking_connect_is_refused, up, down),
		cmocka_unit_test_setup_teardown(without_a_descriptor_there_is_no_connection,
						up_for_one, down),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
