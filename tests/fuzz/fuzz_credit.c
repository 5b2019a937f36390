/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Credit arithmetic against a model in 64 bits.
 *
 * The model counts stream positions that never wrap; the code under test starts at a base from the
 * input, so that its u32 counters wrap at any point. The model also remembers where each packet
 * ended, one by one: the packet budget groups them, and may only ever be more careful than that.
 * What must hold: fwd_cnt is taken exactly when it lies between the last one and what was sent,
 * credit is the 64-bit difference clamped at 0, never above the peer's buffer; the budget never
 * forgets a packet before the peer has read it, and is empty once everything has been read.
 */
#include "fuzz.h"
#include "proto/vsock/vsock_credit.h"

#define PKTS 512u

struct model {
	struct vsock_credit c;
	uint32_t base; /* what position 0 is in the counters */
	uint64_t sent, peer_fwd, peer_alloc;
	uint64_t received, consumed, told;
	uint64_t end[PKTS];  /* where packets ended, since the budget was switched on */
	uint32_t room[PKTS]; /* that the peer has behind each; those joined have made it smaller */
	unsigned npkt;
};

static void check(const struct model *m)
{
	const struct vsock_credit *c = &m->c;
	uint64_t in_flight = m->sent - m->peer_fwd;
	uint64_t bytes = m->peer_alloc > in_flight ? m->peer_alloc - in_flight : 0;
	uint32_t unread = 0, groups = 0;
	/* Who sends 4 GiB more than it has been told of may be told late. */
	uint32_t untold = (uint32_t)(m->consumed - m->told);
	uint64_t window = c->buf_alloc;

	FZ_CHECK(c->tx_cnt == (uint32_t)(m->base + m->sent));
	FZ_CHECK(c->peer_fwd_cnt == (uint32_t)(m->base + m->peer_fwd));
	FZ_CHECK(c->fwd_cnt == (uint32_t)(m->base + m->consumed));
	FZ_CHECK(m->received - m->consumed <= c->buf_alloc);
	for (unsigned i = 0; i < m->npkt; i++)
		unread += m->end[i] > m->peer_fwd;
	for (unsigned i = 0; i < c->mark_count; i++)
		groups += c->group[(c->mark_head + i) % CREDIT_MARKS];
	FZ_CHECK(c->mark_head < CREDIT_MARKS && c->mark_count <= CREDIT_MARKS);
	FZ_CHECK(groups == c->pkt_unread);
	FZ_CHECK(!c->pkt_limit == !c->pkt_overhead);
	if (c->pkt_limit) {
		FZ_CHECK(c->pkt_unread >= unread);
		FZ_CHECK(in_flight != 0 || c->pkt_unread == 0);
		uint64_t limit = (uint64_t)c->pkt_limit + c->pkt_extra;

		FZ_CHECK(credit_tx_bytes(c) == bytes);
		FZ_CHECK(!c->pkt_extra || limit <= (uint64_t)c->pkt_unread + 1);
		if (c->pkt_unread >= limit)
			bytes = 0;
		FZ_CHECK(credit_tx_packets(c) ==
			 (c->pkt_unread >= limit ? 0 : limit - c->pkt_unread));
	} else {
		FZ_CHECK(credit_tx_packets(c) == UINT32_MAX);
	}
	FZ_CHECK(credit_tx_free(c) == bytes);
	FZ_CHECK(credit_tx_free(c) <= m->peer_alloc);
	FZ_CHECK(in_flight || !m->peer_alloc || credit_tx_free(c)); /* no standstill */
	for (uint32_t len = 0; len < 8192; len += 509) {
		uint32_t cut = credit_tx_pkt_len(c, len, 3732, 0);

		FZ_CHECK(cut == len || (cut == CREDIT_SMALL && cut < len && c->pkt_limit));
		FZ_CHECK(credit_tx_pkt_len(c, len, 0, 0) == len); /* nothing is joined: no use */
	}
	if (m->peer_alloc && m->peer_alloc < window)
		window = m->peer_alloc;
	FZ_CHECK(credit_update_due(c) == (untold && untold >= window / 4));
}

