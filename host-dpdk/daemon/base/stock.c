/* SPDX-License-Identifier: BSD-3-Clause */
#include "stock.h"

#include "clock.h"

static uint64_t socket_names_fastest_ns;
const struct cpu_limit socket_names_limit = {50000, 100000000, 100, &socket_names_fastest_ns};

uint64_t cpu_limit_beyond(const struct cpu_limit *l, uint64_t ns)
{
	uint64_t fastest = __atomic_load_n(l->fastest_ns, __ATOMIC_RELAXED), usual;

	if (!ns)
		ns = 1; /* the clock is coarse */
	while ((!fastest || ns < fastest) &&
	       !__atomic_compare_exchange_n(l->fastest_ns, &fastest, ns, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
	if (!fastest || ns < fastest)
		fastest = ns;
	usual = fastest < CPU_USUAL_MOST * l->usual_ns / CPU_USUAL_FASTEST
			? CPU_USUAL_FASTEST * fastest
			: CPU_USUAL_MOST * l->usual_ns;
	if (usual < l->usual_ns)
		usual = l->usual_ns;
	return ns > usual ? ns - usual : 0;
}

bool cpu_stock_may(struct cpu_stock *s, const struct cpu_limit *l)
{
	const uint64_t now = now_ns(), more = (now - s->at_ns) / l->share;

	if (!s->at_ns) {
		s->at_ns = now;
		s->left = (int64_t)l->most_ns;
	} else {
		s->at_ns += more * l->share; /* the rest of the time counts next time */
		s->left += (int64_t)more;
	}
	if (s->left > (int64_t)l->most_ns)
		s->left = (int64_t)l->most_ns;
	return s->left > 0;
}
