/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names of "tcp", looked up at start, at reload, and again later for guests that wait for one.
 *
 * Theory of operation
 * -------------------
 * A name server may be slow, or not there yet when a machine boots, and a name may be wrong: that
 * is the business of the guests that use the name. All names of a configuration, each once, are
 * asked for at the same time by glibc's own threads (getaddrinfo_a). Reading a configuration waits
 * LOOKUP_WAIT_MS for the answers, no more; the rest is taken when it has come. A guest that lacks
 * an address has a `trouble`, a sentence, and is not started.
 *
 * All by the main thread. Entries change in guests that are not running only: in others they have
 * their address.
 */
#ifndef ZVD_LOOKUP_H
#define ZVD_LOOKUP_H

#include "config/config.h"

#define LOOKUP_WAIT_MS 5000u

/* An address that is written as such: no name, no server. False: it is a name. */
bool lookup_number(struct cfg_tcp *t);

/* Asks for all names that have no address, unless that is under way. -ENOMEM, or 0. */
int lookup_begin(struct cfg *c);

/*
 * Waits up to @ms for answers, enters those that are there, and says in each guest's `trouble` what
 * is missing. True: no answer is outstanding.
 */
bool lookup_take(struct cfg *c, unsigned ms);

/* A guest goes on as @to: what it knows as @from stays valid, whatever name servers say now. */
void lookup_keep(struct cfg_guest *to, const struct cfg_guest *from);

/* For cfg_free. */
void lookup_end(struct cfg *c);

#endif
