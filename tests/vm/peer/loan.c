/* SPDX-License-Identifier: BSD-3-Clause */
#include "loan.h"

#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_NS UINT64_C(120000000000)

static struct {
	struct zv_queue *queue;
	struct zv_conn *conn; /* NULL: it has ended */
	struct zv_buf buf;
	uint64_t hash; /* of what it holds */
} loan;

static uint64_t hash_now(void)
{
	return XXH3_64bits(loan.buf.data, loan.buf.len);
}

/* Asks an echo server for @len bytes, and keeps the first buffer of its answer. */
static int borrow(struct zv_queue *queue, uint64_t cid, uint32_t len)
{
	static uint8_t bytes[4096];
	int rc;

	if (loan.queue || !len || len > sizeof(bytes))
		return -EINVAL;
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(i * 7 / 3);
	rc = zv_connect_wait(queue, cid, PORT_ECHO, ZV_STREAM, LIMIT_NS, &loan.conn);
	if (rc)
		return rc;
	zv_set_user(loan.conn, &loan);
	rc = zv_send_all(loan.conn, bytes, len, 0, LIMIT_NS, NULL);
	while (rc >= 0 && (rc = zv_buf_recv(loan.conn, &loan.buf, 1)) == -EAGAIN)
		rc = zv_conn_wait(loan.conn, ZV_EV_IN, LIMIT_NS);
	if (rc != 1) {
		zv_conn_close(loan.conn);
		return rc ? rc : -EPIPE;
	}
	loan.queue = queue;
	loan.hash = hash_now();
	zv_set_events(loan.conn, 0);
	return 0;
}

static int give_back(void)
{
	if (!loan.queue)
		return -EINVAL;
	zv_buf_release(loan.queue, &loan.buf, 1);
	if (loan.conn)
		zv_conn_close(loan.conn);
	memset(&loan, 0, sizeof(loan));
	return 0;
}

bool loan_event(const void *user)
{
	if (user != &loan)
		return false;
	if (loan.conn)
		zv_conn_close(loan.conn); /* the buffer stays */
	loan.conn = NULL;
	return true;
}

bool loan_command(struct zv_queue *queue, int argc, char **argv, char *said, size_t size)
{
	int rc;

	if (argc == 3 && strcmp(argv[0], "borrow") == 0)
		rc = borrow(queue, strtoull(argv[1], NULL, 10), (uint32_t)atoi(argv[2]));
	else if (argc == 1 && strcmp(argv[0], "loan") == 0)
		rc = !loan.queue ? -EINVAL : hash_now() == loan.hash ? 0 : -EIO;
	else if (argc == 1 && strcmp(argv[0], "return") == 0)
		rc = give_back();
	else
		return false;
	snprintf(said, size, rc ? "FAILED %s: %s" : "ok %s, connection %s", argv[0],
		 rc == -EIO  ? "the buffer has changed"
		 : rc	     ? zv_strerror(rc)
		 : loan.conn ? "open"
			     : "ended");
	return true;
}
