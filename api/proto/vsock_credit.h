/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit: buffer space accounting of one connection (VIRTIO 1.2, section 5.10.6.3).
 *
 * Theory of operation
 * -------------------
 * All counters are u32 and wrap. The sender may have tx_cnt - peer_fwd_cnt <= peer_buf_alloc bytes
 * of payload in flight; the receiver advances fwd_cnt only for bytes that its application has
 * consumed, and tells it with every packet. A one-way flow has no packet to carry it, so the
 * receiver sends CREDIT_UPDATE once it has consumed a quarter of the window since it last told. The
 * window is buf_alloc, or the peer's own buf_alloc when that is smaller: newer Linux senders stop
 * there, whatever they are allowed. A SEQPACKET receiver also tells when it has consumed a quarter
 * of the packets that a zvsock sender may have unread there: tiny messages use those up first.
 *
 * Newer Linux receivers (6.12.92+, 6.18, 7.0) also charge each queued packet its skb overhead
 * against buf_alloc and reset the stream when it runs out. (The first kernels that did so charged
 * overhead and payload against the same buf_alloc: credit_tx_free_packets().) Towards a peer that
 * has not said hello as zvsock, the sender therefore keeps a packet budget: at most peer_buf_alloc
 * / CREDIT_PKT_OVERHEAD packets unread. What the peer has read is learnt from fwd_cnt: packets are
 * grouped, CREDIT_MARKS groups at most, and a group is free when fwd_cnt has passed its last byte.
 * A packet without payload leaves no trace in fwd_cnt and cannot be budgeted: to a stock peer none
 * is sent. Between zvsock peers it counts as one byte on both sides (ZV_CAP_EMPTY_MSG), so the
 * budget bounds it like any other.
 *
 * A budget can run out while most of the bytes are free. A receiver that looks at bytes only (Linux
 * 6.1) then has no reason to report by itself: the sender must ask (CREDIT_REQUEST), and ask
 * again after a while when the answer brought no room.
 *
 * Everything a peer says is clamped: a fwd_cnt outside [peer_fwd_cnt, tx_cnt] is refused and
 * counted, a buf_alloc smaller than what is in flight gives zero credit, not a negative amount.
 */
#ifndef ZV_VSOCK_CREDIT_H
#define ZV_VSOCK_CREDIT_H

#include <stdbool.h>
#include <stdint.h>

#define CREDIT_MARKS	    16
#define CREDIT_PKT_OVERHEAD 1024u /* towards a stock peer */
#define CREDIT_MSG_OVERHEAD 16u	  /* towards zvsock, SEQPACKET: what it keeps of each message */

struct vsock_credit {
	/* sending */
	uint32_t tx_cnt;	 /* payload bytes sent */
	uint32_t peer_fwd_cnt;	 /* payload bytes the peer's application has consumed */
	uint32_t peer_buf_alloc; /* the peer's receive buffer */
	/* receiving */
	uint32_t buf_alloc;   /* our receive buffer, constant for the connection's life */
	uint32_t rx_cnt;      /* payload bytes received */
	uint32_t fwd_cnt;     /* payload bytes our application has consumed */
	uint32_t told_fwd;    /* fwd_cnt as the peer last heard it */
	uint32_t untold_pkts; /* SEQPACKET: packets consumed since */
	/* packet budget; off while pkt_limit is 0 */
	uint32_t pkt_overhead;	      /* bytes charged for a packet; 0: no budget */
	uint32_t pkt_limit;	      /* packets that may be unread at the peer; 0: no limit */
	uint32_t pkt_unread;	      /* packets in groups that fwd_cnt has not passed */
	uint32_t mark[CREDIT_MARKS];  /* tx_cnt at the end of each group */
	uint32_t group[CREDIT_MARKS]; /* packets in each group */
	uint8_t mark_head, mark_count;
};

