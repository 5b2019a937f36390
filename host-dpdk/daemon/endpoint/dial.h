/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's connection to an address of the host: what the endpoint types tcp and vsock share.
 *
 * The connection is made without waiting: connect(2), a poll for POLLOUT, SO_ERROR; then the guest
 * gets its RESPONSE, and the relay begins. The socket layer's time for an answer bounds the wait.
 *
 * Only STREAM is carried. TCP has no messages. Linux' AF_VSOCK has, but not for who must not wait:
 * a send of a message that finds less room than it needs leaves its first part behind and says
 * EAGAIN, and there is no word for how much that was, so that a reader that is slow for once would
 * get messages put together from pieces. And Debian 12's kernel does not let one look at a message
 * (MSG_PEEK), without which one that the guest has no room for would have to be kept.
 */
#ifndef ZVD_DIAL_H
#define ZVD_DIAL_H

#include "core/owner.h"

#include <sys/socket.h>

/* Connects @conn, of @kind, to @addr. As endpoint_ops.serve, but never 0. */
int dial(struct guest_queue *gq, struct zv_conn *conn, const struct conn_kind *kind,
	 const struct zv_conn_info *info, const struct sockaddr *addr, socklen_t addr_len);

#endif
