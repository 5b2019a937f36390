/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names that guests connect to. Each is looked up by a thread of its own (getaddrinfo), and an
 * lcore checks periodically whether the answer is there. So nothing waits for a name server:
 * neither an lcore, nor the end of a guest or of zvsockd. At most RESOLVE_MAX look-ups are in
 * progress at a time, and an owner has at most RESOLVE_SHARE of them, and no more than it would
 * leave for others; an abandoned look-up counts until its answer has come. Any thread; a look-up
 * belongs to one.
 */
#ifndef ZVD_RESOLVE_H
#define ZVD_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#define RESOLVE_MAX   64u
#define RESOLVE_SHARE (RESOLVE_MAX / 4)

struct resolve;

/* -EBUSY: the limit of all, or of @owner, is reached. -ENOMEM. */
int resolve_begin(struct resolve **out, const char *name, uint64_t owner);
bool resolve_is_over(const struct resolve *r);
/* Call when it is over. The result belongs to the look-up; NULL: the name has no address. */
const struct addrinfo *resolve_result(const struct resolve *r);
/* May be called at any time. */
void resolve_end(struct resolve *r);

#endif
