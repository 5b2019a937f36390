/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Parser of the first line of a hybrid vsock client, "CONNECT <port>\n": a pure function.
 */
#ifndef ZVD_CONNECT_LINE_H
#define ZVD_CONNECT_LINE_H

#include <stddef.h>
#include <stdint.h>

#define CONNECT_LINE_MAX 32u /* bytes, with the newline; same as Firecracker */

/*
 * Parses the first @len bytes that a client has sent. Returns the length of the line, including its
 * newline, and sets *port; 0: the line is not complete; -EINVAL: it is not a valid line, whatever
 * follows. The word may be in any case. White space may precede it and surround the port, as in
 * Firecracker and vhost-device-vsock, which split the line at white space. A further word is
 * refused.
 */
int connect_line_parse(const char *data, size_t len, uint32_t *port);

#endif
