/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: memory that two devices of this zvsockd can both map, and the channels in it.
 *
 * Theory of operation
 * -------------------
 * A region has members: devices (guests, attached applications) that have been told of it, or hold
 * parts of it. A member is known by its serial number, never by a pointer: it may be gone while a
 * part is still held by the other end.
 *
 * A part that is taken is a *channel*: it has two ends, each charged to a member. An end is held by
 * this process until it is granted to a driver, and by the driver until that says it does not touch
 * it any more, or is gone. When neither end is held the part is free.
 *
 * Shares. A member that gives nothing back can keep any part that it has an end of. So it may have
 * parts of at most half of what the others leave: there is something for who comes later.
 *
 * Who is told of a region can write to all of it: a region is one trust domain.
 *
 * Threads. A region is shared by lcores; what changes is under its lock, which is held for the
 * bookkeeping only. It is freed, by the main thread, when nobody refers to it.
 */
#ifndef ZVD_REGION_H
#define ZVD_REGION_H

#include "bells.h"
#include "core/guest.h"

#include <shm_ring.h>

struct region;
struct chan_part;

/* A device, as a region knows it. */
struct region_user {
	uint64_t serial; /* struct guest */
	char name[CFG_NAME_MAX];
};

struct region_user region_user(const struct guest *g);

/* Of a channel, of the broker (broker.h) that has granted it. */
struct chan_end {
	struct chan_part *part;
	const void *holder; /* NULL: not granted; under the region's lock */
	uint64_t serial;    /* whom it is charged to */
	bool held;	    /* under the region's lock */
	struct bell bell; /* that is rung for it; of who has made the part, until it is released */
	uint64_t session; /* of the broker, in which it was granted or named: its lcore's */
	TAILQ_ENTRY(chan_end) link; /* of those of the broker: its lcore's */
};

struct chan_part {
	struct region *region; /* refers to it */
	struct shm_channel_desc desc;
	struct chan_end end[2]; /* by enum shm_role */
};

/* Memory that is to be a region. */
struct region_mem {
	struct shm_region at; /* map, map_size: of shm_region_destroy(), when there is no drop() */
	uint64_t dev, ino;    /* the file behind it, when others may come with the same one */
	uint64_t offset;      /* of its first byte in that file */
	void (*drop)(void *arg);    /* it is not used any more. NULL: it is zvsockd's own */
	bool (*gone)(void *arg);    /* it must not be used any more; any thread */
	bool (*pending)(void *arg); /* its guest does not have it yet; any thread. NULL: it has */
	/* Once: the driver of the guest with this CID, which has offered it, has died. NULL: never
	 */
	bool (*orphaned)(void *arg, uint64_t cid);
	uint64_t kept; /* bytes at the end that no channel may use */
	void *arg;
};

/*
 * A region in @mem, which is the region's from now on, whatever is returned. @origin: whose memory
 * it is, a guest's name; "": zvsockd's own. @wanted: bytes of a channel, as in channel_bytes(). The
 * caller has a reference. NULL: no memory, or too small; logged.
 */
struct region *region_new(const struct region_mem *mem, const char *origin, uint64_t wanted);

/*
 * The region that is in the same file as @mem, retired or not: it goes on with @mem, in which its
 * parts are where they were, and the caller has a reference. 0; -ENOENT: there is none, -EBUSY: it
 * is another piece of it; then @mem is the caller's.
 */
int region_same(const struct region_mem *mem, struct region **out);

/* True: its memory is gone; then it has been retired. */
bool region_gone(struct region *r);

/* True: the guest whose memory it is does not have it yet. */
bool region_pending(struct region *r);

/* Once: the driver that has offered it, of the guest with @cid, has died in a VM that goes on. */
bool region_orphaned(struct region *r, uint64_t cid);

/* False: applications of a former zvsockd have it mapped still, and no channel is to be made. */
bool region_settled(struct region *r);

/* Guests whose memory it is; without any it is retired. */
void region_own(struct region *r);
void region_disown(struct region *r);

struct region *region_get(struct region *r);
/* NULL: nothing happens. Any thread. */
void region_put(struct region *r);

uint64_t region_id(const struct region *r);
uint64_t region_size(const struct region *r);

/* Channels that are made from now on have so many bytes; as in channel_bytes(). */
void region_resize_channels(struct region *r, uint64_t wanted);

/* No channel is made in it any more. */
void region_retire(struct region *r);
bool region_retired(struct region *r);

/* Frees regions to which nobody refers. The main thread, now and then. True: some have been retired
 * since, and broker_regions_changed() is due on all queues. */
bool regions_look(void);

/* ---- members ---- */

/* The device may fetch the descriptor, from now on, or no longer. 0, -ENOMEM. */
int region_admit(struct region *r, const struct region_user *u);
void region_expel(struct region *r, const struct region_user *u);

/* A descriptor of the file of the region with @id, the caller's, the region's size, and where in
 * the file it begins. -ENOENT: there is none, or @u was not admitted to it; -EMFILE, -ENFILE. */
int region_fetch(uint64_t id, const struct region_user *u, uint64_t *size, uint64_t *offset);

/* ---- parts ---- */

/*
 * Makes a channel between @a and @b (the same: with itself), with both ends held. 0 or -errno:
 * -ENOSPC: there is no room, or one of them has its share; -ESTALE: the region is retired; -ENOMEM.
 */
int part_new(struct region *r, const struct region_user *a, const struct region_user *b,
	     struct chan_part **out);

/* The end is granted, by @holder. */
void end_granted(struct chan_end *e, const void *holder);

/* The end is not held any more; with the last one the part is gone. */
void end_release(struct chan_end *e);

/* The end at @offset that was granted by @holder and is still held; NULL: there is none. */
struct chan_end *end_find(struct region *r, const void *holder, uint64_t offset,
			  uint32_t generation);

/* ---- for lists ---- */

struct region_member_info {
	char name[CFG_NAME_MAX];
	bool admitted;
	uint64_t bytes; /* of parts of which it has an end */
	uint32_t ends;	/* that are held */
};

struct region_info {
	uint64_t id, size, page_size;
	char origin[CFG_NAME_MAX];
	bool retired;
	uint64_t channel_bytes; /* of one that is made now */
	uint64_t free_bytes, largest_free;
	uint32_t parts; /* that are taken */
	unsigned n_members;
	struct region_member_info *members; /* of region_infos_free() */
};

/* All regions. Their number, or -ENOMEM. Any thread. */
int region_infos(struct region_info **out);
void region_infos_free(struct region_info *infos, int n);

#endif
