/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection whose payload goes through a channel in shared memory (shm-ring/shm_ring.h).
 *
 * Theory of operation
 * -------------------
 * REQUEST, RESPONSE, SHUTDOWN and RST remain packets; payload does not. Such a connection has
 * another descriptor behind c->sock (chan_stream.c, chan_seqpacket.c) and a struct chan. There
 * is no credit: the ring and its slots are the flow control, and a packet with payload is beyond
 * the credit of 0 that the connection grants, so it is answered by RST.
 *
 * The end of a half is a message of the ring (CHAN_END), so it comes behind all data. The
 * SHUTDOWN packet, which may be seen before or after it, says the rest: that the peer receives no
 * more, or has closed. A RST, or the end of a session, cuts off: what is in the ring at that
 * moment can still be received, then comes -ECONNRESET.
 *
 * What is taken out of the ring and not yet read waits in `fifo`. What the application has on loan
 * stays in the ring or in its slot; a loan outlives its connection, and the channel its last loan:
 * then `gone` is called, and the memory may be used for something else.
 *
 * Of a thousand channels few have traffic. Those are *hot*: each zv_poll looks into their rings.
 * One that was looked at for nothing for a while is *armed*: its peer has to wake this side, by
 * a bell (chan_bell.h) or by a CREDIT_UPDATE of the connection, and until then it costs
 * nothing. One whose application does not read what is there is *quiet*: there is nothing to look
 * for.
 *
 *	hot ---- nothing for a while, or zv_arm ----> armed
 *	 |  <--- rung, and there was something; a call took something ---
 *	 +------ unread data, and no room wanted ---> quiet ---- read ---> hot
 *
 * A bell that is rung for nothing arms the channel again, because its peer does not ring twice for
 * one arming: so no wake-up is lost, whoever looked first (barrier pair [D]).
 *
 * Deaths. A RST comes by way of the broker, and when that dies there is none. So an end whose
 * session is over says so in the ring as well (CHAN_CUT), and one whose transport does not hear of
 * its backend's end (transport_dev.end) looks at its armed channels once a second, as nobody can
 * wake it any more. Where the backend's end shows in packets that are not taken, it sends one at
 * the same time: payload alone would never show it. Seconds are whole ones of the clock, so that
 * all who sleep in a machine wake together.
 *
 * An idle channel of the default size costs this side some 5 KiB of private memory: its fifo, what
 * may be on loan, the ends of the channel.
 *
 * A region whose file is cut off turns to zeroes (api/sigbus.h). Zeroes in the ring are no
 * messages, but payload is payload: who has copied some looks at `cut` before it is handed out, and
 * each look of zv_poll does, for those who read in place.
 *
 * The peer is hostile, as everywhere. What shm-ring finds wrong breaks the channel: the connection
 * is reset, which is counted (chan_broken); nothing else is hurt. One poll does a bounded amount of
 * work: CHAN_LOOKS channels, one word of bells a page.
 */
#ifndef ZV_CHAN_STATE_H
#define ZV_CHAN_STATE_H

#include "bell_page.h"
#include "shm_ring.h"
#include "socket/core/state.h"

/* Numbers of control messages. */
#define CHAN_END       1u /* no more data comes */
#define CHAN_CUT       2u /* the sender's session has ended; nothing more comes */
#define CHAN_FIFO      32u
#define CHAN_LOOKS     64u   /* hot channels looked at in one poll */
#define CHAN_IDLE      1024u /* looks for nothing, of all hot channels together, until one is armed */
#define CHAN_TELL      8u    /* messages in the ring; a slot counts as CHAN_TELL_SLOT of them */
#define CHAN_TELL_SLOT 4u
#define CHAN_PIECES    256u /* most slots of one message */
/*
 * In zv_buf.cookie: received, from the channel whose number the rest is; to be sent, in the stage
 * whose number the rest is.
 */
#define CHAN_COOKIE (1u << 31)

_Static_assert(SHM_EOM == ZV_EOM && SHM_EOR == ZV_EOR, "flags are handed on as they are");

enum chan_heat { CHAN_QUIET, CHAN_HOT, CHAN_ARMED };

/* A received slot that the application has on loan. */
struct chan_lent {
	uint64_t serial; /* zv_buf.serial, 0: it is not lent */
	uint16_t gen;
};

/* A buffer that the application has reserved: a slot, or a stage (chan_tx.h). */
struct chan_out {
	uint64_t serial; /* zv_buf.serial, 0: it is not reserved */
	uint32_t chan;	 /* number of the connection's channel */
	uint32_t capacity;
	uint16_t gen;  /* of a slot */
	uint8_t width; /* places of the ring that are promised to it */
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
	const uint32_t *cut; /* becomes 1 when the region turns to zeroes; NULL: it cannot */
	const struct shm_channel_desc *desc;
	enum shm_role role;
	/* How ends wake each other: by bells where that is possible, otherwise by CREDIT_UPDATE. */
	uint32_t bell;		       /* that the peer rings in this queue's page; 0: none */
	uint32_t ring_page, ring_bell; /* where this end rings for its peer; 0: nowhere */
	void (*gone)(void *arg); /* this end does not touch the region any more; may be NULL */
	void *gone_arg;
};

struct chan {
	struct shm_channel *ch;
	struct zv_queue *q;
	struct zv_conn *c;   /* NULL: it is gone, and only loans are left */
	uint32_t index;	     /* in q->chans.tab */
	const uint32_t *cut; /* *cut: the region is lost, what lies there is not the peer's */
	uint8_t heat;	     /* enum chan_heat */
	bool ended;	     /* CHAN_END has come */
	bool end_sent;
	bool over;		/* nothing is received: not established, or over, or broken */
	bool room_told;		/* chan_has_room() was true, and the application was told */
	uint32_t tell;		/* what was released since the peer was told: chan_rx.h */
	uint32_t idle;		/* looks for nothing */
	TAILQ_ENTRY(chan) link; /* hot */

	/* ---- receiving: chan_rx.c ---- */
	struct shm_msg *fifo;
	uint32_t head, tail, size; /* of fifo; what is between head and tail waits */
	uint32_t most;		   /* that fifo can ever hold */
	uint32_t lent;		   /* messages that the application has on loan */
	uint64_t line_pos; /* of the last line lent: 62 bits of which the lower 32 are the ring's */
	uint8_t *line_lent; /* by place in the ring: its width in places, 0: not lent */
	uint32_t line_mask;
	uint32_t nslots;
	struct chan_lent *slot_lent;
	uint64_t unread; /* bytes received and neither read nor given back */

	/* ---- sending: chan_tx.c ---- */
	uint32_t places;   /* free in the ring as far as known */
	uint32_t promised; /* of those: to buffers that the application has reserved */
	uint32_t tx_slots;
	struct chan_out *out; /* by slot */
	uint32_t classes;
	uint32_t slot_size[SHM_CLASSES_MAX];
	uint64_t room;	     /* of the empty channel */
	uint64_t max_msg;    /* bytes of the longest message */
	uint32_t all_places; /* of the empty ring */
	/* Of the message that zv_buf_send has begun and not ended: */
	uint32_t msg_slots, msg_places;
	struct shm_msg more; /* while CF_MORE: the slot that is being filled */

	uint32_t bell, ring_page, ring_bell; /* as in chan_opts; bell 0 also: nobody hears it */
	struct chan_ringer *ringer;	     /* NULL: not needed yet, or not to be had */
	void (*gone)(void *arg);
	void *gone_arg;
};

#endif
