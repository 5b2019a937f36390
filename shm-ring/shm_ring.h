/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shm-ring: messages between two processes through memory that both have mapped. No copy, no system
 * call while the other side is awake, and no trust in it. Needs libc only.
 *
 * Theory of operation
 * -------------------
 * A *region* is memory that can be passed on by its file descriptor, in hugepages where available.
 * A *channel* is a part of a region through which exactly two ends exchange messages in both
 * directions. Its layout follows from a description, struct shm_channel_desc, which one party makes
 * and hands to both ends by whatever means. Each end computes the layout from it, and checks that
 * it lies within the region.
 *
 * A message of up to SHM_INLINE_MAX bytes lies in the ring itself. A longer one lies in a *slot*.
 * Slots belong to the sender: it takes a slot, writes the payload, and sends the slot's number; the
 * receiver reads the payload in place and gives the slot back, at any time and in any order. Slots
 * come in a few sizes.
 *
 * Calls on one end of a channel must come from one thread at a time; payload may be accessed by any
 * thread. The state of an end is private memory: whatever the peer writes into the shared part is
 * checked before it is used. A violation breaks the channel for good: from then on calls return
 * -EPROTO. Payload is not checked: the peer can change it while it is being read. Copy before you
 * trust.
 *
 * Calls return >= 0, or a negative errno. Lengths are in bytes. The library prints nothing, and
 * starts no thread.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHM_API __attribute__((visibility("default")))
#else
#define SHM_API
#endif

/* ---- regions ------------------------------------------------------------------------------ */

struct shm_region {
	void *addr;	  /* NULL: no region */
	size_t size;	  /* bytes at addr */
	int fd;		  /* owned by the region; -1: no region */
	size_t page_size; /* of the pages behind it */
	void *map;	  /* the whole mapping; for shm_region_destroy() */
	size_t map_size;
};

#define SHM_NO_HUGE 1u /* shm_region_create: normal pages, even when there are hugepages */

/*
 * Creates and maps a zeroed region of at least @size bytes: a memfd sealed against any change of
 * its size, in hugepages of 2 MiB if there are enough of them. @name shows in /proc/PID/maps. @size
 * is rounded up to the size of the pages used. Returns 0 or -errno, and after a failure *r holds no
 * region: -EINVAL (size 0 or too large), -ENOMEM, -EMFILE, -ENFILE.
 */
SHM_API int shm_region_create(struct shm_region *r, const char *name, size_t size, unsigned flags);

/*
 * The same in a new file of mode 0600, for a VMM that takes memory by path. @path: on hugetlbfs
 * (the region then consists of hugepages) or tmpfs. All of it is allocated. Whoever can open such a
 * file can truncate it, which a memfd excludes. The file stays until it is unlinked; after a
 * failure there is none. Further errors: -EEXIST, -ENOENT, -EACCES, -ENOSPC (the file system is
 * full); too few hugepages are -ENOMEM or -ENOSPC.
 */
SHM_API int shm_region_create_file(struct shm_region *r, const char *path, size_t size);

/*
 * Maps @size bytes from @offset of a file that a peer, or a VMM, has sent. The file must lie in
 * memory (memfd, tmpfs, hugetlbfs), be large enough, and be sealed against shrinking where that is
 * possible; where it is not, whoever can truncate it can kill this process by SIGBUS. @offset: a
 * multiple of the normal page size; the region's addr points to it, and the region covers just
 * these bytes, rounded up to the page size at the end. The region keeps its own duplicate of @fd;
 * the caller still owns its descriptor. Returns 0 or -errno: -EINVAL (not a file in memory, size 0,
 * offset not aligned, or the file is smaller than @offset + @size), -EPERM (it could be sealed
 * against shrinking and is not), -EACCES (not open for reading and writing), -ENOMEM, -EMFILE.
 */
SHM_API int shm_region_open_at(struct shm_region *r, int fd, uint64_t offset, size_t size);

