/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program on a stock guest, in the test's process: it speaks section 6.1 of docs/protocol.md by
 * hand, over connections of a guest that says no HELLO. Linked with libzvsock's parts, of which
 * conn_table_port() is wrapped: a program chooses its source port. Failures are cmocka's.
 */
#ifndef PROG_SIDE_H
#define PROG_SIDE_H

#include "zvd_fixture.h"

#include <proto/ctrl/ctrl_msg.h>

/* Not 0: the source port of the next connection that this process makes. */
extern uint32_t ps_port;

struct ps {
	struct zv_dev *dev;
	struct zf_conn *ctl;
	uint64_t region;
	char *mem;
	size_t size;
	uint8_t in[8192];
	size_t n_in;
};

/* A control connection from @port that has said HELLO. */
struct ps *ps_hello(struct zv_dev *dev, uint32_t port);
/* ... and has offered the device's region, and mapped it. */
struct ps *ps_new(struct zv_dev *dev, uint32_t port);
void ps_offer(struct ps *p);
void ps_ack(struct ps *p); /* it has mapped the region */
void ps_send_msg(struct ps *p, const struct ctrl_msg *m);
void ps_claim(struct ps *p, enum ctrl_claim_what what, uint32_t port, uint32_t peer_port);
/* The next message, which must be of @type. */
struct ctrl_msg ps_next(struct ps *p, enum ctrl_type type);
/* True: all that was said before has been taken. */
bool ps_none(struct ps *p);
/* The control connection has been reset, or refused. */
bool ps_reset(struct ps *p);
/* kill -9: its sockets are closed. */
void ps_end(struct ps *p);

/* An end of a channel, and its connection. */
struct ps_chan {
	struct zf_conn *c;
	struct shm_channel *ch;
	struct ctrl_grant g;
};
struct ps_chan ps_use(struct ps *p, struct zf_conn *c, const struct ctrl_msg *grant);
/* @len bytes, counted up from @seed; sleeping in between. */
void ps_send(struct ps_chan *pc, size_t len, unsigned seed);
/* The same are received; then CHAN_END, which is true. */
void ps_recv(struct ps_chan *pc, size_t len, unsigned seed);
bool ps_ended(struct ps_chan *pc);
void ps_shut(struct ps_chan *pc);
void ps_drop(struct ps *p, struct ps_chan *pc);

#endif
