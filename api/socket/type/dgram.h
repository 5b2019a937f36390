/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SOCK_DGRAM: datagrams between zvsock peers.
 *
 * Theory of operation
 * -------------------
 * A datagram is one RW packet of type DGRAM, without connection, credit or answer. It belongs to no
 * struct zv_conn: the socket layer handles it as a packet that matches no connection
 * (sock_type.unconnected). It is accepted only from a peer whose HELLO has ZV_CAP_DGRAM; from any
 * other it is a packet of an unknown type.
 *
 * A bound port is a struct listener in a table of its own (listener.h), looked up without a lock by
 * all queues and removed like any listener. Its accept queue on each queue holds a struct
 * dgram_fifo instead of connections. The payload is copied there at once and the buffer goes back,
 * so datagrams never withhold a descriptor; what does not fit is dropped and counted. All that a
 * peer can cause is one look-up and at most one copy per packet, within the burst of a poll, and
 * memory that the application has set aside.
 *
 * For sending, all datagrams of a queue are one flow of its scheduler (tx_sched.h): they take turns
 * with the connections, and never use the buffers reserved for control packets.
 */
#ifndef ZV_DGRAM_H
#define ZV_DGRAM_H

#include "socket/core/listener.h"
#include "zvsock_dgram.h"

/* zv_dgram_send of a datagram within the general limits: @len or -errno. */
ssize_t dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
		   uint32_t len);
/*
 * zv_dgram_recv from what waits for @l; @peek leaves it there. Bytes or -EAGAIN; *@trunc: the
 * datagram is longer.
 */
ssize_t dgram_recv(struct zv_queue *q, struct listener *l, void *data, size_t len, bool peek,
		   bool *trunc, struct zv_dgram_addr *addr);

#endif
