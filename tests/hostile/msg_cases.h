/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-user messages that no honest frontend sends: the columns of the tables. */
#ifndef ZV_HOSTILE_MSG_CASES_H
#define ZV_HOSTILE_MSG_CASES_H

#include "raw.h"
#include "world.h"

enum msg_verdict {
	GOES_ON = 0, /* answered, and this very session works afterwards */
	HANGS_UP,    /* the backend closes the connection */
	DOWN,	     /* connection and backend live; the queue does not run */
	UNKNOWN,     /* any of these */
};

struct msg_case {
	const char *name;
	void (*act)(struct raw *r, const struct msg_case *c);
	enum msg_verdict want;
	unsigned from;	/* how far the session has come before: FROM_* */
	int64_t answer; /* to the message, where act checks it */
	uint32_t req, a, b;
	unsigned nfd;
};

#define FROM_RUNNING 0 /* rings up, connection established */
#define FROM_MEMORY  1 /* memory table set, no rings */
#define FROM_DIAL    2 /* socket connected, nothing said */

#define REFUSED 1

extern const struct msg_case order_cases[], fd_cases[];
extern const unsigned n_order_cases, n_fd_cases;

/* What an honest frontend does after FROM_MEMORY, piece by piece. */
int64_t ring_num(struct raw *r, unsigned ring);
int64_t ring_call(struct raw *r, unsigned ring);
int64_t ring_kick(struct raw *r, unsigned ring);
int64_t ring_enable(struct raw *r, unsigned ring);

#endif
