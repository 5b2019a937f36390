/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp, what both modes share: TCP connections of a guest without a network card.
 *
 * Such a connection is one by vsock to a port of the host where zvsockd speaks SOCKS5 (its key
 * tcp_out): of zvsockd's drop-in directory where there is one, else of the kernel. A name that the
 * guest cannot resolve gets an address of 198.18.0.0/15, which is for tests of networks and
 * nobody's; the name goes to zvsockd when the program connects to that address.
 *
 * All calls return >= 0 or -errno and leave errno alone; nothing here takes a lock or memory.
 */
#ifndef ZV_DROPIN_DI_TCP_H
#define ZV_DROPIN_DI_TCP_H

#include "common/di.h"

#define DI_TCP_NAME_MAX 256u /* bytes of a name, the final 0 counted */

/* What zvsockd is asked for: a request of RFC 1928. */
struct di_tcp_target {
	uint8_t msg[5 + 255 + 2];
	size_t len;
};

/*
 * The target that @addr, a socket address of @len bytes, stands for. False: it is no IP address,
 * or one of the guest's own loopback interface.
 */
bool di_tcp_target(struct di_tcp_target *t, const void *addr, socklen_t len);

/* The type of @fd when it is an AF_INET or AF_INET6 socket; 0: it is not. */
int di_tcp_type(int fd);

/*
 * A connection to @t by @port of the host, for the caller to put under the number of @fd: a
 * descriptor, close-on-exec, with O_NONBLOCK and the time-outs of @fd. Waits for the host and for
 * the outcome, 30 s at most each. @signals: -EINTR when a signal handler ran. -EACCES: no rule of
 * zvsockd allows it; -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ENETUNREACH ...
 */
int di_tcp_connect(struct di *d, unsigned port, const struct di_tcp_target *t, int fd,
		   bool signals);

/* Gives @fresh O_NONBLOCK and the time-outs that @fd has. */
void di_tcp_keep_options(int fresh, int fd);

/*
 * The address, in host order, that stands for @name in this process, of less than DI_TCP_NAME_MAX
 * bytes. 0: there are too many names (512).
 */
uint32_t di_tcp_address_for(const char *name);

#endif
