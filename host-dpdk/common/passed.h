/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that a local program sends with its data (SCM_RIGHTS) to a receiver that wants none.
 *
 * Theory of operation
 * -------------------
 * Whoever reads such data closes the descriptors: the kernel does it, before the read returns, if
 * the reader has given no room for them. Closing a socket in which some are queued does the same. A
 * close may take as long as the sender likes (a TCP socket with SO_LINGER, a FUSE file), and some
 * threads must not wait for that.
 *
 * Since Linux 6.16 a socket can refuse descriptors (passed_refuse), and nothing else is needed. On
 * older kernels there are two ways to read. The quick one gives the kernel room for the maximum of
 * a message, and puts the descriptors received into an fd_closer (fd_closer.h). They take places in
 * the descriptor table meanwhile, and if that is full, the kernel closes the rest after all; so the
 * caller limits the number of such reads in progress. The safe one looks first (MSG_PEEK): a look
 * without room reports that there are descriptors (MSG_CTRUNC) and receives none. It copies
 * everything twice.
 *
 * A socket is closed at once if nothing can be queued in it, and by an fd_closer otherwise.
 *
 * Reads skip an out-of-band byte, and its descriptors are closed then. passed_expect() has such
 * bytes treated like all others (SO_OOBINLINE).
 */
#ifndef ZV_PASSED_H
#define ZV_PASSED_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#define PASSED_MAX 253u /* SCM_MAX_FD of the kernel, per message */

/* Room for all descriptors of a message. */
struct passed_cmsg {
	union {
		char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
		struct cmsghdr align;
	} u;
};

/* From now on nobody can send descriptors to the AF_UNIX socket @fd, or to sockets accepted from
 * it. False: the kernel does not support that. */
bool passed_refuse(int fd);

/* On kernels that cannot refuse: prepares @fd, a connected socket, for the calls below. */
void passed_expect(int fd);

/* Call before a recvmsg with MSG_CMSG_CLOEXEC: gives it @cmsg. */
void passed_cmsg_attach(struct msghdr *m, struct passed_cmsg *cmsg);
/* Call after it: copies the received descriptors to fd[PASSED_MAX]. Returns their number. */
unsigned passed_take(struct msghdr *m, int *fd);

/* Peeks at what a recvmsg(2) of @m would return (MSG_PEEK), without waiting. As recvmsg; -1 with
 * EPERM: there are descriptors, and they stay queued. @flags: MSG_TRUNC. */
ssize_t passed_peek(int fd, struct msghdr *m, int flags);

/* The safe way to read from a stream, without waiting: as recvmsg(2), or as passed_peek().
 * m->msg_iov is consumed. */
ssize_t passed_read(int fd, struct msghdr *m);

/*
 * True: descriptors may be queued in the socket @fd, and it must not be closed here. False: it can
 * be closed; it has been shut down for reading, so nothing more arrives. @stream: it is
 * SOCK_STREAM, and nobody else has it, who could have read an out-of-band byte: then less is asked
 * of the kernel.
 */
bool passed_waits(int fd, bool stream);

/* The kernel says that no descriptors are queued in the AF_UNIX socket @fd. */
bool passed_none(int fd);

#endif
