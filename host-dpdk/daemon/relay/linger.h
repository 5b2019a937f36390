/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing a TCP socket whose peer must still receive everything that was sent.
 *
 * Theory of operation
 * -------------------
 * close(2) of a TCP socket sends RST if there are unread bytes or if more arrive afterwards, and
 * then the kernel drops what the peer has not read yet: the last bytes that a guest sent before it
 * closed. Neither vsock nor Unix sockets do this. So the socket is shut down for writing (FIN) and
 * kept open, and what arrives is read and discarded, until the peer closes too, the connection
 * fails, or LINGER_NS have passed: a program that never closes must not keep a descriptor forever.
 */
#ifndef ZVD_LINGER_H
#define ZVD_LINGER_H

#include "core/owner.h"

struct sndbuf_promise;

/* Takes over the connected TCP socket @fd, which counts as a descriptor of @gq's guest until it is
 * closed, and so does what is @promised to its buffer (sndbuf_close()). Without memory it is closed
 * at once. Lcore of @gq only. */
void linger_start(struct guest_queue *gq, int fd, const struct sndbuf_promise *promised);

#endif
