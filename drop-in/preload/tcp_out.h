/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp: TCP connections of a program in a guest without a network card.
 *
 * connect(2) of an AF_INET or AF_INET6 stream socket makes the connection of common/di_tcp.h and
 * puts it under the socket's number. The loopback interface stays the guest's own. getaddrinfo(3)
 * gives a name that the guest cannot resolve an address that stands for it.
 *
 * Nothing here takes a lock or memory, but for getaddrinfo(3).
 */
#ifndef ZV_DROPIN_TCP_OUT_H
#define ZV_DROPIN_TCP_OUT_H

#include <stdbool.h>
#include <sys/socket.h>

/* Is the call about a TCP connection that has to leave the guest? */
bool tcp_is_ours(int fd, const struct sockaddr *addr, socklen_t len);

/* connect(2) for such a connection. 0, -errno. */
int tcp_connect(int fd, const struct sockaddr *addr, socklen_t len);

/* True: @fd was connected by tcp_connect(). *remote: the address that it was connected to, for
 * getpeername(2); *local: an address of the same family without content. Either may be NULL. */
bool tcp_names(int fd, struct sockaddr_storage *remote, struct sockaddr_storage *local);

#endif
