/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of the zero-copy pipeline: looks at the data where the guest has put it.
 *
 *	pipeline_consumer host:vm0.sock,cid=3
 *
 * The guest can still change what we look at. This program only compares bytes, so the worst
 * that a guest can do is to be reported; a program that acts on what it reads copies first.
 * Ends on Ctrl-C.
 */
#include <zvsock.h>
#include <zvsock_host.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PORT  4000
#define BATCH 16

struct flow {
	uint64_t bytes, wrong;
};

static struct zv_queue *queue;

static void on_signal(int sig)
{
	(void)sig;
	zv_wake(queue);
}

/* Checks everything that has arrived. 1: more will come; 0: that was all; or -errno. */
static int consume(struct zv_conn *conn, struct flow *f)
{
	struct zv_buf bufs[BATCH];
	int n;

	while ((n = zv_buf_recv(conn, bufs, BATCH)) > 0) {
		for (int i = 0; i < n; i++) {
			const unsigned char *data = bufs[i].data;

			for (uint32_t k = 0; k < bufs[i].len; k++)
				f->wrong += data[k] != (f->bytes + k) % 251;
			f->bytes += bufs[i].len;
		}
		zv_buf_release(zv_conn_queue(conn), bufs, (unsigned)n); /* credit for the guest */
	}
	return n == -EAGAIN ? 1 : n;
}

int main(int argc, char **argv)
{
	struct zv_event events[32];
	struct zv_conn *conn;
	struct zv_dev *dev;
	int stop = 0;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: pipeline_consumer URI, such as host:SOCKET,cid=N or "
				"daemon:SOCKET\n");
		return 2;
	}
	if (zv_host_init() < 0 || zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_listen(dev, PORT, ZV_STREAM, 0) < 0) {
		fprintf(stderr, "pipeline_consumer: %s\n", zv_error_text());
		return 1;
	}
	queue = zv_queue(dev, 0);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	fprintf(stderr, "pipeline_consumer: ready, listening on port %d\n", PORT);
	while (!stop) {
		int n = zv_wait(queue, events, 32, UINT64_MAX);

		for (int i = 0; i < n; i++) {
			struct flow *f = events[i].user;
			int rc;

			if (events[i].events & ZV_EV_WAKE) {
				stop = 1;
				continue;
			}
			if (events[i].events & ZV_EV_ACCEPT) {
				while (zv_accept(queue, PORT, &conn) == 0)
					zv_set_user(conn, calloc(1, sizeof(struct flow)));
				continue;
			}
			rc = f ? consume(events[i].conn, f) : -ENOMEM;
			if (rc > 0)
				continue;
			if (f)
				printf("consumed %llu bytes, %llu wrong, %s\n",
				       (unsigned long long)f->bytes, (unsigned long long)f->wrong,
				       rc ? zv_strerror(rc) : "complete");
			fflush(stdout);
			free(f);
			zv_conn_close(events[i].conn);
		}
	}
	zv_close(dev);
	return 0;
}
