/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guest's connection to an address of the host: shared by the endpoint types tcp and vsock.
 *
 * The connection is made without waiting: connect(2), a poll for POLLOUT, SO_ERROR; then the guest
 * gets its RESPONSE, and the relay begins. The answer timeout of the socket layer bounds the wait.
 *
 * Only STREAM is supported. TCP has no messages. AF_VSOCK of Linux has them, but they cannot be
 * used without blocking: sending a message that is larger than the available room leaves its first
 * part in the queue and returns EAGAIN without saying how much that was, so with a reader that is
 * slow once, messages would be assembled from pieces. Also, Debian 12's kernel cannot peek at a
 * message (MSG_PEEK), so a message for which the guest has no room would have to be stored.
 */
#ifndef ZVD_DIAL_H
#define ZVD_DIAL_H

#include "core/owner.h"

#include <sys/socket.h>

/* Connects @conn, of @kind, to @addr. As endpoint_ops.serve, but never 0. */
int dial(struct guest_queue *gq, struct zv_conn *conn, const struct conn_kind *kind,
	 const struct zv_conn_info *info, const struct sockaddr *addr, socklen_t addr_len);

#endif
