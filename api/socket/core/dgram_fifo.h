/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams that wait for one port on one queue: a ring of bytes of a fixed size, in private
 * memory. A datagram takes DGRAM_COST bytes beside its payload, which is rounded up to 8; one that
 * does not fit is for the caller to drop. So what a peer can make this side keep is the size, be it
 * in large datagrams or empty ones.
 *
 * A datagram is written in three steps (begin, add, commit), and can be given up before the last.
 * This file knows neither queues nor connections.
 */
#ifndef ZV_DGRAM_FIFO_H
#define ZV_DGRAM_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a datagram comes from and where it was sent to. */
struct dgram_msg {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port;
	uint32_t len; /* of its payload */
	uint32_t reserved;
};
#define DGRAM_COST ((uint32_t)sizeof(struct dgram_msg))
_Static_assert(sizeof(struct dgram_msg) == 32, "as <zvsock_dgram.h> says");

struct dgram_fifo;

/* An empty one of @size bytes, a multiple of 8; NULL: no memory. free() ends it. */
struct dgram_fifo *dgram_fifo_new(uint32_t size);

/* Begins a datagram of m->len bytes. False: there is no room, and nothing has begun. */
bool dgram_fifo_begin(struct dgram_fifo *f, const struct dgram_msg *m);
/* Its next @n bytes of payload; no more than m->len in all. */
void dgram_fifo_add(struct dgram_fifo *f, const void *data, uint32_t n);
/* It is whole. Without this call, the next begin takes its place. */
void dgram_fifo_commit(struct dgram_fifo *f);

/* Datagrams in it. */
uint32_t dgram_fifo_count(const struct dgram_fifo *f);
/* The oldest, of which there is one: its addresses, and its first @n bytes (at most m->len). */
void dgram_fifo_first(const struct dgram_fifo *f, struct dgram_msg *m);
void dgram_fifo_copy(const struct dgram_fifo *f, void *data, uint32_t n);
void dgram_fifo_pop(struct dgram_fifo *f);

#endif
