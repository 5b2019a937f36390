/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp: TCP connections of a program in a guest without a network card.
 *
 * connect(2) of an AF_INET or AF_INET6 stream socket makes a vsock connection to a port of the host
 * where zvsockd speaks SOCKS5 (its key tcp_out), asks for the address, and puts what it gets under
 * the socket's number: a vsock socket, of zvsockd's drop-in directory where there is one, else of
 * the kernel. The loopback interface stays the guest's own. A name that the guest cannot resolve
 * gets an address of 198.18.0.0/15, which is for tests of networks and nobody's; the name goes to
 * zvsockd when the program connects to that address.
 *
 * Nothing here takes a lock or memory, but for getaddrinfo(3).
 */
#ifndef ZV_DROPIN_LEAVE_H
#define ZV_DROPIN_LEAVE_H

#include <stdbool.h>
#include <sys/socket.h>

/* Is the call about a connection by TCP that has to leave the guest? */
bool tcp_is_ours(int fd, const struct sockaddr *addr, socklen_t len);

/* connect(2) of that. 0, -errno. */
int tcp_connect(int fd, const struct sockaddr *addr, socklen_t len);

/*
 * Was @fd connected by tcp_connect()? The address that it was connected to, for getpeername(2), or
 * an address of that family which says nothing. Either may be NULL.
 */
bool tcp_names(int fd, struct sockaddr_storage *remote, struct sockaddr_storage *local);

#endif
