/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An AF_VSOCK program that moves bytes by io_uring, for test_dropin_programs.py; it knows nothing
 * of zvsock. "uring_prog server PORT" takes a connection and sends back what it says, until it
 * ends; "uring_prog client CID PORT" talks to it.
 */
#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <errno.h>
#include <liburing.h>
#include <linux/vm_sockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES 200u

static struct io_uring ring;
static char data[65536], back[65536];

/* The result of the one request that has been prepared. */
static int result(void)
{
	struct io_uring_cqe *cqe;
	int res = io_uring_submit_and_wait(&ring, 1);

	if (res < 0 || (res = io_uring_wait_cqe(&ring, &cqe)) < 0)
		return res;
	res = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

static bool send_all(int fd, const char *from, size_t len)
{
	while (len) {
		int n;

		io_uring_prep_send(io_uring_get_sqe(&ring), fd, from, len, MSG_NOSIGNAL);
		n = result();
		if (n <= 0)
			return false;
		from += n;
		len -= (size_t)n;
	}
	return true;
}

static int server(struct sockaddr_vm *addr)
{
	int s = socket(AF_VSOCK, SOCK_STREAM, 0), fd, n;

	if (bind(s, (struct sockaddr *)addr, sizeof(*addr)) || listen(s, 1))
		return 1;
	io_uring_prep_accept(io_uring_get_sqe(&ring), s, NULL, NULL, 0);
	fd = result();
	if (fd < 0)
		return 2;
	for (;;) {
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, data, sizeof(data), 0);
		n = result();
		if (n <= 0)
			return n ? 3 : 0;
		if (!send_all(fd, data, (size_t)n))
			return 4;
	}
}

static int client(struct sockaddr_vm *addr)
{
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (connect(s, (struct sockaddr *)addr, sizeof(*addr)))
		return 1;
	for (unsigned i = 0; i < MESSAGES; i++) {
		const size_t len = 1 + i * 100;

		memset(data, 'a' + (int)(i % 26), len);
		if (!send_all(s, data, len))
			return 2;
		for (size_t n = 0; n < len;) {
			int some;

			io_uring_prep_recv(io_uring_get_sqe(&ring), s, back + n, len - n, 0);
			some = result();
			if (some <= 0)
				return 3;
			n += (size_t)some;
		}
		if (memcmp(data, back, len) != 0)
			return 4;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm addr = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	int rc = 0;

	if (io_uring_queue_init(4, &ring, 0) < 0) {
		printf("no io_uring\n");
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "server") == 0) {
		addr.svm_port = (unsigned)atoi(argv[2]);
		rc = server(&addr);
	} else if (argc == 4) {
		addr.svm_cid = (unsigned)atoi(argv[2]);
		addr.svm_port = (unsigned)atoi(argv[3]);
		rc = client(&addr);
	}
	if (rc)
		fprintf(stderr, "uring_prog: step %d: %s\n", rc, strerror(errno));
	return rc;
}
