/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection whose payload goes through a channel in shared memory (shm-ring/shm_ring.h).
 *
 * Theory of operation
 * -------------------
 * REQUEST, RESPONSE, SHUTDOWN and RST remain packets; payload does not. Such a connection has
 * another descriptor in c->sock (chan_stream.c, chan_seqpacket.c) and a struct chan. There is no
 * credit: the ring and its slots are the flow control. The connection grants a credit of 0, so a
 * packet with payload exceeds it and is answered by RST.
 *
 * The end of one direction is a message in the ring (CHAN_END), so it comes after all data. The
 * SHUTDOWN packet may be seen before or after it, and tells the rest: that the peer receives no
 * more, or has closed. A RST, or the end of a session, cuts the connection off: what is in the ring
 * at that moment can still be received, then calls return -ECONNRESET.
 *
 * Messages taken out of the ring and not yet read wait in `fifo`. What the application has on loan
 * stays in the ring or in its slot. A loan may outlive its connection, and the channel lives until
 * its last loan is back: then `gone` is called, and the memory may be reused.
 *
 * Of a thousand channels few have traffic. Those are *active*: each zv_poll checks their rings. A
 * channel that was checked in vain for a while is *armed*: its peer has to wake this side, by a
 * bell (chan_bell.h) or by a CREDIT_UPDATE of the connection, and until then it costs nothing. A
 * channel whose application does not read what is there is *inactive*: there is nothing to check
 * for.
 *
 *	active ---- nothing for a while, or zv_arm ----> armed
 *	 |  <--- rung, and there was something; a call took something ---
 *	 +------ unread data, and no room wanted ---> inactive ---- read ---> active
 *
 * When a bell was rung and there is nothing, the channel is armed again, because a peer rings only
 * once per arming. So no wake-up is lost, whichever side looked first (barrier pair [D]).
 *
 * Lost peers. A RST comes through the broker, so when the broker dies there is none. Therefore an
 * end whose session is over says so in the ring as well (CHAN_ABORT), and an end whose transport is
 * not told that its backend has ended (transport_dev.end) checks its armed channels once a second,
 * as nobody can wake it any more. Where the end of a backend shows only in packets that are not
 * taken, it also sends a packet at that time, and when it receives CHAN_ABORT: payload alone would
 * never show it. These checks are
 * aligned to whole seconds of the clock, so that all sleepers of a machine wake together.
 *
 * The private memory of a channel grows with its slots: shm-ring keeps the state of each, and a
 * channel whose application uses the zero-copy calls also a record of each that can be on loan.
 * docs/daemon.md ("How much memory") has figures, and daemon channels checks them.
 *
 * A region whose file is truncated turns to zeros (api/sigbus.h). Zeros in the ring are no
 * messages, but zeros in payload cannot be told from data. So a copy is checked against `truncated`
 * before it is handed out, and each zv_poll checks `truncated` on behalf of those who read in
 * place.
 *
 * The peer is hostile, as everywhere. Any violation that shm-ring finds breaks the channel: the
 * connection is reset, which is counted (chan_broken()); nothing else is affected. One poll does a
 * bounded amount of work: CHAN_POLL_MAX channels, one word of bells per page.
 */
#ifndef ZV_CHAN_STATE_H
#define ZV_CHAN_STATE_H

#include "bell_page.h"
#include "shm_ring.h"
#include "socket/core/state.h"

/* Numbers of control messages. */
#define CHAN_END	 1u /* no more data comes */
#define CHAN_ABORT	 2u /* the sender's session has ended; nothing more comes */
#define CHAN_FIFO	 32u
#define CHAN_POLL_MAX	 64u   /* active channels checked in one poll */
#define CHAN_IDLE_POLLS	 1024u /* empty polls, over all active channels, until one is armed */
#define CHAN_NOTIFY_MSGS 8u    /* messages released before the peer is notified */
#define CHAN_NOTIFY_SLOT 4u    /* a released slot counts as so many */
#define CHAN_PIECES	 256u  /* most slots in one message */
/*
 * In zv_buf.cookie. Received: the rest is the number of the channel. To be sent: the rest is the
 * number of the staging buffer.
 */
