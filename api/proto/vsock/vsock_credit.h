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
 * there, whatever they are allowed. A sender that has used all it was told of may be blocked, and
 * the receiver waiting for what it sends next, before a quarter is consumed: what was consumed is
 * told a moment later then (credit_peer_stuck). A SEQPACKET receiver also tells when it has
 * consumed a quarter of the packets that a zvsock sender may have unread there: tiny messages use
 * those up first.
 *
 * Newer Linux receivers (6.12.94+, 6.18.36+, 7.1) bound the packets in a socket's queue as well:
 * each is charged an skb, 576 bytes, against a second buf_alloc, and one too many resets the
 * stream. Towards a peer that has not said hello as zvsock, the sender therefore keeps a packet
 * budget: at most peer_buf_alloc / CREDIT_PKT_OVERHEAD packets unread. What the peer has read is
 * learnt from fwd_cnt: packets are grouped, CREDIT_MARKS groups at most, and a group is free when
 * fwd_cnt has passed its last byte.
 *
 * The budget must never hold back bytes that the peer has room for: its reader may wait for just
 * these (SO_RCVLOWAT). Two rules see to that, for streams:
 *
 *  - Linux appends a packet of at most CREDIT_SMALL bytes to the last one of its queue when there
 *    is room behind that, in the 4 KiB that it has posted for it; so it counts as no packet of its
 *    own. The sender knows that room (tail_room). A packet that would leave too few for
 *    the bytes that are still free is sent in small pieces instead (credit_tx_pkt_len): bytes run
 *    out before packets do, and nothing waits.
 *  - Where that does not help (a peer that posts tiny buffers, or no guest at all), the budget can
 *    run out first. Then the sender asks (CREDIT_REQUEST), and each answer that shows that nothing
 *    was read in the meantime is worth one more packet (credit_allow_extra). Meanwhile the sender's
 *    bytes gather, so that one will be a full one.
 *
 * A message is never cut or joined, and its reader never waits for more than the message: SEQPACKET
 * has neither rule.
 *
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

#define CREDIT_MARKS 16
#define CREDIT_PKT_OVERHEAD                                                                        \
	1024u			 /* towards a stock peer: 576 bytes, or up to 1024 by its build    \
				  */
#define CREDIT_SKB	    576u /* what most builds charge */
#define CREDIT_PATIENCE	    60u	 /* answers, some seconds: see credit_allow_extra() */
#define CREDIT_MSG_OVERHEAD 16u	 /* towards zvsock, SEQPACKET: what it keeps of each message */
#define CREDIT_SMALL	    128u /* largest packet that Linux joins to the one before */
#define CREDIT_FULL	    3072u /* payload that one packet of its queue holds in small ones, at least */
#define CREDIT_TAIL_MAX	    16384u /* buffers beyond that are in pieces: nothing is joined to them */

struct vsock_credit {
	/* sending */
	uint32_t tx_cnt;	 /* payload bytes sent */
	uint32_t peer_fwd_cnt;	 /* payload bytes the peer's application has consumed */
	uint32_t peer_buf_alloc; /* the peer's receive buffer */
	/* receiving */
	uint32_t buf_alloc;	  /* our receive buffer, constant for the connection's life */
	uint32_t rx_cnt;	  /* payload bytes received */
	uint32_t fwd_cnt;	  /* payload bytes our application has consumed */
	uint32_t sent_fwd_cnt;	  /* fwd_cnt as the peer last heard it */
	uint32_t unreported_pkts; /* SEQPACKET: packets consumed since */
	/* packet budget; off while pkt_limit is 0 */
	uint32_t pkt_overhead;	      /* bytes charged for a packet; 0: no budget */
	uint32_t pkt_limit;	      /* packets that may be unread at the peer; 0: no limit */
	uint32_t pkt_unread;	      /* packets in groups that fwd_cnt has not passed */
	uint32_t pkt_extra;	      /* granted beyond pkt_limit: credit_allow_extra() */
	uint32_t tail_room;	      /* bytes that the peer can join to the newest packet */
	uint32_t mark[CREDIT_MARKS];  /* tx_cnt at the end of each group */
	uint32_t group[CREDIT_MARKS]; /* packets in each group */
	uint8_t mark_head, mark_count;
};

/* Fresh counters; @buf_alloc: bytes we are ready to buffer. */
void credit_init(struct vsock_credit *c, uint32_t buf_alloc);

/* Packets that may be sent now; UINT32_MAX when there is no packet budget. */
static inline uint32_t credit_tx_packets(const struct vsock_credit *c)
{
	uint32_t limit = c->pkt_limit + c->pkt_extra;

	if (!c->pkt_limit)
		return UINT32_MAX;
	return c->pkt_unread >= limit ? 0 : limit - c->pkt_unread;
}

