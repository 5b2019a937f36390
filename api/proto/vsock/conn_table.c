/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections of one queue (theory of operation: conn_table.h).
 *
 * Three arrays of pointers would be simpler, but a lookup would touch them all. Here a lookup reads
 * one bucket line (eight buckets: hash and slot number), one slot, and the connection itself, which
 * the caller is about to use anyway; a bucket whose 32 hash bits differ is passed without leaving
 * its line. The slots give each connection a number that does not move when buckets do, and the
 * generation that makes ids of gone connections find nothing.
 *
 * Buckets and slots grow together: three slots for four buckets, so "no slot is free" and "the
 * hash is 3/4 full" are the same condition.
 */
#include "conn_table.h"

/*
 * Inlined, and reading memory by memcpy: by default it reads through pointers of other types, and
 * from gcc 13 on the hash of a local is taken before the local is stored.
 */
#define XXH_INLINE_ALL
#define XXH_FORCE_MEMORY_ACCESS 0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FIRST_BUCKETS 64u
#define MAX_CONNS     (1u << 30)

static uint32_t slots_for(uint32_t buckets)
{
	return buckets / 4 * 3;
}

static uint32_t key_hash(const struct conn_table *t, const struct conn_key *key)
{
	/*
	 * Two words from three loads, which stay in registers: reading both ports as one word from
	 * where the caller has just stored them one by one would stall the load.
	 */
	const uint64_t word[2] = {key->cid, (uint64_t)key->peer_port << 32 | key->local_port};

	return (uint32_t)XXH3_64bits_withSeed(word, sizeof(word), t->seed);
}

static bool key_equal(const struct conn_key *a, const struct conn_key *b)
{
	return a->cid == b->cid && a->peer_port == b->peer_port && a->local_port == b->local_port;
}

/* ---- ports ---- */

/* The first port >= @lo of queue @index of @stride; may lie above UINT32_MAX. */
static uint64_t first_port(uint32_t lo, uint32_t index, uint32_t stride)
{
	uint32_t rest = lo % stride;
	uint32_t up = rest <= index ? index - rest : stride - rest + index;

	return (uint64_t)lo + up;
}

static int ports_init(struct conn_table *t, uint32_t index, uint32_t stride, uint32_t lo,
		      uint32_t hi)
{
	uint64_t first, n;

	if (index >= stride || lo > hi)
		return -EINVAL;
	first = first_port(lo, index, stride);
	if (first > hi)
		return -EINVAL;
	n = (hi - first) / stride + 1;
	t->port_lo = (uint32_t)first;
	t->port_hi = hi;
	t->port_stride = stride;
	t->port_index = index;
	/*
	 * Start somewhere else each time: a peer may still remember connections of a process that
	 * has just died, and would answer a REQUEST from their ports with RST.
	 */
	t->port_next = (uint32_t)(first + XXH3_64bits(&t->seed, sizeof(t->seed)) % n * stride);
	return 0;
}

int conn_table_port(struct conn_table *t, uint64_t cid, uint32_t peer_port, uint32_t *port)
{
	struct conn_key key = {.cid = cid, .peer_port = peer_port};
	uint32_t start = t->port_next;
	uint32_t p = start;

	/* At most count + 1 looks: each port that is taken is a connection of this table. */
	do {
		uint64_t next = (uint64_t)p + t->port_stride;

		key.local_port = p;
		p = next > t->port_hi ? t->port_lo : (uint32_t)next;
		if (!conn_table_find(t, &key)) {
			t->port_next = p;
			*port = key.local_port;
			return 0;
		}
	} while (p != start);
	return -EADDRNOTAVAIL;
}

/* ---- buckets ---- */

static void bucket_put(struct conn_bucket *bucket, uint32_t mask, uint32_t hash, uint32_t slot)
{
	uint32_t i = hash & mask;

	while (bucket[i].slot)
		i = (i + 1) & mask;
	bucket[i].hash = hash;
	bucket[i].slot = slot + 1;
}

/* Empties bucket @hole and moves back those behind it that would not be found any more. */
static void bucket_delete(struct conn_table *t, uint32_t hole)
{
	uint32_t i = hole;

	for (;;) {
		uint32_t home;

		i = (i + 1) & t->mask;
		if (!t->bucket[i].slot)
			break;
		home = t->bucket[i].hash & t->mask;
		/* Its probe sequence, from home to i, passes the hole. */
		if (((i - home) & t->mask) >= ((i - hole) & t->mask)) {
			t->bucket[hole] = t->bucket[i];
			hole = i;
		}
	}
	t->bucket[hole] = (struct conn_bucket){0, 0};
}

