/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SHUT_RD of AF_VSOCK programs: the guest learns it at once, without having sent anything that is
 * lost, and before whatever the program sends next. Only what the kernel says of the socket counts,
 * not who asks zvsockd to look.
 */
#include "dropin_side.h"
#include "host_side.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 3000u

static const char *program;
static unsigned lcores; /* 2: the guest's connections are not on the lcore that is asked */
static struct zv_dev *dev;
static uint32_t cid;

static const char conf[] = "af_vsock = @\n"
			   "af_vsock_mode = 0666\n"
			   "[guest a]\n"
			   "cid = 3\n"
			   "socket = @a.sock\n"
			   "[guest b]\n"
			   "cid = 4\n"
			   "socket = @b.sock\n";

static int up(void **state)
{
	struct zv_dev *a, *b;

	(void)state;
	zf_keep_log = true;
	if (!zf_start(program, conf, lcores) || chmod(zf_dir, 0711) < 0)
		return -1;
	a = zf_guest(0, "a.sock", 1);
	b = zf_guest(1, "b.sock", 1);
	dev = lcores == 1 ? a : b;
	cid = lcores == 1 ? 3 : 4;
	return a && b && zf_logged("zvsockd .* is up") ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

static enum zv_type zv_type(int type)
{
	return type == SOCK_STREAM ? ZV_STREAM : ZV_SEQPACKET;
}

/* The program asks zvsockd to look at the connection of @fd. Returns the result. */
static int ask_to_look(int ask, int fd)
{
	struct dropin_label l;
	struct dropin_msg m;

	if (!ds_peer(fd, &l) && !ds_own(fd, &l))
		return -ENOTSOCK;
	dropin_msg_init(&m, DROPIN_SHUTDOWN);
	dropin_label_write(&l, m.label);
	return ds_question(ask, &m) ? m.result : -EPIPE;
}

static bool would_fail(void *arg)
{
	return zv_send(((struct zf_conn *)arg)->c, NULL, 0, 0) == -EPIPE;
}

/* The guest has the connection @c, the program @fd, and shuts down. */
static void stops_receiving(int ask, int fd, struct zf_conn *c)
{
	char buf[8];

	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_int_equal(ask_to_look(ask, fd), 0);
	assert_int_equal(send(fd, "on", 2, 0), 2);
	assert_int_equal(zf_recv(c, buf, 2, NULL), 2);
	assert_true(would_fail(c)); /* without a further poll */
	assert_int_equal(send(fd, "on", 2, 0), 2);
	assert_int_equal(zf_recv(c, buf, 2, NULL), 2);
	assert_int_equal(ask_to_look(ask, fd), 0);
	assert_int_equal(c->err, 0);
	close(fd);
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
}

static void of_a_server(int type)
{
	int ask = ds_ask(), listener, fd;
	struct dropin_msg m;
	struct zf_conn *c;

	listener = ds_listen(ask, type, UINT32_MAX, PORT, &m);
	assert_true(listener >= 0);
	c = zf_connect(dev, 0, ZV_CID_HOST, PORT, zv_type(type), NULL);
	assert_non_null(c);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	stops_receiving(ask, fd, c);
	close(listener);
	close(ask);
}

static void server(void **state)
{
	(void)state;
	of_a_server(SOCK_STREAM);
	of_a_server(SOCK_SEQPACKET);
}

static void of_a_client(int type)
{
	int ask = ds_ask(), fd;
	struct zf_conn *c;

	assert_int_equal(zv_listen(dev, 80, zv_type(type), 0), 0);
	fd = ds_connect(ask, type, cid, 80);
	assert_true(fd >= 0);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	stops_receiving(ask, fd, c);
	assert_int_equal(zv_unlisten(dev, 80), 0);
	close(ask);
}

static void client(void **state)
{
	(void)state;
	of_a_client(SOCK_STREAM);
	of_a_client(SOCK_SEQPACKET);
}

/* Its label is that of the port. */
static void client_that_is_bound(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg b, m;
	struct zf_conn *c;

	(void)state;
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	dropin_msg_init(&b, DROPIN_BIND);
	b.sock_type = SOCK_STREAM;
	b.local = (struct dropin_addr){UINT32_MAX, PORT + 1};
	assert_true(ds_question(ask, &b));
	fd = ds_socket(SOCK_STREAM, b.label);
	assert_true(fd >= 0);
	ds_connect_msg(&m, SOCK_STREAM, cid, 80);
	memcpy(m.label, b.label, sizeof(m.label));
	assert_true(ds_question(ask, &m));
	assert_int_equal(m.result, 0);
	assert_int_equal(ds_join(fd, SOCK_STREAM), 0);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	stops_receiving(ask, fd, c);
	assert_int_equal(zv_unlisten(dev, 80), 0);
	close(ask);
}

/* A non-blocking connect(2): before the guest has accepted, and so before there is a relay. */
static void client_that_is_still_connecting(void **state)
{
	int ask = ds_ask(), fd;
	struct dropin_msg m, f;
	struct zf_conn *c;

	(void)state;
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	ds_connect_msg(&m, SOCK_STREAM, cid, 80);
	m.flags = DROPIN_NONBLOCK;
	assert_true(ds_question(ask, &m));
	fd = ds_pending(SOCK_STREAM, m.label, &f);
	assert_true(fd >= 0);
	assert_int_equal(shutdown(fd, SHUT_RD), 0);
	assert_int_equal(ask_to_look(ask, fd), 0);
	assert_true(ds_question(ask, &f));
	assert_int_equal(f.result, 0);
	c = zf_accept(dev, 80);
	assert_non_null(c);
	assert_true(zf_until(would_fail, c));
	stops_receiving(ask, fd, c);
	close(ask);
}

struct jam {
	struct zv_conn *c;
	unsigned still; /* rounds in which nothing has moved */
};

static bool host_is_full(void *arg)
{
	static const char data[1000];
	struct jam *j = arg;

	if (zv_send(j->c, data, sizeof(data), 0) > 0)
		j->still = 0;
	else
		usleep(1000);
	return j->still++ > 100;
}

/* zvsockd holds what the program's socket has no room for: its buffers are given back. */
static void a_program_that_has_not_read(void **state)
{
	int ask = ds_ask(), listener, fd;
	struct dropin_msg m;
	struct zf_conn *c;
	struct jam j = {0};

	(void)state;
	listener = ds_listen(ask, SOCK_STREAM, UINT32_MAX, PORT, &m);
	c = zf_connect(dev, 0, ZV_CID_HOST, PORT, ZV_STREAM, NULL);
	assert_non_null(c);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	j.c = c->c;
	assert_true(zf_until(host_is_full, &j));
	stops_receiving(ask, fd, c);
	assert_true(hs_lcore_sleeps("a"));
	close(listener);
	close(ask);
}

/* ---- those whom it does not concern ---- */

static void stranger(const struct dropin_msg *m)
{
	int ask = ds_ask();
	struct dropin_msg own = *m;

	if (ask < 0 || !ds_question(ask, &own))
		_exit(1);
	_exit(own.result ? 2 : 0);
}

/* Whoever asks: the program receives, and goes on to do so. */
static void a_label_proves_nothing(void **state)
{
	int ask = ds_ask(), listener, fd;
	struct dropin_label l;
	struct dropin_msg m;
	struct zf_conn *c;
	char buf[8];

	(void)state;
	listener = ds_listen(ask, SOCK_SEQPACKET, UINT32_MAX, PORT, &m);
	c = zf_connect(dev, 0, ZV_CID_HOST, PORT, ZV_SEQPACKET, NULL);
	assert_non_null(c);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0 && ds_peer(fd, &l));
	dropin_msg_init(&m, DROPIN_SHUTDOWN);
	dropin_label_write(&l, m.label);
	if (geteuid() == 0)
		assert_int_equal(ds_as(65534, stranger, &m), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ask_to_look(ask, fd), 0);
	assert_true(zf_send(c, "still", 5, ZV_EOM));
	assert_int_equal(hs_recv(fd, buf, sizeof(buf)), 5); /* and nothing before it */
	close(fd);
	assert_int_equal(zf_recv(c, buf, 1, NULL), 0);
	zf_close(c);
	close(listener);
	close(ask);
}

