/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers on a client socket, from a server that attaches what it likes. */
#include "daemon/client_sock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 4u /* descriptors of an answer */

static char dir[] = "/tmp/zv-client-XXXXXX";
static struct client_sock client;
static int listener = -1, server = -1, null = -1;

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	assert_int_equal(closedir(d), 0);
	return n;
}

/* Sends an answer to @type with @n descriptors. The question need not have been read. */
static void answer(enum client_type type, unsigned n)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(MOST * sizeof(int))];
	} ctl = {.buf = {0}};
	int fds[MOST];
	struct client_msg m;
	struct iovec iov = {&m, sizeof(m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	for (unsigned i = 0; i < MOST; i++)
		fds[i] = null;
	client_msg_init(&m, type);
	if (n) {
		mh.msg_control = ctl.buf;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), fds, n * sizeof(int));
	}
	assert_int_equal(sendmsg(server, &mh, MSG_NOSIGNAL), sizeof(m));
}

static int connect_client(void **state)
{
	(void)state;
	if (server >= 0)
		(void)close(server);
	assert_int_equal(client_unix_connect(&client, -1), 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(server >= 0);
	return 0;
}

/* As many as fit into the room for one, and more. */
static void what_is_attached_beyond_one_descriptor_is_closed(void **state)
{
	const unsigned before = open_fds();

	(void)state;
	for (unsigned n = 1; n <= MOST; n++) {
		struct client_msg m;
		int fd = -1;

		answer(CLIENT_BELLS, n);
		client_msg_init(&m, CLIENT_BELLS);
		assert_int_equal(client_sock_ask(&client, &m, &fd, -1), 0);
		assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
		assert_int_equal(close(fd), 0);
		assert_int_equal(open_fds(), before);
	}
}

static void descriptors_that_were_not_asked_for_are_closed(void **state)
{
	for (unsigned n = 1; n <= MOST; n++) {
		unsigned before = open_fds();
		struct client_msg m;

		answer(CLIENT_LISTEN, n);
		client_msg_init(&m, CLIENT_LISTEN);
		assert_int_equal(client_sock_ask(&client, &m, NULL, -1), -EPROTO);
		assert_int_equal(open_fds(), before - 1); /* the connection */
		(void)connect_client(state);
	}
}

static int group_start(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/sock", dir);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (null < 0 || bind(listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(listener, 1) < 0)
		return -1;
	return client_sock_init(&client, sa.sun_path);
}

static int group_end(void **state)
{
	(void)state;
	(void)unlink(client.path);
	(void)rmdir(dir);
	client_sock_fini(&client);
	(void)close(server);
	(void)close(listener);
	(void)close(null);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(what_is_attached_beyond_one_descriptor_is_closed,
				       connect_client),
		cmocka_unit_test_setup(descriptors_that_were_not_asked_for_are_closed,
				       connect_client),
	};

	return cmocka_run_group_tests_name("client_sock", tests, group_start, group_end);
}
