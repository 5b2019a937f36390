/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK sockets that are AF_UNIX sockets: what the preloaded library and the supervisor do with
 * one. api/proto/dropin_msg.h has the theory; docs/drop-in.md lists the differences from the
 * kernel's vsock.
 *
 * Everything known about a socket is kept by the kernel in the socket itself, so it is found
 * through a duplicated, inherited or passed descriptor, after fork and exec, and by any process:
 *
 *   - its addresses, in its names (labels, api/proto/dropin_msg.h);
 *   - that it stands for an AF_VSOCK socket, whether connect(2) is in progress and how long that
 * may take, in its *mark*: the value of SO_MAX_PACING_RATE, which means nothing to AF_UNIX.
 *
 * (Only SO_VM_SOCKETS_BUFFER_* is remembered by the process, by SO_COOKIE.)
 *
 * A question to zvsockd opens DIR/ask, asks, and closes it: between calls there is no descriptor of
 * ours in the program that it could close, leak or count. So the calls need no lock, no memory, and
 * nothing at fork; they may be made by any thread, in a signal handler, and after fork or vfork.
 *
 * All calls return >= 0 or -errno, as the kernel's vsock does; errno is not changed, and no signal
 * is raised. @fd is any descriptor of the socket in this process: the supervisor gets it by
 * pidfd_getfd(2).
 */
#ifndef ZV_DROPIN_DI_H
#define ZV_DROPIN_DI_H

#include <sys/socket.h> /* first: linux/vm_sockets.h of some kernels needs it */

#include <linux/vm_sockets.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DI_DIR	       "/run/zvsock/af_vsock"
#define DI_DIR_MAX     97   /* bytes, the final 0 counted: what sockaddr_un has room for */
#define DI_TIMEOUT_MS  2000 /* of connect(2), unless SO_VM_SOCKETS_CONNECT_TIMEOUT says more */
#define DI_PATIENCE_MS 5000 /* for an answer that zvsockd gives at once: a stopped one is none */

struct di {
	char dir[DI_DIR_MAX]; /* "": it is too long, nothing is there */
	/* One line about a question that failed, without a final newline. NULL: nobody is told. */
	void (*say)(const char *line);
	/*
	 * The user of the zvsockd that answered last, as it was when DIR/ask was made, and as
	 * that zvsockd says that it is since. -1: none has answered.
	 */
	_Atomic int64_t owner, user;
	/* The CID that it has said to be this machine's; -1: none has. */
	_Atomic int64_t cid;
	/* Who uses this sees all calls that a datagram's address takes (di_dgram.c). */
	bool dgrams;
};

/* Where zvsockd's sockets are: @dir, or DI_DIR when it is NULL or "". Asks nothing yet. */
void di_init(struct di *d, const char *dir);

/* ---- sockets ------------------------------------------------------------------------------- */

/*
 * socket(2): @type with SOCK_NONBLOCK and SOCK_CLOEXEC in it. Returns the descriptor.
 * -EAFNOSUPPORT: no zvsockd is there; -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, -EMFILE ...
 * -EOPNOTSUPP: SOCK_DGRAM without di.dgrams.
 */
int di_socket(struct di *d, int type, int protocol);

/* 1: @fd stands for an AF_VSOCK socket; 0: it is something else; -EBADF. */
int di_is(int fd);

/* The type of the AF_VSOCK socket that @fd stands for; 0: it is something else. */
int di_type(int fd);

/*
 * The address that a program gave, copied to *out. -EFAULT: too short; -EAFNOSUPPORT; -EINVAL: its
 * flags. @addr must be readable: the supervisor has copied it.
 */
int di_address(const void *addr, socklen_t len, struct sockaddr_vm *out);

/* bind(2). -EINVAL: it is bound; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES; -ENODEV: no zvsockd. */
int di_bind(struct di *d, int fd, const struct sockaddr_vm *addr);

