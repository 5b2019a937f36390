/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of a peer that are closed elsewhere. close() takes as long as whoever made the
 * descriptor likes: a TCP socket with SO_LINGER waits for its data to go, a file of FUSE for its
 * server, a Unix socket closes the descriptors that wait in it, and the last one
 * of a file in memory frees that. So a thread of the bin closes
 * them one after another, while there are any. One bin for each peer: none waits for another's.
 */
#ifndef ZV_FD_BIN_H
#define ZV_FD_BIN_H

#include <stdbool.h>

struct fd_bin;

/* @closed, if it is not NULL, runs after each close, on any thread. NULL: no memory. */
struct fd_bin *fd_bin_new(void (*closed)(void));
/* What is in it is closed nevertheless; nobody waits for that. NULL is allowed. */
void fd_bin_free(struct fd_bin *b);
/*
 * Takes over @fd. At once: what cannot take long (an eventfd, a small file on tmpfs or hugetlbfs),
 * and all of it when there is no memory or no thread to be had.
 */
void fd_bin_put(struct fd_bin *b, int fd);
/* The same for @n of them, without a look at what they are. */
void fd_bin_put_all(struct fd_bin *b, const int *fd, unsigned n);
/* How many wait to be closed, or are being closed. */
unsigned fd_bin_count(const struct fd_bin *b);
/* All of them are closed. */
bool fd_bin_is_empty(struct fd_bin *b);

#endif
