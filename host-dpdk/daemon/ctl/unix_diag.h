/* SPDX-License-Identifier: BSD-3-Clause */
/* The Unix sockets of this machine, as the kernel lists them (sock_diag(7)). Any user may ask. */
#ifndef ZVCTL_UNIX_DIAG_H
#define ZVCTL_UNIX_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct unix_socket {
	uint32_t inode, peer; /* 0: it has none */
	uint8_t type, state;  /* SOCK_*, TCP_* */
	uint32_t recv_q, send_q;
	uint8_t name_len;
	char name[108];	 /* as in sun_path */
	char users[512]; /* "(\"NAME\",pid=N,fd=N),...": empty at first */
};

/* All of them, sorted by inode; *n. Owned by the caller. NULL: errno. */
struct unix_socket *unix_sockets(size_t *n);
/* NULL: not found. */
struct unix_socket *unix_socket_find(struct unix_socket *s, size_t n, uint32_t inode);
/* Fills in `users` of the sockets for which @wanted returns true, as far as /proc may be read. */
void unix_socket_users(struct unix_socket *s, size_t n,
		       bool (*wanted)(const struct unix_socket *u));

#endif
