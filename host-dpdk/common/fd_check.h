/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Type checks of a descriptor received from a peer, before it is used.
 */
#ifndef ZV_FD_CHECK_H
#define ZV_FD_CHECK_H

#include <stdbool.h>

/* The kernel is asked for the type, never by trying an operation: a read of something that only
 * looks like an eventfd may block for as long as whoever made it likes. */
bool fd_is_eventfd(int fd);
bool fd_is_epoll(int fd);
/* A non-listening AF_UNIX SOCK_STREAM socket; it need not be connected. */
bool fd_is_unix_stream(int fd);
/*
 * Makes @fd, which fd_is_unix_stream(), write-only. False: it is not connected, nobody reads at the
 * other end, or data is queued in it. After true it is shut down for reading, so nothing can be
 * queued there later: descriptors in it would be closed with it, which may take as long as their
 * maker likes.
 */
bool fd_write_only(int fd);

/* close() of it is quick: a file on tmpfs or hugetlbfs of at most 4 MiB. (Anything that can be in
 * an epoll set may be in 900,000, and the last close takes it out of all of them: half a second.)
 */
bool fd_is_harmless(int fd);

/*
 * NULL if @fd is a file that guest memory may be mapped from: on tmpfs (memfd, /dev/shm), hugetlbfs
 * or (@disk) a local disk file system, or a DAX device. Otherwise the reason why not: a page of a
 * file served by a program (FUSE, network file systems) may never arrive, one on a disk may take a
 * second during writeback, and whoever touches it waits.
 */
const char *fd_no_memory(int fd, bool disk);

#endif
