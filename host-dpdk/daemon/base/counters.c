/* SPDX-License-Identifier: BSD-3-Clause */
#include "counters.h"

#include <stddef.h>
#include <zvsock_types.h>

#define ROW(field, group, kind, meaning) {#field, COUNTER_##group, KIND_##kind, meaning},
const struct counter queue_counters[] = {QUEUE_COUNTERS(ROW)};
const struct counter guest_counters[] = {GUEST_COUNTERS(ROW)};
const struct counter lcore_counters[] = {LCORE_COUNTERS(ROW)};

#define IN_ORDER(field, group, kind, meaning) COUNTER_##field,
enum { QUEUE_COUNTERS(IN_ORDER) COUNTERS };
#define CHECK_ORDER(field, group, kind, meaning)                                                   \
	_Static_assert(offsetof(struct zv_queue_stats, field) ==                                   \
			       COUNTER_##field * sizeof(uint64_t),                                 \
		       "counters.h: " #field " is not at its place");
QUEUE_COUNTERS(CHECK_ORDER)
_Static_assert(offsetof(struct zv_queue_stats, reserved) == COUNTERS * sizeof(uint64_t),
	       "counters.h lacks a counter of struct zv_queue_stats");
