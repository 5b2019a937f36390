/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's descriptors, as its limit (RLIMIT_NOFILE) has them.
 *
 * A connection to a host program takes one, and host programs and guests decide how many there are.
 * So a part of the limit is reserved for what must go on whatever they do: VMMs that attach, the
 * control socket, a reload. Without it a VMM could not attach as long as connections hold all of
 * them. The reserve is what the guests of the configuration may need in all, however many of them
 * are attached; connections of all guests share the rest.
 */
#ifndef ZVD_FDS_H
#define ZVD_FDS_H

#include "config/config.h"

/*
 * Main thread: reserves what @c needs, and @others. One warning when that leaves little for
 * connections. May be called again; what is held stays.
 */
void fds_plan(const struct cfg *c, unsigned others);

/* Any thread: one more for a connection. False: they hold all that they may. */
bool fds_get(void);
void fds_put(void);

/* What connections may hold in all. */
uint32_t fds_max(void);

#endif
