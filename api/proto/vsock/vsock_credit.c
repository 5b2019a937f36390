/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit: what the peer reports, and the packet budget (theory of operation: vsock_credit.h).
 *
 * The packet budget in detail. Packets sent and not yet read form a queue of groups, oldest first,
 * in a ring of CREDIT_MARKS entries: mark[] is the stream position behind the group's last byte,
 * group[] its packets. Only the newest group grows. It is closed once it holds pkt_limit /
 * CREDIT_MARKS packets, rounded up, so that a full budget needs CREDIT_MARKS groups at most. Older
 * groups may be smaller than that when the peer has enlarged its buffer since; when the ring is
 * full the newest group simply goes on growing, which frees packets later, never too early.
 *
 * A packet that the peer joins to the one before counts as nothing: it moves the newest group's
 * mark. tail_room never exceeds the room that the peer has. When its queue was empty in the
 * meantime it begins a new entry with that packet: hence the smaller of the room behind both. The
 * entry is counted, for the newest group has been kept and cannot be retired before that packet is
 * read. Linux refuses also a packet that it would join when the queue is full: one must be left.
 *
 * Stream positions are compared by their distance from tx_cnt: both lie at most 2^32 - 1 bytes
 * behind it, so the comparison is right across the wrap.
 */
#include "vsock_credit.h"

#include <string.h>

void credit_init(struct vsock_credit *c, uint32_t buf_alloc)
{
	memset(c, 0, sizeof(*c));
	c->buf_alloc = buf_alloc;
}

static uint32_t limit_for(const struct vsock_credit *c)
{
	uint32_t limit = c->peer_buf_alloc / c->pkt_overhead;

	/*
	 * One packet must always be possible, or a peer with a tiny buffer would be stuck. It is 1
	 * for an empty buffer too: 0 means "no budget", and the bytes forbid sending anyway. Small
	 * ones can be joined only where the peer counts to two.
	 */
	if (limit < 2 && c->peer_buf_alloc >= 2 * CREDIT_SKB)
		return 2;
	return limit ? limit : 1;
}

static uint32_t group_size(const struct vsock_credit *c)
{
	return (c->pkt_limit - 1) / CREDIT_MARKS + 1;
}

static void forget_groups(struct vsock_credit *c)
{
	c->mark_head = 0;
	c->mark_count = 0;
	c->pkt_unread = 0;
	c->pkt_extra = 0;
	c->tail_room = 0;
}

static void add_group(struct vsock_credit *c, uint32_t packets)
{
	unsigned i = (c->mark_head + c->mark_count) % CREDIT_MARKS;

	c->mark[i] = c->tx_cnt;
	c->group[i] = packets;
	c->mark_count++;
	c->pkt_unread += packets;
}

/*
 * Whatever comes behind this packet may be sent in small pieces. They need one packet for each
 * CREDIT_FULL bytes, one for the rest, and one that is left; or only the latter when they all fit
 * behind this one.
 */
bool credit_tx_scarce(const struct vsock_credit *c, uint32_t len, uint32_t cap, uint32_t held)
{
	uint32_t left = credit_tx_packets(c), bytes = credit_tx_bytes(c);

	left = left > held ? left - held : 0;
	if (!cap || cap > CREDIT_TAIL_MAX || c->pkt_limit < 2 || (left > 1 && bytes < cap))
		return false;
	return left < (bytes - (len < bytes ? len : bytes)) / CREDIT_FULL + 3;
}

void credit_mark_packet(struct vsock_credit *c, uint32_t len, uint32_t cap)
{
	unsigned newest = (c->mark_head + c->mark_count + CREDIT_MARKS - 1u) % CREDIT_MARKS;
	uint32_t room = cap <= CREDIT_TAIL_MAX && len < cap ? cap - len : 0;

	if (len <= CREDIT_SMALL && len < c->tail_room && c->mark_count) {
		c->tail_room -= len;
		c->tail_room = c->tail_room < room ? c->tail_room : room;
		c->mark[newest] = c->tx_cnt;
		return;
	}
	c->tail_room = room;
	if (!c->mark_count || (c->group[newest] >= group_size(c) && c->mark_count < CREDIT_MARKS)) {
		add_group(c, 1);
		return;
	}
	c->mark[newest] = c->tx_cnt;
	c->group[newest]++;
	c->pkt_unread++;
}

bool credit_allow_extra(struct vsock_credit *c, unsigned answers)
{
	/* A Linux that counts could not queue a second packet: leave its reader the time it needs.
	 */
	unsigned patience = c->peer_buf_alloc < 2 * CREDIT_SKB ? CREDIT_PATIENCE : 1;

	if (!c->pkt_limit || credit_tx_packets(c) || !credit_tx_bytes(c) || answers < patience)
		return false;
	c->pkt_extra = c->pkt_unread + 1 - c->pkt_limit;
	return true;
}

/* Drops the groups whose last byte the peer's application has consumed. */
void credit_retire_packets(struct vsock_credit *c)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;

	while (c->mark_count) {
		uint32_t behind = c->tx_cnt - c->mark[c->mark_head];

		if (in_flight > behind)
			break;
		c->pkt_unread -= c->group[c->mark_head];
		c->mark_head = (uint8_t)((c->mark_head + 1u) % CREDIT_MARKS);
		c->mark_count--;
		c->pkt_extra = 0;
	}
}

void credit_peer_resized(struct vsock_credit *c, uint32_t buf_alloc)
{
	c->peer_buf_alloc = buf_alloc;
	c->pkt_extra = 0;
	if (c->pkt_limit)
		c->pkt_limit = limit_for(c);
}

void credit_limit_packets(struct vsock_credit *c, uint32_t overhead)
{
	uint32_t in_flight = c->tx_cnt - c->peer_fwd_cnt;
	bool was_on = c->pkt_limit != 0;

	c->pkt_overhead = overhead;
	c->pkt_limit = overhead ? limit_for(c) : 0;
	c->pkt_extra = 0;
	if (overhead && was_on)
		return; /* another charge: what is in flight has been recorded */
	forget_groups(c);
	/*
	 * How many packets carried what is in flight already has not been recorded. Assume the
	 * worst, one packet a byte: the budget opens as soon as the peer has read them.
	 */
	if (overhead && in_flight)
		add_group(c, in_flight < c->pkt_limit ? in_flight : c->pkt_limit);
}
