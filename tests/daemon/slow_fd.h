/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor that takes an hour to close: a TCP socket with SO_LINGER, and data that nobody
 * reads. */
#ifndef SLOW_FD_H
#define SLOW_FD_H

/* *end: closing it cuts that short. */
int slow_fd(int *end);
/*
 * Closes @fd, which has been sent to somebody, who should be the last to close it. If it was closed
 * there, or lost, already, a thread is left that waits for *end.
 */
void slow_close(int fd);

#endif
