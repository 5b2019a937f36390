/* SPDX-License-Identifier: BSD-3-Clause */
#include "workloads.h"

#define ROW(wl) &(wl),
const struct workload *const workloads[] = {WORKLOADS(ROW)};
const unsigned nworkloads = sizeof(workloads) / sizeof(workloads[0]);
_Static_assert(sizeof(workloads) / sizeof(workloads[0]) <= 64, "bench_opts.workloads has 64 bits");
