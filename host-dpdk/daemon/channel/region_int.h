/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by region.c (life cycle, members, parts), region_file.c (its file) and
 * region_list.c (lists).
 */
#ifndef ZVD_REGION_INT_H
#define ZVD_REGION_INT_H

#include "buddy.h"
#include "region.h"

#include <pthread.h>

struct member {
	struct region_user user;
	bool admitted;
	uint64_t bytes;
	uint32_t ends;
	TAILQ_ENTRY(member) link;
};

struct region {
	TAILQ_ENTRY(region) link; /* in regions.all, or in the dead list when unreferenced */
	unsigned refs;		  /* under regions.lock */
	uint64_t id;
	char origin[CFG_NAME_MAX];
	uint64_t channel_bytes; /* atomic */
	/* Held while something is done with the file that takes as long as whoever can lock the
	 * file likes: protects mem.fd, look_ns and unmarked. Lock order: before `lock`. */
	pthread_mutex_t file_lock;
	uint64_t locks_check_ns; /* the next look for locks on the file: region_settled() */
	bool unmarked;		 /* somebody has a descriptor without a lock; logged */
	pthread_mutex_t lock; /* protects the rest; mem.size and the file of `from` do not change */
	struct region_mem from;
	struct shm_region mem; /* from.at */
	unsigned owners;       /* guests that own the memory */
	bool retired;
	bool settled; /* only applications of this zvsockd can have it mapped: region_lock.h */
	bool lent;    /* guests may have it mapped since before: region_look_lent() */
	bool waits;   /* not settled, and that has been logged */
	struct buddy *buddy;
	struct chan_part **at; /* by offset, in units of CHANNEL_MIN; NULL: no part begins there */
	uint32_t n_parts;
	TAILQ_HEAD(, member) members;
	unsigned n_members;
};

TAILQ_HEAD(region_list, region);

/* All regions. Lock order: this lock before that of a region. */
extern struct regions {
	pthread_mutex_t lock;
	struct region_list all;
} regions;

/* A descriptor of the file for an application, owned by the caller, or -errno. Without either lock.
 */
int region_file(struct region *r);

#endif
