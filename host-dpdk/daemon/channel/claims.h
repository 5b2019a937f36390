/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Claims: which connections of a stock guest belong to which of its programs (docs/protocol.md,
 * "Programs on a stock driver").
 *
 * Theory of operation
 * -------------------
 * A program says before it connects from which port and where to, and on which port it listens;
 * zvsockd cannot know otherwise whose a connection is. A claim of a connection is used up by the
 * first REQUEST that fits, or forgotten after CLAIM_NS. What another program of the guest has
 * claimed is not given away. A claim that is not there costs the connection its channel and nothing
 * else.
 *
 * Claims of a queue are in a tree, and in a list of their program, which may have CLAIMS_MAX.
 *
 * On the queue's lcore.
 */
#ifndef ZVD_CLAIMS_H
#define ZVD_CLAIMS_H

#include "broker.h"

#define CLAIMS_MAX    1024u
#define CLAIMS_FORGET 64u /* old ones, with each claim or request */
#define CLAIM_NS      UINT64_C(5000000000)

struct ctrl_claim; /* proto/ctrl_msg.h */

/* A program that makes claims. */
struct claimant {
	struct broker *b; /* its line */
	TAILQ_HEAD(, claim) claims;
	unsigned n;
};

void claimant_init(struct claimant *who, struct broker *b);

/* Takes note of *c. 0; -EADDRINUSE: it is somebody else's; -ENOSPC: @who has CLAIMS_MAX; -ENOMEM.
 */
int claim_said(struct guest_queue *gq, struct claimant *who, const struct ctrl_claim *c);

/* All of @who are forgotten. */
void claims_end(struct guest_queue *gq, struct claimant *who);

/* The line of the program whose REQUEST this is, and its claim is used up. NULL: nobody's. */
struct broker *claim_take(struct guest_queue *gq, const struct zv_conn_info *info);

/* The line of the program that listens on the guest's @port. NULL: none has said so. */
struct broker *claims_listener(struct guest_queue *gq, uint32_t port, enum zv_type type);

#endif
