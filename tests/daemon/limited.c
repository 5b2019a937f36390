/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A zvsockd whose connections are limited, linked instead of flow_may() (--wrap). Two of three
 * answers are 0, the others as little as there is: whatever moves payload must ask, go on when it
 * may, and lose nothing, so the tests of endpoints run against it unchanged. Connections from or to
 * a port from BLOCKED_FIRST to BLOCKED_LAST may move nothing at all: see test_limited.c.
 */
#include "limited.h"

#include "relay/flow.h"

uint32_t __wrap_flow_may(struct flow *f);

static bool blocked(uint32_t port)
{
	return port >= BLOCKED_FIRST && port <= BLOCKED_LAST;
}

uint32_t __wrap_flow_may(struct flow *f)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	static __thread uint32_t random = 1;

	if (zv_conn_info(f->conn, &info) == 0 &&
	    (blocked(info.local_port) || blocked(info.peer_port)))
		return 0;
	/* Not in turn: then of three askers the same one could get the 1 in every round. */
	random = random * 1664525u + 1013904223u;
	if ((random >> 16) % 3 == 0)
		return 1;
	flow_defer(f);
	return 0;
}
