/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by region.c (life cycle, members, parts), region_end.c (its end), region_file.c (its file)
 * and region_list.c (lists).
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
	TAILQ_ENTRY(region) link; /* in regions.all, or regions.dead */
	unsigned refs;		  /* under regions.lock */
	uint64_t id;
	char origin[CFG_NAME_MAX];
	uint64_t channel_bytes; /* atomic */
	/* Held during operations on the file, whose duration others determine by their locks on it.
	 * Protects mem.fd, locks_check_ns and unmarked. Lock order: before `lock`. */
	pthread_mutex_t file_lock;
	uint64_t locks_check_ns; /* when to check for locks on the file next: region_settled() */
	bool unmarked;		 /* a descriptor without a lock was handed out; logged */
	pthread_mutex_t lock; /* protects the rest; mem.size and the file of `from` never change */
	struct region_mem from;
	struct shm_region mem; /* copy of from.at */
	unsigned owners;       /* guests that own the memory */
	bool retired;
	bool settled;	   /* nobody from before zvsockd was started has it mapped: region_lock.h */
	bool lent;	   /* guests may have it mapped from before: region_look_lent() */
	bool waits;	   /* not settled, which has been logged */
	uint64_t watch_ns; /* until then it is checked what makes a touch slow: region_took() */
	uint64_t rest_ns;  /* when waits for its pages are paid off: region_rests() */
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
	struct region_list all, dead; /* dead: without references */
	bool waking;		      /* the timer runs, or has expired */
	int timer;		      /* -1: none */
	bool some_retired;	      /* for regions_check(); atomic */
} regions;

/* Gives the memory back. */
void region_mem_drop(struct region_mem *mem);
/* Of region.at, for a region of @size bytes. */
size_t region_at_bytes(uint64_t size);
void region_destroy(struct region *r);

/* To be called before and after memory of the region is touched, with its lock. */
struct region_touch {
	uint64_t start, waits, faults, cpu_ns;
	struct mem_account *was; /* with whose memory the thread worked: mem_look.h */
	bool watched;
};
struct region_touch region_touch(const struct region *r);
void region_touched(struct region *r, const struct region_touch *t);
/* The part of it that counts: a touch took from @start to @end, of which the thread lost @lost_ns
 * to pages that somebody had taken out. */
void region_took(struct region *r, uint64_t start, uint64_t end, uint64_t lost_ns);
/* True: threads have waited too long for its pages, and it must not be touched now. With the
 * region's lock. */
bool region_rests(const struct region *r, uint64_t now);

/* Returns a descriptor of the file for an application, owned by the caller, or -errno. Call without
 * the region's locks. */
int region_file(struct region *r);

#endif
