/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the preloaded library share: where zvsockd is, which descriptors are known. */
#ifndef ZV_DROPIN_WORLD_H
#define ZV_DROPIN_WORLD_H

#include "common/di.h"

#include <sys/socket.h>

/* As the environment said it when the program began. */
struct di *world(void);

/* The host's port for TCP connections (zvsock-run --tcp); 0: they are the kernel's. */
unsigned world_tcp(void);

/* @rc as a function of libc returns it: -1 and errno when it is negative. */
int returned(int rc);

/* Is @fd an AF_VSOCK socket? Asks the kernel, unless the number is known to be something else. */
bool is_vsock(int fd);

/* @fd is one: the number may have been something else before. */
void now_vsock(int fd);

bool family_is(const struct sockaddr *addr, socklen_t len, sa_family_t family);

/* Is the call about an AF_VSOCK socket? One that was given another kind of address fails there. */
bool vsock_with(int fd, const struct sockaddr *addr, socklen_t len);

/* Is that the name of an AF_VSOCK socket? @room bytes of the @len of it are at @addr. */
bool is_label(const struct sockaddr *addr, socklen_t room, socklen_t len);

/* Copies @vm to a caller with room for @room bytes and sets *len, as the kernel does. */
void put_address(void *addr, socklen_t *len, socklen_t room, const struct sockaddr_vm *vm);

#endif
