/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing a TCP socket whose peer must still receive everything that was sent.
 *
 * Theory of operation
 * -------------------
 * close(2) of a TCP socket sends RST when there are unread bytes, or when more come afterwards, and
 * then the kernel drops what the peer has not taken yet: the last bytes that a guest sent before it
 * closed. Neither vsock nor Unix sockets have that rule. So the socket ends its own direction (FIN)
 * and stays, reading and throwing away what comes, until the peer ends too, fails, or LINGER_NS
 * have passed: a program that never ends may not keep a descriptor for ever.
 */
#ifndef ZVD_LINGER_H
#define ZVD_LINGER_H

#include "core/owner.h"

/*
 * Takes over the connected TCP socket @fd, which counts among the descriptors of @gq's guest until
 * it is closed. Without memory it is closed at once. The lcore of @gq only.
 */
void linger_start(struct guest_queue *gq, int fd);

#endif
