/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockd as programs on a stock driver see it: control connections at ZV_PROC_PORT, claims,
 * channels in the region of the fixture. Connections lead straight from one program to the other,
 * so it grants both ends of what one has claimed to connect and the other to listen on.
 */
#ifndef ZV_FAKE_ZVD_H
#define ZV_FAKE_ZVD_H

#include "ksock_fix.h"

#define ZVD_REGION 40u /* at first */
#define ZVD_CTRLS  8u
#define ZVD_PORTS  16u

struct zvd {
	bool grants; /* else it declines */
	bool deaf;   /* reads nothing */
	bool away;   /* control connections are hung up at once: */
	unsigned refused;
	bool split;	 /* GRANT comes in pieces */
	uint64_t region; /* its id */
	unsigned ctrls;	 /* that are there */
	/* How often which message has come, and channels that were granted. */
	unsigned mapped, offers, channels, releases, connects, no_connects, listens, no_listens;
	uint32_t low_port; /* of the last control connection */
};
extern struct zvd zvd;
extern void (*zvd_claimed)(const struct ctrl_claim *claim); /* called for each; or NULL */

/* A region of 16 MiB, zvsockd, and both devices. */
int zvd_set_up(void **state);
int zvd_tear_down(void **state);
/* Everything that it has to do now. */
void zvd_work(void);
/* Ends the control connections, oldest first. */
void zvd_hang_up(unsigned n);

/* The next channels are made from the beginning of the region, whoever holds what there. */
void zvd_forget_channels(void);

/* As PUMP, with zvsockd. */
#define RUN(cond) PUMP((zvd_work(), (cond)))

/* Both devices may have channels. */
void zvd_ready(void);

#endif
