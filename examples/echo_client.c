/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's side of the echo example: sends standard input to port 7 of the host and prints
 * what comes back.
 *
 *	echo hello | echo_client vhost-user:vm0.sock
 */
#include <zvsock.h>

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define PORT 7

/* Sleeps until one of the @wanted events comes. 0 or -errno. */
static int wait_for(struct zv_queue *queue, uint32_t wanted)
{
	struct zv_event ev;

	for (;;) {
		int n = zv_wait(queue, &ev, 1, UINT64_MAX);

		if (n < 0)
			return n;
		if (n && (ev.events & (wanted | ZV_EV_ERR)))
			return ev.err;
	}
}

/* Sends @len bytes and prints the @len bytes that come back. 0 or -errno. */
static int echo(struct zv_conn *conn, const char *data, size_t len)
{
	size_t sent = 0, got = 0;
	char back[4096];
	ssize_t n;
	int rc = 0;

	while (!rc && sent < len) {
		n = zv_send(conn, data + sent, len - sent, 0);
		if (n >= 0)
			sent += (size_t)n;
		else
			rc = n == -EAGAIN ? wait_for(zv_conn_queue(conn), ZV_EV_OUT) : (int)n;
	}
	while (!rc && got < len) {
		n = zv_recv(conn, back, sizeof(back), NULL);
		if (n > 0)
			got += fwrite(back, 1, (size_t)n, stdout);
		else if (n == -EAGAIN)
			rc = wait_for(zv_conn_queue(conn), ZV_EV_IN);
		else
			rc = n ? (int)n : -EPIPE; /* the server left in the middle */
	}
	return rc;
}

int main(int argc, char **argv)
{
	struct zv_conn *conn;
	struct zv_dev *dev;
	char line[65536];
	ssize_t n;
	int rc;

	if (argc != 2) {
		fprintf(stderr, "usage: echo_client vhost-user:SOCKET\n");
		return 2;
	}
	if (zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_connect(zv_queue(dev, 0), ZV_CID_HOST, PORT, ZV_STREAM, &conn) < 0) {
		fprintf(stderr, "echo_client: %s\n", zv_error_text());
		return 1;
	}
	rc = wait_for(zv_queue(dev, 0), ZV_EV_CONNECT); /* zv_connect only starts it */
	while (!rc && (n = read(STDIN_FILENO, line, sizeof(line))) > 0)
		rc = echo(conn, line, (size_t)n);
	if (rc)
		fprintf(stderr, "echo_client: %s\n", zv_strerror(rc));
	zv_conn_close(conn);
	zv_close(dev);
	return rc ? 1 : 0;
}
