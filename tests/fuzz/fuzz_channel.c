/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One end of a channel against a peer that writes what it likes.
 *
 * The end under test is A; the peer is this file, which sends and returns honestly, forges words,
 * references and indices, and overwrites any part of the channel, between any two calls. The
 * channel is allocated to the byte. What must hold, whatever the peer has done:
 *   - what is received or may be written lies within its slot or line, and no slot or line is given
 *     out a second time before it was released, or sent and returned;
 *   - a fault is counted once, named, and final;
 *   - no slot is lost: free + taken + sent = all.
 */
#include "channel_slots.h"
#include "fuzz.h"

#define HELD_MAX 64u

struct testbed {
	uint8_t *mem;
	size_t size;
	struct shm_channel_desc desc;
	struct channel_layout l;
	struct shm_channel *ch;
	struct shm_msg held[HELD_MAX], taken[HELD_MAX]; /* received; to send */
	unsigned nheld, ntaken;
	uint32_t pos, ret_pos; /* the honest peer's places */
	uint64_t sink;
	bool nested;
};

static bool within(const struct testbed *w, const void *data, uint64_t len)
{
	const uint8_t *p = data;

	return p >= w->mem && len <= w->size && (uint64_t)(p - w->mem) <= w->size - len;
}

/* The range of @m overlaps none of @list. */
static bool apart(const struct shm_msg *list, unsigned n, const struct shm_msg *m, uint32_t len)
{
	const uint8_t *data = m->data;

	for (unsigned i = 0; i < n; i++)
		if (list[i].kind == m->kind && list[i].id == m->id)
			return false;
		else if (data < (uint8_t *)list[i].data + list[i].len &&
			 (uint8_t *)list[i].data < data + len)
			return false;
	return true;
}

/* What is free, taken or sent is, in bytes, all there is. */
static void check_bytes(const struct channel_tx *tx, bool nested)
{
	uint64_t all = 0, used = 0;

	for (uint32_t i = 0; i < tx->nslots; i++) {
		const struct slot *s = &tx->slots[i];

		uint32_t c = slot_class(tx, i);

		if (!nested || c == 0)
			all += tx->pool[c].size;
		if (s->state != SLOT_INSIDE && s->state != SLOT_SPLIT)
			used += tx->pool[c].size;
	}
	FZ_CHECK(used == all);
}

static void check(const struct testbed *w, int before)
{
	struct shm_channel_stats st = {.size = sizeof(st)};
	const struct channel_tx *tx = &w->ch->tx;
	uint32_t n[SLOT_SPLIT + 1] = {0}, free_slots = 0;

	FZ_CHECK(shm_channel_get_stats(w->ch, &st) == 0);
	FZ_CHECK(before == 0 || shm_channel_error(w->ch) == before);
	FZ_CHECK(st.faults == (shm_channel_error(w->ch) != 0));
	FZ_CHECK((st.fault != NULL) == (st.faults == 1));
	for (uint32_t i = 0; i < tx->nslots; i++) {
		FZ_CHECK(tx->slots[i].state <= SLOT_SPLIT);
		n[tx->slots[i].state]++;
	}
	for (uint32_t i = 0; i < tx->pools; i++)
		free_slots += tx->pool[i].free.n;
	FZ_CHECK(w->nested || n[SLOT_INSIDE] + n[SLOT_SPLIT] == 0);
	if (tx->pools)
		check_bytes(tx, w->nested);
	FZ_CHECK(n[SLOT_FREE] == free_slots && st.slots_out == n[SLOT_SENT]);
	FZ_CHECK(tx->pos - tx->cons + tx->reserved <= 1u << tx->shift);
	FZ_CHECK(w->ch->rx.pos - w->ch->rx.head <= 1u << w->ch->rx.shift);
}

/* ---- the peer ---- */

static uint64_t *marks(struct testbed *w)
{
	return (uint64_t *)(w->mem + w->l.dir[SHM_ROLE_B].marks);
}

