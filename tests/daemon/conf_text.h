/* SPDX-License-Identifier: BSD-3-Clause */
/* Configurations out of strings, for tests; fails the test that calls where something is wrong. */
#ifndef CONF_TEXT_H
#define CONF_TEXT_H

#include "endpoint/endpoint.h"

#include <stddef.h>

/* cfg_load of @text; *faults, what it says, is for the caller to free. */
int conf_load(struct cfg **c, const char *text, size_t len, char *const *extra, char **faults);

/* As conf_load, and it must be taken without a word. */
struct cfg *conf_good(const char *text);
struct cfg *conf_good_with(const char *text, char *const *extra);

/* What cfg_load says of the words alone, which must be refused. For the caller to free. */
char *conf_refused_words(char *const *extra);

/* What cfg_print prints; for the caller to free. */
char *conf_printed(const struct cfg *c);

#endif
