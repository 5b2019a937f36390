/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of drop-in/common share: questions to zvsockd, marks, names of a socket. */
#ifndef ZV_DROPIN_DI_INT_H
#define ZV_DROPIN_DI_INT_H

#include "common/di.h"
#include "proto/dropin_msg.h"

#include <sys/un.h>

/* ---- questions ------------------------------------------------------------------------------ */

/*
 * Asks @m and reads the answer over it. Waits until @deadline (di_sys_now_ms()); with @signals,
 * -EINTR when a signal handler ran. Returns the answer's result, 0 or -errno; -ENODEV: no zvsockd
 * is there, or no longer; -ETIMEDOUT. *held >= 0: the connection, which the caller closes: until
 * then zvsockd keeps what it has answered. NULL: it is closed.
 */
int di_ask(struct di *d, struct dropin_msg *m, int64_t deadline, bool signals, int *held);

/* One that zvsockd answers at once. */
int di_ask_now(struct di *d, struct dropin_msg *m);

/* Is zvsockd there? Over *m: its answer. */
int di_hello(struct di *d, struct dropin_msg *m);

/* The path DIR/@name. Its length for bind(2) and connect(2); -ENODEV: struct di has no path. */
int di_path(const struct di *d, const char *name, struct sockaddr_un *un);

/* ---- marks ---------------------------------------------------------------------------------- */

struct di_mark {
	int type;	     /* SOCK_STREAM ...: spares a call */
	uint32_t timeout_ms; /* of connect(2); 0: DI_TIMEOUT_MS */
	bool connecting;     /* connect(2) failed with EINPROGRESS: ask how it went */
	uint8_t failed;	     /* and that is how: an errno */
};

/* 1 and *m; 0: @fd stands for no AF_VSOCK socket; -EBADF. */
int di_mark_get(int fd, struct di_mark *m);
int di_mark_set(int fd, const struct di_mark *m);

/* What has been set of SO_VM_SOCKETS_BUFFER_* of @from goes for @to. */
void di_inherit_buffers(int from, int to);

/* ---- names ---------------------------------------------------------------------------------- */

struct di_who {
	bool connected; /* as the AF_UNIX socket is */
	bool has_own, has_peer;
	struct dropin_label own, peer;
	char own_text[DROPIN_LABEL]; /* "": it has none */
};

int di_who(int fd, struct di_who *w);

/* @text as the abstract name of a socket. Its length. */
socklen_t di_label_name(const char text[static DROPIN_LABEL], struct sockaddr_un *un);

/* The user at the other end of @fd, for listening sockets and those that they gave; -1: nobody. */
int64_t di_peer_user(int fd);

bool di_read_label(const struct sockaddr_un *un, socklen_t len, struct dropin_label *l);

struct sockaddr_vm di_vm_address(uint32_t cid, uint32_t port);

/* ---- datagrams ------------------------------------------------------------------------------ */

/* Before bind(2): from now on @fd takes only messages that end with @key, which it takes off. */
int di_dgram_guard(int fd, uint64_t key);
/* Behind bind(2): zvsockd is told. */
int di_dgram_bound(struct di *d, const char label[static DROPIN_LABEL]);
/* connect(2) of a datagram socket. */
int di_dgram_connect(struct di *d, int fd, const struct sockaddr_vm *addr);

#endif
