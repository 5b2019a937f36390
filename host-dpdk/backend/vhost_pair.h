/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The packet layer of one guest: its queue pairs, over rings in guest memory.
 *
 * Theory of operation
 * -------------------
 * struct vhost_pair is one pair. Its `tx` ring carries packets from the guest (the guest
 * transmits), its `rx` ring empty buffers for packets to the guest. Two threads meet in it. The
 * *owner* calls the data functions at the bottom, between quiesce_enter() and quiesce_leave(); the
 * *control thread* (vhost-user messages) calls vhost_pair_start(), vhost_pair_stop() and so on,
 * which stop the owner by quiesce_stop() for as long as they work, and wake it afterwards. So
 * nothing below needs a lock or an atomic.
 *
 * A chain that has been taken from a ring and not yet returned has a record (struct vhost_chain); a
 * token is the record's number. A record is in one of these states:
 *
 *      FREE --rx_burst--> RX_OUT --rx_release--> FREE
 *      FREE --tx_reserve--> TX_OUT --tx_commit--> FREE
 *                           TX_OUT --tx_cancel--> STACK --tx_reserve--> TX_OUT
 *                           TX_OUT --tx_commit--> TX_LATE --> FREE (after a pause)
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
 * one session and one generation of guest memory; each record points to the epoch in which its
 * chain was taken. While that is the current one (the usual case: one comparison), giving the token
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
 * that a driver which lives on loses no descriptor and used == avail at that moment.
 *
 * Pauses. A stop of the rings does not say why: the VM may be stopped for a while, with every
 * connection of its own alive, or the driver may have reset the device. So vhost_pair_pause() stops
 * the rings and keeps the session, and vhost_pair_resume() goes on with it when the rings come back
 * as they were left: in the same memory, with the used index where it was, because a driver that
 * begins anew sets it to 0. (The caller compares what the frontend says: base, addresses,
 * features.) Until then the pair is one that receives nothing and has no room to send, and its
 * clock stands still (tq.paused_at). A driver that lives on without its rings changes their memory,
 * or somebody to whom the memory belongs now does: the owner looks at it now and then
 * (vhost_pair_idle), and then the session is over.
 *
 * A buffer that was reserved before a pause is private memory, and its chain the driver's again.
 * When it is committed, its payload is copied into a chain that the driver offers now; if there is
 * none, it waits in q->late, and nothing overtakes it.
 *
 * When the session ends with its rings as they were, what the guest had sent is taken first
 * (kept.c).
 */
#ifndef ZV_VHOST_PAIR_H
#define ZV_VHOST_PAIR_H

#include "guest_mem.h"
#include "transport.h"
#include "vhost_ring.h"

#define VHOST_CTRL_KEEP	 8u    /* receive buffers of the guest kept back for control packets */
#define VHOST_BURST	 32u   /* packets that one rx_burst looks at */
#define VHOST_WORK	 8192u /* see "Work" above */
#define VHOST_KEPT_MAX	 (32u << 20) /* bytes kept of what guests had sent when they went */
#define VHOST_KEPT_TOKEN (1u << 31)
#define VHOST_RETIRED	 32u /* ended epochs that loans may keep alive, each with its memory map */

enum vhost_direction { VHOST_TO_GUEST = 0, VHOST_FROM_GUEST = 1 };
enum vhost_chain_state { CHAIN_FREE = 0, CHAIN_RX_OUT, CHAIN_TX_OUT, CHAIN_STACK, CHAIN_TX_LATE };

struct vhost_epoch {
	struct vhost_epoch *next; /* in vhost_pair.retired */
	struct guest_mem *mem;
	uint32_t session;
	uint32_t out;  /* retired epochs only: tokens still out */
	bool revoked;  /* its memory is private now */
	bool returned; /* its chains belong to the driver again */
};

struct vhost_chain {
	/* TX_OUT: where the header goes; NULL: it straddles descriptors. RX_OUT: lowest byte lent
	 */
	uint8_t *hdr;
	uint8_t *data; /* TX_OUT: payload. RX_OUT: behind the highest byte lent */
	struct vhost_epoch *ep;
	union {
		uint32_t cap;  /* TX_OUT, TX_LATE, STACK: bytes at data. RX_OUT, in pieces: bytes
				  lent */
		uint32_t next; /* FREE: next free record + 1 */
	};
	uint16_t head;
	uint8_t state; /* enum vhost_chain_state */
	union {
		uint8_t ctrl;	/* STACK: it is on the stack of those without room for payload */
		uint8_t pieces; /* RX_OUT: 1: in several pieces */
	};
};
_Static_assert(sizeof(struct vhost_chain) == 32, "two records a cache line");

