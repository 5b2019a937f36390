/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet layer of one guest: its queue pairs, over rings in guest memory.
 *
 * Theory of operation
 * -------------------
 * struct vhost_pair is one pair. Its ring `from_guest`, the driver's transmit queue, carries
 * packets; `to_guest`, the driver's receive queue, carries empty buffers for packets to the guest.
 * Two threads meet here. The *owner* calls the data path (struct transport_queue_ops: "rx" are
 * packets from the guest, "tx" packets to it), between quiesce_enter() and quiesce_leave(). The
 * *control thread* (vhost-user messages) calls vhost_pair_start(), vhost_pair_stop() and so on,
 * which stop the owner with quiesce_stop() while they work and wake it afterwards. So nothing below
 * needs a lock or an atomic.
 *
 * The data path is written once over the verbs of a ring (vhost_ring.h) and instantiated for each
 * layout, with and without an IOMMU; vhost_pair_start() selects one.
 *
 * A chain that has been taken from a ring and not yet returned has a struct vhost_chain; its number
 * is the token. It is in one of these states:
 *
 *      FREE --rx_burst--> LENT --rx_release--> FREE
 *      FREE --tx_reserve--> RESERVED --tx_commit--> FREE
 *                           RESERVED --tx_cancel--> CANCELLED --tx_reserve--> RESERVED
 *                           RESERVED --tx_commit--> LATE --> FREE
 *
 * Work. The guest decides how many descriptors a chain has and how soon its ring is full again, so
 * neither bytes nor the ring size bound the cost of a round of the owner. Between two rx_bursts
 * (one zv_poll each) a queue takes chains only until q->work chains and descriptors together have
 * been looked at; after that it reports "no buffer now", as with an empty ring. An rx_burst ends at
 * that bound too, and at VHOST_BURST_BYTES of payload, because the socket layer may copy it. One
 * thread may own all queues of a device, so they share VHOST_WORK. The control thread serves other
 * guests as well: vhost_pair_sweep() bounds what it looks at while it preserves what a session
 * leaves; the queues of a device share VHOST_SWEEP_MAX, because they end together.
 *
 * A chain cannot be put back into an avail ring, so a cancelled one goes on a private stack that
 * tx_reserve empties first. Chains without room for payload go on a separate stack, for packets
 * without payload.
 *
 * Epochs. Tokens outlive sessions and memory tables. A struct vhost_epoch is a period with one
 * session and one generation of guest memory; each chain points to the epoch in which it was taken.
 * While that epoch is the current one (the usual case: one comparison), giving the token back means
 * work on a ring. An epoch that has ended counts the tokens that are still out and drops its
 * reference to the memory with the last of them; no count is kept before that. That memory is given
 * to q->unmapper, and until it is unmapped, the epoch is kept and counts. The pages of memory of
 * which tokens are still out are given to it when the epoch ends (guest_mem_strip()), so former
 * tables keep none but those that are used, and to revoke them later is quick. The number of ended
 * epochs that a peer can make us keep is bounded: beyond VHOST_RETIRED, retired_max bytes of
 * address space, or maps_max mappings together with the current ones, the session ends or does not
 * start. That is found out before anything is changed, so a peer never has more than that.
 *
 * A live change of the memory table continues the session if the memory behind all tokens is in the
 * new table too (the same file at the same address: memory was added, or other memory was removed).
 * Otherwise the guest would not see what is written there, and the memory may belong to somebody
 * else by now: the session ends.
 *
 * When the rings are stopped, memory that tokens still refer to is revoked first (guest_mem.h).
 * Then all chains in flight are returned to the guest unused (length 0, which a driver drops), so
 * that a driver that lives on loses no descriptor and nothing is in flight at that moment.
 *
 * Pauses. A stop of the rings does not say why: the VM may be stopped for a while with all its
 * connections alive, or the driver may have reset the device. So vhost_pair_pause() stops the rings
 * and keeps the session, and vhost_pair_resume() continues it if the rings come back as they were
 * left: in the same memory and at the same position, because a driver that starts anew starts at
 * another position. (The caller compares what the frontend says: base, addresses, features.) Until
 * then the pair receives nothing and has no room to send, and its clock stands still
 * (tq.paused_at).
 *
 * A driver that continues without its rings, or a new owner of their memory, changes that memory:
 * the owner thread checks it now and then (vhost_pair_idle()) and ends the session if it has
 * changed. The session ends at once if more is reserved than may be copied while the owner waits
 * (VHOST_TX_COPY_MAX), because the guest chooses the size of its buffers.
 *
 * Deferred packets. A buffer that was reserved before a pause is now private memory, and its chain
 * belongs to the driver again. When it is committed, its payload is copied into a chain that is
 * available then; if there is none, the packet waits in q->deferred, and nothing overtakes it. A
 * packet whose header straddles descriptors also waits there while a translation for them is
 * missing.
 *
 * If the session ends with its rings intact, what the guest had already sent is taken first
 * (saved.c).
 */
#ifndef ZV_VHOST_PAIR_H
#define ZV_VHOST_PAIR_H

