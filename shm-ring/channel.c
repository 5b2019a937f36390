/* SPDX-License-Identifier: BSD-3-Clause */
/* An end of a channel: attach and detach, sleeping and waking, counters. See channel_int.h. */
#include "channel_int.h"
#include "channel_slots.h"

#include <stdlib.h>
#include <string.h>

/* Options and counters begin with their size: a caller may know an older or a newer struct. */
#define OPTS_MIN  (offsetof(struct shm_channel_opts, wake_fd) + sizeof(int))
#define STATS_MIN (offsetof(struct shm_channel_stats, slots_out) + sizeof(uint32_t))

int channel_fault(struct shm_channel *ch, const char *what)
{
	if (!ch->err) {
		ch->err = -EPROTO;
		ch->stats.faults++;
		ch->stats.fault = what;
	}
	return ch->err;
}

/* Fills in the pools of a direction, without their free lists. */
static void make_pools(struct slot_pool *pool, uint8_t *mem, const struct shm_direction *d,
		       const struct direction_layout *l)
{
	uint32_t first = 0;

	for (uint32_t i = 0; i < d->classes; i++) {
		pool[i] = (struct slot_pool){
			.mem = mem + l->slots[i],
			.size = d->cls[i].slot_size,
			.slots = d->cls[i].slots,
			.first = first,
		};
		first += d->cls[i].slots;
	}
}

static int make_tx(struct shm_channel *ch, uint8_t *mem, const struct shm_direction *d,
		   const struct direction_layout *l, bool nested)
{
	struct channel_ctl *ctl = (struct channel_ctl *)(mem + l->ctl);
	struct channel_tx *tx = &ch->tx;

	*tx = (struct channel_tx){
		.marks = (uint64_t *)(mem + l->marks),
		.lines = mem + l->lines,
		.returns = (const uint64_t *)(mem + l->returns),
		.cons_word = &ctl->cons,
		.shift = l->shift,
		.ret_shift = l->ret_shift,
		.nslots = l->nslots,
		.pools = d->classes,
		.nested = nested,
	};
	make_pools(tx->pool, mem, d, l);
	ch->room.word = &ctl->room;
	return l->nslots ? slots_init(tx) : 0;
}

static int make_rx(struct shm_channel *ch, uint8_t *mem, const struct shm_direction *d,
		   const struct direction_layout *l)
{
	struct channel_ctl *ctl = (struct channel_ctl *)(mem + l->ctl);
	struct channel_rx *rx = &ch->rx;

	*rx = (struct channel_rx){
		.marks = (const uint64_t *)(mem + l->marks),
		.lines = mem + l->lines,
		.returns = (uint64_t *)(mem + l->returns),
		.cons_word = &ctl->cons,
		.shift = l->shift,
		.ret_shift = l->ret_shift,
		.nslots = l->nslots,
		.pools = d->classes,
	};
	make_pools(rx->pool, mem, d, l);
	ch->data.word = &ctl->data;
	rx->held = calloc((size_t)d->entries + l->nslots, 1);
	if (!rx->held)
		return -ENOMEM;
	rx->slot_held = rx->held + d->entries;
	return 0;
}

static int attach_bells(struct shm_channel *ch, uint8_t *mem, const struct channel_layout *l,
			enum shm_role role, const struct shm_channel_opts *o)
{
	struct channel_ctl *out = (struct channel_ctl *)(mem + l->dir[role].ctl);
	struct channel_ctl *in = (struct channel_ctl *)(mem + l->dir[!role].ctl);

	ch->data.fd = ch->room.fd = -1;
	/* One wake-up serves both words; the first one records it. */
	doorbell_attach_wake(&ch->peer_data, &out->data, o->wake, o->wake_arg);
	doorbell_attach_wake(&ch->peer_room, &in->room, NULL, NULL);
	if (o->wake || o->wake_fd < 0)
		return 0;
	return doorbell_attach(&ch->peer_data, &out->data, o->wake_fd);
}

