/* SPDX-License-Identifier: BSD-3-Clause */
#include "targets.h"

#define ROW(t) &(t),
const struct target *const targets[] = {TARGETS(ROW)};
const unsigned ntargets = sizeof(targets) / sizeof(targets[0]);
_Static_assert(sizeof(targets) / sizeof(targets[0]) <= BENCH_TARGETS_MAX, "the states of each");

const struct target *target_of_uri(const char *uri)
{
	for (unsigned i = 0; i < ntargets; i++)
		if (targets[i]->is_device && targets[i]->is_device(uri))
			return targets[i];
	return &target_zvsock;
}

const char *baseline_absent_beside_peers(const struct bench_opts *o)
{
	if (o->baselines)
		return NULL;
	return o->client_uri ? "--client" : "--no-baselines";
}

const char *baseline_absent(const struct bench_opts *o)
{
	return o->npeers ? "--peer" : baseline_absent_beside_peers(o);
}
