/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_rx.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* zv_buf.serial: the lower two bits are the kind: LENT_SLOT, or the width of a message in the
 * ring. */
#define LENT_SLOT     3u
#define LENT_ID_SHIFT 2
#define SLOT_NR_SHIFT 18
_Static_assert(SHM_SLOTS_MAX == 1u << (SLOT_NR_SHIFT - LENT_ID_SHIFT), "a slot's number fits");

int chan_rx_init(struct chan *ch, const struct shm_direction *d)
{
	for (uint32_t i = 0; i < d->classes; i++)
		ch->nslots += d->cls[i].slots;
	ch->line_mask = d->entries - 1;
	ch->fifo_max = d->entries + ch->nslots;
	ch->size = CHAN_FIFO < ch->fifo_max ? CHAN_FIFO : ch->fifo_max;
	/*
	 * Begins with a value that no other channel of this index uses, so that loans are not
	 * confused.
	 */
	ch->line_pos = (++ch->q->rx.serial * UINT64_C(0x9e3779b97f4a7c15)) >> 34 << 32;
	ch->fifo = malloc(ch->size * sizeof(*ch->fifo));
	ch->line_lent = calloc(d->entries, 1);
	return ch->fifo && ch->line_lent ? 0 : -ENOMEM;
}

bool chan_lends(struct chan *ch)
{
	ch->slot_lent = calloc(ch->nslots + 1u, sizeof(*ch->slot_lent));
	return ch->slot_lent;
}

void chan_rx_fini(struct chan *ch)
{
	free(ch->fifo);
	free(ch->line_lent);
	free(ch->slot_lent);
}

/* ---- from the ring to the fifo ---- */

/* Makes room at the end of the fifo, which is not empty. It never holds more than `fifo_max`
 * messages, so it grows to twice that at most. */
static bool fifo_grow(struct chan *ch)
{
	uint32_t n = ch->tail - ch->head, size;
	struct shm_msg *more;

	if (ch->head > ch->size / 2) {
		memmove(ch->fifo, ch->fifo + ch->head, n * sizeof(*ch->fifo));
		ch->head = 0;
		ch->tail = n;
		return true;
	}
	size = 2 * ch->size;
	more = realloc(ch->fifo, size * sizeof(*more));
	if (!more)
		return false;
	ch->fifo = more;
	ch->size = size;
	return true;
}

/* Releases a message that the application does not get. */
static void unwanted(struct chan *ch, const struct shm_msg *m)
{
	(void)shm_channel_release(ch->ch, m, 1);
	ch->unnotified++;
}

static int control(struct chan *ch, const struct shm_msg *m)
{
	if (m->len != CHAN_END)
		return m->len == CHAN_ABORT ? -ECONNRESET : -EPROTO;
	ch->ended = true;
	ch->c->shut.peer |= VSOCK_SHUTDOWN_SEND;
	return 0;
}

/*
 * Handles @n new messages behind the tail of the fifo. 0 or -errno of chan_pull(): the messages
 * before the faulty one are in the fifo.
 */
static int sort_in(struct chan *ch, unsigned n)
{
	struct zv_conn *c = ch->c;
	struct shm_msg *m = ch->fifo + ch->tail, *to = m;
	bool framed = c->sock->framed, deaf = c->shut.local & VSOCK_SHUTDOWN_RCV;
	uint64_t bytes = 0;
	int ret = 0;

	for (; n && !ret; n--, m++) {
		if (__builtin_expect(ch->ended, 0)) {
			ret = -EPROTO; /* after CHAN_END */
		} else if (__builtin_expect(m->kind == SHM_MSG_CONTROL, 0)) {
			ret = control(ch, m);
		} else if (__builtin_expect(deaf || (!m->len && !framed), 0)) {
			unwanted(ch, m); /* an empty message would look like the end */
		} else {
			m->flags =
				framed && m->flags & SHM_EOM ? m->flags & (SHM_EOM | SHM_EOR) : 0;
			c->rx.seq.msgs += m->flags & SHM_EOM;
			bytes += m->len;
			if (to != m)
				*to = *m;
			to++;
		}
	}
	ch->tail = (uint32_t)(to - ch->fifo);
	c->rx.queued = ch->tail - ch->head;
	ch->unread += bytes;
	c->totals.rx_bytes += bytes;
	stats_add(&ch->q->tq->stats.rx_bytes, bytes);
	return ret;
}

