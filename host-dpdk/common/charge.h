/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What devices of local users leave behind: descriptors that a thread closes (fd_closer.h), and
 * memory that a thread unmaps (mem/unmapper.h). Either takes as long as the user likes, also after
 * the device has ended. So it is charged to the user until it is done.
 */
#ifndef ZV_CHARGE_H
#define ZV_CHARGE_H

#include <sys/types.h>

#define CHARGE_ALL ((uid_t)-1) /* no user, and all of them */

/* One device. NULL stands for a device of no user; the calls below allow it. */
struct charge;

/* With one reference, which is the device's. NULL: no memory. */
struct charge *charge_new(uid_t uid);
/* The device has ended: drops its reference. */
void charge_end(struct charge *c);
/* For each thread's work, as long as it may have any. */
struct charge *charge_get(struct charge *c);
void charge_put(struct charge *c);
/* Adds @n (which may be negative) to the descriptors to be closed, or to the mappings to be
 * unmapped. Any thread; does not wait. */
void charge_fds(struct charge *c, int n);
void charge_maps(struct charge *c, int n);

struct charged {
	unsigned left; /* devices that have ended, with work that is not done */
	unsigned fds;  /* of all devices, ended or not */
	unsigned maps;
};

/* What @uid (CHARGE_ALL: all users) has. */
struct charged charged_to(uid_t uid);

#endif
