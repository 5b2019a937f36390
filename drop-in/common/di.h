/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK sockets that are AF_UNIX sockets: the operations of the preloaded library and the
 * supervisor on them. api/proto/local/dropin_msg.h has the theory; docs/drop-in.md lists the
 * differences from the kernel's vsock.
 *
 * All state of a socket is kept by the kernel in the socket itself, so it is available through a
 * duplicated, inherited or passed descriptor, after fork and exec, and in any process:
 *
 *  - its addresses, in its names (labels, api/proto/local/dropin_msg.h);
 *  - that it stands for an AF_VSOCK socket, whether connect(2) is in progress and its timeout, in
 *    its *mark*: the value of SO_MAX_PACING_RATE, which has no meaning for AF_UNIX.
 *
 * (Only SO_VM_SOCKETS_BUFFER_* is remembered by the process, by SO_COOKIE.)
 *
 * A request to zvsockd opens DIR/ask, sends the request, and closes it: between calls the program
 * has no descriptor of ours that it could close, leak or count. So the calls need no lock, no
 * memory, and nothing at fork; they may be made by any thread, in a signal handler, and after fork
 * or vfork.
 *
 * All calls return >= 0 or -errno, like the kernel's vsock; errno is not changed, and no signal is
 * raised. @fd is any descriptor of the socket in this process: the supervisor gets it by
 * pidfd_getfd(2).
 */
#ifndef ZV_DROPIN_DI_H
#define ZV_DROPIN_DI_H

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DI_DIR	      "/run/zvsock/af_vsock"
#define DI_DIR_MAX    97   /* bytes, including the final 0: room in sockaddr_un */
#define DI_TIMEOUT_MS 2000 /* of connect(2), unless SO_VM_SOCKETS_CONNECT_TIMEOUT says more */
#define DI_ANSWER_TIMEOUT_MS                                                                       \
	5000 /* for an immediate answer; after that zvsockd counts as stopped */

struct di {
	char dir[DI_DIR_MAX]; /* "": it was too long; nothing is there */
	/* Reports a failed request in one line, without a final newline. NULL: no report. */
	void (*report)(const char *line);
	/* The user of the zvsockd that answered last, as this process sees it: when DIR/ask was
	 * created, and when it answered; and its process. -1: none has answered. */
	_Atomic int64_t owner, user, pid;
	/* When a stranger's connection last made us ask zvsockd who it runs as (di_sys_now_ms()).
	 */
	_Atomic int64_t doubted_ms;
	/* The CID of this machine according to zvsockd; -1: not known. */
	_Atomic int64_t cid;
	/* The user of this structure sees all calls that a datagram's address needs
	 * (di_dgram.c). */
	bool dgrams;
};

/* Sets the directory of zvsockd's sockets: @dir, or DI_DIR if it is NULL or "". Sends no
 * request. */
void di_init(struct di *d, const char *dir);

/* ---- sockets ------------------------------------------------------------------------------- */

/*
 * socket(2): @type includes SOCK_NONBLOCK and SOCK_CLOEXEC. Returns the descriptor. -EAFNOSUPPORT:
 * no zvsockd is there; -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, -EMFILE ... -EOPNOTSUPP: SOCK_DGRAM
 * without di.dgrams.
 */
int di_socket(struct di *d, int type, int protocol);

/* 1: @fd stands for an AF_VSOCK socket; 0: it is something else; -EBADF. */
int di_is(int fd);

/* The type of the AF_VSOCK socket that @fd stands for; 0: it is something else. */
int di_type(int fd);

/* Copies the address given by a program to *out. -EFAULT: too short; -EAFNOSUPPORT; -EINVAL: its
 * flags. @addr must be readable: the supervisor has copied it. */
int di_address(const void *addr, socklen_t len, struct sockaddr_vm *out);

/* bind(2). -EINVAL: it is bound already; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES; -ENODEV: no
 * zvsockd. */
int di_bind(struct di *d, int fd, const struct sockaddr_vm *addr);