int shm_channel_attach(struct shm_channel **out, void *region, size_t region_size,
		       const struct shm_channel_desc *d, enum shm_role role,
		       const struct shm_channel_opts *opts)
{
	struct shm_channel_opts o = {.size = sizeof(o), .wake_fd = -1};
	const struct channel_head *h;
	struct channel_layout l;
	struct shm_channel *ch;
	uint8_t *mem = region;
	int rc;

	*out = NULL;
	if (opts && opts->size < OPTS_MIN)
		return -EINVAL;
	if (opts)
		memcpy(&o, opts, opts->size < sizeof(o) ? opts->size : sizeof(o));
	if (!mem || (uintptr_t)mem % SHM_CACHE_LINE || (role != SHM_ROLE_A && role != SHM_ROLE_B) ||
	    shm_channel_check(d, region_size) || channel_layout(&l, d))
		return -EINVAL;
	mem += d->offset;
	h = (const struct channel_head *)mem;
	if (shm_load_acquire64(&h->magic) != CHANNEL_MAGIC || /* barrier pair [R] */
	    shm_load32(&h->version) != d->version || shm_load32(&h->generation) != d->generation)
		return -ESTALE;
	ch = calloc(1, sizeof(*ch));
	if (!ch)
		return -ENOMEM;
	rc = make_tx(ch, mem, &d->dir[role], &l.dir[role], d->version == SHM_CHANNEL_NESTED);
	if (!rc)
		rc = make_rx(ch, mem, &d->dir[!role], &l.dir[!role]);
	if (!rc)
		rc = attach_bells(ch, mem, &l, role, &o);
	if (rc) {
		shm_channel_detach(ch);
		return rc;
	}
	*out = ch;
	return 0;
}

void shm_channel_detach(struct shm_channel *ch)
{
	if (!ch)
		return;
	if (ch->peer_data.word)
		doorbell_detach(&ch->peer_data);
	free(ch->rx.held);
	free(ch->tx.slots);
	free(ch);
}

int shm_channel_error(const struct shm_channel *ch)
{
	return ch->err;
}

/* ---- waking and sleeping ------------------------------------------------------------------ */

/*
 * To be called after a full barrier: wakes the peer if it waits for what has been done since the
 * last time.
 */
static int wake_peer(struct shm_channel *ch)
{
	bool due = false;

	if (ch->sent)
		due |= doorbell_due(&ch->peer_data);
	if (ch->released)
		due |= doorbell_due(&ch->peer_room);
	ch->sent = ch->released = false;
	if (__builtin_expect(!due, 1))
		return 0;
	if (!ch->peer_data.wake && ch->peer_data.fd < 0)
		return 0;
	ch->stats.wakes++;
	return doorbell_signal(&ch->peer_data);
}

int shm_channel_notify(struct shm_channel *ch)
{
	rx_publish(&ch->rx);
	if (!ch->sent && !ch->released)
		return 0;
	shm_mb(); /* barrier pair [D] */
	return wake_peer(ch);
}

int shm_channel_arm(struct shm_channel *ch, unsigned want, uint32_t len)
{
	int rc;

	if (ch->err)
		return ch->err;
	rx_publish(&ch->rx);
	if (want & SHM_WANT_DATA)
		doorbell_announce(&ch->data);
	if (want & SHM_WANT_ROOM)
		doorbell_announce(&ch->room);
	shm_mb(); /* barrier pair [D] */
	rc = wake_peer(ch);
	if (rc < 0)
		return rc;
	if (want & SHM_WANT_DATA) {
		rc = shm_channel_pending(ch);
		if (rc)
			return rc;
	}
	if (!(want & SHM_WANT_ROOM))
		return 0;
	rc = tx_refresh(ch);
	if (!rc)
		rc = tx_collect(ch);
	if (rc)
		return rc;
	return tx_free_entries(&ch->tx) >= 2 && (len <= SHM_INLINE_MAX || slots_have(&ch->tx, len));
}

void shm_channel_disarm(struct shm_channel *ch)
{
	doorbell_disarm(&ch->data);
	doorbell_disarm(&ch->room);
}

int shm_channel_get_stats(const struct shm_channel *ch, struct shm_channel_stats *st)
{
	struct shm_channel_stats now = ch->stats;
	size_t size = st->size;

	if (size < STATS_MIN)
		return -EINVAL;
	now.slots_out = ch->tx.out;
	memset(st, 0, size);
	memcpy(st, &now, size < sizeof(now) ? size : sizeof(now));
	st->size = size;
	return 0;
}