static void send_packet(struct model *m, struct fz *z)
{
	uint32_t free = credit_tx_free(&m->c), len = fz_u32(z), cap = 0;
	uint8_t how = fz_u8(z);

	if (how & 1)
		len &= 0xfff;
	if (how & 2)
		len &= 0xff;
	if (how & 4)
		cap = how & 8 ? 3732 : len + (how >> 4);
	if (len > free || m->npkt == PKTS)
		return;
	credit_tx_sent(&m->c, len, cap);
	m->sent += len;
	if (!m->c.pkt_limit || !len)
		return;
	/* As the peer does: behind the last packet that it still has, if that is small enough. */
	if (m->npkt && len <= CREDIT_SMALL && len < m->room[m->npkt - 1]) {
		m->end[m->npkt - 1] = m->sent;
		m->room[m->npkt - 1] -= len;
		return;
	}
	m->room[m->npkt] = cap > len && cap <= CREDIT_TAIL_MAX ? cap - len : 0;
	m->end[m->npkt++] = m->sent;
}

/* The peer answers @answers questions without reading. */
static void go_on(struct model *m, uint8_t answers)
{
	bool stuck = m->c.pkt_limit && !credit_tx_packets(&m->c) && credit_tx_bytes(&m->c);
	bool may = answers >= (m->peer_alloc < 2 * CREDIT_SKB ? CREDIT_PATIENCE : 1);

	FZ_CHECK(credit_allow_extra(&m->c, answers) == (stuck && may));
	FZ_CHECK(!stuck || credit_tx_packets(&m->c) == may);
}

/* What a header says: anything, or something honest. */
static void peer_says(struct model *m, struct fz *z, bool honest)
{
	uint32_t alloc = fz_u32(z), fwd = fz_u32(z);
	uint64_t in_flight = m->sent - m->peer_fwd, step;
	unsigned kept = 0;

	if (honest) {
		alloc = (uint32_t)m->peer_alloc;
		fwd = m->c.peer_fwd_cnt + (uint32_t)(fwd % (in_flight + 1));
	}
	step = (uint32_t)(fwd - m->c.peer_fwd_cnt);
	FZ_CHECK(credit_peer_update(&m->c, alloc, fwd) == (step <= in_flight));
	if (step > in_flight)
		return;
	m->peer_alloc = alloc;
	m->peer_fwd += step;
	for (unsigned i = 0; i < m->npkt; i++)
		if (m->end[i] > m->peer_fwd) {
			m->room[kept] = m->room[i];
			m->end[kept++] = m->end[i];
		}
	m->npkt = kept;
}

static void budget(struct model *m, uint32_t overhead)
{
	bool was = m->c.pkt_limit != 0;

	credit_limit_packets(&m->c, overhead);
	FZ_CHECK(m->c.pkt_overhead == overhead);
	if (!overhead || !was)
		m->npkt = 0; /* what was sent before is not recorded */
}

static void receive(struct model *m, uint32_t len)
{
	bool fits = m->received - m->consumed + len <= m->c.buf_alloc;

	FZ_CHECK(credit_rx_take(&m->c, len) == fits);
	if (fits)
		m->received += len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz z = {data, size};
	struct model m = {.base = fz_u32(&z)};

	credit_init(&m.c, fz_u32(&z));
	m.c.tx_cnt = m.c.peer_fwd_cnt = m.c.rx_cnt = m.c.fwd_cnt = m.c.sent_fwd_cnt = m.base;
	check(&m);
	while (z.left) {
		uint8_t op = fz_u8(&z);

		switch (op % 8) {
		case 0:
			send_packet(&m, &z);
			break;
		case 1:
			if (op & 8)
				go_on(&m, op >> 4 ? op : 1);
			else
				send_packet(&m, &z);
			break;
		case 2:
			peer_says(&m, &z, false);
			break;
		case 3:
			peer_says(&m, &z, true);
			break;
		case 4:
			receive(&m, op & 8 ? fz_u32(&z) : fz_u16(&z));
			break;
		case 5: {
			uint64_t n = fz_u32(&z) % (m.received - m.consumed + 1);

			credit_rx_consumed(&m.c, (uint32_t)n);
			m.consumed += n;
			break;
		}
		case 6:
			budget(&m, op & 8 ? fz_u16(&z) : 0);
			break;
		default:
			credit_reported(&m.c);
			m.told = m.consumed;
		}
		check(&m);
	}
	return 0;
}