/*
 * connect(2). 0, or -EINPROGRESS with @nonblock. @timeout_ms: 0 is the socket's own. Waits for the
 * answer until that; -EINTR: a signal handler ran, and the attempt is withdrawn. -EISCONN,
 * -EALREADY, -ECONNRESET: refused, -ETIMEDOUT, -ENODEV, -ENETUNREACH ...
 */
int di_connect(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock,
	       unsigned timeout_ms);

/*
 * The same for a caller that renews: -ERESTART: a non-blocking connect(2) has failed, and nothing
 * is done: di_renew(), and again. -ENOTSOCK: @fd stands for no AF_VSOCK socket.
 */
int di_connect_or_renew(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock);

/*
 * A non-blocking connect(2) on @fd has failed, and that was told: AF_UNIX connects a socket once.
 * Returns a descriptor (close-on-exec) of a new socket with the options of the old, for the caller
 * to put under the number of @fd, so that the next connect(2) can be made. -EALREADY: there is no
 * such failure, or the program has bound the socket, and its port cannot be moved.
 */
int di_renew(int fd);

/*
 * After accept(2) on @listener (-1: not known) returned @fd: 0, it is marked, and has of the
 * listener's options those that AF_VSOCK inherits (SO_VM_SOCKETS_*). -ECONNABORTED: it is no
 * connection of zvsock (anybody can connect to a name that /proc/net/unix shows): close it and
 * accept the next one.
 */
int di_accepted(struct di *d, int listener, int fd);

/*
 * getsockname(2) and getpeername(2); either may be NULL. A socket that is not bound has ANY as
 * port and CID. -ENOTCONN for @remote: it is not connected, or not yet.
 */
int di_names(struct di *d, int fd, struct sockaddr_vm *local, struct sockaddr_vm *remote);

/* shutdown(2) may go on to the kernel's: 0. -ENOTCONN: not connected, or not yet. */
int di_may_shutdown(struct di *d, int fd);

/*
 * How connect(2) went: 0: it is connected, or connect(2) was never called, -EINPROGRESS: not
 * decided yet, -errno: it failed. Does not take SO_ERROR.
 */
int di_connect_state(struct di *d, int fd);

/* What SO_ERROR says, where the kernel's has said @said: an errno, or 0. */
int di_error(struct di *d, int fd, int said);

/* ---- datagrams ----------------------------------------------------------------------------- */

#define DI_DGRAM_MAX 65536u /* bytes of payload, at most */

/*
 * sendmsg(2) of a datagram socket to @to: what m->msg_iov has; the rest of *m is not looked at.
 * Bytes; -EOPNOTSUPP: the guest has no datagrams; -ENODEV: there is no such guest, or no zvsockd;
 * -EMSGSIZE, -EAGAIN, -EINTR ... Binds the socket if it is not yet.
 */
long di_sendto(struct di *d, int fd, const struct msghdr *m, int flags,
	       const struct sockaddr_vm *to);

/*
 * Who has sent what recvmsg(2) of AF_UNIX says came from the name @un, of @len bytes. False: it
 * does not say (it was not a datagram of zvsockd's).
 */
bool di_sender(const void *un, socklen_t len, struct sockaddr_vm *from);

/* ---- options ------------------------------------------------------------------------------- */

/*
 * getsockopt(2) and setsockopt(2), where AF_VSOCK is not what AF_UNIX is: all of level AF_VSOCK;
 * SO_DOMAIN and SO_ERROR of SOL_SOCKET. 1: the kernel's answer is the right one (ask it).
 * The supervisor passes copies.
 */
int di_getsockopt(struct di *d, int fd, int level, int name, void *val, socklen_t *len);
int di_setsockopt(struct di *d, int fd, int level, int name, const void *val, socklen_t len);

/* IOCTL_VM_SOCKETS_GET_LOCAL_CID. -ENODEV: no zvsockd is there. The CID is in *cid. */
int di_local_cid(struct di *d, uint32_t *cid);

#endif
