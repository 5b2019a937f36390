/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams that wait for one port on one queue: a byte ring of fixed size in private memory. A
 * datagram takes DGRAM_COST bytes plus its payload, rounded up to 8; the caller drops one that does
 * not fit. So a peer can make this side keep no more than the ring's size, whether in large
 * datagrams or in empty ones.
 *
 * A datagram is written in three steps (begin, add, commit), and can be given up before the last.
 * This file depends on neither queues nor connections.
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

/* Makes an empty one of @size bytes, a multiple of 8; NULL: no memory. Freed by free(). */
struct dgram_fifo *dgram_fifo_new(uint32_t size);

/* Begins a datagram of m->len bytes. False: there is no room, and nothing has begun. */
bool dgram_fifo_begin(struct dgram_fifo *f, const struct dgram_msg *m);
/* Adds the next @n bytes of its payload; no more than m->len in total. */
void dgram_fifo_add(struct dgram_fifo *f, const void *data, uint32_t n);
/* Completes it. Without this call, the next begin overwrites it. */
void dgram_fifo_commit(struct dgram_fifo *f);

/* Datagrams in it. */
uint32_t dgram_fifo_count(const struct dgram_fifo *f);
/* The oldest datagram, which must exist: its addresses, and its first @n bytes (at most m->len). */
void dgram_fifo_first(const struct dgram_fifo *f, struct dgram_msg *m);
void dgram_fifo_copy(const struct dgram_fifo *f, void *data, uint32_t n);
void dgram_fifo_pop(struct dgram_fifo *f);

#endif
