/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A transport without rings: two devices, "fakeguest:" and "fakehost:", joined by plain arrays of
 * buffers in one thread. It lets the socket layer be tested alone, with any packet injected.
 */
#ifndef FAKE_TRANSPORT_H
#define FAKE_TRANSPORT_H

#include "transport.h"

#define FAKE_CID	  42u
#define FAKE_QUEUES	  2u
#define FAKE_CTRL_RESERVE 4u

/* Shape of the next pair of devices; set before zv_open. */
extern struct fake_config {
	unsigned nbuf;	  /* buffers each way and queue */
	uint32_t buf_len; /* payload bytes of a buffer */
	unsigned nseg;	  /* pieces in which received payload is presented */
} fake_config;

/* transport_queue.faults of all queues, and whether rx_intact says that zeros are there. */
extern uint32_t fake_faults;
extern bool fake_zeros;

/* What the guest's side can map as regions, and what was asked of it. */
extern struct fake_regions {
	struct region_map map; /* addr, size: set by the test; refs 1 */
	int result;	       /* of map() */
	unsigned freed, forgotten;
	struct ctrl_offer offer;  /* size 0: none */
	struct bell_map *ring[2]; /* what either side can ring in; NULL: nothing */
} fake_regions;

extern const struct transport_ops fake_guest_ops, fake_host_ops;
extern const struct transport_queue_ops fake_queue_ops; /* of both */

/* Puts a packet into what @role will receive on queue @q, as a hostile peer would. */
int fake_inject(enum zv_role to, unsigned q, const struct vsock_hdr *h, const void *payload);
/* Packets on their way to @role. */
unsigned fake_pending(enum zv_role to, unsigned q);
/* Copies header @i of what is on its way to @role; false: there are fewer. */
bool fake_peek(enum zv_role to, unsigned q, unsigned i, struct vsock_hdr *h);
/* Drops what is on its way to @role. */
void fake_drain(enum zv_role to, unsigned q);
/* Ends the session of both sides and starts a new one when @up. */
void fake_new_session(bool up);
/* The same on the side of @of alone: the other hears nothing. */
void fake_lose_session(enum zv_role of);
/* @of hears that the other side has gone for good. */
void fake_bury(enum zv_role of);
/* How @of hears of the other side's end. */
void fake_set_end(enum zv_role of, enum transport_end end);
/* How often queue @q of @of has been armed, and for *@what the last time. */
unsigned fake_arms(enum zv_role of, unsigned q, unsigned *what);
/* The same, but what is on its way can still be received as the rest of the session. */
void fake_end_session(bool up);
/* Buffers of @role's receive direction that are held by the socket layer. */
unsigned fake_held(enum zv_role to, unsigned q);
/* Takes all but @n free buffers out of what @from may send on queue @q; -1 gives them back. */
void fake_limit_tx(enum zv_role from, unsigned q, int n);

#endif
