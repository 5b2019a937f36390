/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A static program that uses datagrams of AF_VSOCK and knows nothing of zvsock.
 *
 *   dropin_raw_dgram echo PORT       sends back what comes, until that is "end"
 *   dropin_raw_dgram calls CID PORT  each call with an address, towards such an echo
 */
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

static void *volatile nowhere = (void *)1; /* no memory is there; a compiler does not see that */

static void check(int ok, const char *what)
{
	if (ok)
		return;
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_vm address(const char *cid, const char *port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK,
				    .svm_cid = cid ? (unsigned)atol(cid) : VMADDR_CID_ANY,
				    .svm_port = (unsigned)atol(port)};
}

static int new_socket(void)
{
	int fd = socket(AF_VSOCK, SOCK_DGRAM, 0);

	check(fd >= 0, "socket");
	return fd;
}

static void echo(const char *port)
{
	struct sockaddr_vm a = address(NULL, port);
	int fd = new_socket();
	static char data[70000];
	ssize_t n = 0;

	check(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
	puts("listening");
	fflush(stdout);
	while (n != 3 || memcmp(data, "end", 3) != 0) {
		socklen_t len = sizeof(a);

		n = recvfrom(fd, data, sizeof(data), 0, (struct sockaddr *)&a, &len);
		check(n >= 0 && len == sizeof(a), "recvfrom");
		check(sendto(fd, data, (size_t)n, 0, (struct sockaddr *)&a, len) == n, "sendto");
	}
}

/* Three messages of two pieces each, there and back in one call. */
static void several(int fd, struct sockaddr_vm *to)
{
	char digits[] = "012", rest[] = "rest", got[3][2][8] = {0};
	struct sockaddr_vm from[3] = {0};
	struct iovec out[3][2], in[3][2];
	struct mmsghdr v[3], w[3];
	int n = 0;

	for (int i = 0; i < 3; i++) {
		out[i][0] = (struct iovec){digits + i, 1};
		out[i][1] = (struct iovec){rest, 4};
		in[i][0] = (struct iovec){got[i][0], 2};
		in[i][1] = (struct iovec){got[i][1], 8};
		v[i].msg_hdr = (struct msghdr){.msg_name = to,
					       .msg_namelen = sizeof(*to),
					       .msg_iov = out[i],
					       .msg_iovlen = 2};
		w[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
					       .msg_namelen = sizeof(from[i]),
					       .msg_iov = in[i],
					       .msg_iovlen = 2,
					       .msg_controllen = 5};
	}
	check(sendmmsg(fd, v, 3, 0) == 3 && v[2].msg_len == 5, "sendmmsg");
	while (n < 3) {
		int r = recvmmsg(fd, w + n, 3 - (unsigned)n, MSG_WAITFORONE, NULL);

		check(r > 0, "recvmmsg");
		n += r;
	}
	for (int i = 0; i < 3; i++) {
		check(w[i].msg_len == 5 && got[i][0][0] == '0' + i && got[i][0][1] == 'r' &&
			      !memcmp(got[i][1], "est", 4),
		      "what recvmmsg has read");
		check(from[i].svm_port == to->svm_port && from[i].svm_cid == to->svm_cid &&
			      w[i].msg_hdr.msg_namelen == sizeof(from[i]) &&
			      !w[i].msg_hdr.msg_controllen && !w[i].msg_hdr.msg_flags,
		      "whom recvmmsg has read it from");
	}
}

static void bad_memory(int fd, struct sockaddr_vm *to)
{
	struct sockaddr *a = (struct sockaddr *)to;
	struct iovec iov = {nowhere, 5};
	struct msghdr m = {
		.msg_name = to, .msg_namelen = sizeof(*to), .msg_iov = &iov, .msg_iovlen = 1};
	struct sockaddr_vm from;
	char c;

	check(sendto(fd, nowhere, 5, 0, a, sizeof(*to)) < 0 && errno == EFAULT, "sendto: EFAULT");
	check(sendto(fd, "x", 1, 0, nowhere, sizeof(*to)) < 0, "sendto: a bad address");
	check(sendto(fd, "x", 1, 0, a, 3) < 0 && errno == EINVAL, "sendto: a short address");
	check(sendmsg(fd, &m, 0) < 0 && errno == EFAULT, "sendmsg: EFAULT");
	m.msg_iovlen = 100000;
	check(sendmsg(fd, &m, 0) < 0 && errno == EMSGSIZE, "sendmsg: EMSGSIZE");
	check(sendmsg(fd, nowhere, 0) < 0 && errno == EFAULT, "sendmsg: no header");
	check(recvmsg(fd, nowhere, 0) < 0 && errno == EFAULT, "recvmsg: no header");
	check(sendto(fd, "x", 1, 0, a, sizeof(*to)) == 1, "sendto");
	check(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&from, nowhere) < 0 && errno == EFAULT,
	      "recvfrom: EFAULT");
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* A signal ends a recvfrom(2) that waits, and so does its time limit. */
static void waits(int fd)
{
	const struct itimerval soon = {.it_value = {.tv_usec = 50000}};
	const struct timeval limit = {.tv_usec = 50000};
	struct sigaction act = {.sa_handler = on_alarm};
	struct sockaddr_vm a;
	socklen_t len = sizeof(a);
	char c;

	check(!sigaction(SIGALRM, &act, NULL) && !setitimer(ITIMER_REAL, &soon, NULL), "alarm");
	check(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&a, &len) < 0 && errno == EINTR,
	      "recvfrom: EINTR");
	check(recvfrom(fd, &c, 1, MSG_DONTWAIT, (struct sockaddr *)&a, &len) < 0 && errno == EAGAIN,
	      "recvfrom: MSG_DONTWAIT");
	check(!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), "SO_RCVTIMEO");
	check(recvfrom(fd, &c, 1, 0, (struct sockaddr *)&a, &len) < 0 && errno == EAGAIN,
	      "recvfrom: SO_RCVTIMEO");
}

/* Sockets of others are what they are. */
static void others(void)
{
	char got[8] = {0};
	struct iovec iov = {"hello", 6}, in = {got, sizeof(got)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int pair[2];

	check(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	check(sendmsg(pair[0], &m, 0) == 6, "sendmsg of a pair");
	m.msg_iov = &in;
	check(recvmsg(pair[1], &m, 0) == 6 && !strcmp(got, "hello"), "recvmsg of a pair");
}

static void calls(const char *cid, const char *port)
{
	struct sockaddr_vm to = address(cid, port);
	int fd = new_socket();

	several(fd, &to);
	bad_memory(fd, &to);
	waits(fd);
	others();
	check(sendto(fd, "end", 3, 0, (struct sockaddr *)&to, sizeof(to)) == 3, "sendto");
	puts("ok");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "echo"))
		echo(argv[2]);
	else if (argc == 4 && !strcmp(argv[1], "calls"))
		calls(argv[2], argv[3]);
	else
		return 2;
	return 0;
}
