/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls (interrupts) to a guest: the descriptor of SET_VRING_CALL. */
#ifndef ZV_VHOST_CALL_H
#define ZV_VHOST_CALL_H

#include <stdbool.h>

struct call_watch;

struct vhost_call {
	int fd;			  /* ours; -1: the driver polls */
	struct call_watch *watch; /* of an eventfd; NULL: a socket */
};

/*
 * What a frontend gives as an eventfd may be anything. A write to a pipe that nobody reads would
 * raise SIGPIPE; to poll a file of the frontend's own file system, or an epoll set whose lock
 * somebody holds, may take as long as the frontend likes. So nothing else is taken, but for one
 * thing: User-mode Linux is called on one end of a pair of stream sockets, whose other end it reads
 * in words of 8 bytes, as it would read an eventfd. Such an end is taken when it can be made one to
 * write to (fd_write_only). What waits at the other end is bounded by us (VHOST_CALL_QUEUED), as
 * the frontend may set the socket's buffer to any size.
 */

/* Bytes of socket memory behind which no more words are sent: about 20 words wait then. */
#define VHOST_CALL_QUEUED 16384

/* *out: a dup of @fd; -1 for -1. 0; -errno, and -1: -EINVAL for what is no eventfd. */
int vhost_event_dup(int fd, int *out);
/*
 * *c: a dup of @fd, calls on which do not last (call_watch.h). 0; -errno, and no descriptor in *c:
 * -EINVAL for what is neither an eventfd nor such a socket.
 */
int vhost_call_dup(int fd, struct vhost_call *c);
void vhost_call_close(struct vhost_call *c);
/* Calls the guest. False: there is no descriptor, or it blocks. */
bool vhost_call_send(const struct vhost_call *c);
/* The frontend has made it one that blocks: the guest is not called on it any more. */
bool vhost_call_blocks(const struct vhost_call *c);

#endif
