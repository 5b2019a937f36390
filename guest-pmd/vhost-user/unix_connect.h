/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connecting to a Unix socket, and waiting on it, until a time limit or until another descriptor
 * becomes readable.
 */
#ifndef ZV_UNIX_CONNECT_H
#define ZV_UNIX_CONNECT_H

#include <stdint.h>

/* CLOCK_MONOTONIC in milliseconds. */
int64_t unix_now_ms(void);

/*
 * Waits for @events on @fd (-1: just lets time pass) until @deadline of unix_now_ms(). 0,
 * -ETIMEDOUT, or -ECANCELED with zv_err() text: @cancel_fd (-1: none) is readable. Handled signals
 * do not end the wait.
 */
int unix_wait(int fd, short events, int cancel_fd, int64_t deadline);

/*
 * Returns a non-blocking socket of @type connected to @path, which fits into sun_path. @who names
 * the listener in messages. Or -errno of connect(2) with zv_err() text; -ETIMEDOUT: its backlog was
 * full for @timeout_ms; -ECANCELED.
 */
int unix_connect(const char *path, int type, const char *who, int cancel_fd, int timeout_ms);

#endif
