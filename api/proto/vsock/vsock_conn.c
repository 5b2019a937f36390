/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state machine's table. One row a state, one line an event; every pair is written out, so that
 * nothing is decided by a forgotten initialiser.
 *
 * Rules that hold in every row:
 *  - RST is never answered, least of all by RST: two sides would go on for ever.
 *  - A packet that the state does not allow is answered by RST when the peer waits for something
 *    that will never come, and dropped when the peer will learn the truth anyway.
 *  - The steps that forget a connection (FREE, RST_FREE) end in CLOSED: while its RST still waits
 *    for room in the ring, a late packet must find it over.
 *  - A timer that fires after its reason has gone does nothing.
 */
#include "vsock_conn.h"

_Static_assert(VC_EV_CLOSE == VSOCK_OP_MAX + 1, "local events follow the packet ops");

#define STEP(event, state, act) [event] = {.next = (state), .action = (act)}

const struct vc_step vc_table[VC_STATES][VC_EVENTS] = {
	/* clang-format off */
	[VC_NONE] = {
		STEP(0,			   VC_NONE,	  VC_ACT_DROP),
		STEP(VC_EV_REQUEST,	   VC_CONNECTED,  VC_ACT_ACCEPT),
		/* Half-open peers, restarted programs: they learn by RST that nobody is here. */
		STEP(VC_EV_RESPONSE,	   VC_NONE,	  VC_ACT_RST),
		STEP(VC_EV_RST,		   VC_NONE,	  VC_ACT_DROP),
		STEP(VC_EV_SHUTDOWN,	   VC_NONE,	  VC_ACT_RST),
		STEP(VC_EV_RW,		   VC_NONE,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_UPDATE,  VC_NONE,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_REQUEST, VC_NONE,	  VC_ACT_RST),
		/* Local events need a connection; without one there is no peer to tell. */
		STEP(VC_EV_CLOSE,	   VC_NONE,	  VC_ACT_NONE),
		STEP(VC_EV_TIMEOUT,	   VC_NONE,	  VC_ACT_NONE),
	},
	[VC_CONNECTING] = {
		STEP(0,			   VC_CONNECTING, VC_ACT_DROP),
		/*
		 * RESPONSE and RST are all that a peer may send before RESPONSE. Anything else
		 * means that the two sides do not talk about the same connection. REQUEST too:
		 * vsock has no simultaneous open.
		 */
		STEP(VC_EV_REQUEST,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RESPONSE,	   VC_CONNECTED,  VC_ACT_ESTABLISHED),
		STEP(VC_EV_RST,		   VC_CLOSED,	  VC_ACT_REFUSED),
		STEP(VC_EV_SHUTDOWN,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RW,		   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_UPDATE,  VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_REQUEST, VC_CLOSED,	  VC_ACT_RST),
		/* The peer may accept at this very moment: RST, not SHUTDOWN, ends either case. */
		STEP(VC_EV_CLOSE,	   VC_CLOSED,	  VC_ACT_RST_FREE),
		STEP(VC_EV_TIMEOUT,	   VC_CLOSED,	  VC_ACT_TIMEDOUT),
	},
	[VC_REQUESTED] = {
		STEP(0,			   VC_REQUESTED,  VC_ACT_DROP),
		/* The peer has started over from the same port: it has given this one up. */
		STEP(VC_EV_REQUEST,	   VC_CLOSED,	  VC_ACT_RST),
		/* Nothing but RST may come from a side that waits for RESPONSE. */
		STEP(VC_EV_RESPONSE,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RST,		   VC_CLOSED,	  VC_ACT_RESET),
		STEP(VC_EV_SHUTDOWN,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RW,		   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_UPDATE,  VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_REQUEST, VC_CLOSED,	  VC_ACT_RST),
		/* Closed without an answer: that is a refusal. */
		STEP(VC_EV_CLOSE,	   VC_CLOSED,	  VC_ACT_RST_FREE),
		STEP(VC_EV_TIMEOUT,	   VC_CLOSED,	  VC_ACT_TIMEDOUT),
	},
	[VC_CONNECTED] = {
		STEP(0,			   VC_CONNECTED,  VC_ACT_DROP),
		/* The peer has forgotten this connection and reuses its port. */
		STEP(VC_EV_REQUEST,	   VC_CLOSED,	  VC_ACT_RST),
		/* Harmless: the peer is connected and so are we. */
		STEP(VC_EV_RESPONSE,	   VC_CONNECTED,  VC_ACT_DROP),
		STEP(VC_EV_RST,		   VC_CLOSED,	  VC_ACT_RESET),
		/* A half-close is not a state; the caller ends the connection when both are set. */
		STEP(VC_EV_SHUTDOWN,	   VC_CONNECTED,  VC_ACT_SHUTDOWN),
		STEP(VC_EV_RW,		   VC_CONNECTED,  VC_ACT_DATA),
		STEP(VC_EV_CREDIT_UPDATE,  VC_CONNECTED,  VC_ACT_CREDIT),
		STEP(VC_EV_CREDIT_REQUEST, VC_CONNECTED,  VC_ACT_REPORT_CREDIT),
		STEP(VC_EV_CLOSE,	   VC_CLOSING,	  VC_ACT_SEND_SHUTDOWN),
		/* A connect timer that RESPONSE has just overtaken. */
		STEP(VC_EV_TIMEOUT,	   VC_CONNECTED,  VC_ACT_NONE),
	},
	[VC_CLOSING] = {
		STEP(0,			   VC_CLOSING,	  VC_ACT_DROP),
		/* The peer reuses the port: it will not answer our SHUTDOWN any more. */
		STEP(VC_EV_REQUEST,	   VC_CLOSED,	  VC_ACT_RST_FREE),
		STEP(VC_EV_RESPONSE,	   VC_CLOSING,	  VC_ACT_DROP),
		STEP(VC_EV_RST,		   VC_CLOSED,	  VC_ACT_FREE),
		/*
		 * Both sides close at once, or the peer only half-closes; the flags tell. Once they
		 * cover both directions nobody waits for anything: RST, forget. After a half-close
		 * the peer's application may still be reading what we sent before SHUTDOWN, and a
		 * RST could take that from it.
		 */
		STEP(VC_EV_SHUTDOWN,	   VC_CLOSING,	  VC_ACT_SHUTDOWN),
		/* Sent before the peer saw our SHUTDOWN. Nobody reads it; RST comes in its time. */
		STEP(VC_EV_RW,		   VC_CLOSING,	  VC_ACT_DROP),
		/* Nothing is sent any more and nothing taken: credit means nothing here. */
		STEP(VC_EV_CREDIT_UPDATE,  VC_CLOSING,	  VC_ACT_NONE),
		STEP(VC_EV_CREDIT_REQUEST, VC_CLOSING,	  VC_ACT_NONE),
		STEP(VC_EV_CLOSE,	   VC_CLOSING,	  VC_ACT_NONE),
		/* The peer does not answer; it must not keep a connection that we forget. */
		STEP(VC_EV_TIMEOUT,	   VC_CLOSED,	  VC_ACT_RST_FREE),
	},
	[VC_CLOSED] = {
		STEP(0,			   VC_CLOSED,	  VC_ACT_DROP),
		STEP(VC_EV_REQUEST,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RESPONSE,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RST,		   VC_CLOSED,	  VC_ACT_DROP),
		STEP(VC_EV_SHUTDOWN,	   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_RW,		   VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_UPDATE,  VC_CLOSED,	  VC_ACT_RST),
		STEP(VC_EV_CREDIT_REQUEST, VC_CLOSED,	  VC_ACT_RST),
		/* The peer knows already; only the application's handle was left. */
		STEP(VC_EV_CLOSE,	   VC_CLOSED,	  VC_ACT_FREE),
		STEP(VC_EV_TIMEOUT,	   VC_CLOSED,	  VC_ACT_NONE),
	},
	/* clang-format on */
};

const char *vc_state_name(unsigned state)
{
	static const char *const name[VC_STATES] = {
		[VC_NONE] = "none",	      [VC_CONNECTING] = "connecting",
		[VC_REQUESTED] = "requested", [VC_CONNECTED] = "connected",
		[VC_CLOSING] = "closing",     [VC_CLOSED] = "closed",
	};

	return state < VC_STATES ? name[state] : "state?";
}