/*
 * connect(2). 0, or -EINPROGRESS with @nonblock. Waits for the answer up to @timeout_ms (0: the
 * socket's own timeout). -EINTR: a signal handler ran, and the attempt is withdrawn. -EISCONN,
 * -EALREADY, -ECONNRESET: refused, -ETIMEDOUT, -ENODEV, -ENETUNREACH ...
 */
int di_connect(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock,
	       unsigned timeout_ms);

/*
 * The same for a caller that can renew the socket. -ERESTART: a non-blocking connect(2) has failed
 * before, and nothing was done: call di_renew(), then try again. -ENOTSOCK: @fd does not stand for
 * an AF_VSOCK socket.
 */
int di_connect_or_renew(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock);

/*
 * Replaces a socket whose non-blocking connect(2) has failed, after that was reported: AF_UNIX
 * connects a socket only once. Returns a descriptor (close-on-exec) of a new socket with the
 * options of the old one, which the caller puts under the number of @fd, so that the next
 * connect(2) is possible. -EALREADY: there is no such failure, or the program has bound the socket,
 * and its port cannot be moved.
 */
int di_renew(int fd);

/*
 * Call after accept(2) on @listener (-1: not known) has returned @fd. 0: it is marked, and has
 * inherited the listener's options that AF_VSOCK inherits (SO_VM_SOCKETS_*). -ECONNABORTED: it is
 * not a connection of zvsock (anybody can connect to a name that /proc/net/unix shows): close it
 * and accept the next one.
 */
int di_accepted(struct di *d, int listener, int fd);

/* What accept(2) of a non-blocking listener closes of others' connections before it fails with
 * ECONNABORTED: somebody who connects again and again must not keep its caller from going on. */
#define DI_STRANGERS_MAX 64u

/* getsockname(2) and getpeername(2); either may be NULL. A socket that is not bound has ANY as port
 * and CID. -ENOTCONN for @remote: not connected, or not yet. */
int di_names(struct di *d, int fd, struct sockaddr_vm *local, struct sockaddr_vm *remote);

/* shutdown(2). After SHUT_RD zvsockd is told, and with it the peer. -EINVAL: @how; -ENOTCONN: not
 * connected, or not yet. */
int di_shutdown(struct di *d, int fd, int how);

/* Result of connect(2). 0: it is connected, or connect(2) was never called; -EINPROGRESS: not
 * decided yet; -errno: it failed. Does not clear SO_ERROR. */
int di_connect_state(struct di *d, int fd);

/* The value of SO_ERROR, if the kernel's value is @kernel_err: an errno, or 0. */
int di_error(struct di *d, int fd, int kernel_err);

/* ---- datagrams ----------------------------------------------------------------------------- */

#define DI_DGRAM_MAX 65536u /* maximum payload in bytes */

/*
 * sendmsg(2) of a datagram socket to @to: sends m->msg_iov; the rest of *m is ignored. Returns
 * bytes; -EOPNOTSUPP: the guest has no datagrams; -ENODEV: there is no such guest, or no zvsockd;
 * -EMSGSIZE, -EAGAIN, -EINTR ... Binds the socket if it is not bound.
 */
long di_sendto(struct di *d, int fd, const struct msghdr *m, int flags,
	       const struct sockaddr_vm *to);

/* The sender of a message that recvmsg(2) of AF_UNIX received from the name @un of @len bytes.
 * False: unknown (it was not a datagram of zvsockd). */
bool di_sender(const void *un, socklen_t len, struct sockaddr_vm *from);

/* ---- options ------------------------------------------------------------------------------- */

/*
 * getsockopt(2) and setsockopt(2) where AF_VSOCK differs from AF_UNIX: all of level AF_VSOCK;
 * SO_DOMAIN and SO_ERROR of SOL_SOCKET. 1: the caller must make the kernel's call instead. The
 * supervisor passes copies.
 */
int di_getsockopt(struct di *d, int fd, int level, int name, void *val, socklen_t *len);
int di_setsockopt(struct di *d, int fd, int level, int name, const void *val, socklen_t len);

/* IOCTL_VM_SOCKETS_GET_LOCAL_CID: the CID in *cid. -ENODEV: no zvsockd is there. */
int di_local_cid(struct di *d, uint32_t *cid);

#endif