#include "mem/unmapper.h"
#include "mem_look.h"
#include "ring/vhost_ring.h"
#include "transport.h"
#include "vhost_call.h"

#define VHOST_CTRL_RESERVE 8u	      /* receive buffers reserved for control packets */
#define VHOST_BURST	   32u	      /* most packets that one rx_burst looks at */
#define VHOST_BURST_BYTES  (1u << 20) /* an rx_burst ends with the packet that reaches this */
#define VHOST_RELEASED	   32u	      /* released chains are published at this number */
#define VHOST_IDLE	   64u	      /* ... or after this many empty rx_bursts */
#define VHOST_WORK	   8192u      /* of all queues of a device; see "Work" above */
#define VHOST_SWEEP_MAX	   (1u << 20) /* descriptors that the control thread looks at, see "Work" */
#define VHOST_SAVED_MAX	   (32u << 20) /* bytes saved of what a guest had sent at its end */
#define VHOST_TX_COPY_MAX  (16u << 20) /* bytes of reserved buffers that a pause may copy */
#define VHOST_SAVED_TOKEN  (1u << 31)
#define VHOST_RETIRED	   32u /* ended epochs kept for loans, each with its memory map */

enum vhost_direction { VHOST_TO_GUEST = 0, VHOST_FROM_GUEST = 1 };
enum vhost_chain_state {
	CHAIN_FREE = 0,
	CHAIN_LENT,
	CHAIN_RESERVED,
	CHAIN_CANCELLED,
	CHAIN_DEFERRED
};

struct vhost_epoch {
	struct vhost_epoch *next; /* in vhost_pair.retired */
	struct guest_mem *mem;
	uint32_t session;
	uint32_t out;  /* retired epochs only: tokens still out */
	bool revoked;  /* its memory is private now */
	bool returned; /* its chains belong to the driver again */
	bool stripped; /* the unmapper has the pages that were in its memory */
	bool left;     /* its memory is not used any more; the unmapper has it ... */
	bool shared;   /* ... not, because others use it */
};

struct vhost_chain {
	uint8_t *hdr;  /* RESERVED: header; NULL: straddles. LENT: lowest byte lent */
	uint8_t *data; /* RESERVED: payload. LENT: end of the highest byte lent */
	struct vhost_epoch *ep;
	union {
		uint32_t cap;  /* RESERVED, LATE, CANCELLED: bytes at data. LENT, in pieces: lent */
		uint32_t next; /* FREE: index of the next free one + 1 */
	};
	uint16_t id;   /* vhost_ring_verbs */
	uint8_t state; /* enum vhost_chain_state */
	union {
		uint8_t ctrl;	/* CANCELLED: on the stack of those without room for payload */
		uint8_t pieces; /* LENT: 1: in several pieces */
	};
};
_Static_assert(sizeof(struct vhost_chain) == 32, "two a cache line");

/* A committed packet without a chain. */
struct vhost_pair_deferred {
	struct vsock_hdr h;
	uint32_t token;
};

/* Positions of the rings of a pair. */
struct vhost_pair_bases {
	struct vhost_ring_pos base[2]; /* [enum vhost_direction] */
};

struct vhost_pair {
	struct transport_queue tq;	/* first */
	struct transport_queue_ops ops; /* tq.ops: for the layout of the rings, per session */

	/* owner, hot */
	SHM_CACHE_ALIGNED struct vhost_ring from_guest; /* packets */
	SHM_CACHE_ALIGNED struct vhost_ring to_guest;	/* empty buffers */
	SHM_CACHE_ALIGNED struct vhost_epoch *ep;	/* NULL: the rings are stopped */
	struct vhost_chain *chains;
	uint32_t nchains;
	uint32_t free;	 /* index of a free one + 1; 0: none */
	uint32_t *stack; /* cancelled chains with room for payload */
	uint32_t *ctrl;	 /* cancelled chains without */
	uint32_t nstack, nctrl;
	uint32_t released;   /* chains of from_guest that may wait for a publish: release_due() */
	uint32_t idle;	     /* rx_bursts in a row that found nothing */
	uint32_t taken;	     /* chains taken from to_guest since the last rx_burst */
	uint32_t work;	     /* see "Work" above; the caller may lower it */
	uint32_t ndeferred;  /* packets in `deferred` */
	struct pkt_seg *seg; /* scratch for rx_burst */
	uint32_t nseg;
	uint32_t armed;
	struct vhost_call call[2]; /* [enum vhost_direction] */
	struct wake_limit *wakes;  /* of calls; the caller may set one for all pairs of a device */
	struct vhost_pair_deferred
		*deferred; /* circular, deferred_size entries, as many as there are chains */
	uint32_t deferred_size, deferred_head;
	bool calls_owed; /* some of call[] are */
	bool blocked;	 /* a call has blocked. Atomic */

	/* during a pause, when the owner watches the rings */
	struct guest_mem *watched; /* the map they are in; NULL: not paused */
	uint64_t watch_sum, watch_due;

