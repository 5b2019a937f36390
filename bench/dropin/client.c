/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client program with one connection, or many in a row, on the sockets named by its argument.
 * bench/dropin/dropin.py runs it under zvsock-run and without it. It does not know zvsock.
 *
 *	dropin-bench vsock:CID|hybrid:PATH|unix connect|rtt|send COUNT
 *
 * connect: COUNT times connect and close. rtt: COUNT round trips of 64 bytes, port 7 (echo). send:
 * COUNT MiB in writes of 64 KiB, port 9 (discard), until the peer has ended as well. unix: a child
 * process accepts the connections. Prints the seconds that it took.
 */
#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ECHO	7
#define DISCARD 9
#define CHUNK	65536

static _Noreturn void fail(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int to_vsock(unsigned cid, unsigned port)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
		fail("AF_VSOCK");
	return fd;
}

static int to_unix(const char *path, size_t len)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (len > sizeof(a.sun_path)) {
		fprintf(stderr, "dropin-bench: the path is too long\n");
		exit(2);
	}
	memcpy(a.sun_path, path, len);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)))
		fail("AF_UNIX");
	return fd;
}

static int to_hybrid(const char *path, unsigned port)
{
	int fd = to_unix(path, strlen(path));
	char line[32], c = 0;
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", port);

	if (write(fd, line, (size_t)n) != n)
		fail("CONNECT");
	n = (int)read(fd, line, sizeof(line)); /* one write of zvsockd */
	if (n > 0)
		c = line[n - 1];
	if (n < 3 || memcmp(line, "OK ", 3) != 0 || c != '\n')
		fail("OK");
	return fd;
}

static char name[64]; /* of the child's socket */
static socklen_t name_len;

static int reach(const char *where, unsigned port)
{
	if (strncmp(where, "vsock:", 6) == 0)
		return to_vsock((unsigned)atoi(where + 6), port);
	if (strncmp(where, "hybrid:", 7) == 0)
		return to_hybrid(where + 7, port);
	return to_unix(name, name_len);
}

static void child_accepts(unsigned n)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	name_len = (socklen_t)snprintf(name + 1, sizeof(name) - 1, "dropin-bench-%d", getpid()) + 1;
	memcpy(a.sun_path, name, name_len);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&a,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + name_len)) ||
	    listen(fd, 4096))
		fail("listen");
	if (fork())
		return;
	while (n--) {
		int c = accept(fd, NULL, NULL);

		if (c < 0)
			fail("accept");
		close(c);
	}
	_exit(0);
}

static void connects(const char *where, unsigned n)
{
	while (n--)
		close(reach(where, DISCARD));
}

static void rtt(const char *where, unsigned n)
{
	char buf[64] = "";
	int fd = reach(where, ECHO);

	while (n--) {
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			fail("write");
		for (ssize_t got = 0; got < (ssize_t)sizeof(buf);) {
			ssize_t r = read(fd, buf, sizeof(buf) - (size_t)got);

			if (r <= 0)
				fail("read");
			got += r;
		}
	}
	close(fd);
}

static void sends(const char *where, unsigned mib)
{
	static char buf[CHUNK];
	int fd = reach(where, DISCARD);

	for (unsigned i = 0; i < mib * ((1u << 20) / CHUNK); i++)
		for (size_t sent = 0; sent < CHUNK;) {
			ssize_t r = write(fd, buf + sent, CHUNK - sent);

			if (r < 0)
				fail("write");
			sent += (size_t)r;
		}
	if (shutdown(fd, SHUT_WR) || read(fd, buf, 1) < 0)
		fail("the end");
	close(fd);
}

/* Of a socket that nobody looks at: what the supervisor's filter costs a system call. */
static void moves(unsigned n)
{
	char buf[64] = "";
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
		fail("socketpair");
	while (n--)
		if (write(fd[0], buf, sizeof(buf)) != sizeof(buf) ||
		    read(fd[1], buf, sizeof(buf)) != sizeof(buf))
			fail("write and read");
}

int main(int argc, char **argv)
{
	unsigned n = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
	double begin;

	if (!n) {
		fprintf(stderr,
			"usage: dropin-bench vsock:CID|hybrid:PATH|unix connect|rtt|send COUNT\n"
			"       dropin-bench pair move COUNT\n");
		return 2;
	}
	if (strcmp(argv[1], "unix") == 0)
		child_accepts(n);
	begin = now();
	if (strcmp(argv[2], "move") == 0)
		moves(n);
	else if (strcmp(argv[2], "connect") == 0)
		connects(argv[1], n);
	else if (strcmp(argv[2], "rtt") == 0)
		rtt(argv[1], n);
	else
		sends(argv[1], n);
	if (strcmp(argv[1], "unix") == 0)
		(void)wait(NULL);
	printf("%.6f\n", now() - begin);
	return 0;
}