/* Adds free slots [t->slots, slots), so that low numbers are used first. */
static void slots_add(struct conn_table *t, uint32_t slots)
{
	uint32_t i;

	for (i = slots; i-- > t->slots;) {
		t->slot[i] = (struct conn_slot){.gen = 1, .next_free = t->free_slot};
		t->free_slot = i + 1;
	}
	t->slots = slots;
}

/* To @buckets, a power of two. 0 or -ENOMEM, and the table works on as it was. */
static int table_resize(struct conn_table *t, uint32_t buckets)
{
	uint32_t slots = slots_for(buckets);
	struct conn_bucket *bucket;
	struct conn_slot *slot;
	uint32_t i;

	slot = realloc(t->slot, (size_t)slots * sizeof(*slot));
	if (!slot)
		return -ENOMEM;
	t->slot = slot;
	/* Aligned so that the eight buckets of a line are read by one miss. */
	bucket = aligned_alloc(64, (size_t)buckets * sizeof(*bucket));
	if (!bucket)
		return -ENOMEM;
	memset(bucket, 0, (size_t)buckets * sizeof(*bucket));
	for (i = 0; t->bucket && i <= t->mask; i++) {
		if (t->bucket[i].slot)
			bucket_put(bucket, buckets - 1, t->bucket[i].hash, t->bucket[i].slot - 1);
	}
	free(t->bucket);
	t->bucket = bucket;
	t->mask = buckets - 1;
	slots_add(t, slots);
	return 0;
}

/* ---- table ---- */

int conn_table_init(struct conn_table *t, uint32_t max, uint64_t seed, uint32_t index,
		    uint32_t stride, uint32_t lo, uint32_t hi)
{
	int err;

	memset(t, 0, sizeof(*t));
	if (!max || max > MAX_CONNS)
		return -EINVAL;
	t->max = max;
	t->seed = seed;
	err = ports_init(t, index, stride, lo, hi);
	if (!err)
		err = table_resize(t, FIRST_BUCKETS);
	if (err)
		conn_table_fini(t);
	return err;
}

void conn_table_fini(struct conn_table *t)
{
	free(t->bucket);
	free(t->slot);
	memset(t, 0, sizeof(*t));
}

struct conn_node *conn_table_find(const struct conn_table *t, const struct conn_key *key)
{
	uint32_t hash = key_hash(t, key);
	uint32_t i;

	for (i = hash & t->mask; t->bucket[i].slot; i = (i + 1) & t->mask) {
		struct conn_node *node;

		if (t->bucket[i].hash != hash)
			continue;
		node = t->slot[t->bucket[i].slot - 1].node;
		if (key_equal(&node->key, key))
			return node;
	}
	return NULL;
}

struct conn_node *conn_table_get(const struct conn_table *t, uint64_t id)
{
	uint32_t n = (uint32_t)id;

	if (n >= t->slots || t->slot[n].gen != (uint32_t)(id >> 32))
		return NULL;
	return t->slot[n].node;
}

int conn_table_insert(struct conn_table *t, struct conn_node *node)
{
	struct conn_slot *s;
	uint32_t n;

	if (conn_table_find(t, &node->key))
		return -EEXIST;
	if (t->count >= t->max)
		return -ENOSPC;
	if (!t->free_slot) {
		int err = table_resize(t, (t->mask + 1) * 2);

		if (err)
			return err;
	}
	n = t->free_slot - 1;
	s = &t->slot[n];
	t->free_slot = s->next_free;
	s->node = node;
	s->next_free = 0;
	node->id = (uint64_t)s->gen << 32 | n;
	bucket_put(t->bucket, t->mask, key_hash(t, &node->key), n);
	t->count++;
	return 0;
}

void conn_table_remove(struct conn_table *t, struct conn_node *node)
{
	uint32_t n = (uint32_t)node->id;
	struct conn_slot *s;
	uint32_t i;

	/* Somebody else's id, an old one, or none: the key's owner keeps it. */
	if (conn_table_get(t, node->id) != node)
		return;
	i = key_hash(t, &node->key) & t->mask;
	while (t->bucket[i].slot && t->bucket[i].slot != n + 1)
		i = (i + 1) & t->mask;
	if (!t->bucket[i].slot)
		return; /* the key has been changed while it was in the table */
	bucket_delete(t, i);
	s = &t->slot[n];
	s->node = NULL;
	/* 0 is left out at the wrap, so that no id is ever 0. */
	if (++s->gen == 0)
		s->gen = 1;
	s->next_free = t->free_slot;
	t->free_slot = n + 1;
	t->count--;
	node->id = 0;
}

struct conn_node *conn_table_at(const struct conn_table *t, uint32_t pos)
{
	return pos < t->slots ? t->slot[pos].node : NULL;
}

struct conn_node *conn_table_next(const struct conn_table *t, uint32_t *pos)
{
	while (*pos < t->slots) {
		struct conn_node *node = t->slot[(*pos)++].node;

		if (node)
			return node;
	}
	return NULL;
}
