/* SPDX-License-Identifier: BSD-3-Clause */
#include "granted.h"

#include "chan_calls.h"
#include "socket/conn/rx_loan.h"
#include "socket/core/credit.h"
#include "socket/rx/rx.h"

#include <errno.h>

/* ---- the path ---- */

static void nothing(struct zv_conn *c)
{
	(void)c;
}

static bool shut(struct zv_conn *c, uint32_t flags)
{
	(void)c;
	(void)flags;
	return true;
}

static void woken(struct zv_conn *c)
{
	c->flags |= CF_WOKEN;
	conn_ready(c);
}

static void info(const struct zv_conn *c, struct zv_conn_info *info)
{
	(void)c;
	info->tx_credit = info->rx_unread = info->peer_buf_alloc = info->tx_unacked = 0;
}

static const struct sock_path granted_path = {
	.opened = nothing,
	.shut = shut,
	.end = nothing,
	.woken = woken,
	.over = nothing,
	.free = nothing,
	.info = info,
};

/* ---- the verbs: there is no payload ---- */

static int no_payload(const char *call)
{
	return zv_err(-EOPNOTSUPP,
		      "%s: the driver was granted a channel for this connection: its payload does "
		      "not come by here",
		      call);
}

static ssize_t granted_send(struct zv_conn *c, const void *data, size_t len, uint32_t flags)
{
	(void)c;
	(void)data;
	(void)len;
	(void)flags;
	return no_payload("zv_send");
}

static int granted_buf_alloc(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len)
{
	(void)c;
	(void)bufs;
	(void)n;
	(void)len;
	return no_payload("zv_buf_alloc");
}

static int granted_buf_send(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	(void)c;
	(void)bufs;
	(void)n;
	return no_payload("zv_buf_send");
}

static unsigned granted_buf_cancel(struct zv_conn *c, const struct zv_buf *bufs, unsigned n)
{
	(void)c;
	(void)bufs;
	(void)n;
	return 0; /* none is reserved */
}

static bool has_room(const struct zv_conn *c)
{
	(void)c;
	return false;
}

static ssize_t granted_recv(struct zv_conn *c, void *data, size_t len, uint32_t *flags)
{
	(void)data;
	(void)len;
	if (flags)
		*flags = 0;
	return rx_empty(c);
}

static int granted_buf_recv(struct zv_conn *c, struct zv_buf *bufs, unsigned n)
{
	(void)bufs;
	(void)n;
	return rx_empty(c);
}

#define VERBS                                                                                      \
	.rx_cost = 0, .path = &granted_path, .send = granted_send, .buf_alloc = granted_buf_alloc, \
	.buf_send = granted_buf_send, .buf_cancel = granted_buf_cancel, .more_end = nothing,       \
	.has_room = has_room, .recv = granted_recv, .buf_recv = granted_buf_recv,                  \
	.rx_drop = nothing, .frame = chan_no_packets, .unconnected = rx_unconnected

static const struct sock_type granted_stream = {.name = "STREAM", .type = VSOCK_TYPE_STREAM, VERBS};
static const struct sock_type granted_seqpacket = {
	.name = "SEQPACKET", .type = VSOCK_TYPE_SEQPACKET, .framed = true, VERBS};

bool granted_can(const struct zv_conn *c)
{
	return c->sock->over_chan && !c->credit.tx_cnt && !c->credit.rx_cnt && !c->tx.loans;
}

void granted_make(struct zv_conn *c)
{
	c->sock = c->sock->framed ? &granted_seqpacket : &granted_stream;
	c->credit.buf_alloc = 0;
	rx_promise_back(c);
}
