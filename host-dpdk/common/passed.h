/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors that a local program sends beside its data (SCM_RIGHTS) to somebody who wants none.
 *
 * Theory of operation
 * -------------------
 * Whoever reads such data closes the descriptors: the kernel does it for him, before the read
 * returns, when he has given it no room for them. So does whoever closes a socket in which some
 * wait. A close may take as long as their sender likes (a TCP socket with SO_LINGER, a file of
 * FUSE), and some threads must not wait.
 *
 * From Linux 6.16 on, a socket can refuse them (passed_refuse), and nothing else is needed. On
 * older kernels there are two ways to read. The quick one gives the kernel room for as many as a
 * message can have, and those that come are put into a bin (fd_bin.h); they take places in the
 * table of descriptors meanwhile, and when that is full, the kernel closes the rest after all. So
 * the caller limits how many such reads are under way. The safe one looks first (MSG_PEEK): a look
 * without room says that there are descriptors (MSG_CTRUNC), and takes none. It copies everything
 * twice.
 *
 * A socket is closed at once when nothing can be in it, and otherwise in a bin.
 *
 * A byte out of band is skipped by reads, and its descriptors are closed then. passed_refuse() has
 * such bytes treated as all others (SO_OOBINLINE).
 */
#ifndef ZV_PASSED_H
#define ZV_PASSED_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#define PASSED_MAX 253u /* SCM_MAX_FD of the kernel: of one message */

/* Room for all descriptors of a message. */
struct passed_room {
	union {
		char bytes[CMSG_SPACE(PASSED_MAX * sizeof(int))];
		struct cmsghdr align;
	} u;
};

/*
 * Nobody can send descriptors to the AF_UNIX socket @fd any more, nor to those that are accepted
 * from it. False: the kernel has no such thing.
 */
bool passed_refuse(int fd);

/* On kernels that cannot refuse: makes @fd, a connected socket, one that the calls below are for.
 */
void passed_expect(int fd);

/* Before a recvmsg with MSG_CMSG_CLOEXEC: gives it @room. */
void passed_room_give(struct msghdr *m, struct passed_room *room);
/* After it: the descriptors that have come into fd[PASSED_MAX]. Returns their number. */
unsigned passed_take(struct msghdr *m, int *fd);

/*
 * Looks what a recvmsg(2) of @m would get (MSG_PEEK), without waiting. As recvmsg; -1 with EPERM:
 * there are descriptors, and they stay where they are. @flags: MSG_TRUNC.
 */
ssize_t passed_look(int fd, struct msghdr *m, int flags);

/* The safe way to read from a stream, without waiting: as recvmsg(2), or as passed_look(). Of
 * m->msg_iov nothing is left afterwards. */
ssize_t passed_read(int fd, struct msghdr *m);

/*
 * True: descriptors may wait in the socket @fd, of a stream or not, and it must not be closed here.
 * After false it can be closed: it is shut down for reading, and nothing comes any more.
 */
bool passed_waits(int fd, bool stream);

#endif
