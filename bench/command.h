/* SPDX-License-Identifier: BSD-3-Clause */
/* vsock-bench COMMAND: the commands that do something other than run tests (compare, cost). */
#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

/*
 * Does not return when argv[1] is a command, and ends with its exit code. Returns when it is none:
 * the line is that of a run.
 */
void command_run(int argc, char **argv);

#endif
