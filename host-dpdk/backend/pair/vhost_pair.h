/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet layer of one guest: its queue pairs, over rings in guest memory.
 *
 * Theory of operation
 * -------------------
 * struct vhost_pair is one pair. Its ring `from_guest`, which the driver calls its transmit queue,
 * carries packets; `to_guest`, the driver's receive queue, carries empty buffers for packets to it.
 * Two threads meet here. The *owner* calls the data path (struct transport_queue_ops: "rx" are
 * packets from the guest, "tx" packets to it), between quiesce_enter() and quiesce_leave(); the
 * *control thread* (vhost-user messages) calls vhost_pair_start(), vhost_pair_stop() and so on,
 * which stop the owner by quiesce_stop() for as long as they work, and wake it afterwards. So
 * nothing below needs a lock or an atomic.
 *
 * The data path is written once over the verbs of a ring (vhost_ring.h) and instantiated for each
 * layout, with and without an IOMMU; vhost_pair_start() chooses.
 *
 * A chain that has been taken from a ring and not yet put back has a struct vhost_chain; a token is
 * its number. It is in one of these states:
 *
 *      FREE --rx_burst--> LENT --rx_release--> FREE
 *      FREE --tx_reserve--> RESERVED --tx_commit--> FREE
 *                           RESERVED --tx_cancel--> CANCELLED --tx_reserve--> RESERVED
 *                           RESERVED --tx_commit--> LATE --> FREE
 *
 * Work. The guest decides how many descriptors a chain has, and how soon its ring is full again, so
 * neither bytes nor the ring bound what a round of the owner costs. Between two rx_bursts (one
 * zv_poll each) a queue takes chains only until VHOST_WORK chains and descriptors together have
 * been looked at; then there is "no buffer now", as with an empty ring. An rx_burst ends at that
 * bound too. The control thread serves other guests as well: what it looks at while it keeps what a
 * session leaves is bounded by vhost_pair_sweep().
 *
 * A chain cannot be put back into an avail ring, so a cancelled one goes on a private stack that
 * tx_reserve empties first. Chains without room for payload go on a stack of their own, for
 * packets that have none.
 *
 * Epochs. Tokens outlive sessions and memory tables. struct vhost_epoch is a stretch of time with
 * one session and one generation of guest memory; each chain points to the epoch in which it was
 * taken. While that is the current one (the usual case: one comparison), giving the token
 * back means work on a ring. Once an epoch has ended it counts the tokens that are still out and
 * drops its reference to the memory with the last of them; no count is kept before that. How many
 * ended epochs a peer can make us keep is bounded: beyond VHOST_RETIRED, or retired_max bytes of
 * address space, the session ends, or does not start.
 *
 * A live change of the memory table goes on with the same session when the memory behind all tokens
 * is in the new table too (the same file at the same address: memory was added, or other memory
 * was taken away). Otherwise what is written there is lost to the guest, and the memory may be
 * somebody else's by now: the session ends.
 *
 * When the rings are stopped, memory that tokens still refer to is revoked first (guest_mem.h), and
 * then all chains in flight are returned to the guest unused (length 0, which a driver drops), so
 * that a driver which lives on loses no descriptor and nothing is in flight at that moment.
 *
 * Pauses. A stop of the rings does not say why: the VM may be stopped for a while, with every
 * connection of its own alive, or the driver may have reset the device. So vhost_pair_pause() stops
 * the rings and keeps the session, and vhost_pair_resume() goes on with it when the rings come back
 * as they were left: in the same memory, at the same position, because a driver that begins anew
 * begins at another. (The caller compares what the frontend says: base, addresses,
 * features.) Until then the pair is one that receives nothing and has no room to send, and its
 * clock stands still (tq.paused_at). A driver that lives on without its rings changes their memory,
 * or somebody to whom the memory belongs now does: the owner looks at it now and then
 * (vhost_pair_idle), and then the session is over. It is over at once when more is reserved than
 * may be copied while the owner waits (VHOST_TX_KEPT_MAX): the guest chooses how large its buffers
 * are.
 *
 * Late packets. A buffer that was reserved before a pause is private memory, and its chain the
 * driver's again. When it is committed, its payload is copied into a chain that the driver offers
 * now; if there is none, it waits in q->late, and nothing overtakes it. A packet whose header
 * straddles descriptors waits there too while the translation of one of them is not there.
 *
 * When the session ends with its rings as they were, what the guest had sent is taken first
 * (kept.c).
 */
