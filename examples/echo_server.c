/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host's side of the echo example: sends back whatever a guest sends to port 7.
 *
 *	echo_server host:vm0.sock,cid=3
 *
 * A VMM, or echo_client, connects to the socket as the guest with CID 3. Ends on Ctrl-C.
 */
#include <zvsock.h>
#include <zvsock_host.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PORT 7

/* What has been received from a client and not yet been sent back. */
struct client {
	size_t len, sent;
	char data[65536];
};

static struct zv_queue *queue;

static void on_signal(int sig)
{
	(void)sig;
	zv_wake(queue);
}

/* Moves bytes until the connection would have to wait. False: the conversation is over. */
static int echo(struct zv_conn *conn, struct client *c)
{
	ssize_t n;

	for (;;) {
		while (c->sent < c->len) {
			n = zv_send(conn, c->data + c->sent, c->len - c->sent, 0);
			if (n == -EAGAIN) { /* no room: read no more before there is some */
				zv_set_events(conn, ZV_EV_OUT);
				return 1;
			}
			if (n < 0)
				return 0;
			c->sent += (size_t)n;
		}
		n = zv_recv(conn, c->data, sizeof(c->data), NULL);
		if (n == -EAGAIN) {
			zv_set_events(conn, ZV_EV_IN);
			return 1;
		}
		if (n <= 0) /* 0: the client has sent everything, and so have we */
			return 0;
		c->len = (size_t)n;
		c->sent = 0;
	}
}

int main(int argc, char **argv)
{
	struct zv_event events[32];
	struct zv_conn *conn;
	struct zv_dev *dev;
	int n, stop = 0;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr,
			"usage: echo_server URI, such as host:SOCKET,cid=N or daemon:SOCKET\n");
		return 2;
	}
	if (zv_host_init() < 0 || zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_listen(dev, PORT, ZV_STREAM, 0) < 0) {
		fprintf(stderr, "echo_server: %s\n", zv_error_text());
		return 1;
	}
	queue = zv_queue(dev, 0);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	fprintf(stderr, "echo_server: ready, listening on port %d\n", PORT);
	while (!stop) {
		n = zv_wait(queue, events, 32, UINT64_MAX);
		for (int i = 0; i < n; i++) {
			if (events[i].events & ZV_EV_WAKE) {
				stop = 1;
			} else if (events[i].events & ZV_EV_ACCEPT) {
				while (zv_accept(queue, PORT, &conn) == 0)
					zv_set_user(conn, calloc(1, sizeof(struct client)));
			} else if (!events[i].user || !echo(events[i].conn, events[i].user)) {
				free(events[i].user);
				zv_conn_close(events[i].conn);
			}
		}
	}
	zv_close(dev);
	return 0;
}
