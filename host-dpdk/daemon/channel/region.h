/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Regions: memory that two devices of this zvsockd can both map, and the channels in it.
 *
 * Theory of operation
 * -------------------
 * A region has members: devices (guests, attached applications) to which it has been announced, or
 * which hold parts of it. A member is identified by its serial number, never by a pointer: it may
 * be gone while the other end still holds a part.
 *
 * An allocated part is a *channel*: it has two ends, each charged to a member. An end is held by
 * this process until it is granted to a driver, and then by the driver until the driver releases it
 * or is gone. When neither end is held the part is free.
 *
 * Shares. A member that releases nothing can keep every part that it has an end of. So it may have
 * parts of at most half of what the others leave, and something is left for later members. This
 * does not hold for a guest in its own memory, unless another guest offers the same memory.
 *
 * Whoever can map a region can write to all of it: a region is one trust domain.
 *
 * Threads. A region is shared by lcores; its mutable state is protected by its lock, which is held
 * for bookkeeping only. It is freed by the main thread when nobody refers to it.
 */
#ifndef ZVD_REGION_H
#define ZVD_REGION_H

#include "bells.h"
#include "core/guest.h"

#include <shm_ring.h>

/* Channels that a device may have in a region, however large it is: an lcore releases all of a
 * driver that has gone at once. */
#define REGION_ENDS_MAX 8192u

struct region;
struct chan_part;

/* Identifies a device to a region. */
struct region_user {
	uint64_t serial; /* struct guest */
	char name[CFG_NAME_MAX];
};

struct region_user region_user(const struct guest *g);

/* One end of a channel; belongs to the broker (broker.h) that has granted it. */
struct chan_end {
	struct chan_part *part;
	const void *holder;	    /* NULL: not granted; under the region's lock */
	uint64_t serial;	    /* the member that it is charged to */
	bool held;		    /* under the region's lock */
	struct bell bell;	    /* wakes the holder; set by the creator of the part */
	uint64_t session;	    /* broker's session of its grant or listing; its lcore only */
	TAILQ_ENTRY(chan_end) link; /* in the list of the broker; its lcore only */
};

struct chan_part {
	struct region *region; /* holds a reference */
	struct shm_channel_desc desc;
	struct chan_end end[2]; /* by enum shm_role */
};

/* Memory that will become a region. */
struct region_mem {
	struct shm_region at;	    /* map, map_size: for shm_region_destroy(), if drop() is NULL */
	uint64_t dev, ino;	    /* the file behind it, which others may map too */
	uint64_t offset;	    /* of the first byte in that file */
	void (*drop)(void *arg);    /* ends its use. NULL: it is zvsockd's own */
	bool (*gone)(void *arg);    /* it must no longer be used; any thread */
	bool (*pending)(void *arg); /* guest does not have it yet; any thread. NULL: it does */
	/* Returns true once, when the driver of the guest with this CID, which has offered it, has
	 * died. NULL: never */
	bool (*orphaned)(void *arg, uint64_t cid);
	/* Arranges that the driver of the guest with this CID, which has offered it, notices the
	 * end of zvsockd. NULL: not possible */
	void (*serve)(void *arg, uint64_t cid);
	/* Stores up to @n CIDs of guests whose drivers may hold payload there from before zvsockd
	 * was started. Returns their number. NULL: there are none */
	unsigned (*lent)(void *arg, uint64_t *cids, unsigned n);
	uint64_t reserved_tail; /* reserved bytes at the end, not for channels */
	void *arg;
};

/*
 * Creates a region in @mem, which it takes over, whatever is returned. @origin: the guest that owns
 * the memory, or "" for zvsockd's own. @wanted: bytes of a channel, as in channel_bytes(). The
 * caller gets a reference. NULL: no memory, or too small; logged.
 */
struct region *region_new(const struct region_mem *mem, const char *origin, uint64_t wanted);

/*
 * Finds the region in the same file as @mem, retired or not. From then on it uses @mem, in which
 * its parts are at the same offsets, and the caller gets a reference. 0; -ENOENT: there is none;
 * -EBUSY: its offset or size differs. On error @mem still belongs to the caller.
 */
