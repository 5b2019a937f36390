/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application leaves the socket that it was attached by in an epoll set that it keeps locked,
 * and closes it before zvsockd closes its own descriptor: whoever closes that one waits for the
 * set.
 */
#include "held_page.h"
#include "raw_client.h"
#include "zvd_fixture.h"

#include <proto/local/client_msg.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const char *program;
static struct held_page page;
static int set = -1;

/* Holds the set's lock: an event is ready, and there is no memory for it. */
static void *wait_for_events(void *arg)
{
	(void)epoll_wait(set, (struct epoll_event *)(void *)page.at, 1, -1);
	return arg;
}

/* Attaches, and returns the device's socket; -1: no. */
static int attach(int fd)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct client_msg m;
	int got = -1;
	ssize_t n;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%sapps", zf_dir);
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	    raw_send(fd, &m, sizeof(m), NULL, 0))
		got = raw_take(fd, &m, sizeof(m), 0, &n);
	return got;
}

static void the_last_descriptor_is_in_a_locked_set(void **state)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), got;
	int ready = eventfd(1, EFD_CLOEXEC);
	struct epoll_event ev = {.events = EPOLLIN};
	struct client_msg m;
	pthread_t waiter;

	(void)state;
	if (!held_page_new(&page))
		skip();
	set = epoll_create1(EPOLL_CLOEXEC);
	got = attach(fd);
	assert_true(got >= 0);
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, ready, &ev), 0);
	ev.events = 0;
	assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, got, &ev), 0);
	assert_int_equal(pthread_create(&waiter, NULL, wait_for_events, NULL), 0);
	assert_true(held_page_waits(&page));
	(void)close(got);
	client_msg_init(&m, CLIENT_UNLISTEN);
	assert_int_equal(send(fd, &m, sizeof(m), MSG_NOSIGNAL), sizeof(m));
	/* The main thread has gone on: it answers. */
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 60},
				    sizeof(struct timeval)),
			 0);
	assert_int_equal(recv(fd, &m, sizeof(m), 0), sizeof(m));
	held_page_come(&page);
	assert_int_equal(pthread_join(waiter, NULL), 0);
	(void)close(set);
	(void)close(ready);
	(void)close(fd);
}

static int testbed_start(void **state)
{
	(void)state;
	zf_keep_log = true;
	return zf_start(program, "applications = @apps\n", 1) && zf_logged("zvsockd .* is up") ? 0
											       : -1;
}

static int testbed_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_last_descriptor_is_in_a_locked_set),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests_name("apps_given", tests, testbed_start, testbed_end);
}
