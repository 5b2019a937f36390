/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams (SOCK_DGRAM) between zvsock peers: messages without a connection, each from a port of
 * one CID to a port of another, whole or not at all.
 *
 * They are not reliable. There is no credit: who receives has a queue of so many bytes for each
 * port, and what finds it full, or a port that nobody has bound, is dropped there and counted
 * (zv_queue_stats: dgram_dropped, dgram_unbound); nobody is told. Nothing is lost on the way:
 * a sender whose ring is full gets -EAGAIN. What comes from one port by one queue keeps its order.
 * Streams are not held up: datagrams take no buffer for longer than it takes to copy them, and to
 * send, all of a queue together have the turn of one connection.
 *
 * The peer has to be zvsock, too: datagrams are not in VIRTIO 1.2, so they are agreed upon by HELLO
 * (docs/protocol.md, "Datagrams"), and a stock driver or device never sees one. Where they cannot
 * be had:
 *
 *   a stock guest, or the kernel's vhost-vsock     -EOPNOTSUPP from zv_dgram_send
 *   zvsockd                                        between guests of a group, and to AF_VSOCK
 *                                                  programs (docs/daemon.md); a guest that has
 *                                                  neither: -EOPNOTSUPP from zv_dgram_send
 *   vsock:, daemon:                                -EOPNOTSUPP from zv_dgram_bind
 *
 * Ports of datagrams are not those of connections: both may have the same number. A port belongs to
 * the device, as one that is listened on does, and each queue has its own queue of what has come
 * for it there: the peer chooses the queue. ZV_EV_DGRAM tells.
 */
#ifndef ZVSOCK_DGRAM_H
#define ZVSOCK_DGRAM_H

#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZV_DGRAM_MAX  65536u /* bytes of the largest datagram; smaller where buffers are */
#define ZV_DGRAM_COST 32u    /* bytes that a datagram takes beside its payload while it waits */

/* The two ends of a datagram. A received one's is what its answer is sent by. */
struct zv_dgram_addr {
	uint64_t local_cid; /* zv_dgram_send: 0 is the device's own */
	uint64_t peer_cid;  /* zv_dgram_send: 0 is the other end of the device */
	uint32_t local_port, peer_port;
};

/*
 * Binds *@port of the device; ZV_PORT_ANY: a free one from 49152 on, which *@port is then.
 * @rx_bytes: what may wait to be received on each queue, payload and ZV_DGRAM_COST a datagram,
 * 4096 to 1 GiB; 0: 262144. It is allocated when the first datagram comes, and is not part of
 * rx_memory.
 * A device call, as zv_listen. 0; -EADDRINUSE; -EINVAL (port 0, rx_bytes out of range); -ENOMEM;
 * -EADDRNOTAVAIL: none is free; -EOPNOTSUPP: see above.
 */
ZV_API int zv_dgram_bind(struct zv_dev *dev, uint32_t *port, size_t rx_bytes);

/*
 * Binds all ports that are not bound otherwise: datagrams to any of them wait together, and
 * zv_dgram_send may name any local port. @flags: ZV_LISTEN_ANY_CID (host devices): also what is
 * meant for another CID than the host's, for a process that speaks for sibling guests.
 * As zv_dgram_bind; -EOPNOTSUPP also: ZV_LISTEN_ANY_CID on a guest device.
 */
ZV_API int zv_dgram_bind_all(struct zv_dev *dev, uint32_t flags, size_t rx_bytes);

/* Ends zv_dgram_bind, or zv_dgram_bind_all (ZV_PORT_ANY). What waits there is lost. -ENOENT. */
ZV_API int zv_dgram_unbind(struct zv_dev *dev, uint32_t port);

/*
 * Sends @len bytes (0 is one) as one datagram on the pair of @q, from a local port that is bound.
 * @flags: 0. Returns @len. That it was sent does not say that anybody receives it.
 * -EAGAIN: no room in the ring now, or HELLO is not over yet; ZV_EV_DGRAM_OUT tells when to try
 * again, once, whoever asks. -EOPNOTSUPP: the peer has no datagrams, or local_cid is another
 * guest's and this a guest device. -EMSGSIZE: longer than ZV_DGRAM_MAX, or than a buffer
 * (zv_opts.tx_buf on the guest's side, the guest's rx_buf on the host's). -ENETDOWN: the queue is
 * not running. -EHOSTUNREACH: peer_cid cannot be reached by this device. -EADDRNOTAVAIL: local_port
 * is not bound. -EINVAL.
 */
ZV_API ssize_t zv_dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
			     size_t len, uint32_t flags);

/*
 * Receives the oldest datagram that has come on @q for @port (ZV_PORT_ANY: for zv_dgram_bind_all):
 * up to @len bytes, the rest is lost. Returns the bytes copied, 0 for an empty one. *@addr (may be
 * NULL): from where, and where it was sent to. *@flags (may be NULL): in ZV_PEEK, leave it in
 * place; out ZV_TRUNC, it was longer. -EAGAIN: none waits. -ENOENT: the port is not bound. -EINVAL.
 */
ZV_API ssize_t zv_dgram_recv(struct zv_queue *q, uint32_t port, void *data, size_t len,
			     uint32_t *flags, struct zv_dgram_addr *addr);

#ifdef __cplusplus
}
#endif

#endif
