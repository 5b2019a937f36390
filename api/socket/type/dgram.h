/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_DGRAM: datagrams between zvsock peers.
 *
 * Theory of operation
 * -------------------
 * A datagram is one RW packet of type DGRAM, without connection, credit or answer, so it belongs to
 * no struct zv_conn: to the socket layer it is a packet that reaches no connection
 * (sock_type.unconnected). It is taken only from a peer that has named ZV_CAP_DGRAM in its HELLO;
 * from any other it is a packet of an unknown type, as it was before.
 *
 * A bound port is a struct listener in a table of its own (listener.h): looked up without a lock by
 * all queues, taken out of use as any listener is. Its accept queue on a queue holds a
 * struct dgram_fifo in the place of connections. The payload is copied there at once and the
 * buffer goes back, so datagrams never withhold a descriptor; what does not fit is dropped and
 * counted. What a peer can cause is one look-up and at most one copy a packet, in the burst of a
 * poll, and memory that the application has named.
 *
 * To send, all datagrams of a queue are one flow of its scheduler (tx_sched.h): they take turns
 * with the connections, and never the buffers that are kept for control packets.
 */
#ifndef ZV_DGRAM_H
#define ZV_DGRAM_H

#include "socket/core/listener.h"
#include "zvsock_dgram.h"

/* zv_dgram_send, of one that lies within limits that are the same for all: @len or -errno. */
ssize_t dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
		   uint32_t len);
/* zv_dgram_recv from what waits for @l; @peek leaves it there. Bytes or -EAGAIN; *@trunc: there are
 * more. */
ssize_t dgram_recv(struct zv_queue *q, struct listener *l, void *data, size_t len, bool peek,
		   bool *trunc, struct zv_dgram_addr *addr);

#endif
