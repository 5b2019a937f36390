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

static const char *in_dir(const char *name)
{
	static char path[96];

	(void)snprintf(path, sizeof(path), "%s%s", zf_dir, name);
	return path;
}

/* A guest reaches the listening socket @fd at @port. */
static bool is_known(uint32_t port, int fd)
{
	struct zf_conn *c = zf_connect(dev, 0, ZV_CID_HOST, port, ZV_STREAM, NULL);
	int got = c ? accept4(fd, NULL, NULL, SOCK_CLOEXEC) : -1;

	if (c)
		zf_close(c);
	if (got >= 0)
		close(got);
	return got >= 0;
}

static off_t file_size(void)
{
	struct stat st;

	assert_int_equal(stat(in_dir("ports"), &st), 0);
	return st.st_size;
}

/* Another file takes its place when it has many lines that are of no use. */
static void the_file_does_not_grow(void **state)
{
	int ask = ds_ask(), fd, other;
	struct dropin_msg m;
	off_t most = 0;

	(void)state;
	fd = ds_listen(ask, SOCK_STREAM, CID_ANY, 4006, &m);
	assert_true(fd >= 0);
	for (unsigned i = 0; file_size() >= most; i++) {
		most = file_size();
		other = ds_listen(ask, SOCK_STREAM, CID_ANY, 4007, &m);
		assert_true(other >= 0 && i < 4096);
		close(other);
	}
	assert_int_equal(access(in_dir("ports.new"), F_OK), -1);
	other = ds_listen(ask, SOCK_STREAM, CID_ANY, 4008, &m);
	assert_true(zf_kill());
	close(ask);
	start_again();
	assert_true(is_known(4006, fd) && is_known(4008, other) && !is_known(4007, fd));
	close(other);
	close(fd);
}

/* zvsockd was killed while it wrote the other file; and then it cannot write one for a while. */
static void the_file_stays_until_there_is_another(void **state)
{
	int ask = ds_ask(), fd[2];
	struct dropin_msg m;

	(void)state;
	fd[0] = ds_listen(ask, SOCK_STREAM, CID_ANY, 4009, &m);
	assert_true(zf_kill());
	close(ask);
	close(open(in_dir("ports.new"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	start_again();
	assert_true(is_known(4009, fd[0]));
	assert_int_equal(access(in_dir("ports.new"), F_OK), -1);

	assert_true(zf_kill());
	assert_int_equal(mkdir(in_dir("ports.new"), 0700), 0);
	start_again();
	assert_true(is_known(4009, fd[0]));
	assert_true(zf_logged("ports: it cannot be written: File exists"));
	assert_int_equal(rmdir(in_dir("ports.new")), 0);
	ask = ds_ask();
	usleep(1100000); /* it tries again after a second */
	fd[1] = ds_listen(ask, SOCK_STREAM, CID_ANY, 4010, &m);
	assert_true(fd[0] >= 0 && fd[1] >= 0);
	assert_true(zf_kill());
	close(ask);
	start_again();
	assert_true(is_known(4009, fd[0]));
	assert_true(is_known(4010, fd[1]));
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
		T(the_file_does_not_grow),
		T(the_file_stays_until_there_is_another),
		T(a_file_that_others_can_write_is_not_believed),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
