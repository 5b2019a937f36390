/* SPDX-License-Identifier: BSD-3-Clause */
/* as_host.h in zvsockd-guest, which has no host's side. */
#include "as_host.h"

#include "core/guest.h"

#include <errno.h>

int as_host_prepare(struct guest *g)
{
	guest_fails(g, "zvsockd-guest has been built without the host's side (DPDK): it drives "
		       "devices, [device NAME], and serves no guests; use zvsockd for them");
	return -EPROTONOSUPPORT;
}

bool as_host_check(const struct guest *g)
{
	(void)g; /* nobody is its guest */
	return false;
}

/* Its queues have no such memory. */
void as_host_watch(struct guest_queue *gq, void (*fn)(void *lq, bool enters))
{
	(void)gq;
	(void)fn;
}

void as_host_rest(struct guest_queue *gq, uint64_t ns)
{
	(void)gq;
	(void)ns;
}
