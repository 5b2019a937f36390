/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The calls on kernel sockets that depend on the address family. Everything else (send, receive,
 * shut down, wait) is the same for all; tests put another family in the place of AF_VSOCK.
 */
#ifndef ZV_KSOCK_NET_H
#define ZV_KSOCK_NET_H

#include <stdbool.h>
#include <stdint.h>

/* Linux defaults of a socket. */
#define KSOCK_BUFFER	 262144u
#define KSOCK_CONNECT_NS 2000000000u

struct ksock_net {
	/* Own CID. 0, or -errno with zv_err() text: there are no such sockets here. */
	int (*own_cid)(uint64_t *cid);
	/* @type: SOCK_STREAM, SOCK_SEQPACKET. A descriptor, close-on-exec and non-blocking, or
	 * -errno. */
	int (*socket)(int type);
	/* Binds to @port of all own CIDs. 0 or -errno; -EADDRINUSE: the port is taken. */
	int (*bind)(int fd, uint32_t port);
	/* 0: connected; -EINPROGRESS; or -errno. */
	int (*connect)(int fd, uint32_t cid, uint32_t port);
	/* As socket(); *@cid and *@port are the peer's. */
	int (*accept)(int fd, uint32_t *cid, uint32_t *port);
	/* Bytes that the kernel buffers for the socket's reader: the window that its peer sees. */
	void (*set_buffer)(int fd, uint32_t bytes);
	/* How long the kernel tries to connect. */
	void (*set_connect_timeout)(int fd, uint64_t ns);
	/* False: the peer has shut down receiving, or is gone. */
	bool (*peer_receives)(int fd);
};

extern const struct ksock_net ksock_net_vsock;

#endif
