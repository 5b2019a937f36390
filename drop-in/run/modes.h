/* SPDX-License-Identifier: BSD-3-Clause */
/* The modes of zvsock-run, and which one a program needs. */
#ifndef ZV_DROPIN_MODES_H
#define ZV_DROPIN_MODES_H

#include "program.h"

enum mode { MODE_AUTO, MODE_PRELOAD, MODE_SECCOMP };

const char *mode_name(enum mode mode);

/* Parses "preload" ... False: there is no such mode. */
bool mode_read(const char *text, enum mode *mode);

/* The mode that auto selects for @p. @library: there is one to preload. *why (if not NULL): the
 * reason. */
enum mode mode_of(const struct program *p, bool library, const char **why);

#endif
