/* SPDX-License-Identifier: BSD-3-Clause */
#include "dgram.h"

#include "socket/conn/rx_loan.h"
#include "socket/core/dgram_fifo.h"
#include "socket/core/tap.h"
#include "socket/tx/tx.h"

#include <errno.h>
#include <string.h>

/* Both sides announced datagrams; @caps are the peer's. */
static bool agreed(const struct zv_queue *q, uint32_t caps)
{
	return caps & ZV_CAP_DGRAM && !(q->dev->opts.flags & ZV_OPT_NO_DGRAM);
}

/* ---- receiving ---- */

/* The listener bound to the destination in @key, or NULL, which is counted. */
static struct listener *bound(struct zv_queue *q, const struct conn_key *key)
{
	bool sibling = q->host && key->cid != VSOCK_CID_HOST;
	struct listener *l = sibling ? NULL : listener_find(q->dev, PORTS_DGRAM, key->local_port);

	if (l)
		return l;
	l = listener_catch_all(q->dev, PORTS_DGRAM);
	if (sibling && !(l && l->flags & ZV_LISTEN_ANY_CID)) {
		stats_add(&q->tq->stats.rx_bad_cid, 1);
		return NULL;
	}
	if (!l)
		stats_add(&q->tq->stats.dgram_unbound, 1);
	return l;
}

/* The copied bytes are the peer's, not zeros in place of truncated memory. */
static bool intact(const struct zv_queue *q, const struct rx_pkt *p)
{
	return __builtin_expect(shm_load32(q->rx.faults) == q->rx.faults_seen, 1) || !p->nseg ||
	       q->tq->ops->rx_intact(q->tq, p->token);
}

/* False: there is no room. */
static bool take(struct zv_queue *q, struct listener *l, const struct rx_pkt *p)
{
	struct accept_queue *a = &l->q[q->index];
	const struct dgram_msg m = {.src_cid = p->hdr.src_cid,
				    .dst_cid = p->hdr.dst_cid,
				    .src_port = p->hdr.src_port,
				    .dst_port = p->hdr.dst_port,
				    .len = p->hdr.len};

	if (!a->fifo)
		a->fifo = dgram_fifo_new(l->backlog);
	if (!a->fifo || m.len > ZV_DGRAM_MAX || !dgram_fifo_begin(a->fifo, &m))
		return false;
	for (uint32_t i = 0; i < p->nseg; i++)
		dgram_fifo_add(a->fifo, p->seg[i].base, p->seg[i].len);
	rx_copied(a->fifo);
	if (!intact(q, p))
		return false;
	dgram_fifo_commit(a->fifo);
	stats_add(&q->tq->stats.rx_bytes, m.len);
	accept_waiting(q, a, dgram_fifo_count(a->fifo));
	return true;
}

static void received(struct zv_queue *q, struct rx_pkt *p, const struct conn_key *key)
{
	struct listener *l;

	if (!agreed(q, q->peer.hello.caps)) {
		stats_add(&q->tq->stats.rx_bad_type, 1);
		tx_rst_reply(q, &p->hdr);
	} else if (p->hdr.op == VSOCK_OP_RST) {
		stats_add(&q->tq->stats.rx_late, 1); /* as any RST for no connection */
	} else if (p->hdr.op != VSOCK_OP_RW) {
		stats_add(&q->tq->stats.rx_bad_state, 1);
	} else if ((l = bound(q, key)) && !take(q, l, p)) {
		stats_add(&q->tq->stats.dgram_dropped, 1);
	}
	rx_drop(q, p);
}

ssize_t dgram_recv(struct zv_queue *q, struct listener *l, void *data, size_t len, bool peek,
		   bool *trunc, struct zv_dgram_addr *addr)
{
	struct accept_queue *a = &l->q[q->index];
	struct dgram_msg m;
	uint32_t n;

	if (!a->count)
		return -EAGAIN;
	dgram_fifo_first(a->fifo, &m);
	n = len < m.len ? (uint32_t)len : m.len;
	dgram_fifo_copy(a->fifo, data, n);
	*trunc = n < m.len;
	if (addr)
		*addr = (struct zv_dgram_addr){m.dst_cid, m.src_cid, m.dst_port, m.src_port};
	if (!peek) {
		dgram_fifo_pop(a->fifo);
		accept_waiting(q, a, a->count - 1);
	}
	return n;
}

/* ---- sending ---- */