#ifndef ZV_VHOST_PAIR_H
#define ZV_VHOST_PAIR_H

#include "mem/guest_mem.h"
#include "ring/vhost_ring.h"
#include "transport.h"
#include "vhost_call.h"

#define VHOST_CTRL_KEEP	  8u	/* receive buffers of the guest kept back for control packets */
#define VHOST_BURST	  32u	/* packets that one rx_burst looks at */
#define VHOST_RELEASED	  32u	/* released chains that are published at once, at the latest */
#define VHOST_IDLE	  64u	/* empty rx_bursts after which all are */
#define VHOST_WORK	  8192u /* see "Work" above */
#define VHOST_KEPT_MAX	  (32u << 20) /* bytes kept of what a guest had sent when it went */
#define VHOST_TX_KEPT_MAX (16u << 20) /* bytes of reserved buffers that a pause copies */
#define VHOST_KEPT_TOKEN  (1u << 31)
#define VHOST_RETIRED	  32u /* ended epochs that loans may keep alive, each with its memory map */

enum vhost_direction { VHOST_TO_GUEST = 0, VHOST_FROM_GUEST = 1 };
enum vhost_chain_state { CHAIN_FREE = 0, CHAIN_LENT, CHAIN_RESERVED, CHAIN_CANCELLED, CHAIN_LATE };

struct vhost_epoch {
	struct vhost_epoch *next; /* in vhost_pair.retired */
	struct guest_mem *mem;
	uint32_t session;
	uint32_t out;  /* retired epochs only: tokens still out */
	bool revoked;  /* its memory is private now */
	bool returned; /* its chains belong to the driver again */
};

struct vhost_chain {
	uint8_t *hdr;  /* RESERVED: header; NULL: it straddles. LENT: lowest byte lent */
	uint8_t *data; /* RESERVED: payload. LENT: behind the highest byte lent */
	struct vhost_epoch *ep;
	union {
		uint32_t cap;  /* RESERVED, LATE, CANCELLED: bytes at data. LENT, in pieces: lent */
		uint32_t next; /* FREE: number of the next free one + 1 */
	};
	uint16_t id;   /* vhost_ring_verbs */
	uint8_t state; /* enum vhost_chain_state */
	union {
		uint8_t ctrl;	/* CANCELLED: on the stack of those without room for payload */
		uint8_t pieces; /* LENT: 1: in several pieces */
	};
};
_Static_assert(sizeof(struct vhost_chain) == 32, "two a cache line");

/* A packet that was committed and has no chain yet. */
struct vhost_pair_late {
	struct vsock_hdr h;
	uint32_t token;
};

/* Where the rings of a pair stand. */
struct vhost_pair_bases {
	struct vhost_ring_pos base[2]; /* [enum vhost_direction] */
};

struct vhost_pair {
	struct transport_queue tq;	/* first */
	struct transport_queue_ops ops; /* tq.ops: those of the rings' layout, for a session */

	/* owner, hot */
	SHM_CACHE_ALIGNED struct vhost_ring from_guest; /* packets */
	SHM_CACHE_ALIGNED struct vhost_ring to_guest;	/* empty buffers */
	SHM_CACHE_ALIGNED struct vhost_epoch *ep;	/* NULL: the rings do not run */
	struct vhost_chain *chains;
	uint32_t nchains;
	uint32_t free;	 /* number of a free one + 1; 0: none */
	uint32_t *stack; /* cancelled chains with room for payload */
	uint32_t *ctrl;	 /* those without */
	uint32_t nstack, nctrl;
	uint32_t released;   /* chains of from_guest that may wait for a publish: release_due() */
	uint32_t idle;	     /* rx_bursts in a row that found nothing */
	uint32_t taken;	     /* chains of to_guest since the last rx_burst: see VHOST_WORK */
	uint32_t nlate;	     /* packets in `late` */
	struct pkt_seg *seg; /* scratch for rx_burst */
	uint32_t nseg;
	uint32_t armed;
	struct vhost_call call[2];    /* [enum vhost_direction] */
	struct vhost_pair_late *late; /* circular, late_size entries, as many as there are chains */
	uint32_t late_size, late_head;