int region_same(const struct region_mem *mem, struct region **out);

/* The number of regions of guest @origin, with those that are retired, or to be freed. */
unsigned regions_of(const char *origin);

/* True: its memory is gone; it has been retired. */
bool region_gone(struct region *r);

/* True: the guest that owns the memory does not have it yet. */
bool region_pending(struct region *r);

/* Returns true once, when the driver of the guest with @cid that has offered it has died in a VM
 * that continues. */
bool region_orphaned(struct region *r, uint64_t cid);

/* To be called when the driver of the guest with @cid has offered it, and periodically after that,
 * so that the driver notices the end of zvsockd. */
void region_serve(struct region *r, uint64_t cid);

/* Checks whether guests may hold payload in it from before zvsockd was started: those for which
 * @counts returns true. As long as they do, the region is not settled. */
void region_look_lent(struct region *r, bool (*counts)(uint64_t cid, void *arg), void *arg);

/* False: applications or guests of a former zvsockd still have it mapped, and no channel may be
 * created in it. */
bool region_settled(struct region *r);

/* Changes the number of guests that own the memory; at 0 the region is retired. */
void region_own(struct region *r);
void region_disown(struct region *r);

struct region *region_get(struct region *r);
/* NULL is allowed. Any thread. */
void region_put(struct region *r);

uint64_t region_id(const struct region *r);
uint64_t region_size(const struct region *r);

/* Sets the size of channels created from now on; @wanted as in channel_bytes(). */
void region_resize_channels(struct region *r, uint64_t wanted);

/* No more channels are created in it. */
void region_retire(struct region *r);
bool region_retired(struct region *r);

/* Frees regions without references. Main thread, periodically, and when regions_fd() is readable.
 * True: some regions have been retired since the last call, and broker_regions_changed() must be
 * called on all queues. */
bool regions_check(void);
/* A descriptor for poll(2): there are regions without references. -1: none. */
int regions_fd(void);

/* ---- members ---- */

/* From now on the device may fetch the descriptor (admit), or may not (expel). 0, -ENOMEM. */
int region_admit(struct region *r, const struct region_user *u);
void region_expel(struct region *r, const struct region_user *u);

/* A descriptor, owned by the caller, of the file of region @id; the size of the region, and its
 * offset in the file. -ENOENT: no such region, or @u was not admitted to it; -EMFILE, -ENFILE. */
int region_fetch(uint64_t id, const struct region_user *u, uint64_t *size, uint64_t *offset);

/* ---- parts ---- */

/*
 * Creates a channel between @a and @b (which may be the same), with both ends held. 0 or -errno:
 * -ENOSPC: there is no room, or one of them has used up its share; -ESTALE: the region is retired;
 * -EAGAIN: somebody makes zvsockd wait for its pages; -ENOMEM.
 */
int chan_part_new(struct region *r, const struct region_user *a, const struct region_user *b,
		  struct chan_part **out);

/* Marks the end as granted by @holder. */
void end_granted(struct chan_end *e, const void *holder);

/* The end is no longer held; when both are released the part is freed. */
void end_release(struct chan_end *e);

/* The end, granted by @holder, of the part at @offset with @generation; NULL: none is held. */
struct chan_end *end_find(struct region *r, const void *holder, uint64_t offset,
			  uint32_t generation);

/* ---- for lists ---- */

struct region_member_info {
	char name[CFG_NAME_MAX];
	bool admitted;
	uint64_t bytes; /* total size of the parts that it has an end of */
	uint32_t ends;	/* ends held */
};

struct region_info {
	uint64_t id, size, page_size;
	char origin[CFG_NAME_MAX];
	bool retired;
	uint64_t channel_bytes; /* size of a channel created now */
	uint64_t free_bytes, largest_free;
	uint32_t channels; /* in use, or with payload on loan */
	unsigned n_members;
	struct region_member_info *members; /* freed by region_infos_free() */
};

/* Lists the regions in which there can be channels. Returns their number, or -ENOMEM. Any thread.
 */
int region_infos(struct region_info **out);
void region_infos_free(struct region_info *infos, int n);

#endif
