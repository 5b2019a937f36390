/* SPDX-License-Identifier: BSD-3-Clause */
/* The part of an lcore that counts rounds and marks deferred work, for tests without a daemon. */
#ifndef LCORE_TOY_H
#define LCORE_TOY_H

#include <stdint.h>

/* What lcore_round() returns. */
extern uint64_t lcore_toy_round;

#endif
