/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closes descriptors received from a peer in another thread. close() takes as long as whoever made
 * the descriptor likes: a TCP socket with SO_LINGER waits for its data to be sent, a FUSE file for
 * its server, a Unix socket closes the descriptors queued in it, an eventfd is taken out of all
 * epoll sets, and the last descriptor of a memory file frees that memory. So a thread of the
 * fd_closer closes them one after another, while there are any. There is one for each peer, so none
 * waits for another's.
 *
 * If no thread can be made (limit of the user or of the cgroup), the descriptors stay open and
 * count on, and whoever sends them gets no more of them taken. A thread is tried again with what is
 * closed later, by any fd_closer, and by fd_closer_retry(); and a thread that has nothing left to
 * close takes over from those that have none.
 */
#ifndef ZV_FD_CLOSER_H
#define ZV_FD_CLOSER_H

struct charge;
struct fd_closer;

/* @closed, if not NULL, is called after each close, on any thread. NULL: no memory. */
struct fd_closer *fd_closer_new(void (*closed)(void));
/* The descriptors in it are still closed; nobody waits for that. NULL is allowed. */
void fd_closer_free(struct fd_closer *b);
/* Takes over @fd. It is closed at once if that cannot take long (a small file on tmpfs or
 * hugetlbfs), or if there is no memory to note its number. */
void fd_closer_put(struct fd_closer *b, int fd);
/* The same for @n descriptors, without checking their type. */
void fd_closer_put_all(struct fd_closer *b, const int *fd, unsigned n);
/* Number of descriptors waiting to be closed, or being closed. */
unsigned fd_closer_count(const struct fd_closer *b);
/* What is put is charged to @c (charge.h), also after fd_closer_free(). Once, before the first put.
 */
void fd_closer_charge(struct fd_closer *b, struct charge *c);
/* Tries to make a thread for an fd_closer that has none; at most every 10 ms. Called now and then
 * by a thread that goes round anyway. Any thread; cheap if none waits. */
void fd_closer_retry(void);

#endif
