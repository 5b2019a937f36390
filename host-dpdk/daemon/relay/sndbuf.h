/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest has sent and no program has read waits in the kernel: how much, in all sockets of
 * the guest together.
 *
 * Theory of operation
 * -------------------
 * The kernel lets a socket hold about its SO_SNDBUF, overhead included, and what one more packet or
 * message takes. So the sum is bounded by the sizes that the sockets are given: each is promised a
 * part of rx_memory when its connection opens, and returns it at the end. Each queue of the guest
 * has an equal share of that memory.
 *
 * While half of it has room, a socket keeps the size that the kernel gives it. When little is left,
 * new ones get an eighth of that at most. SNDBUF_LEAST is promised to each in any case, beside
 * rx_memory. The other half is for sockets that were found full: these grow. If nothing is left,
 * they take from those that have had theirs for longest and use little of it (SIOCOUTQ), so idle
 * connections slow down nobody.
 *
 * A SEQPACKET message fits into the buffer as a whole or cannot be sent at all. If the buffer is
 * too small it grows as well, and if there is no room, the message waits, in the guest's memory,
 * and is tried again every SNDBUF_RETRY_NS.
 *
 * TCP chooses the sizes itself, up to net.ipv4.tcp_wmem. A socket that may have all of it is left
 * to TCP; others have a fixed size.
 *
 * The host's AF_VSOCK is not bounded here: what waits there is limited by the program's own buffer
 * (SO_VM_SOCKETS_BUFFER_SIZE). Nor is what a program has sent and the guest does not read: over
 * AF_UNIX that is charged to the program's SO_SNDBUF, and over TCP bounded by net.ipv4.tcp_rmem.
 *
 * All functions run on the lcore of the queue, except sndbuf_limits().
 */
#ifndef ZVD_SNDBUF_H
#define ZVD_SNDBUF_H

#include "core/guest.h"

#define SNDBUF_LEAST	8192u
#define SNDBUF_MEMORY	(4u << 20) /* at least this much is shared in a queue */
#define SNDBUF_RETRY_NS 20000000u

struct relay;

/* Of a relay's socket. Zeroed memory is bounded by nothing. */
struct sndbuf {
	uint32_t size, full; /* SO_SNDBUF as the kernel counts it; the most it may be */
	bool held;	     /* in gq->sndbufs: it has more than SNDBUF_LEAST */
	bool waits;	     /* in gq->sndbufs_waiting: for a message */
	TAILQ_ENTRY(relay) link, waiting;
};

/* Bytes that a socket may hold: of the queue's share of rx_memory, and beside it. */
struct sndbuf_promise {
	uint64_t shared, own;
};

/* What the sockets of a guest with the configuration @c may hold. Reads sysctls; main thread. */
struct sndbuf_limits sndbuf_limits(const struct cfg_guest *c, unsigned n_queues);

/* @r->fd is connected: gives it a size. */
void sndbuf_open(struct relay *r);
/* Before @r->fd is closed. Returns what was promised to it, which is still counted:
 * sndbuf_put(). */
struct sndbuf_promise sndbuf_close(struct relay *r);
/* It is free. */
void sndbuf_put(struct guest_queue *gq, const struct sndbuf_promise *p);

/* The socket was found full: lets it grow if there is room. */
void sndbuf_full(struct relay *r);

/* True: a message of @len bytes may be sent, or is longer than any can be. False: there is no room
 * now; relay_from_guest_resume() will be called. */
bool sndbuf_fits(struct relay *r, uint32_t len);

#endif
