/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Standard error, without waiting for whoever reads it.
 *
 * Any thread may log, lcores among them, and a reader that has stopped must stop none of them: what
 * a pipe, terminal or socket does not take at once is lost, and log.c says how much. O_NONBLOCK on
 * standard error itself would be seen by everybody who shares it (it is a flag of the open file),
 * so a pipe or terminal is opened once more, by way of /proc/self/fd. A socket cannot be; there
 * each send(2) says MSG_DONTWAIT. Where neither is to be had, poll(2) is asked before each write:
 * then another writer can still get in between.
 */
#ifndef ZVD_LOG_OUT_H
#define ZVD_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>

/* Finds out what standard error is. To be called again when it has been redirected; not while
 * others write. */
void log_out_open(void);

/* Writes @n bytes, one line. False: it is lost, or the rest of it. Any thread. */
bool log_out(const char *line, size_t n);

#endif
