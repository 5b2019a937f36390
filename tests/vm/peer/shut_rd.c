/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection whose one end, the reader, receives no more: the other end's next write must fail.
 *
 *	shut_rd listen|connect WHERE PORT read|write|write-late
 *
 * WHERE: a CID, or the path of a hybrid socket (listen: PATH_PORT is made). The reader says
 * SHUT_RD and then sends a byte, which cannot come before the news of it; the writer takes the byte
 * and writes. write-late: what it writes may be lost for a while, as long as it hears of it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* behind the socket headers */
#include <linux/vm_sockets.h>

static int failed(const char *what)
{
	printf("FAILED %s: %s\n", what, strerror(errno));
	return -1;
}

static int hybrid(const char *path, unsigned port, bool server)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char line[32], c = 0;

	if (server)
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s_%u", path, port);
	else
		snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", path);
	if (server) {
		unlink(sa.sun_path);
		return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 1)
			       ? failed("listen")
			       : fd;
	}
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return failed("connect");
	snprintf(line, sizeof(line), "CONNECT %u\n", port);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		return failed("CONNECT");
	while (c != '\n') /* OK */
		if (recv(fd, &c, 1, 0) != 1)
			return failed("no answer to CONNECT");
	return fd;
}

static int vsock(const char *cid, unsigned port, bool server)
{
	struct sockaddr_vm sa = {.svm_family = AF_VSOCK,
				 .svm_cid =
					 server ? VMADDR_CID_ANY : (unsigned)strtoul(cid, NULL, 10),
				 .svm_port = port};
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (server)
		return bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || listen(fd, 1)
			       ? failed("listen")
			       : fd;
	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ? failed("connect") : fd;
}

/* Writes until that fails; at most @most bytes may go. 0: it failed with EPIPE. */
static int write_fails(int fd, unsigned most)
{
	for (unsigned n = 0; send(fd, "x", 1, MSG_NOSIGNAL) == 1; n++) {
		if (n == most) {
			printf("FAILED a write succeeded though the peer receives no more\n");
			return 1;
		}
		usleep(10000);
	}
	return errno == EPIPE ? 0 : failed("write");
}

int main(int argc, char **argv)
{
	bool server = argc == 5 && strcmp(argv[1], "listen") == 0, reader;
	unsigned port, most = 0;
	char c;
	int fd;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 5) {
		fprintf(stderr, "usage: shut_rd listen|connect WHERE PORT read|write|write-late\n");
		return 2;
	}
	port = (unsigned)strtoul(argv[3], NULL, 10);
	reader = strcmp(argv[4], "read") == 0;
	fd = argv[2][0] == '/' ? hybrid(argv[2], port, server) : vsock(argv[2], port, server);
	if (fd >= 0 && server) {
		puts("listening");
		fd = accept(fd, NULL, NULL);
	}
	if (fd < 0)
		return 1;
	if (reader) {
		if (shutdown(fd, SHUT_RD) || send(fd, "r", 1, MSG_NOSIGNAL) != 1)
			return failed("reader"), 1;
		most = 60000; /* the writer closes when it has seen enough: ten minutes */
	} else {
		if (recv(fd, &c, 1, 0) != 1)
			return failed("writer"), 1;
		most = strcmp(argv[4], "write-late") == 0 ? 60000 : 0;
	}
	if (write_fails(fd, most))
		return 1;
	puts("ok");
	return 0;
}
