/* SPDX-License-Identifier: BSD-3-Clause */
/* The public calls of zvsock_dgram.h. Theory in dgram.h. */
#include "calls.h"
#include "socket/core/dgram_fifo.h"
#include "socket/type/dgram.h"

#include <errno.h>
#include <sys/random.h>

#define RX_BYTES     262144u
#define RX_BYTES_MIN 4096u
#define RX_BYTES_MAX (1u << 30)
#define TRIES	     16u

_Static_assert(ZV_DGRAM_COST == DGRAM_COST, "the header tells what dgram_fifo.h does");

/* ---- ports ---- */

/* Finds a port that is not bound. ZV_PORT_ANY: there is none. */
static uint32_t free_port(struct zv_dev *dev)
{
	const uint32_t n = ZV_PORT_HI - ZV_PORT_LO + 1;
	uint32_t at;

	if (getrandom(&at, sizeof(at), 0) != sizeof(at))
		at = (uint32_t)dev->nonce;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t port = ZV_PORT_LO + (uint32_t)(((uint64_t)at + i) % n);

		if (!listener_find(dev, PORTS_DGRAM, port))
			return port;
	}
	return ZV_PORT_ANY;
}

static int bind_port(struct zv_dev *dev, uint32_t port, uint32_t flags, size_t rx_bytes)
{
	size_t bytes = rx_bytes ? rx_bytes : RX_BYTES;
	struct listener *l;
	int ret = 0;

	if (bytes < RX_BYTES_MIN || bytes > RX_BYTES_MAX)
		return zv_err(-EINVAL, "zv_dgram_bind: rx_bytes is %zu, must be %u..%u", rx_bytes,
			      RX_BYTES_MIN, RX_BYTES_MAX);
	listeners_reap(dev);
	if (listener_of(dev, PORTS_DGRAM, port))
		return port == ZV_PORT_ANY
			       ? zv_err(-EADDRINUSE, "zv_dgram_bind_all: this device has all ports "
						     "bound already")
			       : zv_err(-EADDRINUSE, "zv_dgram_bind: port %u is bound already",
					port);
	l = listener_new(dev, port, (unsigned)(bytes & ~(size_t)7));
	if (!l)
		return zv_err(-ENOMEM, "zv_dgram_bind: out of memory");
	l->type = VSOCK_TYPE_DGRAM;
	l->flags = (uint16_t)flags;
	listener_link(dev, l);
	if (dev->ops->listen)
		ret = dev->ops->listen(dev->t, port, VSOCK_TYPE_DGRAM, 0);
	if (ret)
		listener_unlink(dev, l);
	return ret;
}

int zv_dgram_bind(struct zv_dev *dev, uint32_t *port, size_t rx_bytes)
{
	unsigned tries = dev && dev->ops->listen ? TRIES : 1; /* others may have the same port */
	uint32_t chosen;
	int ret;

	if (!dev || !port || !*port)
		return zv_err(-EINVAL,
			      "zv_dgram_bind: dev and port must be set, *port must not be 0");
	do {
		chosen = *port == ZV_PORT_ANY ? free_port(dev) : *port;
		if (chosen == ZV_PORT_ANY)
			return zv_err(-EADDRNOTAVAIL, "zv_dgram_bind: all ports are bound");
		ret = bind_port(dev, chosen, 0, rx_bytes);
	} while (ret == -EADDRINUSE && *port == ZV_PORT_ANY && --tries);
	if (ret == 0)
		*port = chosen;
	return ret;
}

int zv_dgram_bind_all(struct zv_dev *dev, uint32_t flags, size_t rx_bytes)
{
	if (!dev || (flags & ~ZV_LISTEN_ANY_CID))
		return zv_err(-EINVAL, "zv_dgram_bind_all: dev must be set, flags 0 or "
				       "ZV_LISTEN_ANY_CID");
	if ((flags & ZV_LISTEN_ANY_CID) && dev->ops->role != ZV_ROLE_HOST)
		return zv_err(-EOPNOTSUPP, "zv_dgram_bind_all: ZV_LISTEN_ANY_CID is for host "
					   "devices: a guest receives for its own CID only");
	return bind_port(dev, ZV_PORT_ANY, flags, rx_bytes);
}

int zv_dgram_unbind(struct zv_dev *dev, uint32_t port)
{
	struct listener *l = dev ? listener_of(dev, PORTS_DGRAM, port) : NULL;

	if (!l && port == ZV_PORT_ANY)
		return zv_err(-ENOENT, "zv_dgram_unbind: zv_dgram_bind_all was not called");
	if (!l)
		return zv_err(-ENOENT, "zv_dgram_unbind: port %u is not bound", port);
	if (dev->ops->unlisten)
		dev->ops->unlisten(dev->t, port, VSOCK_TYPE_DGRAM);
	listener_unlink(dev, l);
	listeners_reap(dev);
	return 0;
}

/* ---- data ---- */

ssize_t zv_dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
		      size_t len, uint32_t flags)
{
	ssize_t ret;

	if (!q || !addr || (!data && len) || flags || !addr->peer_port ||
	    addr->peer_port == ZV_PORT_ANY)
		return zv_err(-EINVAL,
			      "zv_dgram_send: queue, addr and data must be set, flags be 0, "
			      "and peer_port neither 0 nor %u",
			      ZV_PORT_ANY);
	if (len > ZV_DGRAM_MAX)
		return zv_err(-EMSGSIZE, "zv_dgram_send: %zu bytes: a datagram has %u at most", len,
			      ZV_DGRAM_MAX);
	queue_enter(q);
	session_sync(q);
	ret = dgram_send(q, addr, data, (uint32_t)len);
	call_leave(q);
	return ret;
}

ssize_t zv_dgram_recv(struct zv_queue *q, uint32_t port, void *data, size_t len, uint32_t *flags,
		      struct zv_dgram_addr *addr)
{
	bool peek = flags && *flags & ZV_PEEK, trunc = false;
	struct listener *l;
	ssize_t ret;

	if (!q || (!data && len) || (flags && *flags & ~(ZV_PEEK | ZV_TRUNC)))
		return zv_err(-EINVAL, "zv_dgram_recv: queue and data must be set, flags 0 or "
				       "ZV_PEEK");
	queue_enter(q);
	l = listener_of(q->dev, PORTS_DGRAM, port);
	ret = l ? dgram_recv(q, l, data, len, peek, &trunc, addr) : -ENOENT;
	queue_leave(q);
	if (flags)
		*flags = trunc ? ZV_TRUNC : 0;
	if (ret == -ENOENT)
		return zv_err(-ENOENT, "zv_dgram_recv: port %u is not bound", port);
	return ret == -EAGAIN
		       ? zv_fail(-EAGAIN, "zv_dgram_recv: none waits: ZV_EV_DGRAM tells when")
		       : ret;
}
