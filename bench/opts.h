/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#ifndef BENCH_OPTS_H
#define BENCH_OPTS_H

#include "core/bench.h"

/* Fills @o. A mistake prints one line and ends the program with code 2. */
void opts_parse(struct bench_opts *o, int argc, char **argv);

#endif