/* shm_region_open_at() with offset 0. */
SHM_API int shm_region_open(struct shm_region *r, int fd, size_t size);

/* Unmaps and closes. Harmless when there is no region, and when called twice. */
SHM_API void shm_region_destroy(struct shm_region *r);

/* ---- what a channel looks like ------------------------------------------------------------ */

#define SHM_CHANNEL_VERSION 1u	  /* slots of each size have their own memory */
#define SHM_CHANNEL_NESTED  2u	  /* all sizes share memory, see below */
#define SHM_CHANNEL_ALIGN   4096u /* of its offset */
#define SHM_CLASSES_MAX	    4u	  /* sizes of slots in one direction */
#define SHM_ENTRIES_MIN	    16u	  /* of a ring */
#define SHM_ENTRIES_MAX	    65536u
#define SHM_SLOTS_MAX	    65536u     /* of one direction */
#define SHM_SLOT_MAX	    (1u << 30) /* bytes of a slot */
#define SHM_INLINE_MAX	    128u       /* bytes of a message that lies in the ring */

struct shm_slot_class {
	uint32_t slot_size; /* bytes, a multiple of 64, up to SHM_SLOT_MAX */
	uint32_t slots;
};

struct shm_direction {
	uint32_t entries; /* of the ring; a power of two */
	uint32_t classes; /* how many of cls[] are used; 0: only inline messages */
	struct shm_slot_class cls[SHM_CLASSES_MAX]; /* smaller slots first; sizes differ */
};

/*
 * In version SHM_CHANNEL_NESTED a slot of a larger class is made of slots of the smaller ones: slot
 * k of each class begins at k times its size. The sender makes sure that no two slots in use
 * overlap. Each size is then a power of two times the size before it, and no class has more memory
 * than the one before it: {4 KiB, 1000}, {64 KiB, 62}, {1 MiB, 3} is 4,000 KiB, all of which
 * messages of any one size can use.
 */

/* Has no padding, so it can be sent as it is to a process of the same byte order. */
struct shm_channel_desc {
	uint32_t version;	     /* SHM_CHANNEL_VERSION or SHM_CHANNEL_NESTED */
	uint32_t generation;	     /* differs each time this part of a region is reused */
	uint64_t offset;	     /* in the region; a multiple of SHM_CHANNEL_ALIGN */
	uint64_t length;	     /* at least shm_channel_bytes() */
	struct shm_direction dir[2]; /* [SHM_ROLE_A]: from A to B; [SHM_ROLE_B]: from B to A */
};

enum shm_role { SHM_ROLE_A = 0, SHM_ROLE_B = 1 };

/*
 * A description to start from, at @offset: in both directions a ring of 256 entries, 32 slots of 4
 * KiB and 8 of 64 KiB. Change what does not suit, then set length = shm_channel_bytes().
 */
SHM_API void shm_channel_desc_init(struct shm_channel_desc *d, uint64_t offset,
				   uint32_t generation);

/*
 * Bytes that such a channel takes, a multiple of SHM_CHANNEL_ALIGN. 0: d->dir or the version is not
 * valid.
 */
SHM_API uint64_t shm_channel_bytes(const struct shm_channel_desc *d);

/*
 * Checks that *d is valid and the channel lies within a region of @region_size bytes. 0 or -EINVAL.
 */
SHM_API int shm_channel_check(const struct shm_channel_desc *d, size_t region_size);

/*
 * Initializes the shared part. Called by one party before either end attaches, and again, with
 * another generation, after both have detached. Touches only the indices and the rings' words: the
 * pages of slots and inline payload are first touched when they are used. @region: 64-byte aligned.
 * Returns 0, -EINVAL, or -EFAULT (the memory is not available: pages were removed from its file and
 * none are left).
 */
SHM_API int shm_channel_format(void *region, size_t region_size, const struct shm_channel_desc *d);

/* ---- one end of a channel ----------------------------------------------------------------- */

struct shm_channel;

/*
 * How this end wakes the peer when it sleeps: by one of the two, or not at all (both sides poll).
 */