#define CHAN_COOKIE (1u << 31)

_Static_assert(SHM_EOM == ZV_EOM && SHM_EOR == ZV_EOR, "flags are handed on as they are");

enum chan_activity { CHAN_INACTIVE, CHAN_ACTIVE, CHAN_ARMED };

/* A received slot that the application has on loan. */
struct chan_lent {
	uint64_t serial; /* zv_buf.serial, 0: it is not lent */
	uint16_t gen;
};

/* A buffer that the application has reserved: a slot, or a staging buffer (chan_tx.h). */
struct chan_out {
	uint64_t serial; /* zv_buf.serial, 0: it is not reserved */
	uint32_t chan;	 /* the connection's channel number */
	uint32_t capacity;
	uint16_t gen;  /* of a slot */
	uint8_t width; /* ring entries promised to it */
};

/* The bells of a queue's channels: chan_bell.c. */
struct chan_bells {
	struct bell_owner owner;
	struct bell_map *map;
	struct chan *of[BELLS]; /* NULL: nobody's */
};

/* How a connection gets its channel: chan_attach(). */
struct chan_opts {
	void *region; /* mapped until gone() is called */
	size_t size;
	const uint32_t *truncated; /* becomes 1 when the region turns to zeros; NULL: it cannot */
	const struct shm_channel_desc *desc;
	enum shm_role role;
	/* How the ends wake each other: by bells where possible, otherwise by CREDIT_UPDATE. */
	uint32_t bell;		       /* rung by the peer in this queue's page; 0: none */
	uint32_t ring_page, ring_bell; /* bell that wakes the peer; 0: none */
	void (*gone)(void *arg);       /* this end no longer uses the region; may be NULL */
	void *gone_arg;
};

struct chan {
	struct shm_channel *ch;
	struct zv_queue *q;
	struct zv_conn *c;	   /* NULL: closed, only loans are left */
	uint32_t index;		   /* in q->chans.tab */
	const uint32_t *truncated; /* not 0: the region is lost, its contents are not the peer's */
	uint8_t activity;	   /* enum chan_activity */
	bool ended;		   /* CHAN_END has come */
	bool end_sent;
	bool over;		/* nothing is received: not established, over, or broken */
	bool room_reported;	/* chan_has_room() was true, and the application was told */
	uint32_t unnotified;	/* released since the peer was notified */
	uint32_t idle;		/* empty polls */
	TAILQ_ENTRY(chan) link; /* active */

	/* ---- receiving: chan_rx.c ---- */
	struct shm_msg *fifo;
	uint32_t head, tail, size; /* of fifo; entries from head to tail wait */
	uint32_t fifo_max;	   /* most that fifo can ever hold */
	uint32_t lent;		   /* messages that the application has on loan */
	uint64_t line_pos;  /* of the last line lent: 62 bits; the lower 32 are the ring position */
	uint8_t *line_lent; /* by ring entry: its width in entries, 0: not lent */
	uint32_t line_mask;
	uint32_t nslots;
	struct chan_lent *slot_lent; /* NULL: none has been lent */
	uint64_t unread;	     /* bytes received and neither read nor given back */

	/* ---- sending: chan_tx.c ---- */
	uint32_t free_entries; /* free ring entries, as far as known */
	uint32_t promised;     /* of these, promised to reserved buffers */
	uint32_t tx_slots;
	struct chan_out *out; /* by slot; NULL: none has been reserved */
	uint32_t classes;
	uint32_t slot_size[SHM_CLASSES_MAX];
	uint64_t room;	      /* room in the empty channel */
	uint64_t max_msg;     /* bytes of the longest message */
	uint32_t all_entries; /* of the empty ring */
	/* Used by a message that zv_buf_send has begun and not ended: */
	uint32_t msg_slots, msg_entries;
	struct shm_msg more; /* while CF_MORE: the slot that is being filled */

	uint32_t bell, ring_page, ring_bell; /* as in chan_opts; bell is 0 also without a page */
	struct chan_ringer *ringer;	     /* NULL: not needed yet, or not available */
	void (*gone)(void *arg);
	void *gone_arg;
};

#endif