/* Fresh counters; @buf_alloc: bytes we are ready to buffer. */
void credit_init(struct vsock_credit *c, uint32_t buf_alloc);

/* Payload bytes that may be sent now. Never negative. 0 as well while the packet budget is used up.
 */
static inline uint32_t credit_tx_free(const struct vsock_credit *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	if (c->pkt_limit && c->pkt_unread >= c->pkt_limit)
		return 0;
	return in_flight >= c->peer_buf_alloc ? 0 : c->peer_buf_alloc - in_flight;
}

/* Packets that may be sent now; UINT32_MAX when there is no packet budget. */
static inline uint32_t credit_tx_packets(const struct vsock_credit *c)
{
	if (!c->pkt_limit)
		return UINT32_MAX;
	return c->pkt_unread >= c->pkt_limit ? 0 : c->pkt_limit - c->pkt_unread;
}

/*
 * Payload bytes that may be sent now in @pkts packets when each is charged CREDIT_PKT_OVERHEAD
 * against the same credit: Linux 6.12.92 and its contemporaries drop, without a word, what exceeds
 * that. The whole credit while nothing is unread, and always when there is no packet budget: a
 * SEQPACKET message as large as the peer's buffer must stay possible.
 */
static inline uint32_t credit_tx_free_packets(const struct vsock_credit *c, uint32_t pkts)
{
	uint32_t free = credit_tx_free(c);
	uint64_t charge = ((uint64_t)c->pkt_unread + pkts) * CREDIT_PKT_OVERHEAD;

	if (!c->pkt_limit || !c->pkt_unread)
		return free;
	return charge >= free ? 0 : free - (uint32_t)charge;
}

void credit_mark_packet(struct vsock_credit *c); /* slow half of credit_tx_sent() */

/* Accounts one packet that has been sent and counts as @len bytes. */
static inline void credit_tx_sent(struct vsock_credit *c, uint32_t len)
{
	c->tx_cnt += len;
	if (c->pkt_limit && len)
		credit_mark_packet(c);
}

/*
 * Takes buf_alloc and fwd_cnt from a received header. False: fwd_cnt runs backwards or beyond
 * tx_cnt; nothing has changed and the caller counts it.
 */
bool credit_peer_update(struct vsock_credit *c, uint32_t buf_alloc, uint32_t fwd_cnt);

/*
 * Switches the packet budget on, with @overhead bytes charged for each packet, or off (0). While it
 * is on it follows peer_buf_alloc.
 */
void credit_limit_packets(struct vsock_credit *c, uint32_t overhead);

/* Accounts @len received bytes. False: the peer overran our buffer; nothing has changed. */
static inline bool credit_rx_take(struct vsock_credit *c, uint32_t len)
{
	uint32_t unread = c->rx_cnt - c->fwd_cnt;

	if (len > c->buf_alloc || unread > c->buf_alloc - len)
		return false;
	c->rx_cnt += len;
	return true;
}

/* Accounts @len bytes that the application has consumed. */
static inline void credit_rx_consumed(struct vsock_credit *c, uint32_t len)
{
	c->fwd_cnt += len;
}

/* True when a CREDIT_UPDATE is due: a quarter of the window, or of the packets, is not told. */
static inline bool credit_update_due(const struct vsock_credit *c)
{
	uint32_t untold = c->fwd_cnt - c->told_fwd;
	uint32_t window = c->buf_alloc;

	if (c->peer_buf_alloc && c->peer_buf_alloc < window)
		window = c->peer_buf_alloc;
	if (c->untold_pkts && c->untold_pkts >= c->buf_alloc / (4 * CREDIT_MSG_OVERHEAD))
		return true;
	return untold && untold >= window / 4;
}

/* Notes that a packet carries fwd_cnt to the peer. */
static inline void credit_told(struct vsock_credit *c)
{
	c->told_fwd = c->fwd_cnt;
	c->untold_pkts = 0;
}

#endif