static void peer_sends(struct testbed *w, struct fz *z)
{
	const struct direction_layout *d = &w->l.dir[SHM_ROLE_B];
	uint32_t place = w->pos & ((1u << d->shift) - 1);
	unsigned kind = 1 + fz_below(z, RING_SKIP);
	uint32_t len = fz_u8(z);
	struct channel_slot_ref ref = {0};
	uint8_t forged;

	ref.id = fz_below(z, d->nslots + 1);
	ref.offset = fz_u8(z);
	forged = fz_u8(z);
	if (forged & 1)
		len = fz_u32(z);
	if (forged & 2)
		ref.offset = fz_u32(z);
	if (kind == RING_SLOT)
		memcpy(w->mem + d->lines + (size_t)place * SHM_CACHE_LINE, &ref, sizeof(ref));
	mark_put(marks(w), w->pos, d->shift,
		 (uint64_t)kind << RING_KIND_SHIFT | (uint64_t)forged << RING_FLAGS_SHIFT | len);
	w->pos += kind == RING_LINE2 ? 2 : 1;
}

/* Returns one of A's slots, sent or not. */
static void peer_returns(struct testbed *w, struct fz *z)
{
	const struct direction_layout *d = &w->l.dir[SHM_ROLE_A];
	uint32_t id = fz_below(z, d->nslots + 1);
	uint64_t gen = id < d->nslots ? w->ch->tx.slots[id].gen : 0;

	if (fz_u8(z) & 1)
		gen = fz_u16(z);
	mark_put((uint64_t *)(w->mem + d->returns), w->ret_pos++, d->ret_shift,
		 gen << RING_GEN_SHIFT | id);
}

static void peer_releases(struct testbed *w, struct fz *z)
{
	uint32_t *cons = &((struct channel_ctl *)(w->mem + w->l.dir[SHM_ROLE_A].ctl))->cons;
	uint8_t how = fz_u8(z);

	*cons = how < 200 ? *cons + how % 20 : w->ch->tx.pos;
}

static void peer_scribbles(struct testbed *w, struct fz *z)
{
	uint8_t what = fz_u8(z), len = fz_u8(z) % 17;
	uint64_t end = what & 1 ? w->l.zeroed : w->size;
	uint64_t at = fz_below(z, (uint32_t)end) & ~(what & 2 ? (uint64_t)7 : 0);

	fz_bytes(z, w->mem + at, len < end - at ? len : end - at);
}

/* ---- end A ---- */

static void take(struct testbed *w, struct fz *z)
{
	unsigned n = 1 + fz_u8(z) % 4;
	uint32_t len = fz_u16(z) % 1500;
	struct shm_msg m[4];
	int got;

	if (w->ntaken + n > HELD_MAX)
		return;
	got = len & 1 ? shm_channel_reserve(w->ch, m, n, len % 140)
		      : shm_channel_alloc(w->ch, m, n, len);
	FZ_CHECK(got <= (int)n);
	for (int i = 0; i < got; i++) {
		FZ_CHECK(within(w, m[i].data, m[i].room) && m[i].room >= SHM_CACHE_LINE);
		m[i].len = m[i].room;
		FZ_CHECK(apart(w->taken, w->ntaken, &m[i], m[i].room));
		memset(m[i].data, 1, m[i].room);
		w->taken[w->ntaken++] = m[i];
	}
}

static void forget(struct testbed *w, unsigned i)
{
	w->taken[i] = w->taken[--w->ntaken];
}

static void send_taken(struct testbed *w, struct fz *z)
{
	unsigned i = fz_u8(z);
	int rc;

	if (!w->ntaken)
		return;
	i %= w->ntaken;
	if (fz_u8(z) & 1)
		rc = shm_channel_cancel(w->ch, &w->taken[i], 1) == 0;
	else
		rc = shm_channel_send(w->ch, &w->taken[i], 1);
	FZ_CHECK(rc <= 1);
	if (rc == 1)
		forget(w, i);
}

static void send_copy(struct testbed *w, struct fz *z)
{
	uint8_t data[SHM_INLINE_MAX] = {0};
	struct shm_msg m = {.data = data, .len = fz_u8(z) % (SHM_INLINE_MAX + 2)};
	int rc = shm_channel_send(w->ch, &m, 1);

	FZ_CHECK(rc <= 1 && (m.len <= SHM_INLINE_MAX || rc < 0));
	if (m.len & 1)
		(void)shm_channel_control(w->ch, m.len, 0);
}

