/* SPDX-License-Identifier: BSD-3-Clause */
/* zvsock-run --tcp in mode seccomp: what the supervisor records about sockets with which it has
 * replaced TCP and UDP sockets: common/di_tcp.h, dns.h. */
#ifndef ZV_DROPIN_OUTBOUND_H
#define ZV_DROPIN_OUTBOUND_H

#include <stdbool.h>
#include <sys/socket.h>

#include "super.h"

/* The address that a replaced socket was connected to. */
struct di_outbound {
	uint64_t cookie; /* of the new socket; 0: none */
	struct sockaddr_storage remote;
};

/* Call once, before threads are created. False: no memory. */
bool di_outbound_init(struct di_super *s);

/* Records that @fd, which goes to the program, was to be connected to the @len bytes at @addr. */
void di_outbound_add(struct di_super *s, int fd, const void *addr, socklen_t len);

/* Is @fd one of the last 4,096 of them? *remote is set to that address. */
bool di_outbound_find(struct di_super *s, int fd, struct sockaddr_storage *remote);

#endif
