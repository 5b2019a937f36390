/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "core/target.h"
#include "core/workload.h"

/* In the order in which they run. */
#define WORKLOADS(X)                                                                               \
	X(workload_throughput)                                                                     \
	X(workload_rtt)                                                                            \
	X(workload_echo)                                                                           \
	X(workload_connrate)                                                                       \
	X(workload_conns)                                                                          \
	X(workload_idle)                                                                           \
	X(workload_fairness)                                                                       \
	X(workload_dgram)

#define WORKLOAD_DECLARE(wl) extern const struct workload wl;
WORKLOADS(WORKLOAD_DECLARE)
#undef WORKLOAD_DECLARE

#endif
