/* SPDX-License-Identifier: BSD-3-Clause */
/* The file of bound ports (av_ports_file.c): zvsockd is killed, and another one takes its place. */
#include "dropin_side.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CID_ANY UINT32_MAX

static const char *program;
static struct zv_dev *dev;

static int up(void **state)
{
	(void)state;
	dev = ds_up(program);
	return dev ? 0 : -1;
}

static int down(void **state)
{
	(void)state;
	return ds_down() ? 0 : -1;
}

/* After zf_kill(). */
static void start_again(void)
{
	assert_true(zf_guest_close(0));
	assert_true(zf_start_again(program));
	dev = zf_guest(0, "a.sock", 1);
	assert_true(dev && zv_listen(dev, 80, ZV_STREAM, 0) == 0);
}

static void ports_survive_the_daemon(void **state)
{
	int ask = ds_ask(), fd, gone, got, bound;
	struct dropin_msg m, b;
	struct zf_conn *c;
	int err = 0;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 4000, &m);
	gone = ds_listen(ask, SOCK_STREAM, CID_ANY, 4001, &m);
	dropin_msg_init(&b, DROPIN_BIND);
	b.sock_type = SOCK_STREAM;
	b.local = (struct dropin_addr){CID_ANY, 902};
	assert_true(ds_question(ask, &b));
	bound = ds_socket(SOCK_STREAM, b.label);
	assert_true(fd >= 0 && gone >= 0 && bound >= 0);
	assert_true(zf_kill());
	close(ask);
	close(gone);
	start_again();
	c = zf_connect(dev, 0, ZV_CID_HOST, 4000, ZV_STREAM, &err);
	assert_non_null(c);
	got = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(got >= 0);
	close(got);
	zf_close(c);
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 4001, ZV_STREAM, &err));
	ask = ds_ask();
	assert_int_equal(ds_listen(ask, SOCK_STREAM, CID_ANY, 4000, &m), -EADDRINUSE);
	gone = ds_listen(ask, SOCK_STREAM, CID_ANY, 4001, &m);
	assert_true(gone >= 0);
	ds_connect_msg(&m, SOCK_STREAM, 3, 80);
	memcpy(m.label, b.label, sizeof(m.label));
	assert_true(ds_question(ask, &m));
	assert_int_equal(m.result, 0);
	assert_int_equal(ds_join(bound, SOCK_STREAM), 0);
	zf_close(zf_accept(dev, 80));
	close(bound);
	close(gone);
	close(fd);
	close(ask);
}

static void a_file_that_others_can_write_is_not_believed(void **state)
{
	int ask = ds_ask(), fd, err = 0;
	struct dropin_msg m;
	char path[96];

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 4000, &m);
	assert_true(fd >= 0);
	assert_true(zf_kill());
	close(ask);
	(void)snprintf(path, sizeof(path), "%sports", zf_dir);
	assert_int_equal(chmod(path, 0666), 0);
	start_again();
	assert_true(zf_logged("ports: others may write to it"));
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 4000, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	close(fd);
}

/* Somebody had the port before, and gives a socket his former label again. */
static void the_last_one_has_the_port(void **state)
{
	int ask = ds_ask(), fd, former;
	struct dropin_msg m, before;
	struct zf_conn *c;

	(void)state;
	former = ds_listen(ask, SOCK_STREAM, CID_ANY, 4002, &before);
	assert_true(former >= 0);
	close(former);
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 4002, &m);
	former = ds_socket(SOCK_STREAM, before.label);
	assert_true(fd >= 0 && former >= 0);
	assert_int_equal(listen(former, 5), 0);
	assert_true(zf_kill());
	close(ask);
	start_again();
	c = zf_connect(dev, 0, ZV_CID_HOST, 4002, ZV_STREAM, NULL);
	assert_non_null(c);
	assert_true(ds_poll(fd, POLLIN) & POLLIN);
	zf_close(c);
	close(former);
	close(fd);
}

/* A datagram port: its first line is not compared with the kernel at once. */
static void the_last_one_has_the_datagrams(void **state)
{
	int ask = ds_ask(), fd, former;
	struct dropin_msg m, before, known;

	(void)state;
	former = ds_dgram(ask, CID_ANY, 4003, &before);
	assert_true(former >= 0);
	close(former);
	fd = ds_dgram(ask, CID_ANY, 4003, &m);
	assert_true(fd >= 0);
	assert_true(zf_kill());
	close(ask);
	start_again();
	ask = ds_ask();
	ds_about(&known, DROPIN_BOUND, m.label);
	assert_true(ds_question(ask, &known));
	assert_int_equal(known.result, 0);
	close(fd);
	close(ask);
}

/* zvsockd was killed while it wrote a line. */
static void half_a_line_is_ignored(void **state)
{
	int ask = ds_ask(), fd[2], file, err = 0;
	struct dropin_msg m[2];
	struct zf_conn *c;
	struct stat st;
	char path[96];

	(void)state;
	for (int i = 0; i < 2; i++) {
		fd[i] = ds_listen(ask, SOCK_STREAM, CID_ANY, 4004u + (unsigned)i, &m[i]);
		assert_true(fd[i] >= 0);
	}
	assert_true(zf_kill());
	close(ask);
	(void)snprintf(path, sizeof(path), "%sports", zf_dir);
	file = open(path, O_RDWR | O_CLOEXEC);
	assert_true(file >= 0 && fstat(file, &st) == 0);
	assert_int_equal(ftruncate(file, st.st_size - 1), 0);
	close(file);
	start_again();
	c = zf_connect(dev, 0, ZV_CID_HOST, 4004, ZV_STREAM, NULL);
	assert_non_null(c);
	zf_close(c);
	assert_null(zf_connect(dev, 0, ZV_CID_HOST, 4005, ZV_STREAM, &err));
	assert_int_equal(err, -ECONNREFUSED);
	close(fd[0]);
	close(fd[1]);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(ports_survive_the_daemon),
		T(the_last_one_has_the_port),
		T(the_last_one_has_the_datagrams),
		T(half_a_line_is_ignored),
		T(a_file_that_others_can_write_is_not_believed),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
