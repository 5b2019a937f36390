/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp in mode seccomp: the name server that the supervisor is to programs that have a
 * resolver of their own.
 *
 * Such a resolver sends DNS queries from a UDP socket that it has connected to port 53 of some
 * address. In a guest without a network nobody would answer: the supervisor puts one end of a
 * socket pair in that socket's place, and answers at the other. Every name gets an address that
 * stands for it (common/di_tcp.h), whether it exists or not: connect(2) finds that out.
 */
#ifndef ZV_DROPIN_DNS_H
#define ZV_DROPIN_DNS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "super.h"

#define DI_DNS_PORT  53
#define DI_DNS_BYTES 512u /* of a message */

/* Is @addr port 53 of an address? */
bool di_dns_is(const void *addr, socklen_t len);

/* A socket, close-on-exec, in the place of @fd, whose other end is the name server's. -errno. */
int di_dns_socket(struct di_super *s, int fd);

/*
 * The answer to the @len bytes of @query: its length, or 0: it is no query. An address for A of
 * class IN, no record of other types, "not implemented" for what is no plain query.
 */
size_t di_dns_answer(const unsigned char *query, size_t len,
		     unsigned char answer[static DI_DNS_BYTES]);

#endif