static bool no_such(void *arg)
{
	struct dropin_msg m = *(const struct dropin_msg *)arg;
	int ask = ds_ask();
	bool so = ds_question(ask, &m) && m.result == -ENOENT;

	close(ask);
	return so;
}

static void labels_of_nothing(void **state)
{
	static const char *const labels[] = {
		"", "zvsock",
		"zvsock:P:1:2:80:3:80:", "zvsock:Z:1:2:80:3:80:00000000000000000000000000000000"};
	int ask = ds_ask(), fd;
	struct dropin_label l;
	struct dropin_msg m;

	(void)state;
	for (unsigned i = 0; i < sizeof(labels) / sizeof(labels[0]); i++) {
		ds_about(&m, DROPIN_SHUTDOWN, labels[i]);
		assert_true(no_such(&m));
	}
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	fd = ds_connect(ask, SOCK_STREAM, cid, 80);
	assert_true(fd >= 0 && ds_own(fd, &l));
	dropin_msg_init(&m, DROPIN_SHUTDOWN);
	dropin_label_write(&l, m.label);
	assert_true(ds_question(ask, &m));
	assert_int_equal(m.result, 0);
	close(fd);
	zf_close(zf_accept(dev, 80));
	assert_true(zf_until(no_such, &m)); /* once the connection is over */
	close(ask);
}

/* Programs that ask and leave, in whatever state their connection is. */
static void who_does_not_wait(void **state)
{
	int ask = ds_ask(), one, fd;
	struct dropin_label l;
	struct dropin_msg m;

	(void)state;
	assert_int_equal(zv_listen(dev, 80, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < 200; i++) {
		fd = ds_connect(ask, SOCK_STREAM, cid, 80);
		assert_true(fd >= 0 && ds_own(fd, &l));
		dropin_msg_init(&m, DROPIN_SHUTDOWN);
		dropin_label_write(&l, m.label);
		one = ds_ask();
		if (i & 1)
			assert_int_equal(shutdown(fd, SHUT_RD), 0);
		for (unsigned j = 0; j < 3; j++)
			ds_send(one, &m);
		if (i & 2)
			close(fd);
		close(one);
		if (!(i & 2))
			close(fd);
		zf_close(zf_accept(dev, 80));
	}
	close(ask);
}

static int run(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(server, up, down),
		cmocka_unit_test_setup_teardown(client, up, down),
		cmocka_unit_test_setup_teardown(client_that_is_bound, up, down),
		cmocka_unit_test_setup_teardown(client_that_is_still_connecting, up, down),
		cmocka_unit_test_setup_teardown(a_program_that_has_not_read, up, down),
		cmocka_unit_test_setup_teardown(a_label_proves_nothing, up, down),
		cmocka_unit_test_setup_teardown(labels_of_nothing, up, down),
		cmocka_unit_test_setup_teardown(who_does_not_wait, up, down),
	};

	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	int bad;

	if (argc < 2)
		return 2;
	program = argv[1];
	lcores = 1;
	bad = run("on the lcore that is asked");
	lcores = 2;
	return run("on another lcore") || bad;
}