struct shm_channel_opts {
	size_t size;		/* of this struct, as the caller knows it */
	int (*wake)(void *arg); /* returns 0 or -errno; NULL: by wake_fd */
	void *wake_arg;
	int wake_fd; /* the peer's eventfd, -1: none; a duplicate is kept */
};

/*
 * Takes one end of a freshly formatted channel; an end cannot be taken over half-way. *d is copied;
 * the region must stay mapped until shm_channel_detach(). @opts: NULL for none. Returns 0 or
 * -errno: -EINVAL (description or alignment), -ESTALE (the memory was formatted for another
 * generation, or never), -ENOMEM; for wake_fd: -EINVAL (not an eventfd), -EBADF, -EMFILE.
 */
SHM_API int shm_channel_attach(struct shm_channel **ch, void *region, size_t region_size,
			       const struct shm_channel_desc *d, enum shm_role role,
			       const struct shm_channel_opts *opts);

/* Frees this end; the peer is not told. Buffers not yet sent or released must no longer be used. */
SHM_API void shm_channel_detach(struct shm_channel *ch);

/* 0, or -EPROTO: the peer has broken the channel. */
SHM_API int shm_channel_error(const struct shm_channel *ch);

/* Flags of a message. The library passes them on and does not interpret them. */
#define SHM_EOM 1u /* end of a message of a SOCK_SEQPACKET socket */
#define SHM_EOR 2u /* end of record */

enum shm_msg_kind {
	SHM_MSG_USER =
		0,	/* to send: data is the caller's memory, copied; len up to SHM_INLINE_MAX */
	SHM_MSG_LINE,	/* lies in the ring */
	SHM_MSG_SLOT,	/* lies in a slot */
	SHM_MSG_CONTROL /* no payload: len is a number chosen by the sender */
};

struct shm_msg {
	void *data;
	uint32_t len;  /* bytes of payload */
	uint32_t room; /* to send: bytes that may be used at data */
	uint8_t kind;  /* enum shm_msg_kind */
	uint8_t flags; /* SHM_EOM, SHM_EOR, or six more bits of the caller's own */
	uint16_t gen;  /* used by the library, as is id: do not change */
	uint32_t id;
};

/* ---- sending ------------------------------------------------------------------------------ */

/*
 * Takes up to @n free slots for messages of @len bytes, from the smallest class that they fit in,
 * or from the next one while more than half of that is free; nested classes are split and joined as
 * needed instead. For messages longer than any slot, takes slots of the largest class: see room.
 * Fill data[0..room), set len and flags, then send or cancel, in any order. To let the payload
 * begin after data, advance data and reduce room by as much. Returns how many, 0 (none is free
 * now), -EINVAL (@len 0, or the channel has no slots), -EPROTO.
 */
SHM_API int shm_channel_alloc(struct shm_channel *ch, struct shm_msg *msgs, unsigned n,
			      uint32_t len);

/*
 * Reserves the next ring entries for up to @n messages of up to @len <= SHM_INLINE_MAX bytes, to be
 * written in place; room is 64 or 128. They must be sent in this order. Until they are sent, or
 * cancelled (youngest first), nothing else can be sent. Fill data[0..room), set len and flags.
 * Returns how many, 0 (the ring is full), -EINVAL, -EPROTO.
 */
SHM_API int shm_channel_reserve(struct shm_channel *ch, struct shm_msg *msgs, unsigned n,
				uint32_t len);

/*
 * Gives back messages of shm_channel_alloc() or shm_channel_reserve() unsent. 0, or -EINVAL: not
 * taken.
 */
SHM_API int shm_channel_cancel(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n);

/*
 * Sends messages, in order: slots, reserved entries, or SHM_MSG_USER, which is copied. A peer that
 * polls can see them at once; shm_channel_notify() wakes one that sleeps. Returns how many were
 * sent; when fewer than @n, or 0, the ring is full and the caller still owns the rest. -EINVAL: the
 * first message cannot be sent (kind, len above room, slot not taken), -EBUSY: entries are reserved
 * for others, -EPROTO. A later message that is not valid ends the count before it.
 */
