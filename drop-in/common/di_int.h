/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by the files of drop-in/common: requests to zvsockd, marks, names of a socket.
 */
#ifndef ZV_DROPIN_DI_INT_H
#define ZV_DROPIN_DI_INT_H

#include "common/di.h"
#include "proto/local/dropin_msg.h"

#include <sys/un.h>

/* ---- questions ------------------------------------------------------------------------------ */

/*
 * Sends the request @m and overwrites it with the answer. Waits until @deadline (di_sys_now_ms());
 * with @signals, -EINTR if a signal handler ran. Returns the result in the answer, 0 or -errno;
 * -ENODEV: no zvsockd is there, or no longer; -ETIMEDOUT. *held >= 0: the connection, which the
 * caller must close; zvsockd keeps what it has granted until then. @held NULL: the connection is
 * closed.
 */
int di_ask(struct di *d, struct dropin_msg *m, int64_t deadline, bool signals, int *held);

/* A request that zvsockd answers at once. */
int di_ask_now(struct di *d, struct dropin_msg *m);

/* Checks whether zvsockd is there; *m is overwritten with its answer. */
int di_hello(struct di *d, struct dropin_msg *m);

/* Sets *un to the path DIR/@name. Returns its length for bind(2) and connect(2); -ENODEV: struct di
 * has no path. */
int di_path(const struct di *d, const char *name, struct sockaddr_un *un);

/* ---- marks ---------------------------------------------------------------------------------- */

struct di_mark {
	int type;	     /* SOCK_STREAM ...: saves a call */
	uint32_t timeout_ms; /* of connect(2); 0: DI_TIMEOUT_MS */
	bool connecting;     /* connect(2) returned EINPROGRESS: result not fetched yet */
	uint8_t failed;	     /* its result: an errno */
};

/* 1 and *m; 0: @fd does not stand for an AF_VSOCK socket; -EBADF. */
int di_mark_get(int fd, struct di_mark *m);
int di_mark_set(int fd, const struct di_mark *m);

/* Copies the SO_VM_SOCKETS_BUFFER_* settings of @from to @to. */
void di_inherit_buffers(int from, int to);

/* ---- names ---------------------------------------------------------------------------------- */

struct di_labels {
	bool connected; /* the AF_UNIX socket is connected */
	bool has_own, has_peer;
	struct dropin_label own, peer;
	char own_text[DROPIN_LABEL]; /* "": it has none */
};

int di_labels(int fd, struct di_labels *w);

/* Makes *un the abstract name @text. Returns its length. */
socklen_t di_label_name(const char text[static DROPIN_LABEL], struct sockaddr_un *un);

/* Who is at the other end of @fd, for listening sockets and those accepted from them. False:
 * nobody. */
bool di_peer(int fd, struct ucred *who);
/* Their user; -1: none. */
int64_t di_peer_user(int fd);

bool di_read_label(const struct sockaddr_un *un, socklen_t len, struct dropin_label *l);

struct sockaddr_vm di_vm_address(uint32_t cid, uint32_t port);

/* ---- datagrams ------------------------------------------------------------------------------ */

/* Call before bind(2): from now on @fd accepts only messages that end with @key, which is
 * stripped. */
int di_dgram_guard(int fd, uint64_t key);
/* Call after bind(2): notifies zvsockd. */
int di_dgram_bound(struct di *d, const char label[static DROPIN_LABEL]);
/* connect(2) of a datagram socket. */
int di_dgram_connect(struct di *d, int fd, const struct sockaddr_vm *addr);

#endif
