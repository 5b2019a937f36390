/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_SOCK_CONNECT_H
#define ZV_SOCK_CONNECT_H

/*
 * Connects the Unix socket @fd to the one bound to @name in @dir (dir_open.h). Whoever may create
 * files there could plant a link to a socket that only this process may connect to (root's, another
 * VMM's, another guest's). So the name is looked up once, its target is checked, and the connection
 * goes to that target. 0 or -errno, without zv_err() text: -ELOOP (a symbolic link), -EMLINK (it
 * has a second name), -ENOTSOCK, -EXDEV (something is mounted there), or the errors of open(2) and
 * connect(2).
 */
int sock_connect_in(int fd, int dir, const char *name);
/* As sock_connect_in(), if the kernel finds the name without waiting for the directory; otherwise
 * -EINPROGRESS, and nothing has happened. */
int sock_connect_cached(int fd, int dir, const char *name);
/* As sock_connect_in(), to the one bound to @path. */
int sock_connect(int fd, const char *path);

/* Why sock_connect() has refused the path, and how to fix it; NULL: @err is another error. */
const char *sock_connect_refusal(int err);

#endif
