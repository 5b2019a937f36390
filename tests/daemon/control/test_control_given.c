/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a client of the control socket is given with an answer. It may leave the last descriptor to
 * zvsockd, in an epoll set that it keeps locked, and whoever closes that one waits for as long as
 * it likes: never the main thread.
 */
#include "control/control_int.h"
#include "fake_daemon.h"
#include "fd_send.h"
#include "held_page.h"
#include "raw_client.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY	200u
#define CONNECT "{\"v\":1,\"cmd\":\"connect\",\"guest\":\"web\",\"port\":7}\n"

static struct fake *f;
static unsigned fds_before;
/* Under f->main: */
static int end; /* what zvsockd keeps of a pair; -1: no pair yet */
static int client;
static int set;	  /* epoll set to which the client leaves what it gets; -1: it keeps that */
static bool left; /* it has */
static int sent_errno;
static pthread_t waiter;

/* Instead of handover_join(). */
static int join(struct guest *g, uint32_t port, int fd, const struct end_report *report)
{
	(void)g;
	(void)port;
	end = fd;
	(void)close(report->fd);
	return 0;
}

/* What the answer brings; -1: nothing. Its bytes stay. */
static int take(int fd)
{
	char text[4096];
	ssize_t n;

	return raw_take(fd, text, sizeof(text), MSG_PEEK, &n);
}

static struct held_page page;

static void *wait_for_events(void *arg)
{
	(void)epoll_wait(set, (struct epoll_event *)(void *)page.at, 1, -1);
	return arg;
}

/* The client leaves what it has been given in `set`, which it locks. */
static void leave(void)
{
	struct epoll_event ev = {.events = 0};
	int got = take(client);
	char text[4096];

	(void)epoll_ctl(set, EPOLL_CTL_ADD, got, &ev);
	(void)pthread_create(&waiter, NULL, wait_for_events, NULL);
	(void)held_page_waits(&page);
	(void)close(got);
	(void)recv(client, text, sizeof(text), 0); /* with the one that is still queued there */
}

ssize_t __real_fd_send(int to, const void *data, size_t len, int fd);
ssize_t __wrap_fd_send(int to, const void *data, size_t len, int fd);

/* The client does all that it wants to before the main thread does anything more. */
ssize_t __wrap_fd_send(int to, const void *data, size_t len, int fd)
{
	ssize_t n;

	if (fd >= 0 && sent_errno) {
		errno = sent_errno;
		return -1;
	}
	n = __real_fd_send(to, data, len, fd);
	if (fd >= 0 && n > 0 && set >= 0 && !left) {
		leave();
		left = true;
	}
	return n;
}

static int setup(void **state)
{
	(void)state;
	f = fake_new();
	if (!f)
		return -1;
	pthread_mutex_lock(&f->main);
	f->d.join = join;
	end = set = -1;
	sent_errno = 0;
	left = false;
	pthread_mutex_unlock(&f->main);
	fds_before = raw_count_fds();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_free(f);
	return 0;
}

static int kept(void)
{
	int fd;

	pthread_mutex_lock(&f->main);
	fd = end;
	pthread_mutex_unlock(&f->main);
	return fd;
}

static bool has_joined(void *arg)
{
	(void)arg;
	return kept() >= 0;
}

static void connect_client(void)
{
	pthread_mutex_lock(&f->main);
	client = raw_connect(f->path);
	pthread_mutex_unlock(&f->main);
}

static void others_are_served(void)
{
	int fd = raw_connect(f->path);
	json_t *j = raw_ask(fd, "{\"v\":1,\"cmd\":\"guests\"}\n");

	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
	(void)close(fd);
}

static void one_end_of_a_pair(void **state)
{
	char b = 0;
	int got;

	(void)state;
	connect_client();
	assert_true(raw_send_line(client, CONNECT));
	got = take(client);
	assert_true(got >= 0);
	assert_int_equal(send(kept(), "x", 1, 0), 1);
	assert_int_equal(recv(got, &b, 1, 0), 1);
	assert_int_equal(b, 'x');
	assert_true(raw_closed(client));
	(void)close(got);
	(void)close(client);
	assert_int_equal(recv(kept(), &b, 1, 0), 0); /* the main thread has none left */
	(void)close(kept());
	assert_true(raw_fds_at_most(fds_before));
}

static int events[2]; /* a pipe in `set` */

/* A client gets one end, and leaves the last descriptor of it in a locked set. False: that cannot
 * be had here. */
static bool leave_one(void)
{
	struct epoll_event ev = {.events = EPOLLIN};

	if (!held_page_new(&page))
		return false;
	assert_int_equal(pipe(events), 0);
	pthread_mutex_lock(&f->main);
	set = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, events[0], &ev), 0);
	assert_int_equal(write(events[1], "x", 1), 1);
	client = raw_connect(f->path);
	assert_true(raw_send_line(client, CONNECT));
	pthread_mutex_unlock(&f->main);
	assert_true(raw_wait(has_joined, NULL));
	pthread_mutex_lock(&f->main); /* it has been given by now */
	(void)close(client);
	pthread_mutex_unlock(&f->main);
	return true;
}

static void unlock_set(void)
{
	held_page_come(&page);
	assert_int_equal(pthread_join(waiter, NULL), 0);
	(void)close(events[0]);
	(void)close(events[1]);
	(void)close(set);
}

static void left_in_a_locked_set(void **state)
{
	char b;

	(void)state;
	if (!leave_one())
		skip();
	others_are_served();
	unlock_set();
	assert_int_equal(recv(kept(), &b, 1, 0), 0);
	(void)close(kept());
	assert_true(raw_fds_at_most(fds_before));
}

/* Those that come later wait for that one to be closed, and there are not many of them. */
static void they_are_bounded(void **state)
{
	int end_of[MANY], fd;
	unsigned n = 0;
	bool given = true;

	(void)state;
	if (!leave_one())
		skip();
	end_of[n++] = kept();
	pthread_mutex_lock(&f->main);
	end = -1;
	pthread_mutex_unlock(&f->main);
	do {
		json_t *j;

		assert_true(n < MANY);
		fd = raw_connect(f->path);
		j = raw_ask(fd, CONNECT);
		given = json_is_true(json_object_get(j, "ok"));
		if (given)
			end_of[n++] = kept();
		else
			assert_string_equal(json_string_value(json_object_get(j, "code")), "share");
		json_decref(j);
		(void)close(fd);
	} while (given);
	others_are_served();
	unlock_set();
	while (n)
		(void)close(end_of[--n]);
	assert_true(raw_fds_at_most(fds_before));
}

/* The kernel lets no more go: that is told, and the other end is not left waiting. */
static void too_many_are_on_their_way(void **state)
{
	json_t *j;
	char b;

	(void)state;
	pthread_mutex_lock(&f->main);
	sent_errno = ETOOMANYREFS;
	pthread_mutex_unlock(&f->main);
	connect_client();
	j = raw_ask(client, CONNECT);
	assert_true(json_is_false(json_object_get(j, "ok")));
	assert_string_equal(json_string_value(json_object_get(j, "code")), "busy");
	json_decref(j);
	assert_true(raw_closed(client));
	assert_int_equal(recv(kept(), &b, 1, 0), 0);
	(void)close(kept());
	(void)close(client);
	others_are_served();
	assert_true(raw_fds_at_most(fds_before));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(one_end_of_a_pair),
		T(left_in_a_locked_set),
		T(they_are_bounded),
		T(too_many_are_on_their_way),
	};

	return cmocka_run_group_tests_name("control_given", tests, NULL, NULL);
}
