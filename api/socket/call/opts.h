/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_OPTS_H
#define ZV_OPTS_H

#include "zvsock.h"

/* Copies @in (NULL: all 0) to *o, checks it, and sets defaults where it has 0. 0 or -EINVAL. */
int opts_complete(struct zv_opts *o, const struct zv_opts *in);

#endif
