/* SPDX-License-Identifier: BSD-3-Clause */
/* The first line of a hybrid vsock client, "CONNECT <port>\n": a pure function. */
#ifndef ZVD_CONNECT_LINE_H
#define ZVD_CONNECT_LINE_H

#include <stddef.h>
#include <stdint.h>

#define CONNECT_LINE_MAX 32u /* bytes, with the newline: as Firecracker has it */

/*
 * Looks at the first @len bytes that a client has sent. Returns the length of the line, its newline
 * included, and *port; 0 when the line is not whole yet; or -EINVAL: it is not such a line,
 * whatever follows. The word may be in any case; white space may stand before it and around the
 * port, as Firecracker and vhost-device-vsock, which split the line at it, allow. A further word is
 * refused.
 */
int connect_line_parse(const char *data, size_t len, uint32_t *port);

#endif