/* Destination and source of a datagram; 0 or -errno. */
static int route(struct zv_queue *q, const struct zv_dgram_addr *addr, struct vsock_hdr *h)
{
	uint64_t own = q->session.own_cid, peer = q->session.peer_cid;
	const struct listener *all = listener_catch_all(q->dev, PORTS_DGRAM);

	h->src_cid = addr->local_cid ? addr->local_cid : own;
	h->dst_cid = addr->peer_cid ? addr->peer_cid : peer;
	if (h->dst_cid != peer && (q->host || !cid_is_sibling(q, h->dst_cid)))
		return zv_err(-EHOSTUNREACH,
			      "zv_dgram_send: CID %llu cannot be reached from here: this device "
			      "leads to CID %llu",
			      (unsigned long long)h->dst_cid, (unsigned long long)peer);
	if (h->src_cid != own && !q->host)
		return zv_err(-EOPNOTSUPP, "zv_dgram_send: only the host speaks for others; a "
					   "guest's local_cid is 0 or its own");
	if (h->src_cid != own &&
	    (!cid_is_sibling(q, h->src_cid) || !all || !(all->flags & ZV_LISTEN_ANY_CID)))
		return zv_err(-EINVAL,
			      "zv_dgram_send: local_cid %llu: the device does not speak for it "
			      "(zv_dgram_bind_all with ZV_LISTEN_ANY_CID), or it is reserved",
			      (unsigned long long)h->src_cid);
	if (!all && !listener_find(q->dev, PORTS_DGRAM, addr->local_port))
		return zv_err(
			-EADDRNOTAVAIL,
			"zv_dgram_send: local port %u is not bound: zv_dgram_bind comes first",
			addr->local_port);
	return 0;
}

/* 0, or why the queue cannot send datagrams (now). */
static int can_send(struct zv_queue *q)
{
	if (q->session.leaving || !q->tq->up)
		return zv_err(-ENETDOWN,
			      "zv_dgram_send: queue %u is not running: no %s is attached", q->index,
			      q->host ? "guest, or it has fewer queues," : "backend");
	if (agreed(q, queue_caps(q)))
		return 0;
	if (q->peer.state == HELLO_OFF || q->peer.state == HELLO_WAIT) {
		q->dgram.waits = true;
		return zv_fail(-EAGAIN, "zv_dgram_send: HELLO is under way: ZV_EV_DGRAM_OUT tells "
					"when it is over");
	}
	return zv_err(-EOPNOTSUPP,
		      "zv_dgram_send: queue %u: %s has no datagrams: both sides must be zvsock, "
		      "without ZV_OPT_NO_DGRAM and ZV_OPT_NO_HELLO",
		      q->index, q->dev->opts.flags & ZV_OPT_NO_DGRAM ? "this device" : "the peer");
}

static ssize_t no_tx_buffer(struct zv_queue *q)
{
	stats_add(&q->tq->stats.tx_no_buffer, 1);
	tx_sched_wait(&q->sched, &q->dgram.flow, 1);
	return zv_fail(-EAGAIN, "zv_dgram_send: there is no room now: ZV_EV_DGRAM_OUT tells when");
}

ssize_t dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
		   uint32_t len)
{
	struct vsock_hdr h = {.src_port = addr->local_port,
			      .dst_port = addr->peer_port,
			      .len = len,
			      .type = VSOCK_TYPE_DGRAM,
			      .op = VSOCK_OP_RW};
	struct tx_slot s;
	int ret = can_send(q);

	if (ret || (ret = route(q, addr, &h)))
		return ret;
	if (!tx_sched_left(&q->sched, &q->dgram.flow) ||
	    !q->tq->ops->tx_reserve(q->tq, &s, 1, len, 0))
		return no_tx_buffer(q);
	if (s.capacity < len) {
		q->tq->ops->tx_cancel(q->tq, s.token);
		return zv_err(-EMSGSIZE, "zv_dgram_send: %u bytes: a buffer of this device has %u",
			      len, s.capacity);
	}
	if (len)
		memcpy(s.data, data, len);
	if (__builtin_expect(q->tap.fn != NULL, 0))
		tap_sent(q, &h, s.data);
	q->tq->ops->tx_commit(q->tq, s.token, &h);
	stats_add(&q->tq->stats.tx_packets, 1);
	stats_add(&q->tq->stats.tx_bytes, len);
	tx_sched_charge(&q->sched, &q->dgram.flow, len);
	return len;
}

const struct sock_type sock_dgram = {
	.name = "DGRAM",
	.type = VSOCK_TYPE_DGRAM,
	.connectionless = true,
	.unconnected = received,
};
