/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket from a client that does what it likes. */
#ifndef RAW_CLIENT_H
#define RAW_CLIENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RAW_PATIENCE_MS 60000 /* for what must come; a test fails after it */

/* A connection to @path, or -1. */
int raw_connect(const char *path);

/* Sends bytes, and @n descriptors with them. True if all went out. */
bool raw_send(int fd, const void *data, size_t len, const int *pass, size_t n);

/* Sends a string. */
bool raw_send_line(int fd, const char *text);

/* recvmsg(2) with @flags: up to @size bytes, whose number is in *n (-1: an error). Returns the
 * descriptor that comes with them; -1: none. */
int raw_take(int fd, void *data, size_t size, int flags, ssize_t *n);

/* The next line as JSON (json_null() for one that is none), NULL at the end of the stream. */
json_t *raw_line(int fd);

/* raw_send_line and raw_line. */
json_t *raw_ask(int fd, const char *text);

/* True when the other side closes within the patience; what it says before is dropped. */
bool raw_closed(int fd);

/* Waits until @true_now(@arg); false after the patience. */
bool raw_wait(bool (*true_now)(void *arg), void *arg);

/* Open descriptors of this process. */
unsigned raw_count_fds(void);
/* Waits until no more are open: who serves closes its ends a little later than we ours, in threads
 * that outlive it. */
bool raw_fds_at_most(unsigned n);

#endif
