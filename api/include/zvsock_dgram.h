/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams (SOCK_DGRAM) between zvsock peers: messages without a connection, from a port of one
 * CID to a port of another, delivered completely or not at all.
 *
 * They are not reliable. There is no credit: the receiver has a queue of limited size for each
 * port. A datagram that finds it full, or whose port nobody has bound, is dropped and counted there
 * (zv_queue_stats: dgram_dropped, dgram_unbound), and nobody is told. Nothing is lost on the way: a
 * sender whose ring is full gets -EAGAIN. Datagrams from one port through one queue stay in order.
 * Streams are not delayed: a datagram occupies a buffer only while it is copied, and all datagrams
 * sent on a queue together get the share of one connection.
 *
 * The peer must be zvsock too: datagrams are not in VIRTIO 1.2, so they are negotiated by HELLO
 * (docs/protocol.md, "Datagrams"), and a stock driver or device never sees one. Where they are not
 * available:
 *
 *   a stock guest, or the kernel's vhost-vsock     -EOPNOTSUPP from zv_dgram_send
 *   zvsockd, for a guest                           between guests of a group, and to
 *                                                  applications and AF_VSOCK programs
 *                                                  (docs/daemon.md); a guest that has none of
 *                                                  these: -EOPNOTSUPP from zv_dgram_send
 *   zvsockd, for an application (daemon:)          to guests, other applications, and AF_VSOCK
 *                                                  programs of the same machine
 *   vsock:                                         -EOPNOTSUPP from zv_dgram_bind
 *
 * Ports of datagrams are independent of those of connections: both may have the same number. A port
 * belongs to the device, like one that is listened on, and each queue of the device stores
 * separately what has arrived for it there: the peer chooses the queue. ZV_EV_DGRAM reports
 * datagrams.
 */
#ifndef ZVSOCK_DGRAM_H
#define ZVSOCK_DGRAM_H

#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZV_DGRAM_MAX  65536u /* bytes of the largest datagram; less if buffers are smaller */
#define ZV_DGRAM_COST 32u    /* bytes that a datagram takes beside its payload while it waits */

/* The two ends of a datagram. Use that of a received datagram to answer it. */
struct zv_dgram_addr {
	uint64_t local_cid; /* zv_dgram_send: 0 is the device's own */
	uint64_t peer_cid;  /* zv_dgram_send: 0 is the other end of the device */
	uint32_t local_port, peer_port;
};

/*
 * Binds *@port of the device; ZV_PORT_ANY: a free port from 49152 on, which is stored in *@port.
 * @rx_bytes: how much may wait to be received on each queue, counting payload and ZV_DGRAM_COST for
 * each datagram, 4096 to 1 GiB; 0: 262144. It is allocated when the first datagram arrives, and is
 * not part of rx_memory.
 *
 * A device call, like zv_listen. 0; -EADDRINUSE; -EINVAL (port 0, rx_bytes out of range); -ENOMEM;
 * -EADDRNOTAVAIL: none is free; -EOPNOTSUPP: see above. With daemon:, where all applications share
 * the ports of the host, also: -EADDRINUSE: somebody else has it; -EACCES: zvsockd's configuration
 * reserves it (from 49152 on it does not); -ENOSPC: the application has too many ports.
 */
ZV_API int zv_dgram_bind(struct zv_dev *dev, uint32_t *port, size_t rx_bytes);

/*
 * Binds all ports that are not bound otherwise: datagrams to any of them wait in one queue, and
 * zv_dgram_send may name any local port. @flags: with ZV_LISTEN_ANY_CID (host devices), also
 * datagrams for another CID than the host's, for a process that acts for sibling guests. As
 * zv_dgram_bind; -EOPNOTSUPP also: ZV_LISTEN_ANY_CID on a guest device, and with daemon:.
 */
ZV_API int zv_dgram_bind_all(struct zv_dev *dev, uint32_t flags, size_t rx_bytes);

/* Ends zv_dgram_bind, or zv_dgram_bind_all (ZV_PORT_ANY). Waiting datagrams are lost. -ENOENT. */
ZV_API int zv_dgram_unbind(struct zv_dev *dev, uint32_t port);

/*
 * Sends @len bytes (0 is allowed) as one datagram on the pair of @q, from a local port that is
 * bound. @flags: 0. Returns @len, which does not mean that anybody receives the datagram.
 *
 * -EAGAIN: no room in the ring now, or HELLO is not complete yet; ZV_EV_DGRAM_OUT is reported once
 * when it is worth trying again. -EOPNOTSUPP: the peer has no datagrams, or local_cid is another
 * guest's on a guest device. -EMSGSIZE: longer than ZV_DGRAM_MAX, or than a buffer (zv_opts.tx_buf
 * on the guest side, the guest's rx_buf on the host side). -ENETDOWN: the queue is not running.
 * -EHOSTUNREACH: peer_cid cannot be reached by this device. -EADDRNOTAVAIL: local_port is not
 * bound. -EINVAL.
 */
ZV_API ssize_t zv_dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
			     size_t len, uint32_t flags);

/*
 * Receives the oldest datagram that has arrived on @q for @port (ZV_PORT_ANY: for
 * zv_dgram_bind_all): up to @len bytes, the rest is lost. Returns the number of bytes copied, 0 for
 * an empty one. *@addr (may be NULL): source and destination. *@flags (may be NULL): on input
 * ZV_PEEK, leave it in place; on output ZV_TRUNC, it was longer. -EAGAIN: none is waiting. -ENOENT:
 * the port is not bound. -EINVAL.
 */
ZV_API ssize_t zv_dgram_recv(struct zv_queue *q, uint32_t port, void *data, size_t len,
			     uint32_t *flags, struct zv_dgram_addr *addr);

#ifdef __cplusplus
}
#endif

#endif
