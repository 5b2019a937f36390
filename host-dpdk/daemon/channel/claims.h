/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Claims: which connections of a stock guest belong to which of its programs (docs/protocol.md,
 * "Programs on a stock driver").
 *
 * Theory of operation
 * -------------------
 * Before a program connects, it announces from which port and where to, and before it listens, on
 * which port; zvsockd has no other way to know to which program a connection belongs. A claim for a
 * connection is consumed by the first REQUEST that matches, or forgotten after CLAIM_NS. A claim
 * that another program of the guest has made already is refused, unless what that one has said
 * since, or its end, is still to be read: it is heard first. A connection without a claim just gets
 * no channel.
 *
 * The claims of a queue are in a tree, and in a list of their program, which may have CLAIMS_MAX.
 *
 * All functions run on the queue's lcore.
 */
#ifndef ZVD_CLAIMS_H
#define ZVD_CLAIMS_H

#include "broker.h"

#define CLAIMS_MAX    1024u
#define CLAIMS_FORGET 64u /* expired claims removed with each claim or request */
#define CLAIM_NS      UINT64_C(5000000000)

struct ctrl_claim; /* proto/ctrl/ctrl_msg.h */

/* A program that makes claims. */
struct claimant {
	struct broker *b; /* its control connection */
	TAILQ_HEAD(, claim) claims;
	unsigned n;
	void (*hear)(struct claimant *who); /* reads what it has said; may do nothing */
	bool ended;			    /* it has closed: its claims are void */
};

void claimant_init(struct claimant *who, struct broker *b, void (*hear)(struct claimant *who));

/* Records or withdraws *c. 0; -EADDRINUSE: another program has that claim; -ENOSPC: @who has
 * CLAIMS_MAX; -ENOMEM. */
int claim_on_msg(struct guest_queue *gq, struct claimant *who, const struct ctrl_claim *c);

/* Forgets all claims of @who. */
void claims_end(struct guest_queue *gq, struct claimant *who);

/* The control connection of the program that has claimed this REQUEST; consumes the claim. NULL:
 * none has. */
struct broker *claim_take(struct guest_queue *gq, const struct zv_conn_info *info);

/* The control connection of the program that listens on the guest's @port. NULL: none has claimed
 * it. */
struct broker *claims_listener(struct guest_queue *gq, uint32_t port, enum zv_type type);

#endif