/* A packet that was committed and has no chain yet. */
struct vhost_pair_late {
	struct vsock_hdr h;
	uint32_t token;
};

/* Where the rings of a pair stand. */
struct vhost_pair_bases {
	uint16_t base[2]; /* [enum vhost_direction]: avail index == used index */
};

struct vhost_pair {
	struct transport_queue tq; /* first */

	/* owner, hot */
	SHM_CACHE_ALIGNED struct vhost_ring from_guest; /* its transmit ring: packets */
	SHM_CACHE_ALIGNED struct vhost_ring to_guest;	/* its receive ring: empty buffers */
	SHM_CACHE_ALIGNED struct vhost_epoch *ep;	/* NULL: the rings do not run */
	struct vhost_chain *rec;
	uint32_t nrec;
	uint32_t free;	 /* record + 1; 0: none */
	uint32_t *stack; /* cancelled chains with room for payload */
	uint32_t *ctrl;	 /* those without */
	uint32_t nstack, nctrl;
	uint32_t taken;	     /* chains of rx since the last rx_burst: see VHOST_WORK */
	uint32_t nlate;	     /* packets in `late` */
	struct pkt_seg *seg; /* scratch for rx_burst */
	uint32_t nseg;
	uint32_t armed;
	int callfd[2]; /* [enum vhost_direction]; dup'ed, -1: none */
	struct vhost_pair_late
		*late; /* circular, late_size entries, as many as there are records */
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
	struct guest_mem *mem; /* for payload; vhost_pair_start takes a reference of its own */
	bool event_idx, indirect;
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
 * (-EINVAL: no eventfd).
 */
int vhost_pair_set_call(struct vhost_pair *q, enum vhost_direction ring, int fd);
int vhost_pair_set_kick(struct vhost_pair *q, enum vhost_direction ring, int fd);
/* A dup of @fd to notify the driver by, which never blocks; -1 for -1. 0, or -errno and -1. */
int vhost_pair_dup_call(int fd, int *out);
/* Makes vhost_pair_fd() readable. */
void vhost_pair_wake(struct vhost_pair *q);
/* Makes it readable whenever @fd becomes so. 0 or -errno. */
int vhost_pair_watch_fd(struct vhost_pair *q, int fd);

/* ---- between the parts of this module ---- */

/* Ends the session because the guest broke a ring. Owner. */
void vhost_pair_break(struct vhost_pair *q, const struct vhost_ring *r);
/* The record's session goes on. */
static inline bool vhost_pair_same_session(const struct vhost_pair *q,
					   const struct vhost_chain *rec)
{
	return q->tq.up && rec->ep->session == q->tq.session;
}
/* The record's chain is still ours, whatever happened to the memory table. */
static inline bool vhost_pair_alive(const struct vhost_pair *q, const struct vhost_chain *rec)
{
	return vhost_pair_same_session(q, rec) && !rec->ep->returned;
}
/* The owner has it. */
static inline bool vhost_chain_out(const struct vhost_chain *rec)
{
	return rec->state == CHAIN_RX_OUT || rec->state == CHAIN_TX_OUT ||
	       rec->state == CHAIN_TX_LATE;
}
/* NULL: no memory. */
struct vhost_epoch *vhost_epoch_new(struct guest_mem *mem, uint32_t session);
/* Ends the current epoch: from now on it counts its tokens. It stays in q->retired meanwhile. */
void vhost_epoch_retire(struct vhost_pair *q);
/* Frees the retired epochs that no token refers to any more. */
void vhost_epochs_sweep(struct vhost_pair *q);
/* There are no more than @max of them, and their maps are no larger than they may be. */
bool vhost_epochs_fit(const struct vhost_pair *q, unsigned max);
/*
 * All that is on loan in retired epochs becomes private memory that holds the same, before the
 * guest may reuse its own. Chains are looked up in @tx. With @now, the guest's memory, buffers
 * reserved for sending can be sent later. False: bytes are lost, or still in the guest's hands;
 * counted.
 */
bool vhost_pair_revoke(struct vhost_pair *q, const struct vhost_ring *tx,
		       const struct guest_mem *now);
/* Gives a token of an ended epoch back. True: the session goes on, so the chain is still ours. */
bool vhost_pair_stale(struct vhost_pair *q, struct vhost_chain *rec);
/*
 * Chains and descriptors that the control thread looks at in one go: more than any driver needs
 * that fills its ring with packets in as many pieces as a kernel makes (17 fragments and a header).
 */
static inline uint32_t vhost_pair_sweep(const struct vhost_ring *r)
{
	return VHOST_WORK + 32 * r->size;
}
/* Fills hdr, data and cap of a record from its chain. False: the ring is broken. */
bool vhost_pair_tx_resolve(struct vhost_pair *q, struct vhost_chain *rec);
/*
 * The buffer of @rec where it is in the current memory; its chain, which may be long, is not read
 * again. False: it is not all there. rec->ep stays.
 */
bool vhost_pair_tx_move(const struct vhost_pair *q, struct vhost_chain *rec);
/*
 * Finds the pieces of payload that a record has lent, in the chain as it is in @tx now; they are in
 * q->seg. Their number; -EPROTO: the guest has changed the chain, or *walked, to which the
 * descriptors are added, is beyond vhost_pair_sweep().
 */
int vhost_pair_rx_pieces(struct vhost_pair *q, const struct vhost_chain *rec,
			 const struct vhost_ring *tx, uint32_t *walked);
/* Publishes and notifies, whatever the state of the session. */
void vhost_pair_tell(struct vhost_pair *q);
/* rx_burst of a pair whose rings do not run. */
void vhost_pair_idle(struct vhost_pair *q) __attribute__((cold));
/* Room in q->late for every record, when there may be need of it. 0 or -ENOMEM. */
int vhost_pair_late_room(struct vhost_pair *q);
/* Sends what waits there. False: some still does, or the ring has broken. */
bool vhost_pair_late_send(struct vhost_pair *q);
/* Forgets it. */
void vhost_pair_late_drop(struct vhost_pair *q);

static inline struct vhost_pair *vhost_pair_of(struct transport_queue *tq)
{
	return (struct vhost_pair *)(void *)tq;
}

static inline void vhost_chain_free(struct vhost_pair *q, uint32_t token)
{
	q->rec[token].state = CHAIN_FREE;
	q->rec[token].next = q->free;
	q->free = token + 1;
}

/*
 * Buffers kept back for control packets: VHOST_CTRL_KEEP, or an eighth of what this guest has ever
 * offered at once, so that a guest with few buffers still gets data.
 */
static inline uint32_t vhost_pair_keep(const struct vhost_pair *q)
{
	uint32_t eighth = q->to_guest.most / 8;

	return eighth < VHOST_CTRL_KEEP ? eighth : VHOST_CTRL_KEEP;
}

/* ---- kept.c ---- */

/* Control thread, the owner is stopped: takes what the guest has sent, for vhost_pair_rx_rest. */
void vhost_pair_rx_keep(struct vhost_pair *q);
/* Gives a token of vhost_pair_rx_rest back; others are not its own. */
void vhost_pair_kept_release(struct vhost_pair *q, uint32_t token);
void vhost_pair_kept_fini(struct vhost_pair *q);

/* ---- owner: struct transport_queue_ops; vhost_pair_fd is for struct transport_ops ---- */

int vhost_pair_rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max);
int vhost_pair_rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max);
void vhost_pair_rx_release(struct transport_queue *tq, uint32_t token);
unsigned vhost_pair_tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
			       uint32_t len, unsigned flags);
void vhost_pair_tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h);
void vhost_pair_tx_cancel(struct transport_queue *tq, uint32_t token);
unsigned vhost_pair_tx_max(struct transport_queue *tq);
unsigned vhost_pair_tx_ready(struct transport_queue *tq);
void vhost_pair_publish(struct transport_queue *tq);
int vhost_pair_arm(struct transport_queue *tq, unsigned room);
void vhost_pair_disarm(struct transport_queue *tq);
int vhost_pair_fd(struct transport_queue *tq);

#endif
