/* SPDX-License-Identifier: BSD-3-Clause */
/* A descriptor that takes an hour to close: a TCP socket with SO_LINGER, and data that nobody
 * reads. */
#ifndef SLOW_FD_H
#define SLOW_FD_H

/* *end: closing it cuts that short. */
int slow_fd(int *end);

#endif
