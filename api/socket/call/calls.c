/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The public calls on queues and connections: check arguments, enter the queue (quiesce.h),
 * dispatch, publish what was done, leave. Others are in device.c (zv_open, zv_close), listen.c,
 * connect.c, wait.c (those that block) and inspect.c (information, counters, the tap).
 */
#include "calls.h"
#include "socket/conn/close.h"
#include "socket/conn/conn.h"
#include "socket/conn/rx_loan.h"
#include "socket/queue/poll.h"
#include "socket/type/chan_calls.h"

#include <errno.h>
#include <string.h>

#define ZV_STR2(x) #x
#define ZV_STR(x)  ZV_STR2(x)

const char *zv_version(void)
{
	return ZV_STR(ZV_VERSION);
}

/* ---- failures ---- */

static const char *why_over(int err)
{
	switch (err) {
	case -ECONNRESET:
		return "the peer has reset it or is gone";
	case -ECONNREFUSED:
		return "the peer refused it: does anybody listen there?";
	case -ETIMEDOUT:
		return "there was no answer in time";
	default:
		return zv_strerror(err);
	}
}

__attribute__((noinline)) ssize_t call_failed(const struct zv_conn *c, ssize_t ret,
					      const char *call, const char *again)
{
	uint32_t port = c->node.key.peer_port;
	unsigned long long cid = conn_peer_cid(c);

	if (ret == -EAGAIN)
		return zv_fail(-EAGAIN, again);
	if (c->state == VC_CLOSED && c->err == ret)
		zv_err((int)ret, "%s: the connection with port %u of CID %llu is over: %s", call,
		       port, cid, why_over(c->err));
	else if (ret == -ENOTCONN)
		zv_err(-ENOTCONN,
		       "%s: the connection with port %u of CID %llu is not there yet: %s", call,
		       port, cid,
		       c->state == VC_REQUESTED ? "zv_conn_answer comes first"
						: "wait for ZV_EV_CONNECT");
	else if (ret == -EPIPE)
		zv_err(-EPIPE, "%s: the connection with port %u of CID %llu takes no more: %s",
		       call, port, cid,
		       c->shut.local & VSOCK_SHUTDOWN_SEND ? "zv_shutdown has ended sending"
							   : "the peer has ended receiving");
	return ret;
}

/* What a call on @c returns; @again is the text for -EAGAIN. */
#define RESULT(c, ret, call, again) call_result(c, ret, call, call ": " again)

/* ---- device ---- */

uint64_t zv_cid(const struct zv_dev *dev)
{
	if (!dev)
		return 0;
	return dev->ops->role == ZV_ROLE_HOST ? VSOCK_CID_HOST : dev->ops->guest_cid(dev->t);
}

struct transport_dev *zv_dev_transport(struct zv_dev *dev)
{
	return dev->t;
}

unsigned zv_nqueues(const struct zv_dev *dev)
{
	return dev ? dev->nqueues : 0;
}

struct zv_queue *zv_queue(struct zv_dev *dev, unsigned i)
{
	return dev && i < dev->nqueues ? dev->queues[i] : NULL;
}

/* ---- connections ---- */

int zv_conn_answer(struct zv_conn *conn, int err)
{
	struct zv_queue *q;
	int ret;

	if (!conn)
		return zv_err(-EINVAL, "zv_conn_answer: conn must not be NULL");
	q = call_enter(conn);
	ret = conn_answer(conn, err);
	call_leave(q);
	return (int)RESULT(conn, ret, "zv_conn_answer", "it cannot be answered now");
}

int zv_shutdown(struct zv_conn *conn, int how)
{
	struct zv_queue *q;
	int ret;

	if (!conn || how < 0 || how > 2)
		return zv_err(-EINVAL, "zv_shutdown: how is %d, must be 0, 1 or 2", how);
	q = call_enter(conn);
	ret = conn_shutdown(conn, (unsigned)how);
	call_leave(q);
	return ret;
}

int zv_conn_close(struct zv_conn *conn)
{
	struct zv_queue *q;
	int ret;

	if (!conn)
		return 0;
	q = call_enter(conn);
	ret = conn_close(conn);
	call_leave(q);
	return ret;
}

int zv_conn_reset(struct zv_conn *conn)
{
	struct zv_queue *q;
	int ret;

	if (!conn)
		return 0;
	q = call_enter(conn);
	ret = conn_reset(conn);
	call_leave(q);
	return ret;
}

struct zv_queue *zv_conn_queue(struct zv_conn *conn)
{
	return conn ? conn->q : NULL;
}

void zv_set_user(struct zv_conn *conn, void *user)
{
	if (conn)
		conn->user = user;
}

void *zv_user(struct zv_conn *conn)
{
	return conn ? conn->user : NULL;
}

void zv_set_events(struct zv_conn *conn, uint32_t events)
{
	struct zv_queue *q;

	if (!conn)
		return;
	q = call_enter(conn);
	conn->mask = events;
	conn_ready(conn);
	queue_leave(q);
}

/* ---- data ---- */

/* 0, or -EINVAL for flags other than @known. */
static int check_flags(const char *call, uint32_t flags, uint32_t known)
{
	if (!(flags & ~known))
		return 0;
	return zv_err(-EINVAL, "%s: unknown flags 0x%x", call, flags & ~known);
}

