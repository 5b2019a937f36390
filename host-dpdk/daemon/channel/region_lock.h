/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Detects whether somebody has a guest's region mapped from before this zvsockd was started.
 *
 * Theory of operation
 * -------------------
 * When zvsockd ends, an application may keep payload on loan in a guest's region. The next zvsockd
 * does not know of it and would create channels over that payload. So each descriptor of such a
 * region that is passed to an application belongs to an open file of its own, with a shared lock
 * (F_OFD_SETLK) on one byte far beyond the end of the file. The kernel drops the lock when the last
 * descriptor is closed and the last page unmapped, however the application ends.
 *
 * The number of the locked byte identifies the zvsockd process: a new process finds the locks of
 * former ones and creates no channel in the region while there are any. (There is no lock for each
 * part of a region, because an application unmaps a region in which it has nothing on loan as soon
 * as it notices the end of zvsockd.)
 *
 * The lock is on a file of the guest's VMM, which may prevent locking, or opening the file anew:
 * then there is no lock, and a message in the log. Whoever may open the file can lock it and so
 * keep the guest from having channels, but could do the same by writing to it.
 */
#ifndef ZVD_REGION_LOCK_H
#define ZVD_REGION_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/* The number of this process: never 0, nor the largest possible value. */
uint32_t region_instance(void);

/* Returns a descriptor of the file behind @fd for an application, with the lock of process @life.
 * *err: 0, or why there is no lock (-errno). Returns -errno if no descriptor is left. */
int region_lock_fd(int fd, uint32_t life, int *err);

/* True: somebody has a descriptor handed out by a process other than @life. */
bool region_locked_before(int fd, uint32_t life);

#endif
