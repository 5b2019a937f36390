/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The connection state machine (VIRTIO 1.2, section 5.10.6.5): one table, (state, event) -> (next
 * state, action). Pure logic; the socket layer performs the action.
 *
 *   REQUESTED ----answer---------+
 *        |                       v
 *   CONNECTING --RESPONSE--> CONNECTED --SHUTDOWN both ways--> (drained) CLOSED
 *        |                       |
 *        +--RST/timeout--> CLOSED +--close--> CLOSING --RST, SHUTDOWN both ways
 *                                                       or timeout--> CLOSED
 *
 * Half-closes are not states: they are two pairs of bits kept in struct vsock_shut, because each
 * direction ends by itself. REQUESTED is where a connection of the catch-all listener waits for
 * the application's answer; other listeners answer at once. A connection that is not in the table
 * (unknown 4-tuple) is described by VC_NONE: every packet but RST and REQUEST is answered by RST.
 */
#ifndef ZV_VSOCK_CONN_H
#define ZV_VSOCK_CONN_H

#include "vsock_hdr.h"

#include <stdint.h>

enum vc_state {
	VC_NONE = 0,   /* no such connection */
	VC_CONNECTING, /* REQUEST sent, waiting for RESPONSE */
	VC_REQUESTED,  /* REQUEST received and not answered yet */
	VC_CONNECTED,
	VC_CLOSING, /* closed here, SHUTDOWN sent, waiting for the peer's RST */
	VC_CLOSED,  /* over: reset, refused, timed out or fully shut down */
	VC_STATES,
};

/* Events: the seven packet ops keep their numbers; then what happens on this side. */
enum vc_event {
	VC_EV_REQUEST = VSOCK_OP_REQUEST,
	VC_EV_RESPONSE = VSOCK_OP_RESPONSE,
	VC_EV_RST = VSOCK_OP_RST,
	VC_EV_SHUTDOWN = VSOCK_OP_SHUTDOWN,
	VC_EV_RW = VSOCK_OP_RW,
	VC_EV_CREDIT_UPDATE = VSOCK_OP_CREDIT_UPDATE,
	VC_EV_CREDIT_REQUEST = VSOCK_OP_CREDIT_REQUEST,
	VC_EV_CLOSE,   /* the application closes */
	VC_EV_TIMEOUT, /* connect or close timeout */
	VC_EVENTS,
};

enum vc_action {
	VC_ACT_NONE = 0,
	VC_ACT_DROP,	      /* ignore the packet, count it */
	VC_ACT_RST,	      /* answer RST; the connection (if any) is reset too */
	VC_ACT_ACCEPT,	      /* look for a listener; RESPONSE or RST */
	VC_ACT_ESTABLISHED,   /* tell the application, stop the timer */
	VC_ACT_REFUSED,	      /* ECONNREFUSED to the application */
	VC_ACT_RESET,	      /* ECONNRESET to the application */
	VC_ACT_TIMEDOUT,      /* ETIMEDOUT to the application, RST to the peer */
	VC_ACT_DATA,	      /* take the payload */
	VC_ACT_CREDIT,	      /* counters only (they are taken from every packet) */
	VC_ACT_REPORT_CREDIT, /* send CREDIT_UPDATE */
	VC_ACT_SHUTDOWN,      /* merge the flags into struct vsock_shut; see vsock_shut_done() */
	VC_ACT_SEND_SHUTDOWN, /* send SHUTDOWN both ways, start the close timer */
	VC_ACT_FREE,	      /* nothing more to say: forget the connection */
	VC_ACT_RST_FREE,      /* send RST, forget the connection */
};

struct vc_step {
	uint8_t next;	/* enum vc_state */
	uint8_t action; /* enum vc_action */
};

/* The whole machine; indices are checked by vc_step(). */
extern const struct vc_step vc_table[VC_STATES][VC_EVENTS];

/* The step for @event in @state. Out-of-range arguments give {same state, VC_ACT_DROP}. */
static inline struct vc_step vc_step(unsigned state, unsigned event)
{
	if (state >= VC_STATES || event >= VC_EVENTS || event == 0)
		return (struct vc_step){(uint8_t)state, VC_ACT_DROP};
	return vc_table[state][event];
}

/* Which directions are over. A bit set twice is harmless; bits are never cleared. */
struct vsock_shut {
	uint8_t local; /* VSOCK_SHUTDOWN_* that this side has sent */
	uint8_t peer;  /* VSOCK_SHUTDOWN_* that the peer has sent */
};

/* Merges a SHUTDOWN packet's flags. False: unknown bits (they are ignored, the caller counts). */
static inline bool vsock_shut_peer(struct vsock_shut *s, uint32_t flags)
{
	s->peer |= (uint8_t)(flags & VSOCK_SHUTDOWN_BOTH);
	return (flags & ~VSOCK_SHUTDOWN_BOTH) == 0;
}

/* This side may still send: it has not shut down sending, the peer has not stopped receiving. */
static inline bool vsock_shut_can_send(const struct vsock_shut *s)
{
	return !(s->local & VSOCK_SHUTDOWN_SEND) && !(s->peer & VSOCK_SHUTDOWN_RCV);
}

/*
 * The peer has ended both directions. Once nothing is left to read (at once in VC_CLOSING, where
 * nobody reads), RST ends the connection: VIRTIO 1.2, section 5.10.6.5.
 */
static inline bool vsock_shut_done(const struct vsock_shut *s)
{
	return s->peer == VSOCK_SHUTDOWN_BOTH;
}

/* More data may still arrive. */
static inline bool vsock_shut_can_recv(const struct vsock_shut *s)
{
	return !(s->local & VSOCK_SHUTDOWN_RCV) && !(s->peer & VSOCK_SHUTDOWN_SEND);
}

const char *vc_state_name(unsigned state);

#endif
