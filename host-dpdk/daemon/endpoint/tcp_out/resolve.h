/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Host names that guests connect to, looked up by a thread each (getaddrinfo), while an lcore
 * asks now and then whether the answer is there. So nothing waits for a name server: neither an
 * lcore, nor the end of a guest or of zvsockd. RESOLVE_MAX are under way at a time, of an owner
 * RESOLVE_SHARE, and no more than are left for others then; what nobody wants any more counts until
 * its answer has come. Any thread; a look-up belongs to one.
 */
#ifndef ZVD_RESOLVE_H
#define ZVD_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stdint.h>

#define RESOLVE_MAX   64u
#define RESOLVE_SHARE (RESOLVE_MAX / 4)

struct resolve;

/* -EBUSY: there are, or @owner has, as many as may be. -ENOMEM. */
int resolve_begin(struct resolve **out, const char *name, uint64_t owner);
bool resolve_is_over(const struct resolve *r);
/* When it is over; NULL: the name has no address. They are the look-up's. */
const struct addrinfo *resolve_result(const struct resolve *r);
/* At any time. */
void resolve_end(struct resolve *r);

#endif
