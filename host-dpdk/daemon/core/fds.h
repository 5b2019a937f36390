/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the process's limit of descriptors (RLIMIT_NOFILE) is shared out.
 *
 * A connection to a host program takes one, and host programs and guests decide how many there are.
 * So a part of the limit is reserved for what must always work: VMMs that attach, the control
 * socket, a reload. Otherwise a VMM could not attach while connections hold all descriptors. The
 * reserve is what the guests of the configuration may need in all, however many of them are
 * attached; connections of all guests share the rest.
 *
 * On kernels before Linux 6.16 local programs can send descriptors as well (passed.h). Those that
 * have been received count among those of connections until they are closed; room is reserved for
 * what the reads under way may receive.
 */
#ifndef ZVD_FDS_H
#define ZVD_FDS_H

#include "config/config.h"

/*
 * Main thread: reserves what @c needs, and @others. One warning when that leaves little for
 * connections. May be called again; what is held stays.
 */
void fds_plan(const struct cfg *c, unsigned others);

/* Any thread: takes one for a connection. False: connections hold all that they may. */
bool fds_get(void);
void fds_put(void);
/* There is room for one more just now. */
bool fds_room(void);

/* Takes @n that are there already, whether there is room for them or not. */
void fds_take(uint32_t n);

/* How many reads an lcore may have under way that receive all descriptors of a message; 0: none,
 * and also none while connections hold all that they may. */
uint32_t fds_passed_reads(void);

/* What connections may hold in all. */
uint32_t fds_max(void);

#endif