static void receive(struct testbed *w, struct fz *z)
{
	unsigned n = 1 + fz_u8(z) % 8;
	struct shm_msg m[8];
	int got;

	if (w->nheld + n > HELD_MAX)
		return;
	got = shm_channel_recv(w->ch, m, n);
	FZ_CHECK(got <= (int)n);
	for (int i = 0; i < got; i++) {
		if (m[i].kind == SHM_MSG_CONTROL)
			continue;
		FZ_CHECK(within(w, m[i].data, m[i].room) && m[i].len <= m[i].room);
		/* A forging peer's nested slots may overlap: what is read there is its own. */
		FZ_CHECK(w->nested || apart(w->held, w->nheld, &m[i], m[i].len));
		for (uint32_t k = 0; k < m[i].len; k++)
			w->sink += ((uint8_t *)m[i].data)[k];
		w->held[w->nheld++] = m[i];
	}
}

static void release(struct testbed *w, struct fz *z)
{
	unsigned i = fz_u8(z);
	struct shm_msg m;

	if (!w->nheld)
		return;
	i %= w->nheld;
	m = w->held[i];
	w->held[i] = w->held[--w->nheld];
	FZ_CHECK(shm_channel_release(w->ch, &m, 1) == 0);
	FZ_CHECK(shm_channel_release(w->ch, &m, 1) == -EINVAL);
}

static void bells(struct testbed *w, struct fz *z)
{
	uint8_t how = fz_u8(z);

	if (how & 1)
		FZ_CHECK(shm_channel_notify(w->ch) >= 0);
	if (how & 2) {
		FZ_CHECK(shm_channel_arm(w->ch, how >> 2 & 3, how) <= 1);
		shm_channel_disarm(w->ch);
	}
	if (how & 16)
		FZ_CHECK(shm_channel_room(w->ch) <= w->size);
}

static int no_wake(void *arg)
{
	(void)arg;
	return 0;
}

static int make(struct testbed *w, struct fz *z)
{
	struct shm_channel_opts o = {.size = sizeof(o), .wake = no_wake, .wake_fd = -1};

	shm_channel_desc_init(&w->desc, 0, 1);
	for (int i = 0; i < 2; i++) {
		uint8_t shape = fz_u8(z);

		w->desc.dir[i].entries = SHM_ENTRIES_MIN << (shape & 1);
		w->desc.dir[i].classes = shape >> 1 & 3;
		if (!i && shape & 0x40) {
			w->nested = true;
			w->desc.version = SHM_CHANNEL_NESTED;
		}
		for (uint32_t c = 0; c < 3; c++) {
			uint32_t slots = 1 + (shape >> 4 & 3);

			/* Nested: four in one, and some that are in none. */
			for (uint32_t k = c + 1; w->nested && k < 3; k++)
				slots = 4 * slots + (shape >> 7);
			w->desc.dir[i].cls[c] = (struct shm_slot_class){192 << (2 * c), slots};
		}
	}
	w->size = (size_t)shm_channel_bytes(&w->desc);
	w->desc.length = w->size;
	w->mem = aligned_alloc(SHM_CHANNEL_ALIGN, w->size);
	if (!w->mem || channel_layout(&w->l, &w->desc))
		return -1;
	memset(w->mem, 0, w->size);
	return shm_channel_format(w->mem, w->size, &w->desc) ||
	       shm_channel_attach(&w->ch, w->mem, w->size, &w->desc, SHM_ROLE_A, &o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const step[])(struct testbed *, struct fz *) = {
		peer_sends, peer_returns, peer_releases, peer_scribbles, take,
		send_taken, send_copy,	  receive,	 release,	 bells,
	};
	struct testbed w = {0};
	struct fz z = {data, size};

	FZ_CHECK(make(&w, &z) == 0);
	while (z.left) {
		int before = shm_channel_error(w.ch);

		step[fz_below(&z, sizeof(step) / sizeof(*step))](&w, &z);
		check(&w, before);
	}
	shm_channel_detach(w.ch);
	free(w.mem);
	return 0;
}
