/* SPDX-License-Identifier: BSD-3-Clause */
/* AF_VSOCK programs of this machine: the drop-in directories, as the main thread sees them. */
#ifndef ZVD_ENDPOINT_AF_VSOCK_H
#define ZVD_ENDPOINT_AF_VSOCK_H

#include "config/config.h"

#include <stdint.h>

/* After a reload: rights that have changed; directories that @c does not have any more end. */
void av_spaces_reload(const struct cfg *c);
/*
 * A program has bound @port towards guests: the directory that it did so by, which lives as long as
 * that does; NULL: none has.
 */
const char *av_spaces_port(uint32_t port);
/* The end, after that of all guests. */
void av_spaces_end(void);

#endif
