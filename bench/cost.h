/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_COST_H
#define BENCH_COST_H

/*
 * vsock-bench cost-cell QUEUES CONNECTIONS active|idle MESSAGES: one cell, as a line of JSON on
 * standard output. compare/cost.py calls it. The exit code.
 */
int cost_cell(int argc, char **argv);

#endif
