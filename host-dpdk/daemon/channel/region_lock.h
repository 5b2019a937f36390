/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who has a guest's region mapped since before this zvsockd was started?
 *
 * Theory of operation
 * -------------------
 * An application may keep payload on loan when zvsockd ends, in a guest's region that the next
 * zvsockd knows nothing of: it would make channels there, over that payload. So each descriptor of
 * such a region that an application is given belongs to an open file of its own, with a shared lock
 * (F_OFD_SETLK) on one byte far behind the end of the file. The kernel drops the lock when the last
 * descriptor is closed and the last page unmapped, whatever ends the application.
 *
 * Which byte that is tells the processes of zvsockd apart: a new one finds the locks of those
 * before, and makes no channel in the region while there are any. (Not for each part of a region:
 * an application unmaps a region that it has nothing on loan in, as soon as it has noticed the end
 * of zvsockd.)
 *
 * The lock is on a file of the guest's VMM, which may forbid it, or that the file is opened anew:
 * then there is none, and a line in the log. Whoever may open the file can lock it, and so keep the
 * guest from having channels, as he could by writing into it.
 */
#ifndef ZVD_REGION_LOCK_H
#define ZVD_REGION_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Of this process. Not 0, and not the last one that there can be. */
uint32_t region_life(void);

/* A descriptor of the file behind @fd for an application, with the lock of the process @life; *err:
 * without, and why (-errno), or 0. -errno: no descriptor is left. */
int region_lock_fd(int fd, uint32_t life, int *err);

/* Somebody has one that a process other than @life has given away. */
bool region_locked_before(int fd, uint32_t life);

#endif
