/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Standard error, without waiting for its reader.
 *
 * Any thread may log, lcores among them, and a reader that has stopped must block none of them:
 * what a pipe, terminal or socket does not accept at once is lost, and log.c logs how much.
 * O_NONBLOCK on standard error itself would affect everybody who shares it (it is a flag of the
 * open file), so a pipe or terminal is opened again through /proc/self/fd. That is not possible for
 * a socket; there each send(2) uses MSG_DONTWAIT. If neither is possible, poll(2) is called before
 * each write; then another writer can still get in between.
 */
#ifndef ZVD_LOG_OUT_H
#define ZVD_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>

/* Finds out what standard error is. Call again after it has been redirected, but not while others
 * write. */
void log_out_open(void);

/* Writes @n bytes, one line. False: all or the rest of it is lost. Any thread. */
bool log_out(const char *line, size_t n);

#endif
