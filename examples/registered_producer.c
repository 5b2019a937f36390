/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's side of the pipeline, with memory of its own: payload is read where the program has
 * put it, in a file in memory that any other library could have made (hugepages, a mapped file).
 * The host's side is pipeline_consumer.
 *
 *	registered_producer vhost-user:vm0.sock [MEBIBYTES]
 *
 * The same program runs on every device: where memory cannot be shared, payload is copied.
 */
#include <zvsock_mem.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PORT  4000
#define BLOCK 65536u
#define COUNT 64u /* blocks */

struct producer {
	struct zv_conn *conn;
	struct zv_mem *mem;
	unsigned char *data;
	unsigned out[COUNT];  /* sends of a block that have not completed */
	unsigned long copied; /* bytes */
};

/* Enters completions; waits for one when there is none and @wait. 0 or -errno. */
static int take_done(struct producer *p, int wait)
{
	struct zv_queue *q = zv_conn_queue(p->conn);
	struct zv_event ev[8];
	struct zv_sent done[16];
	int n;

	while ((n = zv_mem_done(q, done, 16)) == 0 && wait) {
		n = zv_wait(q, ev, 8, UINT64_MAX);
		if (n < 0 && n != -EINTR)
			return n;
	}
	for (int i = 0; i < n; i++) {
		unsigned *out = done[i].user;

		--*out;
		if (done[i].err)
			return done[i].err; /* the device went */
		if (done[i].flags & ZV_MEM_COPIED)
			p->copied += done[i].len;
	}
	return n < 0 ? n : 0;
}

/* Sends @len bytes of block @i. 0 or -errno. */
static int send_block(struct producer *p, unsigned i, size_t len)
{
	size_t at = 0;

	while (at < len) {
		ssize_t n = zv_send_mem(p->conn, p->mem, (size_t)i * BLOCK + at, len - at, 0,
					&p->out[i]);

		if (n > 0) {
			p->out[i]++;
			at += (size_t)n;
		} else if (n == -EAGAIN) {
			n = zv_conn_wait(p->conn, ZV_EV_OUT, UINT64_MAX);
		}
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static int produce(struct producer *p, uint64_t total)
{
	uint64_t pos = 0;
	int rc = 0;

	for (unsigned i = 0; pos < total && rc == 0; i = (i + 1) % COUNT) {
		size_t len = total - pos < BLOCK ? (size_t)(total - pos) : BLOCK;

		while (p->out[i] && rc == 0) /* the device still reads what is there */
			rc = take_done(p, 1);
		for (size_t k = 0; k < len && rc == 0; k++)
			p->data[(size_t)i * BLOCK + k] = (unsigned char)((pos + k) % 251);
		if (rc == 0)
			rc = send_block(p, i, len);
		pos += len;
	}
	return rc;
}

/* The program's memory, and a descriptor for it in *fd. NULL: none. */
static unsigned char *make_memory(int *fd)
{
	void *data;

	*fd = memfd_create("registered_producer", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, COUNT * BLOCK))
		return NULL;
	data = mmap(NULL, COUNT * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	return data == MAP_FAILED ? NULL : data;
}

int main(int argc, char **argv)
{
	uint64_t total = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) << 20;
	struct producer p = {0};
	struct zv_dev *dev;
	int rc, fd;

	if (argc < 2 || argc > 3 || argv[1][0] == '-' || !total) {
		fprintf(stderr, "usage: registered_producer URI [MEBIBYTES], URI such as "
				"vhost-user:SOCKET or daemon:SOCKET\n");
		return 2;
	}
	p.data = make_memory(&fd);
	if (!p.data) {
		perror("registered_producer: memory");
		return 1;
	}
	if (zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_mem_register(dev, p.data, COUNT * BLOCK, fd, 0, &p.mem) < 0 ||
	    zv_connect_wait(zv_queue(dev, 0), ZV_CID_HOST, PORT, ZV_STREAM, UINT64_MAX, &p.conn)) {
		fprintf(stderr, "registered_producer: %s\n", zv_error_text());
		return 1;
	}
	rc = produce(&p, total);
	if (!rc)
		rc = zv_shutdown(p.conn, 1); /* that was all */
	/* Closing now could cut off what is on its way: the consumer closes when it has all. */
	if (!rc && zv_conn_wait(p.conn, ZV_EV_HUP, UINT64_MAX) != ZV_EV_HUP)
		rc = -ECONNRESET;
	while (!rc && zv_mem_unregister(p.mem) == -EBUSY)
		rc = take_done(&p, 1);
	if (rc)
		fprintf(stderr, "registered_producer: %s\n", zv_strerror(rc));
	else
		printf("produced %llu bytes, %lu of them copied\n", (unsigned long long)total,
		       p.copied);
	zv_conn_close(p.conn);
	zv_close(dev);
	return rc ? 1 : 0;
}