/* Payload bytes that the peer has room for. Never negative. */
static inline uint32_t credit_tx_bytes(const struct vsock_credit *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	return in_flight >= c->peer_buf_alloc ? 0 : c->peer_buf_alloc - in_flight;
}

/* Payload bytes that may be sent now: 0 as well while the packet budget is used up. */
static inline uint32_t credit_tx_free(const struct vsock_credit *c)
{
	return credit_tx_packets(c) ? credit_tx_bytes(c) : 0;
}

/* The slow half of credit_tx_pkt_len(): there is a budget. */
bool credit_tx_scarce(const struct vsock_credit *c, uint32_t len, uint32_t cap, uint32_t held);

/*
 * How many of the @len payload bytes that are ready the next packet of a stream should carry; its
 * buffer takes @cap (0: the peer joins nothing), and @held packets are promised to others. @len, or
 * CREDIT_SMALL.
 */
static inline uint32_t credit_tx_pkt_len(const struct vsock_credit *c, uint32_t len, uint32_t cap,
					 uint32_t held)
{
	if (!c->pkt_limit || len <= CREDIT_SMALL || !credit_tx_scarce(c, len, cap, held))
		return len;
	return CREDIT_SMALL;
}

/* Slow half of credit_tx_sent(). */
void credit_mark_packet(struct vsock_credit *c, uint32_t len, uint32_t cap);

/*
 * Accounts one packet that has been sent and counts as @len bytes. @cap: what its buffer could have
 * held, when the peer may join the next packet to it; 0: it does not (SEQPACKET, or not a guest).
 */
static inline void credit_tx_sent(struct vsock_credit *c, uint32_t len, uint32_t cap)
{
	c->tx_cnt += len;
	if (c->pkt_limit && len)
		credit_mark_packet(c, len, cap);
}

/*
 * The peer has answered and has read nothing for @answers questions in a row: allows one packet
 * more when it is the budget that stops a stream. True: it may go on.
 */
bool credit_allow_extra(struct vsock_credit *c, unsigned answers);

/* The seldom halves of credit_peer_update(): another buf_alloc; packets that have been read. */
void credit_peer_resized(struct vsock_credit *c, uint32_t buf_alloc);
void credit_retire_packets(struct vsock_credit *c);

/*
 * Takes buf_alloc and fwd_cnt from a received header. False: fwd_cnt runs backwards or beyond
 * tx_cnt; nothing has changed and the caller counts it.
 */
static inline bool credit_peer_update(struct vsock_credit *c, uint32_t buf_alloc, uint32_t fwd_cnt)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	/* A step back is a huge step forward, modulo 2^32, and so beyond what was ever sent. */
	if (fwd_cnt - c->peer_fwd_cnt > in_flight)
		return false;
	c->peer_fwd_cnt = fwd_cnt;
	if (__builtin_expect(buf_alloc != c->peer_buf_alloc, 0))
		credit_peer_resized(c, buf_alloc);
	if (__builtin_expect(c->mark_count, 0))
		credit_retire_packets(c);
	return true;
}

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

/* What the peer may have sent and not been told of: see above. */
static inline uint32_t credit_rx_window(const struct vsock_credit *c)
{
	bool smaller = c->peer_buf_alloc && c->peer_buf_alloc < c->buf_alloc;

	return smaller ? c->peer_buf_alloc : c->buf_alloc;
}

/* True when a CREDIT_UPDATE is due: a quarter of the window, or of the packets, is not told. */
static inline bool credit_update_due(const struct vsock_credit *c)
{
	uint32_t unreported = c->fwd_cnt - c->sent_fwd_cnt;
	uint32_t window = credit_rx_window(c);

	if (c->unreported_pkts && c->unreported_pkts >= c->buf_alloc / (4 * CREDIT_MSG_OVERHEAD))
		return true;
	return unreported && unreported >= window / 4;
}

/*
 * True when the peer believes that nothing is free, and something is: it may be waiting, and our
 * application for what it has still to send. Such an update may wait a moment, for more to tell.
 */
static inline bool credit_peer_stuck(const struct vsock_credit *c)
{
	return c->fwd_cnt != c->sent_fwd_cnt && c->rx_cnt - c->sent_fwd_cnt >= credit_rx_window(c);
}

/* Notes that a packet carries fwd_cnt to the peer. */
static inline void credit_reported(struct vsock_credit *c)
{
	c->sent_fwd_cnt = c->fwd_cnt;
	c->unreported_pkts = 0;
}

#endif
