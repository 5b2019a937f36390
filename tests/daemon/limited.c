/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A zvsockd whose connections are limited, linked instead of flow_may() (--wrap): of three answers
 * two are 0, the third is as little as there is. Whatever moves payload must ask, go on when it
 * may, and lose nothing: the tests of endpoints run against it unchanged.
 */
#include "relay/flow.h"

uint32_t __wrap_flow_may(struct flow *f, enum flow_dir dir);

uint32_t __wrap_flow_may(struct flow *f, enum flow_dir dir)
{
	static unsigned asked;

	(void)dir;
	if (__atomic_add_fetch(&asked, 1, __ATOMIC_RELAXED) % 3 == 0)
		return 1;
	flow_defer(f);
	return 0;
}
