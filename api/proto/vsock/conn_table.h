/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections of one queue: 4-tuple hash, generation ids, ephemeral ports.
 *
 * One table belongs to one queue and so to one thread: no locks. One end of every connection is the
 * guest of the device, so the key is (CID of the other end, peer port, local port): on the guest's
 * side the peer's CID, on the host's side the local one, which is the host's own or that of a
 * sibling guest for which the host speaks. STREAM and SEQPACKET share the port space, as in Linux.
 * Hashing is seeded XXH3 (libxxhash), because peers choose their ports and could otherwise make
 * everything collide. Open addressing with linear probing and backward-shift deletion, at most 3/4
 * full, grown by doubling on insert only: lookup and removal never allocate.
 *
 * Ids: a slot number and a generation, so that a stale id (of a closed connection) finds nothing.
 * A generation comes round again after 2^32 - 1 connections in the same slot; it is never 0.
 *
 * Ports: queue i of n hands out only ports p with p % n == i, from a range, so two queues of a
 * device can never choose the same. The scan starts at a place that depends on the seed, wraps at
 * the end of the range and gives up after one whole turn.
 */
#ifndef ZV_CONN_TABLE_H
#define ZV_CONN_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conn_key {
	uint64_t cid; /* of the end that is not the guest of the device */
	uint32_t peer_port;
	uint32_t local_port;
};

/* Embedded in a connection; owned by the caller, linked by the table. */
struct conn_node {
	struct conn_key key;
	uint64_t id; /* slot in the low 32 bits, generation in the high 32; 0: not in a table */
};

struct conn_bucket {
	uint32_t hash; /* low 32 bits of the hash */
	uint32_t slot; /* slot number + 1; 0: empty */
};

struct conn_slot {
	struct conn_node *node; /* NULL: free */
	uint32_t gen;
	uint32_t next_free; /* slot number + 1 */
};

struct conn_table {
	struct conn_bucket *bucket;
	struct conn_slot *slot;
	uint32_t mask;	    /* buckets - 1 */
	uint32_t count;	    /* connections in the table */
	uint32_t max;	    /* most connections allowed */
	uint32_t slots;	    /* slots allocated */
	uint32_t free_slot; /* slot number + 1; 0: none */
	uint64_t seed;
	uint32_t port_lo, port_hi; /* inclusive; port_lo is the first one of this queue */
	uint32_t port_next, port_stride, port_index;
};

/*
 * Makes an empty table for at most @max connections. @seed: a random number. Ports: queue @index
 * of @stride queues, range [@lo, @hi] inclusive. 0 or -ENOMEM, -EINVAL (empty range, a range
 * without a port for this queue, max 0 or above 2^30, index >= stride).
 */
int conn_table_init(struct conn_table *t, uint32_t max, uint64_t seed, uint32_t index,
		    uint32_t stride, uint32_t lo, uint32_t hi);
void conn_table_fini(struct conn_table *t);

/* 0, -EEXIST, -ENOSPC (max reached) or -ENOMEM. Fills node->id. node->key must be set. */
int conn_table_insert(struct conn_table *t, struct conn_node *node);

/* The connection with that key, or NULL. */
struct conn_node *conn_table_find(const struct conn_table *t, const struct conn_key *key);

/* The connection with that id, or NULL when it is gone. */
struct conn_node *conn_table_get(const struct conn_table *t, uint64_t id);

/* Removes @node if, and only if, it is the owner of its key. */
void conn_table_remove(struct conn_table *t, struct conn_node *node);

/* A local port for a connection of (cid, peer_port); 0 or -EADDRNOTAVAIL. */
int conn_table_port(struct conn_table *t, uint64_t cid, uint32_t peer_port, uint32_t *port);

/* The connection at position @pos of t->slots, NULL: none. It keeps the position while it is in the
 * table. */
struct conn_node *conn_table_at(const struct conn_table *t, uint32_t pos);

/* Walks: *pos starts at 0; NULL at the end. The node returned may be removed. */
struct conn_node *conn_table_next(const struct conn_table *t, uint32_t *pos);

#endif
