/* SPDX-License-Identifier: BSD-3-Clause */
/* Echo over zvsock: the server's role and the client's loop. */
#ifndef BENCH_ZV_ECHO_H
#define BENCH_ZV_ECHO_H

#include "zv_side.h"

/* Server: sends back what arrives. */
extern const struct zv_role role_echo;

/*
 * Sends @len bytes of a message in the connection's way of calling: @src, or where that is NULL the
 * pattern of the message that is due. Waits for room. 0 or -errno.
 */
int echo_send(struct worker *w, struct bconn *bc, const unsigned char *src, uint32_t len,
	      uint32_t eom);

#endif
