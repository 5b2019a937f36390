/* SPDX-License-Identifier: BSD-3-Clause */
/* Functions that set one key of a JSON object. */
#ifndef BENCH_JSON_SET_H
#define BENCH_JSON_SET_H

#include "core/bench.h"

#include <jansson.h>

static inline void json_set_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static inline void json_set_str(json_t *o, const char *key, const char *v)
{
	json_object_set_new(o, key, json_string(v));
}

static inline void json_set_bool(json_t *o, const char *key, bool v)
{
	json_object_set_new(o, key, json_boolean(v));
}

static inline void json_set_num(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

/* {"guest": .., "host": ..} */
static inline json_t *json_sides(double guest, double host)
{
	json_t *o = json_object();

	json_set_num(o, "guest", guest);
	json_set_num(o, "host", host);
	return o;
}

static inline void json_set_rtt(json_t *o, const struct rtt_result *r)
{
	json_t *rtt = json_object();

	json_set_int(rtt, "p50", r->p50);
	json_set_int(rtt, "p99", r->p99);
	json_set_int(rtt, "p999", r->p999);
	json_set_int(rtt, "max", r->max);
	json_object_set_new(o, "rtt_ns", rtt);
}

/* [[share, ns], ..] */
static inline void json_set_cdf(json_t *o, const struct rtt_result *r)
{
	json_t *cdf = json_array();

	for (unsigned i = 0; i < BENCH_CDF_POINTS; i++) {
		json_t *point = json_array();

		json_array_append_new(point, json_real(bench_cdf_shares[i]));
		json_array_append_new(point, json_integer((json_int_t)r->cdf[i]));
		json_array_append_new(cdf, point);
	}
	json_object_set_new(o, "rtt_cdf", cdf);
}

#endif
