/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor that goes with data over a Unix socket (SCM_RIGHTS). */
#ifndef ZV_FD_SEND_H
#define ZV_FD_SEND_H

#include <stddef.h>
#include <sys/types.h>

/*
 * As send(2), without waiting and without SIGPIPE: bytes, or -1 with errno. @fd (-1: none) goes
 * with the first byte and stays open here. ETOOMANYREFS: too many of this user's are on their way.
 *
 * If @fd is the only descriptor of its file, the receiver may leave the last one to us, in epoll
 * sets that it keeps locked: then close it elsewhere (fd_closer.h).
 */
ssize_t fd_send(int to, const void *data, size_t len, int fd);

#endif
