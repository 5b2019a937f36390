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

/* Sends @len bytes and prints the @len bytes that come back. 0 or -errno. */
static int echo(struct zv_conn *conn, const char *data, size_t len)
{
	int rc = zv_send_all(conn, data, len, 0, UINT64_MAX, NULL);
	char back[65536];
	ssize_t n;

	while (rc >= 0 && len) {
		n = zv_recv(conn, back, sizeof(back), NULL);
		if (n > 0)
			len -= fwrite(back, 1, (size_t)n, stdout);
		else if (n == -EAGAIN)
			rc = zv_conn_wait(conn, ZV_EV_IN, UINT64_MAX);
		else
			rc = n ? (int)n : -EPIPE; /* the server left in the middle */
	}
	return rc < 0 ? rc : 0;
}

int main(int argc, char **argv)
{
	struct zv_conn *conn;
	struct zv_dev *dev;
	char line[65536];
	ssize_t n;
	int rc = 0;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr,
			"usage: echo_client URI, such as vhost-user:SOCKET or daemon:SOCKET\n");
		return 2;
	}
	if (zv_open(&dev, argv[1], NULL) < 0 ||
	    zv_connect_wait(zv_queue(dev, 0), ZV_CID_HOST, PORT, ZV_STREAM, UINT64_MAX, &conn)) {
		fprintf(stderr, "echo_client: %s\n", zv_error_text());
		return 1;
	}
	while (!rc && (n = read(STDIN_FILENO, line, sizeof(line))) > 0)
		rc = echo(conn, line, (size_t)n);
	if (rc)
		fprintf(stderr, "echo_client: %s\n", zv_strerror(rc));
	zv_conn_close(conn);
	zv_close(dev);
	return rc ? 1 : 0;
}
