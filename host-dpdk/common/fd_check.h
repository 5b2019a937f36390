/* SPDX-License-Identifier: BSD-3-Clause */
/* What a descriptor that a peer has handed over is, before it is used. */
#ifndef ZV_FD_CHECK_H
#define ZV_FD_CHECK_H

#include <stdbool.h>

/*
 * What an open descriptor is, asked of the kernel, never tried out: a read of something that only
 * looks like an eventfd may block for as long as whoever made it likes.
 */
bool fd_is_eventfd(int fd);
bool fd_is_epoll(int fd);
/* An AF_UNIX socket of the kind SOCK_STREAM that does not listen; it need not be connected. */
bool fd_is_unix_stream(int fd);
/*
 * Makes @fd, which fd_is_unix_stream(), one to write to. False: it is not connected, nobody reads
 * there, or something waits to be read from it. After true it is shut down for reading, so that
 * nothing can be put there later: descriptors in it would be closed with it, which may take as long
 * as their maker likes.
 */
bool fd_write_only(int fd);

/* close() of it ends soon: an eventfd, or a file on tmpfs or hugetlbfs that has 4 MiB at most. */
bool fd_is_harmless(int fd);

/*
 * NULL when @fd is a file that guest memory may be mapped from: on tmpfs (memfd, /dev/shm),
 * hugetlbfs or (@disk) a local disk file system, or a DAX device. Else why it may not: a page of a
 * file that some program serves (FUSE, network file systems) may never come, one on a disk may take
 * a second while somebody writes the file back, and whoever touches it waits.
 */
const char *fd_no_memory(int fd, bool disk);

#endif
