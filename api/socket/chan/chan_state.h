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
 * more, or has closed. A RST, or the end of a session, ends the connection at once: what is in the
 * ring at that moment can still be received, then calls return -ECONNRESET.
 *
 * Messages that have been taken out of the ring and not yet read wait in `fifo`. What the
 * application has on loan stays in the ring or in its slot. A loan may outlive its connection, and
 * the channel lives until its last loan is returned: then `gone` is called, and the memory may be
 * reused.
 *
 * Of a thousand channels few have traffic. Those are *active*: each zv_poll checks their rings. A
 * channel that was checked in vain for a while is *armed*: its peer has to wake this side, by a
 * bell (chan_bell.h) or by a CREDIT_UPDATE of the connection, and until then it costs nothing. A
 * channel whose application does not read the data that is there is *inactive*: there is nothing to
 * check for.
 *
 *	active ---- nothing for a while, or zv_arm ----> armed
 *	 |  <--- woken and something found; a call has read something ---
 *	 +------ unread data, and no room wanted ---> inactive ---- read ---> active
 *
 * If a bell was rung and nothing is found, the channel is armed again, because a peer rings only
 * once per arming. So no wake-up is lost, whichever side checks first (barrier pair [D]).
 *
 * Lost peers. A RST comes through the broker, so there is none when the broker dies. Therefore an
 * end whose session is over reports that in the ring as well (CHAN_ABORT). And an end whose
 * transport is not notified of the end of its backend (transport_dev.end) checks its armed channels
 * once a second, because nobody can wake it any more. Where the end of a backend shows only in
 * packets that are not accepted, it also sends a packet at that time, and when it receives
 * CHAN_ABORT: payload alone would never show it. These checks are aligned to whole seconds of the
 * clock, so that all sleepers of a machine wake together.
 *
 * The private memory of a channel grows with its slots: shm-ring keeps the state of each, and a
 * channel whose application uses the zero-copy calls also a record of each that can be on loan.
 * docs/daemon.md ("How much memory") has figures, and daemon channels checks them.
 *
 * A region whose file is truncated turns to zeros (api/sigbus.h). Zeros in the ring are no
 * messages, but zeros in payload cannot be told from data. So `truncated` is checked after each
 * copy, before the copy is handed out, and by each zv_poll for applications that read in place.
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

/* Control messages: shm_channel_control(). */
#define CHAN_END	 1u /* no more data comes */
#define CHAN_ABORT	 2u /* the sender's session is over; nothing more comes */
#define CHAN_FIFO	 32u
#define CHAN_POLL_MAX	 64u   /* active channels checked in one poll */
#define CHAN_IDLE_POLLS	 1024u /* empty polls, over all active channels, until one is armed */
#define CHAN_NOTIFY_MSGS 8u    /* messages released before the peer is notified */
#define CHAN_NOTIFY_SLOT 4u    /* a released slot counts as this many messages */
#define CHAN_PIECES	 256u  /* maximum number of slots of a message */
/*
 * Flag in zv_buf.cookie. In a received buffer the other bits are the number of the channel; in a
 * reserved buffer with the flag they are the number of its staging buffer.
 */
#define CHAN_COOKIE (1u << 31)

_Static_assert(SHM_EOM == ZV_EOM && SHM_EOR == ZV_EOR, "flags are handed on as they are");

enum chan_activity { CHAN_INACTIVE, CHAN_ACTIVE, CHAN_ARMED };

/* A received slot that the application has on loan. */
struct chan_lent {
	uint64_t serial; /* zv_buf.serial; 0: not lent */
	uint16_t gen;
};

/* A buffer that the application has reserved: a slot, or a staging buffer (chan_tx.h). */
struct chan_out {
	uint64_t serial; /* zv_buf.serial; 0: not reserved */
	uint32_t chan;	 /* the connection's channel number */
	uint32_t capacity;
	uint16_t gen;  /* generation of a slot */
	uint8_t width; /* ring entries promised to the buffer */
};

/* The bells of a queue's channels: chan_bell.c. */
struct chan_bells {
	struct bell_owner owner;
	struct bell_map *map;
	struct chan *of[BELLS]; /* NULL: the bell is not in use */
};

/* How a connection gets its channel: chan_attach(). */
struct chan_opts {
	void *region; /* mapped until gone() is called */
	size_t size;
	const uint32_t *truncated; /* becomes 1 when the region turns to zeros; NULL: never */
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
	struct zv_conn *c;	   /* NULL: closed; only loans remain */
	uint32_t index;		   /* in q->chans.tab */
	const uint32_t *truncated; /* not 0: the region is lost, its contents are not the peer's */
	uint8_t activity;	   /* enum chan_activity */
	bool ended;		   /* CHAN_END has been received */
	bool end_sent;
	bool over;		/* nothing is received: not established yet, ended, or broken */
	bool room_reported;	/* chan_has_room() was true and has been reported */
	uint32_t unnotified;	/* releases since the peer was last notified: CHAN_NOTIFY_* */
	uint32_t idle;		/* empty polls in a row */
	TAILQ_ENTRY(chan) link; /* active */

	/* ---- receiving: chan_rx.c ---- */
	struct shm_msg *fifo;
	uint32_t head, tail, size; /* of the fifo; entries from head to tail are in use */
	uint32_t fifo_max;	   /* maximum number of entries */
	uint32_t lent;		   /* messages on loan to the application */
	/* Position of the last message lent from the ring: 62 bits, of which the lower 32 are
	 * shm-ring's. */
	uint64_t line_pos;
	uint8_t *line_lent; /* by ring entry: width in entries of the message lent there; 0: none */
	uint32_t line_mask;
	uint32_t nslots;
	struct chan_lent *slot_lent; /* NULL: the application has not used zero-copy calls */
	uint64_t unread;	     /* bytes received that were neither read nor returned */

	/* ---- sending: chan_tx.c ---- */
	uint32_t free_entries; /* free ring entries, at least */
	uint32_t promised;     /* how many of these are promised to reserved buffers */
	uint32_t tx_slots;
	struct chan_out *out; /* by slot; NULL: none has been reserved yet */
	uint32_t classes;
	uint32_t slot_size[SHM_CLASSES_MAX];
	uint64_t room;	      /* bytes that the empty channel can hold */
	uint64_t max_msg;     /* maximum length of a message */
	uint32_t all_entries; /* ring entries that the empty channel has free */
	/* Used by a message that zv_buf_send() has begun and not ended: */
	uint32_t msg_slots, msg_entries;
	struct shm_msg more; /* with CF_MORE: the slot being filled */

	uint32_t bell, ring_page, ring_bell; /* as in chan_opts; bell: 0 without a page */
	struct chan_ringer *ringer;	     /* NULL: not needed yet, or not available */
	void (*gone)(void *arg);
	void *gone_arg;
};

#endif
