/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the process's descriptor limit (RLIMIT_NOFILE) is divided.
 *
 * A connection to a host program takes one descriptor, and host programs and guests decide how many
 * connections there are. So a part of the limit is reserved for what must always work: attaching
 * VMMs, the control socket, a reload. Otherwise a VMM could not attach while connections hold all
 * descriptors. The reserve is what all configured guests together may need, however many of them
 * are attached; the connections of all guests share the rest. A guest takes no more of it than it
 * leaves for others, unless there are none.
 *
 * On kernels before Linux 6.16 local programs can also send descriptors (passed.h). Those received
 * count as descriptors of connections until they are closed; room is reserved for what the reads in
 * progress may receive.
 */
#ifndef ZVD_FDS_H
#define ZVD_FDS_H

#include "config/config.h"

/* Reserves what @c needs, and @others. Logs one warning if that leaves little for connections. May
 * be called again; descriptors in use are not affected. Main thread. */
void fds_plan(const struct cfg *c, unsigned others);

/* Takes one for a connection. False: connections hold all that they may. Any thread. */
bool fds_get(void);
void fds_put(void);
/* True: there is room for one more at this moment. */
bool fds_available(void);

/* True: a guest may hold @own with the next one. Guests that ask at the same moment may each get
 * one more than that. Any thread. */
bool fds_has_share(uint32_t own);

/* Counts @n existing descriptors, whether there is room for them or not. */
void fds_take(uint32_t n);

/* Number of reads that an lcore may have in progress that receive all descriptors of a message; 0:
 * none. Also 0 while connections hold all that they may. */
uint32_t fds_passed_reads(void);

/* Maximum that connections may hold in all. */
uint32_t fds_max(void);

#endif
