/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef BENCH_PEER_OPTS_H
#define BENCH_PEER_OPTS_H

#include "core/bench.h"

/*
 * "[name=NAME,]vhost-user:PATH,uds=PATH", in any order, into *@p; @index gives a name to one that
 * has none. 0, or -EINVAL with a sentence in @err.
 */
int peer_parse(struct bench_peer *p, const char *arg, unsigned index, char *err, size_t err_len);

#endif