	/* paused: the owner watches the rings */
	struct guest_mem *watched; /* the map they are in; NULL: not paused */
	uint64_t watch_sum, watch_due;

	/* packets of ended sessions; kept.c */
	struct vhost_pair_kept **kept; /* by slot; NULL: given back */
	uint32_t nkept, kept_size, kept_next;
	size_t kept_bytes;
	struct pkt_seg kept_seg[VHOST_BURST];

	/* control thread */
	struct vhost_epoch *retired;
	size_t kept_max;      /* bytes in `kept`; the caller's to lower */
	uint64_t retired_max; /* bytes that the maps of those may cover; the caller's to lower */
	int kickfd[2];	      /* dup'ed, in epfd; -1: none */
	int epfd, wakefd;
	int watchfd; /* timer of a pause; -1: none */
	unsigned index;
	bool loaded; /* vhost_pair_start succeeded and vhost_pair_stop has not come; the ring may be
			broken */
	bool paused; /* vhost_pair_pause has come, and not vhost_pair_resume; the session may be
			over */
	const char *name; /* of the device, for logs */
};

struct vhost_pair_setup {
	struct vhost_ring_area ring[2]; /* [enum vhost_direction] */
	struct guest_mem *mem;	   /* for payload; vhost_pair_start takes a reference of its own */
	struct guest_iommu *iommu; /* NULL without ACCESS_PLATFORM; the caller's */
	uint64_t features;	   /* negotiated, VSOCK_FEATURE_*: layout and EVENT_IDX, ... */
};

/* ---- control thread ---- */

/* Makes a pair that is down. 0, or -errno of eventfd or epoll. */
int vhost_pair_init(struct vhost_pair *q, unsigned index, const char *name);
/* Frees it. vhost_pair_stop() first; no owner and no token any more. */
void vhost_pair_fini(struct vhost_pair *q);
/*
 * Starts a session. -EINVAL (ring areas), -EBUSY (loans keep what VHOST_RETIRED and retired_max
 * allow), -ENOMEM; then the pair is down as before.
 */
int vhost_pair_start(struct vhost_pair *q, const struct vhost_pair_setup *s);
/* Ends it, if there is one. True: *b is filled in. */
bool vhost_pair_stop(struct vhost_pair *q, struct vhost_pair_bases *b);
/* The driver of the session that has ended is gone for good: tq.gone. */
void vhost_pair_bury(struct vhost_pair *q);
/*
 * Stops the rings, which lie in the map @rings, and keeps the session. True: *b is filled in.
 * False: there is none, or it is paused already.
 */
bool vhost_pair_pause(struct vhost_pair *q, struct guest_mem *rings, struct vhost_pair_bases *b);
/*
 * The rings of a paused pair run again, in the map @rings; the session goes on. -ESTALE: that is
 * not what was stopped, or the session is over; -EBUSY, -EINVAL, -ENOMEM as vhost_pair_start. After
 * an error the caller must vhost_pair_stop().
 */
int vhost_pair_resume(struct vhost_pair *q, const struct vhost_pair_setup *s,
		      const struct guest_mem *rings);
/*
 * Same session, new memory table. On failure the caller must vhost_pair_stop(): -EINVAL (ring
 * areas), -ENOMEM, -EBUSY (the memory of a buffer in use is not in the new table, or loans have
 * outlived VHOST_RETIRED changes).
 */
int vhost_pair_switch_mem(struct vhost_pair *q, const struct vhost_pair_setup *s);
/*
 * Takes a dup of @fd (-1: none) in the place of the last one. 0 or -errno: there is none now
 * (-EINVAL: nothing to be called on, vhost_call.h, or no eventfd to be kicked by).
 */
int vhost_pair_set_call(struct vhost_pair *q, enum vhost_direction ring, int fd);
int vhost_pair_set_kick(struct vhost_pair *q, enum vhost_direction ring, int fd);
/* Makes vhost_pair_fd() readable. */
void vhost_pair_wake(struct vhost_pair *q);
/* For struct transport_ops. */
int vhost_pair_fd(struct transport_queue *tq);

static inline struct vhost_pair *vhost_pair_of(struct transport_queue *tq)
{
	return (struct vhost_pair *)(void *)tq;
}

#endif
