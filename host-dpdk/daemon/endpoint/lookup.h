/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names of "tcp", looked up at start, at reload, and again later for guests that wait for one.
 *
 * Theory of operation
 * -------------------
 * A name server may be slow, or not there yet when a machine boots, and a name may be wrong: that
 * concerns the guests that use the name, and no others. All names of a configuration, each once,
 * are asked for at the same time by glibc's own threads (getaddrinfo_a). Reading a configuration
 * waits some seconds for the answers, no more; the rest is taken when it has come. A guest that
 * lacks an address is not started.
 *
 * The functions are those of struct cfg_part: ask, answers, keep, release_all.
 *
 * All by the main thread. Entries change in guests that are not running only: in others they have
 * their address.
 */
#ifndef ZVD_LOOKUP_H
#define ZVD_LOOKUP_H

#include "endpoint_tcp.h"

/* An address that is written as such: no name, no server. False: it is a name. */
bool lookup_number(struct tcp_port *t);

/* Asks for all names that have no address, unless that is under way. -ENOMEM, or 0. */
int lookup_begin(struct cfg *c);

/*
 * Waits up to @ms for answers, enters those that are there, and notes for each guest what is
 * missing: lookup_trouble(). True: no answer is outstanding.
 */
bool lookup_take(struct cfg *c, unsigned ms);
const char *lookup_trouble(const void *values);

/* A guest goes on with values @to: what it knows by @from stays valid, whatever name servers say
 * now.
 */
void lookup_keep(void *to, const void *from);

/* For cfg_free. */
void lookup_end(struct cfg *c);

#endif