ssize_t zv_send(struct zv_conn *conn, const void *data, size_t len, uint32_t flags)
{
	struct zv_queue *q;
	ssize_t ret;

	if (!conn || (!data && len))
		return zv_err(-EINVAL, "zv_send: conn and data must not be NULL");
	if (check_flags("zv_send", flags, ZV_EOM | ZV_EOR | ZV_MORE))
		return -EINVAL;
	q = call_enter(conn);
	ret = conn->sock->send(conn, data, len, flags);
	call_leave(q);
	return RESULT(conn, ret, "zv_send", "there is no room now: ZV_EV_OUT tells when");
}

ssize_t zv_recv(struct zv_conn *conn, void *data, size_t len, uint32_t *flags)
{
	struct zv_queue *q;
	bool queued;
	ssize_t ret;

	if (!conn || (!data && len))
		return zv_err(-EINVAL, "zv_recv: conn and data must not be NULL");
	if (flags && check_flags("zv_recv", *flags, ZV_PEEK | ZV_EOM | ZV_EOR | ZV_TRUNC))
		return -EINVAL;
	q = call_enter(conn);
	queued = conn->rx.queued != 0;
	ret = conn->sock->recv(conn, data, len, flags);
	if (queued && rx_drained(conn))
		conn_end_drained(conn);
	call_leave(q);
	return RESULT(conn, ret, "zv_recv", "nothing has arrived yet: ZV_EV_IN tells when");
}

int zv_buf_alloc(struct zv_conn *conn, struct zv_buf *bufs, unsigned n, size_t len)
{
	struct zv_queue *q;
	uint64_t sent;
	int ret;

	if (!conn || !bufs || !n || !len)
		return zv_err(-EINVAL, "zv_buf_alloc: conn, bufs, n and len must be set");
	q = call_enter(conn);
	sent = q->tq->stats.tx_packets;
	ret = conn->sock->buf_alloc(conn, bufs, n, len);
	if (__builtin_expect(q->tq->stats.tx_packets == sent, 1))
		queue_leave(q);
	else
		call_leave(q); /* a packet that ZV_MORE kept open, a CREDIT_REQUEST */
	return (int)RESULT(conn, ret, "zv_buf_alloc",
			   "there is no buffer or no credit now: ZV_EV_OUT tells when");
}

int zv_buf_send(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	struct zv_queue *q;
	int ret;

	if (!conn || (!bufs && n))
		return zv_err(-EINVAL, "zv_buf_send: conn and bufs must not be NULL");
	q = call_enter(conn);
	ret = conn->sock->buf_send(conn, bufs, n);
	call_leave(q);
	return (int)RESULT(conn, ret, "zv_buf_send", "there is no room now: ZV_EV_OUT tells when");
}

void zv_buf_cancel(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	struct zv_queue *q;
	unsigned odd;

	if (!conn || !bufs)
		return;
	q = call_enter(conn);
	odd = conn->sock->buf_cancel(conn, bufs, n);
	queue_leave(q);
	if (odd < n)
		zv_err(-EINVAL,
		       "zv_buf_cancel: buffer %u of %u is not reserved on this connection (sent "
		       "or cancelled before): ignored",
		       odd, n);
}

int zv_buf_recv(struct zv_conn *conn, struct zv_buf *bufs, unsigned n)
{
	struct zv_queue *q;
	int ret;

	if (!conn || !bufs || !n)
		return zv_err(-EINVAL, "zv_buf_recv: conn, bufs and n must be set");
	q = call_enter(conn);
	ret = conn->sock->buf_recv(conn, bufs, n);
	queue_leave(q);
	return (int)RESULT(conn, ret, "zv_buf_recv",
			   "nothing has arrived yet: ZV_EV_IN tells when");
}

void zv_buf_release(struct zv_queue *q, struct zv_buf *bufs, unsigned n)
{
	struct zv_conn *c = NULL, *next;
	unsigned done;

	if (!q || !bufs)
		return;
	queue_enter(q);
	session_sync(q);
	for (unsigned k = 0; k < n; k += done) {
		done = bufs[k].cookie & CHAN_COOKIE ? chan_buf_release(q, &bufs[k], n - k, &c)
						    : rx_buf_release(q, &bufs[k], n - k, &c);
		if (__builtin_expect(done != 0, 1))
			continue;
		done = 1;
		zv_err(-EINVAL,
		       "zv_buf_release: buffer %u of %u is not on loan from this queue (released "
		       "twice, or of another queue): ignored",
		       k, n);
	}
	for (; c; c = next) {
		next = c->drained_next;
		conn_end_drained(c);
	}
	call_leave(q);
}

/* ---- waiting ---- */

int zv_poll(struct zv_queue *q, struct zv_event *events, unsigned max)
{
	int n;

	if (!q || !events || !max)
		return zv_err(-EINVAL, "zv_poll: queue, events and max must be set");
	if (!quiesce_enter(&q->tq->qs))
		return 0;
	n = queue_poll(q, events, max);
	quiesce_leave(&q->tq->qs);
	return n;
}

int zv_arm(struct zv_queue *q)
{
	int ret = -EAGAIN;

	if (!q)
		return zv_err(-EINVAL, "zv_arm: queue must not be NULL");
	if (quiesce_enter(&q->tq->qs)) {
		ret = queue_arm(q);
		quiesce_leave(&q->tq->qs);
	}
	return ret == 0 ? 0 : zv_fail(ret, "zv_arm: there is work: zv_poll comes before sleep");
}

int zv_fd(struct zv_queue *q)
{
	return q ? q->arm.epfd : zv_err(-EINVAL, "zv_fd: queue must not be NULL");
}