SHM_API int shm_channel_send(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n);

/*
 * Sends a message of kind SHM_MSG_CONTROL, which the peer receives after everything sent before:
 * the shutdown of one direction, for instance. A few ring entries are reserved for such messages.
 * 1; 0: the ring is full of them; -EBUSY, -EPROTO.
 */
SHM_API int shm_channel_control(struct shm_channel *ch, uint32_t number, uint8_t flags);

/*
 * Free ring entries. A message takes one entry, or two if it has more than 64 bytes and lies in the
 * ring. Loads the peer's index only if fewer than @want are known to be free.
 */
SHM_API uint32_t shm_channel_free_entries(struct shm_channel *ch, uint32_t want);

/* Bytes of payload that could be sent now, in total. */
SHM_API uint64_t shm_channel_room(struct shm_channel *ch);

/* ---- receiving ---------------------------------------------------------------------------- */

/*
 * Receives up to @n messages, in the order in which they were sent; data and len give the payload.
 * Each must be released, except those of kind SHM_MSG_CONTROL, for which this is optional. Returns
 * how many, 0 (none), -EPROTO.
 */
SHM_API int shm_channel_recv(struct shm_channel *ch, struct shm_msg *msgs, unsigned n);

/* Would shm_channel_recv() return a message? Takes nothing. 1, 0, -EPROTO. */
SHM_API int shm_channel_pending(struct shm_channel *ch);

/*
 * Gives the payload back to the sender: any messages, in any order. While a message of kind
 * SHM_MSG_LINE is held, no ring entry after it can be reused: copy what is to be held for long.
 * Returns 0, or -EINVAL: a message was not received, or was released before; the messages before it
 * are released.
 */
SHM_API int shm_channel_release(struct shm_channel *ch, const struct shm_msg *msgs, unsigned n);

/* ---- waking and sleeping ------------------------------------------------------------------ */

#define SHM_WANT_DATA 1u /* wake me when there is something to receive */
#define SHM_WANT_ROOM 2u /* wake me when slots or places of the ring have become free */

/*
 * Ends a burst: lets the peer use all that was released, and wakes it if it sleeps and wants what
 * this burst has done. Call it after sending or releasing and before doing anything else for long,
 * once for many messages, because it costs a full memory barrier. 1 (woken), 0 (no need), -errno of
 * the wake-up.
 */
SHM_API int shm_channel_notify(struct shm_channel *ch);

/*
 * Call before sleeping: asks the peer to wake this end for @want. Includes shm_channel_notify(). 1:
 * do not sleep, there is something to receive, or (SHM_WANT_ROOM) the ring has room and, for
 * messages of @len > SHM_INLINE_MAX bytes, a slot is free. 0: sleep, on whatever the peer's wake-up
 * signals. -EPROTO, or -errno of the wake-up. Call shm_channel_disarm() afterwards in any case.
 */
SHM_API int shm_channel_arm(struct shm_channel *ch, unsigned want, uint32_t len);
SHM_API void shm_channel_disarm(struct shm_channel *ch);

/* ---- counters ----------------------------------------------------------------------------- */

struct shm_channel_stats {
	size_t size;	    /* of this struct, as the caller knows it; set before the call */
	uint64_t sent;	    /* messages */
	uint64_t received;  /* messages */
	uint64_t wakes;	    /* of the peer */
	uint64_t faults;    /* 0 or 1: violations by the peer; the first one breaks the channel */
	const char *fault;  /* what it was, NULL: nothing */
	uint32_t slots_out; /* sent and not yet back */
};

/* 0, or -EINVAL: @st's size is smaller than that of the first version. */
SHM_API int shm_channel_get_stats(const struct shm_channel *ch, struct shm_channel_stats *st);

#ifdef __cplusplus
}
#endif

#endif
