/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lines about single connections. At debug, what becomes of each: opened, half-closed, ended, with
 * both ports, where it leads, bytes and reason. Cost at any other level: a comparison.
 */
#ifndef ZVD_CONN_LOG_H
#define ZVD_CONN_LOG_H

#include "daemon.h"

#include <stddef.h>

/*
 * Where a connection leads on the host: "echo", "tcp:HOST:PORT", "vsock:PORT", "unix:PATH_PORT", or
 * the hybrid socket that it came from. @sibling: the name of the guest with the local CID, NULL:
 * its number is told.
 */
void conn_endpoint_text(const struct cfg_guest *c, const struct zv_conn_info *info,
			const char *sibling, char *buf, size_t len);

/* @what: "opened", "half-closed by the guest", "ended: reset by the guest". On the lcore of @gq. */
void conn_log(const struct guest_queue *gq, struct zv_conn *conn, const char *what);

#endif
