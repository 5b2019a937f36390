/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A reader that looks only when all is there, and a writer of small pieces. Neither says anything
 * else, so whoever carries the bytes must bring them without a push.
 *
 *	vsock_peer late PORT BUFFER LOWAT
 *		accepts one connection, sleeps until LOWAT bytes have come (SO_RCVLOWAT), checks
 *		them, closes
 *	vsock_peer trickle CID PORT PIECE PAUSE_US TOTAL
 *		writes TOTAL bytes and waits for the close
 */
#include "late.h"

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIMIT_MS 120000 /* nothing waits that long unless it waits for ever */

static int failed(const char *what)
{
	printf("FAILED %s: %m\n", what);
	return 1;
}

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 7 / 3);
}

static int check(int fd, uint8_t *buf, size_t lowat)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int ready = poll(&p, 1, LIMIT_MS);
	ssize_t n = recv(fd, buf, lowat, MSG_PEEK | MSG_DONTWAIT);

	if (ready != 1 || p.revents != POLLIN || (size_t)n != lowat) {
		printf("FAILED %zd of %zu bytes have come; poll says %#x\n", n, lowat,
		       (unsigned)p.revents);
		return 1;
	}
	for (size_t got = 0; got < lowat; got += (size_t)n) {
		n = recv(fd, buf, lowat - got, 0);
		if (n <= 0)
			return failed("recv");
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != byte_at(got + (size_t)i)) {
				printf("FAILED byte %zu is wrong\n", got + (size_t)i);
				return 1;
			}
	}
	printf("ok %zu bytes\n", lowat);
	return 0;
}

int late_reader(int argc, char **argv)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY};
	int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, lowat, ret;
	static uint8_t buf[1 << 20];
	unsigned long long size;

	if (argc != 3)
		return -1;
	a.svm_port = (unsigned)strtoul(argv[0], NULL, 10);
	size = strtoull(argv[1], NULL, 10);
	lowat = atoi(argv[2]);
	if (lowat < 1 || (size_t)lowat > sizeof(buf))
		return -1;
	if (s < 0)
		return failed("socket");
	if (setsockopt(s, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof(size)) < 0 ||
	    setsockopt(s, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof(size)) < 0)
		return failed("SO_VM_SOCKETS_BUFFER_SIZE");
	if (bind(s, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(s, 1) < 0)
		return failed("listen");
	puts("listening");
	fd = accept(s, NULL, NULL);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat)) < 0)
		return failed("SO_RCVLOWAT");
	ret = check(fd, buf, (size_t)lowat);
	close(fd);
	return ret;
}

int trickle(int argc, char **argv)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK};
	int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t piece, total;
	uint8_t buf[4096];
	unsigned pause_us;

	if (argc != 5)
		return -1;
	a.svm_cid = (unsigned)strtoul(argv[0], NULL, 10);
	a.svm_port = (unsigned)strtoul(argv[1], NULL, 10);
	piece = strtoul(argv[2], NULL, 10);
	pause_us = (unsigned)strtoul(argv[3], NULL, 10);
	total = strtoul(argv[4], NULL, 10);
	if (!piece || piece > sizeof(buf))
		return -1;
	if (s < 0 || connect(s, (struct sockaddr *)&a, sizeof(a)) < 0)
		return failed("connect");
	for (size_t at = 0; at < total;) {
		size_t n = total - at < piece ? total - at : piece;
		ssize_t sent;

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(at + i);
		sent = send(s, buf, n, MSG_NOSIGNAL);
		if (sent < 0)
			return failed("send");
		at += (size_t)sent;
		if (pause_us)
			usleep(pause_us);
	}
	if (recv(s, buf, 1, 0) != 0)
		return failed("recv");
	printf("ok %zu bytes\n", total);
	return 0;
}
