/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by the files of the preloaded library: where zvsockd is, which descriptors are known.
 */
#ifndef ZV_DROPIN_CONTEXT_H
#define ZV_DROPIN_CONTEXT_H

#include "common/di.h"

#include <sys/socket.h>

/* As given by the environment when the program started. */
struct di *context(void);

/* The host port for TCP connections (zvsock-run --tcp); 0: the kernel makes them. */
unsigned context_tcp(void);

/* Returns @rc as libc functions do: -1 with errno if it is negative. */
int returned(int rc);

/* Is @fd an AF_VSOCK socket? Asks the kernel, unless the number is known to be something else. */
bool is_vsock(int fd);

/* @fd is an AF_VSOCK socket now: the number may have been something else before. */
void now_vsock(int fd);

bool family_is(const struct sockaddr *addr, socklen_t len, sa_family_t family);

/* Is the call about an AF_VSOCK socket? With another kind of address it fails there. */
bool vsock_with(int fd, const struct sockaddr *addr, socklen_t len);

/* Is this the name of an AF_VSOCK socket? @len: its length, of which @room bytes are at @addr. */
bool is_label(const struct sockaddr *addr, socklen_t room, socklen_t len);

/* Copies @vm to a caller with room for @room bytes and sets *len, as the kernel does. */
void put_address(void *addr, socklen_t *len, socklen_t room, const struct sockaddr_vm *vm);

#endif
