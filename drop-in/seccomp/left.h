/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock-run --tcp in mode seccomp: what the supervisor knows of sockets that it has put in the
 * place of TCP and UDP ones: common/di_tcp.h, dns.h.
 */
#ifndef ZV_DROPIN_LEFT_H
#define ZV_DROPIN_LEFT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "super.h"

/* The address that a socket was connected to, before another took its place. */
struct di_left {
	uint64_t cookie; /* the new socket's; 0: none */
	struct sockaddr_storage remote;
};

/* Once, before threads are made. False: no memory. */
bool di_left_init(struct di_super *s);

/* @fd, which goes to the program, was to be connected to the @len bytes at @addr. */
void di_left_add(struct di_super *s, int fd, const void *addr, socklen_t len);

/* Is @fd one of the last 4,096 of them? Over *remote: that address. */
bool di_left_find(struct di_super *s, int fd, struct sockaddr_storage *remote);

#endif