/* Receives up to @most messages. Returns how many, or -errno. */
static inline int pull(struct chan *ch, uint32_t most)
{
	uint32_t room;
	int n, ret;

	if (ch->unnotified >= CHAN_NOTIFY_MSGS)
		chan_notify(ch);
	if (ch->over || ch->ended)
		return 0;
	if (chan_fifo_empty(ch))
		ch->head = ch->tail = 0;
	else if (ch->tail == ch->size && !fifo_grow(ch))
		return -ENOMEM;
	room = ch->size - ch->tail;
	n = shm_channel_recv(ch->ch, ch->fifo + ch->tail, room < most ? room : most);
	if (n <= 0) {
		if (ch->unnotified)
			chan_notify(ch);
		return n;
	}
	ret = sort_in(ch, (unsigned)n);
	return ret ? ret : n;
}

int chan_pull(struct chan *ch)
{
	int n = pull(ch, UINT32_MAX);

	return n > 0 ? 1 : n;
}

int chan_pull_all(struct chan *ch)
{
	/* This bounds the loop if the peer keeps sending. */
	uint32_t left = ch->line_mask + 1;
	int n;

	do {
		n = pull(ch, left);
		left -= n > 0 ? (uint32_t)n : 0;
	} while (n > 0 && left);
	return n < 0 ? n : 0;
}

/* ---- to the application, and back ---- */

void chan_read(struct chan *ch, unsigned n, uint64_t bytes)
{
	for (unsigned i = 0; i < n; i++)
		ch->unnotified +=
			ch->fifo[ch->head + i].kind == SHM_MSG_SLOT ? CHAN_NOTIFY_SLOT : 1;
	(void)shm_channel_release(ch->ch, ch->fifo + ch->head, n);
	ch->head += n;
	ch->c->rx.queued = ch->tail - ch->head;
	ch->unread -= bytes;
}

void chan_lend(struct chan *ch, struct zv_buf *b)
{
	const struct shm_msg *m = &ch->fifo[ch->head++];

	b->data = m->data;
	b->len = b->capacity = m->len;
	b->flags = m->flags;
	b->cookie = CHAN_COOKIE | ch->index;
	if (m->kind == SHM_MSG_LINE) {
		ch->line_pos += (uint32_t)(m->id - (uint32_t)ch->line_pos);
		ch->line_lent[m->id & ch->line_mask] = (uint8_t)m->gen;
		b->serial = ch->line_pos << LENT_ID_SHIFT | m->gen;
	} else {
		struct chan_lent *l = &ch->slot_lent[m->id];

		b->serial = ++ch->q->rx.serial << SLOT_NR_SHIFT | (uint64_t)m->id << LENT_ID_SHIFT |
			    LENT_SLOT;
		l->serial = b->serial;
		l->gen = m->gen;
	}
}

/* Ends the loan @b and sets *m to its message. False: it is no loan, or was returned before. */
static inline bool take_back(struct chan *ch, const struct zv_buf *b, struct shm_msg *m)
{
	uint64_t pos = b->serial >> LENT_ID_SHIFT;
	uint32_t kind = b->serial & LENT_SLOT;

	if (kind == LENT_SLOT) {
		uint32_t id = pos % SHM_SLOTS_MAX;
		struct chan_lent *l;

		if (!ch->slot_lent || id >= ch->nslots)
			return false;
		l = &ch->slot_lent[id];
		if (l->serial != b->serial)
			return false;
		l->serial = 0;
		ch->unnotified += CHAN_NOTIFY_SLOT - 1;
		m->kind = SHM_MSG_SLOT;
		m->gen = l->gen;
		m->id = id;
	} else {
		uint8_t *lent = &ch->line_lent[pos & ch->line_mask];

		if (!kind || *lent != kind || ch->line_pos - pos > ch->line_mask)
			return false;
		*lent = 0;
		m->kind = SHM_MSG_LINE;
		m->gen = (uint16_t)kind;
		m->id = (uint32_t)pos;
	}
	return true;
}

unsigned chan_take_back(struct chan *ch, const struct zv_buf *bufs, unsigned n)
{
	struct shm_msg m[CHAN_FIFO];
	uint64_t bytes = 0;
	unsigned k;

	n = n < CHAN_FIFO ? n : CHAN_FIFO;
	for (k = 0; k < n && bufs[k].cookie == bufs->cookie && take_back(ch, &bufs[k], &m[k]); k++)
		bytes += bufs[k].capacity;
	if (!k)
		return 0;
	(void)shm_channel_release(ch->ch, m, k);
	ch->lent -= k;
	ch->q->rx.app_loans -= k;
	ch->unread -= bytes;
	ch->unnotified += k;
	return k;
}

void chan_rx_drop(struct zv_conn *c)
{
	struct chan *ch = c->chan;
	uint64_t bytes = 0;

	for (uint32_t i = ch->head; i < ch->tail; i++)
		bytes += ch->fifo[i].len;
	chan_read(ch, ch->tail - ch->head, bytes);
	c->rx.seq.msgs = 0;
	chan_notify(ch);
}
