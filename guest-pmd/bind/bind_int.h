/* SPDX-License-Identifier: BSD-3-Clause */
/* Shared by the parts of zv-bind. */
#ifndef ZV_BIND_INT_H
#define ZV_BIND_INT_H

#include "bind.h"

#include <limits.h>

void bind_report(struct report *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A path below @root. */
void bind_path(char path[PATH_MAX], const char *root, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool bind_there(const char *root, const char *what);
/*
 * Loads a module by modprobe, which prints its own messages. Does nothing in the tree of a test, or
 * when not root.
 */
void bind_load(const char *root, const char *name);

#endif
