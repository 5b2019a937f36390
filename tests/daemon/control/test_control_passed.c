/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Clients of the control socket pass descriptors that take an hour to close, wherever one can come.
 * If the main thread closed one, nobody would be served any more.
 */
#include "control/control_int.h"
#include "fake_daemon.h"
#include "raw_client.h"
#include "slow_fd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define ASK(cmd) "{\"v\":1,\"cmd\":\"" cmd "\"}\n"
#define MANY	 200u
#define AT_ONCE	 10u

static struct fake *f;
static unsigned fds_before;

static int setup(void **state)
{
	(void)state;
	f = fake_new();
	fds_before = raw_count_fds();
	return f ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	fake_free(f);
	return 0;
}

static void others_are_served(void)
{
	int fd = raw_connect(f->path);
	json_t *j = raw_ask(fd, ASK("guests"));

	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
	(void)close(fd);
}

/* Sends @text with @n times the same descriptor, which nobody but the receiver has then. */
static void send_slow(int fd, const char *text, unsigned n, int *end)
{
	int slow[AT_ONCE];

	slow[0] = slow_fd(end);
	for (unsigned i = 1; i < n; i++)
		slow[i] = slow[0];
	pthread_mutex_lock(&f->main); /* who closes it last waits: not this thread */
	assert_true(raw_send(fd, text, strlen(text), slow, n));
	(void)close(slow[0]);
	pthread_mutex_unlock(&f->main);
}

static bool is_answered(int fd, bool ok)
{
	json_t *j = raw_line(fd);
	bool is = j && json_is_boolean(json_object_get(j, "ok")) &&
		  json_is_true(json_object_get(j, "ok")) == ok;

	json_decref(j);
	return is;
}

static void all_is_closed(int fd, int end)
{
	others_are_served();
	(void)close(fd);
	others_are_served();
	(void)close(end);
	assert_true(raw_fds_at_most(fds_before));
}

static void beside_a_request_that_wants_none(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	send_slow(fd, ASK("guests"), 1, &end);
	assert_true(is_answered(fd, true));
	all_is_closed(fd, end);
}

static void more_than_one(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	send_slow(fd, ASK("guests"), AT_ONCE, &end);
	assert_true(is_answered(fd, true));
	all_is_closed(fd, end);
}

static void beside_half_a_line(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	send_slow(fd, "{\"v\":1,", 1, &end);
	others_are_served();
	all_is_closed(fd, end);
}

/* No request is read while an answer is not taken. */
static void in_a_socket_that_is_closed(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	fake_conns(f, 0, 0, 20000); /* more than a socket's buffer */
	assert_true(raw_send_line(fd, ASK("list")));
	others_are_served();
	send_slow(fd, ASK("guests"), 2, &end);
	all_is_closed(fd, end);
}

static void for_a_capture_that_is_refused(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	send_slow(fd, "{\"v\":1,\"cmd\":\"capture\",\"guest\":\"nobody\"}\n", 1, &end);
	assert_true(is_answered(fd, false));
	all_is_closed(fd, end);
}

/* It is full, and takes nothing. */
static void as_the_file_of_a_capture(void **state)
{
	int end, fd = raw_connect(f->path);

	(void)state;
	send_slow(fd, "{\"v\":1,\"cmd\":\"capture\"}\n", 1, &end);
	assert_true(is_answered(fd, true));
	all_is_closed(fd, end);
	assert_int_equal(fake_taps(f), 0);
}

/* Who passes more than can be closed loses its connection; afterwards all is as before. */
static void as_many_as_one_likes(void **state)
{
	static int end[MANY];
	unsigned n = 0;
	int fd = raw_connect(f->path);

	(void)state;
	for (bool ok = true; ok && n < MANY; n++) {
		send_slow(fd, ASK("guests"), 2, &end[n]);
		ok = is_answered(fd, true);
	}
	assert_true(n < MANY);
	(void)close(fd);
	for (unsigned i = 0; i < n; i++)
		(void)close(end[i]);
	assert_true(raw_fds_at_most(fds_before));
	others_are_served();
}

/* ---- beside other users ---- */

#define NOBODY 65534

/* This thread alone: the one that plays the main thread remains root. */
static bool as_nobody(bool is)
{
	return syscall(SYS_setresuid, -1, is ? NOBODY : 0, -1) == 0;
}

/* Another user may use the socket, for as long as it likes. False: that cannot be tested here. */
static bool beside_another_user(void)
{
	if (geteuid() != 0) {
		print_message("needs root, to be another user\n");
		return false;
	}
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(chmod(f->path, 0666), 0);
	pthread_mutex_lock(&f->main);
	f->d.control->client_timeout_ns = 3600000000000ull;
	pthread_mutex_unlock(&f->main);
	return true;
}

static int connect_as_nobody(void)
{
	int fd;

	assert_true(as_nobody(true));
	fd = raw_connect(f->path);
	assert_true(as_nobody(false));
	assert_true(fd >= 0);
	return fd;
}

/* Connections that say nothing, half a line, or read no answer. */
static void a_user_leaves_places(void **state)
{
	int fd[2 * CONTROL_CLIENTS];
	unsigned n = sizeof(fd) / sizeof(fd[0]), refused = 0;

	(void)state;
	if (!beside_another_user())
		skip();
	fake_conns(f, 0, 0, 20000); /* more than a socket's buffer */
	for (unsigned i = 0; i < n; i++) {
		fd[i] = connect_as_nobody();
		if (i % 3)
			(void)raw_send_line(fd[i], i % 3 == 1 ? "{\"v\":1," : ASK("list"));
	}
	for (unsigned i = 0; i < 4; i++)
		others_are_served();
	for (unsigned i = CONTROL_CLIENTS; i < n; i++)
		refused += is_answered(fd[i], false) && raw_closed(fd[i]);
	assert_int_equal(refused, n - CONTROL_CLIENTS);
	for (unsigned i = 0; i < n; i++)
		(void)close(fd[i]);
	assert_true(raw_fds_at_most(fds_before));
}

/* All that waits to be closed is that user's. */
static void a_user_that_floods_is_alone(void **state)
{
	static int end[MANY];
	unsigned n = 0;
	int fd, refused;

	(void)state;
	if (!beside_another_user())
		skip();
	fd = connect_as_nobody();
	for (bool ok = true; ok && n < MANY; n++) {
		send_slow(fd, ASK("guests"), 2, &end[n]);
		ok = is_answered(fd, true);
	}
	assert_true(n < MANY);
	for (unsigned i = 0; i < 4; i++)
		others_are_served();
	refused = connect_as_nobody();
	assert_true(is_answered(refused, false));
	(void)close(refused);
	(void)close(fd);
	for (unsigned i = 0; i < n; i++)
		(void)close(end[i]);
	assert_true(raw_fds_at_most(fds_before));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(beside_a_request_that_wants_none),
		T(more_than_one),
		T(beside_half_a_line),
		T(in_a_socket_that_is_closed),
		T(for_a_capture_that_is_refused),
		T(as_the_file_of_a_capture),
		T(as_many_as_one_likes),
		T(a_user_leaves_places),
		T(a_user_that_floods_is_alone),
	};

	return cmocka_run_group_tests_name("control_passed", tests, NULL, NULL);
}
