/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The part of an lcore that runs deferred work, a round at a time, for tests without a daemon. The
 * functions are linked in the place of the real ones: --wrap of lcore_round, lcore_defer and
 * lcore_defer_cancel, and where they are called of lcore_io and
 * lcore_dgram_lost.
 */
#ifndef LCORE_WORKS_H
#define LCORE_WORKS_H

#include <stdbool.h>

/* Begins the next round and runs what was deferred before it. */
void lcore_works_round(void);
/* Nothing is deferred. */
bool lcore_works_empty(void);
/* Calls of lcore_dgram_lost(). */
unsigned lcore_works_lost(void);

#endif
