/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection whose program takes buffers of the queue and never gives any back. */
#ifndef BENCH_ZV_HOG_H
#define BENCH_ZV_HOG_H

#include "zv_side.h"

/* Server: receives and never releases; reserves buffers and never sends them. */
extern const struct zv_role role_holds, role_reserves;
/* Server: sends without end to one that never releases; starts on GO. */
extern const struct zv_role role_feeds;

/* Client: such a connection; it takes what there is. 0 or -ENOMEM. */
int hog_start(struct worker *w, struct bconn *bc, bool reserves);
/* Takes what has come since. */
void hog_grab(struct bconn *bc);
/* Gives everything back; before the connection is closed. Nothing for one that is no hog. */
void hog_drop(struct bconn *bc);

#endif
