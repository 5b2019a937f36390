/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A system call reported by the filter, while it is being handled.
 */
#ifndef ZV_DROPIN_CALL_H
#define ZV_DROPIN_CALL_H

#include <sys/socket.h>

#include "caller.h"
#include "syscalls.h"

#define ADDRESS_MAX 128u /* maximum address length of the kernel, in bytes */

struct call {
	struct di_super *s;
	const struct seccomp_notif *n;
	struct di_caller t;
	int fd; /* our duplicate; -1: none */
	bool may_block;
};

union address {
	sa_family_t family;
	char bytes[ADDRESS_MAX];
};

static inline uint64_t call_arg(const struct call *c, unsigned i)
{
	return c->n->data.args[i];
}

static inline int call_int(const struct call *c, unsigned i)
{
	return (int)c->n->data.args[i];
}

static inline bool call_waits(const struct call *c)
{
	return di_call_waits(c->s, c->n->id);
}

/* Duplicates the program's descriptor @i to c->fd, and waits until call_give_own() has closed that
 * file. 0, or the value to return. */
long call_take_file(struct call *c, unsigned i);

/* The same. 0: it stands for an AF_VSOCK socket of the calling thread. */
long call_take_socket(struct call *c, unsigned i);

/* Call before the first write to the program's memory. 0: writing is safe; DI_DONE: the call no
 * longer waits; -errno. */
long call_hold_memory(struct call *c);

/* Installs @ours in the program and answers with its number there. 0 or -errno; closes nothing. */
int call_give(const struct call *c, int ours, bool cloexec);

/* The same with a file that we have made. Closes @ours. */
int call_give_own(const struct call *c, int ours, bool cloexec);

/* Copies the program's address of @len bytes at @at to *a, followed by zeroes. Returns its length;
 * 0: the kernel must judge it. */
size_t call_get_address(const struct call *c, uint64_t at, int len, union address *a);

/* Writes the @size bytes at @a to @at, like the kernel: as much as fits, and the full length to
 * @len_at. Returns the value to return. */
long call_put_address(struct call *c, const void *a, size_t size, uint64_t at, uint64_t len_at);

/* connect(2) to the IP address @a of @len bytes, with --tcp: for a TCP socket, or for UDP to a name
 * server. */
long call_connect_ip(struct call *c, const union address *a, size_t len);

#endif
