/* SPDX-License-Identifier: BSD-3-Clause */
/* "connect" of the control socket, as no zvsockctl asks for it: what is wrong is refused in words.
 */
#include "host_side.h"
#include "zvd_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct zv_dev *G;
static const char *program;

/* Sends the request with @fd (-1: none); the answer says that it is refused, with @part. */
static void refuses(const char *request, int fd, const char *part)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} room = {0};
	struct iovec iov = {(void *)(uintptr_t)request, strlen(request)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int s = hs_connect("control.sock", NULL);
	char answer[1024];
	ssize_t n;

	if (fd >= 0) {
		m.msg_control = &room;
		m.msg_controllen = sizeof(room);
		room.align.cmsg_level = SOL_SOCKET;
		room.align.cmsg_type = SCM_RIGHTS;
		room.align.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&room.align), &fd, sizeof(fd));
	}
	assert_int_equal(sendmsg(s, &m, MSG_NOSIGNAL), strlen(request));
	assert_true(hs_readable(s));
	n = recv(s, answer, sizeof(answer) - 1, 0);
	assert_true(n > 0);
	answer[n] = 0;
	if (!strstr(answer, "\"ok\":false") || !strstr(answer, part))
		fail_msg("%s got %s; wanted %s", request, answer, part);
	close(s);
}

static void requests_are_checked(void **state)
{
	static const char good[] = "{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":5000}\n";
	uint16_t port;
	int tcp = hs_listen_tcp(&port), listener = hs_listen("l", SOCK_STREAM), p[2], seq[2];
	int lone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), good_pair[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, seq), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, good_pair), 0);
	refuses(good, -1, "one end of a connected pair");
	refuses(good, p[1], "one end of a connected pair");
	refuses(good, tcp, "one end of a connected pair");
	refuses(good, listener, "one end of a connected pair");
	refuses(good, seq[0], "one end of a connected pair");
	refuses(good, lone, "one end of a connected pair");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"port\":5000}\n", good_pair[0], "is missing");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":7,\"port\":5000}\n", good_pair[0],
		"must be a string");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\"}\n", good_pair[0],
		"must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":0}\n", good_pair[0],
		"must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":4294967295}\n", good_pair[0],
		"must be a number");
	refuses("{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":\"x\"}\n", good_pair[0],
		"must be a number");
	for (unsigned i = 0; i < 2; i++) {
		close(p[i]);
		close(seq[i]);
		close(good_pair[i]);
	}
	close(tcp);
	close(listener);
	close(lone);
}

/* Descriptors that wait in the socket already, whoever put them there, are nobody's. */
static void descriptors_inside_are_refused(void **state)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} room = {0};
	struct iovec iov = {(void *)(uintptr_t) "x", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &room,
			   .msg_controllen = sizeof(room)};
	static const char ask[] = "{\"v\":1,\"cmd\":\"connect\",\"guest\":\"g\",\"port\":5000}\n";
	struct zf_conn *c;
	int pair[2], s;
	char b;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	room.align.cmsg_level = SOL_SOCKET;
	room.align.cmsg_type = SCM_RIGHTS;
	room.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&room.align), &pair[0], sizeof(int));
	assert_int_equal(sendmsg(pair[0], &m, 0), 1);
	memcpy(CMSG_DATA(&room.align), &pair[1], sizeof(int));
	iov = (struct iovec){(void *)(uintptr_t)ask, sizeof(ask) - 1};
	s = hs_connect("control.sock", NULL);
	assert_int_equal(sendmsg(s, &m, 0), sizeof(ask) - 1);
	close(pair[1]);
	c = zf_accept(G, 5000);
	assert_non_null(c);
	assert_int_equal(zf_recv(c, &b, 1, NULL), -ECONNRESET);
	zf_close(c);
	close(pair[0]);
	close(s);
}

static int group_start(void **state)
{
	(void)state;
	if (!zf_start(program, "[guest g]\ncid = 11\nsocket = @g\n", 1))
		return -1;
	G = zf_guest(0, "g", 1);
	return G ? zv_listen(G, 5000, ZV_STREAM, 0) : -1;
}

static int group_end(void **state)
{
	(void)state;
	return zf_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_checked),
		cmocka_unit_test(descriptors_inside_are_refused),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 99;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, group_start, group_end);
}
