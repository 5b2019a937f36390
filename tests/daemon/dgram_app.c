/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application of the host with datagrams, for test_dropin_dgram.py.
 *
 * "dgram_app URI echo PORT" sends each datagram back where it came from, until one says "end";
 * "dgram_app URI ask CID PORT" asks "?", once a second, and prints the answer and its source.
 */
#include "zvsock_dgram.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000ull

static struct zv_dev *dev;
static char data[ZV_DGRAM_MAX];

static int failed(void)
{
	fprintf(stderr, "dgram_app: %s\n", zv_error_text());
	return 1;
}

/* Waits for one on any queue. -ETIMEDOUT. */
static ssize_t receive(uint32_t port, struct zv_dgram_addr *from, uint64_t timeout_ns)
{
	struct zv_event ev[8];
	ssize_t n;

	for (;;) {
		n = zv_dgram_recv(zv_queue(dev, 0), port, data, sizeof(data), NULL, from);
		if (n != -EAGAIN)
			return n;
		if (zv_wait(zv_queue(dev, 0), ev, 8, timeout_ns) <= 0)
			return -ETIMEDOUT;
	}
}

/* There may be no room now, and HELLO may not be over. */
static bool send_all(const struct zv_dgram_addr *to, const char *what, size_t len)
{
	struct zv_event ev[8];
	ssize_t n;

	while ((n = zv_dgram_send(zv_queue(dev, 0), to, what, len, 0)) == -EAGAIN)
		(void)zv_wait(zv_queue(dev, 0), ev, 8, SECOND_NS);
	return n == (ssize_t)len;
}

static int echo(uint32_t port)
{
	struct zv_dgram_addr from;
	ssize_t n;

	if (zv_dgram_bind(dev, &port, 0))
		return failed();
	printf("ready\n");
	fflush(stdout);
	do {
		n = receive(port, &from, UINT64_MAX);
		if (n >= 0 && !send_all(&from, data, (size_t)n))
			return failed();
	} while (n != 3 || memcmp(data, "end", 3) != 0);
	return 0;
}

static int ask(uint64_t cid, uint32_t port)
{
	struct zv_dgram_addr to = {.peer_cid = cid, .local_port = ZV_PORT_ANY, .peer_port = port};
	struct zv_dgram_addr from;
	ssize_t n = -ETIMEDOUT;

	if (zv_dgram_bind(dev, &to.local_port, 0))
		return failed();
	while (n == -ETIMEDOUT) {
		if (!send_all(&to, "?", 1))
			return failed();
		n = receive(to.local_port, &from, SECOND_NS);
	}
	printf("%.*s from %llu:%u\n", (int)n, data, (unsigned long long)from.peer_cid,
	       from.peer_port);
	return 0;
}

int main(int argc, char **argv)
{
	int rc;

	if (argc < 4)
		return 2;
	if (zv_open(&dev, argv[1], NULL))
		return failed();
	if (strcmp(argv[2], "echo") == 0)
		rc = echo((uint32_t)atoi(argv[3]));
	else
		rc = ask((uint64_t)atoi(argv[3]), (uint32_t)atoi(argv[4]));
	zv_close(dev);
	return rc;
}
