/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names of "tcp", looked up at start and at reload, and again later for guests that lack an
 * address.
 *
 * Theory of operation
 * -------------------
 * A name server may be slow, or not available yet when a machine boots, and a name may be wrong:
 * this affects only the guests that use the name. All names of a configuration, each once, are
 * looked up in parallel by glibc's own threads (getaddrinfo_a). Reading a configuration waits at
 * most some seconds for the answers; the rest is processed when it arrives. A guest that lacks an
 * address is not started.
 *
 * The functions are those of struct cfg_part: ask, answers, keep, release_all.
 *
 * Main thread only. Entries change only in guests that are not running: running guests have their
 * addresses.
 */
#ifndef ZVD_LOOKUP_H
#define ZVD_LOOKUP_H

#include "endpoint_tcp.h"

/* Reads a numeric address, without a name server. False: it is a name. */
bool lookup_number(struct tcp_port *t);

/* Starts look-ups of all names without an address, unless in progress. -ENOMEM, or 0. */
int lookup_begin(struct cfg *c);

/* Waits up to @ms for answers, stores those that have arrived, and records for each guest what is
 * missing: lookup_trouble(). True: no answer is outstanding. */
bool lookup_take(struct cfg *c, unsigned ms);
const char *lookup_trouble(const void *values);

/* A guest continues with values @to: keeps the addresses in @from, whatever name servers say
 * now. */
void lookup_keep(void *to, const void *from);

/* For cfg_free. */
void lookup_end(struct cfg *c);

#endif