	/* packets of ended sessions; saved.c */
	struct vhost_pair_saved **saved; /* by slot; NULL: given back */
	uint32_t nsaved, saved_size, saved_next;
	size_t saved_bytes;
	struct pkt_seg saved_seg[VHOST_BURST];

	/* control thread */
	struct vhost_epoch *retired;
	size_t saved_max;     /* limit of saved_bytes; the caller may lower it */
	uint64_t retired_max; /* limit for the bytes of `retired`; the caller may lower it */
	uint32_t maps_max;    /* limit for the maps of all its epochs; the caller may lower it */
	bool full;	      /* the last try to start or go on was refused for one of these */
	uint32_t sweep_max;   /* limit of vhost_pair_sweep(); the caller may lower it */
	struct wake_limit own_wakes;
	struct unmapper *unmapper; /* a reference. NULL: whoever drops memory unmaps it */
	struct fd_closer *closer;  /* closes kick and call descriptors; NULL: close() */
	int kickfd[2];		   /* dup'ed, in epfd; -1: none */
	int epfd, wakefd;
	int watchfd; /* timer during a pause; -1: none */
	unsigned index;
	bool loaded; /* between vhost_pair_start and vhost_pair_stop; the ring may be broken */
	bool paused; /* between vhost_pair_pause and vhost_pair_resume; the session may be over */
	const char *name; /* of the device, for logs */
};

struct vhost_pair_setup {
	struct vhost_ring_area ring[2]; /* [enum vhost_direction] */
	struct guest_mem *mem;		/* for payload; vhost_pair_start takes a reference */
	struct guest_iommu *iommu;	/* owned by the caller; NULL without ACCESS_PLATFORM */
	uint64_t features;		/* negotiated VSOCK_FEATURE_*: layout, EVENT_IDX, ... */
};

/* ---- control thread ---- */

/* Initialises a pair that is down. 0, or -errno of eventfd or epoll. */
int vhost_pair_init(struct vhost_pair *q, unsigned index, const char *name);
/* Frees it. Call vhost_pair_stop() first; there must be no owner and no token any more. */
void vhost_pair_fini(struct vhost_pair *q);
/* Starts a session. -EINVAL (ring areas), -EBUSY (loans use up VHOST_RETIRED, retired_max or
 * maps_max), -ENOMEM; then the pair stays down. */
int vhost_pair_start(struct vhost_pair *q, const struct vhost_pair_setup *s);
/* Ends the session, if there is one. True: *b is filled in. */
bool vhost_pair_stop(struct vhost_pair *q, struct vhost_pair_bases *b);
/* The driver of the ended session is gone for good: tq.gone. */
void vhost_pair_driver_gone(struct vhost_pair *q);
/* Stops the rings, which are in the map @rings, and keeps the session. True: *b is filled in.
 * False: there is no session, or it is already paused. */
bool vhost_pair_pause(struct vhost_pair *q, struct guest_mem *rings, struct vhost_pair_bases *b);
/*
 * Restarts the rings of a paused pair, in the map @rings, and continues the session. -ESTALE: they
 * are not as they were stopped, or the session is over; -EBUSY, -EINVAL, -ENOMEM as
 * vhost_pair_start. After an error the caller must call vhost_pair_stop().
 */
int vhost_pair_resume(struct vhost_pair *q, const struct vhost_pair_setup *s,
		      const struct guest_mem *rings);
/*
 * Continues the session with a new memory table. After an error the caller must call
 * vhost_pair_stop(): -EINVAL (ring areas), -ENOMEM, -EBUSY (the memory of a buffer in use is not in
 * the new table, or loans use up VHOST_RETIRED, retired_max or maps_max).
 */
int vhost_pair_switch_mem(struct vhost_pair *q, const struct vhost_pair_setup *s);
/* True: memory that the pair has used is not unmapped yet, and there may be no room for another
 * table beside it. There will be: whoever has one should wait. */
bool vhost_pair_unmaps(struct vhost_pair *q);
/* Replaces the descriptor by a dup of @fd (-1: none). 0 or -errno, and then there is none (-EINVAL:
 * not usable for calls, vhost_call.h, or no eventfd for kicks). */
int vhost_pair_set_call(struct vhost_pair *q, enum vhost_direction ring, int fd);
int vhost_pair_set_kick(struct vhost_pair *q, enum vhost_direction ring, int fd);
/* Makes vhost_pair_fd() readable. */
void vhost_pair_wake(struct vhost_pair *q);
/* For struct transport_ops. */
int vhost_pair_fd(struct transport_queue *tq);

/* Owner: until it is called with false, calls find nothing to receive and no room to send, and only
 * buffers that are taken already are accessed. */
void vhost_pair_rest(struct vhost_pair *q, bool rests);

/* quiesce_stop(). What is slept until the owner has left is not the memory's doing. */
static inline void vhost_owner_stop(struct quiesce *qs)
{
	struct mem_account *was = mem_for(NULL);

	quiesce_stop(qs);
	(void)mem_for(was);
}

static inline struct vhost_pair *vhost_pair_of(struct transport_queue *tq)
{
	return (struct vhost_pair *)(void *)tq;
}

#endif
