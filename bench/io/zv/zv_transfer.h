/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages one way over zvsock: one side sends as fast as it can, the other receives and verifies
 * each byte. Both are event loops over all their queues.
 *
 * zero-copy   zv_buf_alloc of a batch, payload written in place, zv_buf_send; zv_buf_recv of a
 *             batch, payload compared in place, zv_buf_release
 * copying     payload written to private memory, zv_send; zv_recv to private memory, compared there
 * registered  as copying, but a message is written to memory that the program has registered, sent
 *             with zv_send_mem, and written again after its completion. Guest to host only
 *
 * A buffer never holds parts of two messages, so a message is one packet if it fits a buffer. Only
 * the coalesced variant (copying, ZV_MORE) puts several messages into one packet.
 */
#ifndef BENCH_ZV_TRANSFER_H
#define BENCH_ZV_TRANSFER_H

#include "zv_side.h"

/* Server: receives and verifies; sends, starting on GO. */
extern const struct zv_role role_sink, role_source;

/* What a connection is to do, as the message says that asks for a role. */
void bc_set_task(struct bconn *bc, const struct wire_msg *m, bool seqpacket);
void bc_start_source(struct worker *w, struct bconn *bc);
/* Moves on by @len sent bytes; true at the end of a message. */
static inline bool bc_advance(struct bconn *bc, uint32_t len)
{
	bc->bytes += len;
	bc->off += len;
	if (bc->off < bc->size)
		return false;
	bc->off = 0;
	bc->seq++;
	return true;
}
/* Receives from a service that sends zeros without end, for the duration of the task. */
void bc_start_zeros(struct bconn *bc);
/* Receives and verifies what there is. 1 end of stream, 0, -errno. */
int bc_receive(struct worker *w, struct bconn *bc);
/* One batch from each sender that has room. 1: somebody sent, 0: all wait for room. */
int worker_run_senders(struct worker *w);
/* Events of a SINK, SOURCE or DRAIN. 1: the connection has done its part, 0 not yet, -errno. */
int bc_data_event(struct worker *w, struct bconn *bc, uint32_t events);

/* The event of a connection with that user pointer: 1 when its part is done, 0, -errno. */
typedef int (*worker_event_fn)(struct worker *w, void *user, uint32_t events);
/*
 * The client's part of a transfer: sends and receives until @n_conns connections have done their
 * part. 0 or -errno, told to the side; when it takes too long, in the words of @late.
 */
int worker_until_done(struct worker *w, worker_event_fn event, unsigned n_conns, const char *late);
/*
 * Runs the @n connections @bcs to their end unless @rc is a failure
 * already, closes them and adds up what they did. 0 or -errno.
 */
int client_transfer(struct worker *w, struct bconn *bcs, unsigned n, struct side_stats *st, int rc);

#endif
