/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp, shared by both modes: TCP connections of a guest without a network card.
 *
 * Such a connection is a vsock connection to a host port where zvsockd speaks SOCKS5 (its key
 * tcp_out): through zvsockd's drop-in directory if there is one, else through the kernel. A name
 * that the guest cannot resolve gets an address in 198.18.0.0/15, which is reserved for network
 * tests and used by nobody; the name is sent to zvsockd when the program connects to that address.
 *
 * All calls return >= 0 or -errno and do not change errno; nothing here takes a lock or allocates
 * memory.
 */
#ifndef ZV_DROPIN_DI_TCP_H
#define ZV_DROPIN_DI_TCP_H

#include "common/di.h"

#define DI_TCP_NAME_MAX 256u /* bytes of a name, including the final 0 */

/* The request to zvsockd: a request of RFC 1928. */
struct di_tcp_target {
	uint8_t msg[5 + 255 + 2];
	size_t len;
};

/* Finds the target for @addr, a socket address of @len bytes. False: it is not an IP address, or it
 * is one of the guest's own loopback interface. */
bool di_tcp_target(struct di_tcp_target *t, const void *addr, socklen_t len);

/* The type of @fd if it is an AF_INET or AF_INET6 socket; else 0. */
int di_tcp_type(int fd);

/*
 * Connects to @t through @port of the host. Returns a descriptor, close-on-exec, with O_NONBLOCK
 * and the timeouts of @fd, which the caller puts under the number of @fd. Waits for the host and
 * for the result, at most 30 s each. @signals: -EINTR if a signal handler ran. -EACCES: no rule of
 * zvsockd allows it; -ECONNREFUSED, -ETIMEDOUT, -EHOSTUNREACH, -ENETUNREACH ...
 */
int di_tcp_connect(struct di *d, unsigned port, const struct di_tcp_target *t, int fd,
		   bool signals);

/* Copies O_NONBLOCK and the timeouts of @fd to @fresh. */
void di_tcp_keep_options(int fresh, int fd);

/* The address, in host order, that stands for @name (less than DI_TCP_NAME_MAX bytes) in this
 * process. 0: there are too many names (512). */
uint32_t di_tcp_address_for(const char *name);

#endif
