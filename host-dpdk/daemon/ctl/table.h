/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A table on a terminal: columns are as wide as their widest cell. Dies if there is no memory.
 */
#ifndef ZVCTL_TABLE_H
#define ZVCTL_TABLE_H

#include <stdbool.h>

struct table;

/* @align: one letter per column, 'l' or 'r'. */
struct table *table_new(const char *align);

/* Adds a cell, copied; rows fill up from left to right. */
void table_add(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints to standard output and frees. */
void table_print(struct table *t);

#endif
