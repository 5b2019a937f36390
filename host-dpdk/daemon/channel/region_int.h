/* SPDX-License-Identifier: BSD-3-Clause */
/* What region.c (life, members, parts) and region_list.c (for lists) share. */
#ifndef ZVD_REGION_INT_H
#define ZVD_REGION_INT_H

#include "parts.h"
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
	TAILQ_ENTRY(region) link; /* of regions.all or, without references, of the dead */
	unsigned refs;		  /* under regions.lock */
	uint64_t id;
	char origin[CFG_NAME_MAX];
	uint64_t channel_bytes; /* atomic */
	pthread_mutex_t lock;	/* of what follows; mem.size and from's file do not change */
	struct region_mem from;
	struct shm_region mem; /* from.at */
	unsigned owners;       /* guests whose memory it is */
	bool retired;
	bool settled;  /* only applications of this zvsockd can have it mapped: region_lock.h */
	bool waits;    /* ... and the log has said that it is not */
	bool unmarked; /* somebody has a descriptor without a lock, as the log has said */
	struct parts *parts;
	struct chan_part **at; /* by offset, in units of CHANNEL_MIN; NULL: no part begins there */
	uint32_t n_parts;
	TAILQ_HEAD(, member) members;
	unsigned n_members;
};

TAILQ_HEAD(region_list, region);

/* All that there are. Whoever takes both locks takes this one first. */
extern struct regions {
	pthread_mutex_t lock;
	struct region_list all;
} regions;

#endif
