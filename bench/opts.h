/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line. */
#ifndef BENCH_OPTS_H
#define BENCH_OPTS_H

#include "core/bench.h"

/* What the user wants, constant from now on. A mistake prints one line and ends the program with
 * code 2. Call cpu_init() before. */
const struct bench_opts *opts_parse(int argc, char **argv);

#endif
