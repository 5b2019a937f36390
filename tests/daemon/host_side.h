/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host programs of a zvsockd that zvd_fixture.h has started, in the test's own thread: Unix sockets
 * in zf_dir. Whatever waits here polls the guests meanwhile.
 */
#ifndef HOST_SIDE_H
#define HOST_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Listens on zf_dir/<name>; -1: failed. */
int hs_listen(const char *name, int type);
/* Takes a TCP port of the loopback interface, which *port gets, and on which nobody listens. -1:
 * failed. */
int hs_bind_tcp(uint16_t *port);
/* Listens on one. */
int hs_listen_tcp(uint16_t *port);
/* Takes the next client of @listener. */
int hs_accept(int listener);
/* Connects to the stream socket zf_dir/<name> and sends @line (may be NULL). -1: failed. */
int hs_connect(const char *name, const char *line);
/* Reads "OK <port>\n" and not a byte more. */
bool hs_expect_ok(int fd);
/* Receives @len bytes (a stream) or one message; fewer: end of file; -1: error. */
ssize_t hs_recv(int fd, void *data, size_t len);
/* There is something to read. False: not within a long time. */
bool hs_readable(int fd);

/* An endpoint counter of @guest, from the control socket; -1: no such. */
long hs_counter(const char *guest, const char *name);
/* Waits until it is @n. False: not within a long time; stderr has what it is. */
bool hs_counter_becomes(const char *guest, const char *name, long n);

/* Waits until the daemon's first lcore does not spin, but sleeps between what it has to do; @guest:
 * any. */
bool hs_lcore_sleeps(const char *guest);

/* At least @n descriptors for this process and the daemon that it starts. */
bool hs_raise_fd_limit(unsigned n);

#endif
