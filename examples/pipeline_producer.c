/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's side of the zero-copy pipeline: produces data straight into the buffers that the
 * host will read.
 *
 *	pipeline_producer vhost-user:vm0.sock [MEBIBYTES]
 */
#include <zvsock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PORT  4000
#define BATCH 16

/* Sends @total bytes: reserve buffers, fill them, send them. 0 or -errno. */
static int produce(struct zv_conn *conn, uint64_t total)
{
	struct zv_buf bufs[BATCH];
	uint64_t pos = 0;

	while (pos < total) {
		int n = zv_buf_alloc(conn, bufs, BATCH, 65536);

		if (n == -EAGAIN) { /* all is on its way: the consumer is slower than we are */
			n = zv_conn_wait(conn, ZV_EV_OUT, UINT64_MAX);
			if (n < 0)
				return n;
			continue;
		}
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			unsigned char *data = bufs[i].data;
			uint64_t left = total - pos;

			/* With nothing left, len 0 gives the buffer back unsent. */
			bufs[i].len = left < bufs[i].capacity ? (uint32_t)left : bufs[i].capacity;
			for (uint32_t k = 0; k < bufs[i].len; k++)
				data[k] = (unsigned char)((pos + k) % 251);
			pos += bufs[i].len;
		}
		n = zv_buf_send(conn, bufs, (unsigned)n);
		if (n < 0)
			return n;
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t total = (argc > 2 ? strtoull(argv[2], NULL, 10) : 64) << 20;
	struct zv_conn *conn;
	struct zv_dev *dev;
	int rc;

	if (argc < 2 || argc > 3 || argv[1][0] == '-' || !total) {
		fprintf(stderr, "usage: pipeline_producer URI [MEBIBYTES], URI such as "
				"vhost-user:SOCKET or daemon:SOCKET\n");
		return 2;
	}
	if (zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_connect_wait(zv_queue(dev, 0), ZV_CID_HOST, PORT, ZV_STREAM, UINT64_MAX, &conn)) {
		fprintf(stderr, "pipeline_producer: %s\n", zv_error_text());
		return 1;
	}
	rc = produce(conn, total);
	if (!rc)
		rc = zv_shutdown(conn, 1); /* that was all */
	/* Closing now could cut off what is on its way: the consumer closes when it has all. */
	if (!rc && zv_conn_wait(conn, ZV_EV_HUP, UINT64_MAX) != ZV_EV_HUP)
		rc = -ECONNRESET;
	if (rc)
		fprintf(stderr, "pipeline_producer: %s\n", zv_strerror(rc));
	else
		printf("produced %llu bytes\n", (unsigned long long)total);
	zv_conn_close(conn);
	zv_close(dev);
	return rc ? 1 : 0;
}
