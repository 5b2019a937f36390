/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AF_VSOCK programs on this machine: the drop-in directories, as seen by the main thread.
 */
#ifndef ZVD_ENDPOINT_AF_VSOCK_H
#define ZVD_ENDPOINT_AF_VSOCK_H

#include "core/guest.h"

#include <stdbool.h>
#include <stdint.h>

/* Has the directory of [daemon] in @c, which applications share, whether a guest uses it or not;
 * @lc becomes its home if it is new. 0; -ENOMEM: @why, GUEST_WHY_MAX bytes, says what has failed.
 */
int av_space_of_apps(const struct cfg *c, struct lcore *lc, char *why);
/* After a reload: applies changed permissions, and ends directories that are not in @c. */
void av_spaces_reload(const struct cfg *c);
/* The drop-in directory in which a program has bound @port for guests, for datagrams or for
 * connections; the string is valid as long as the directory. NULL: no program has. @uid: of the
 * application that wants to listen. */
const char *av_spaces_port(uint32_t port, bool dgram, uid_t uid);
/* Ends all directories, after all guests have ended. */
void av_spaces_end(void);

#endif
