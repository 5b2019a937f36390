/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp in mode seccomp: the name server that the supervisor provides for programs with
 * a resolver of their own.
 *
 * Such a resolver sends DNS queries from a UDP socket that it has connected to port 53 of some
 * address. In a guest without a network nobody would answer. So the supervisor replaces that socket
 * with one end of a socket pair, and answers on the other end. Every name gets an address that
 * stands for it (common/di_tcp.h), whether the name exists or not: connect(2) finds that out.
 */
#ifndef ZV_DROPIN_DNS_H
#define ZV_DROPIN_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "super.h"

#define DI_DNS_PORT  53
#define DI_DNS_BYTES 512u /* maximum message, in bytes */

/* Is @addr port 53 of an address? */
bool di_dns_is(const void *addr, socklen_t len);

/* A socket, close-on-exec, to replace @fd; its other end belongs to the name server. -errno. */
int di_dns_socket(struct di_super *s, int fd);

/*
 * Writes the answer to the @len bytes of @query. Returns its length; 0: it is not a query. An
 * address for A of class IN, no record for other types, "not implemented" for anything but a plain
 * query.
 */
size_t di_dns_answer(const unsigned char *query, size_t len,
		     unsigned char answer[static DI_DNS_BYTES]);

#endif
