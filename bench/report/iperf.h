/* SPDX-License-Identifier: BSD-3-Clause */
/* Output in the format of iperf3: lines of --intervals, the object of --iperf-json. */
#ifndef BENCH_IPERF_H
#define BENCH_IPERF_H

#include "core/live.h"
#include "core/plan.h"

#include <stdio.h>

struct json_t;

/* "[  1]   0.00-1.00   sec   712 MBytes  5.96 Gbits/sec\n" */
void iperf_line(FILE *f, const struct live_interval *i);
/* The line above such lines. */
void iperf_head(FILE *f);

/*
 * The object that "iperf3 -J" prints, of one run of @c: the fields that there are for any protocol.
 * @when: seconds since 1970, of its begin; @gone: why it was not run, or "". To be given back by
 * json_decref().
 */
struct json_t *iperf_object(const struct bench_cell *c, const struct bench_result *r,
			    const struct bench_opts *o, const struct live_run *live, long when,
			    const char *gone);

#endif
