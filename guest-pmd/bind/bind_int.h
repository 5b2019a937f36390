/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of zv-bind share. */
#ifndef ZV_BIND_INT_H
#define ZV_BIND_INT_H

#include "bind.h"

#include <limits.h>

void bind_say(struct report *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A path below @root. */
void bind_path(char path[PATH_MAX], const char *root, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool bind_there(const char *root, const char *what);
/*
 * Loads a module as modprobe does; its words are its own. A test's tree has no kernel to load it,
 * and others than root may not.
 */
void bind_load(const char *root, const char *name);

#endif
