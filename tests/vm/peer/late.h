/* SPDX-License-Identifier: BSD-3-Clause */
/* See late.c. Arguments: what follows the verb. Exit code, or -1: these are not its arguments. */
#ifndef VM_LATE_H
#define VM_LATE_H

int late_reader(int argc, char **argv);
int trickle(int argc, char **argv);

#endif
