/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench.h"

#include "measure/hist.h"
#include "workload.h"

#define NAMED(id, value, name) [id] = (name),
static const char *const dirs[] = {BENCH_DIRS(NAMED)};
static const char *const types[] = {BENCH_TYPES(NAMED)};
static const char *const backends[] = {BENCH_BACKENDS(NAMED)};
static const char *const services[] = {BENCH_SERVICES(NAMED)};
static const char *const cpus[] = {BENCH_CPUS(NAMED)};
#undef NAMED

#define NAMES(table)                                                                               \
	{                                                                                          \
		(table), sizeof(table) / sizeof((table)[0])                                        \
	}
const struct bench_names dir_names = NAMES(dirs);
const struct bench_names type_names = NAMES(types);
const struct bench_names backend_names = NAMES(backends);
const struct bench_names cpus_names = NAMES(cpus);
const struct bench_names service_names = NAMES(services);

/*
 * What counts is what arrived, in the time that the receiver needed for it. A message that was sent
 * and did not arrive, or arrived and was not sent, is an error even when each that came was right.
 * On which queue it was says nothing: a zvsockd in between chooses that of the other side.
 */
void result_from_sides(struct bench_result *res, const struct side_stats *tx,
		       const struct side_stats *rx, unsigned queues)
{
	uint64_t sent = 0;

	res->bytes = rx->bytes;
	res->errors = rx->errors + tx->errors;
	res->elapsed_ns = rx->last_ns - rx->first_ns;
	res->messages = 0;
	for (unsigned i = 0; i < queues; i++) {
		res->per_queue[i] = rx->msgs[i];
		res->messages += rx->msgs[i];
		sent += tx->msgs[i];
	}
	res->errors += res->messages > sent ? res->messages - sent : sent - res->messages;
	res->valid = true;
}

void result_of_cell(struct bench_result *res, const struct bench_cell *c,
		    const struct side_stats *guest, const struct side_stats *host,
		    enum bench_role client, unsigned queues)
{
	enum bench_role counts = client;

	if (c->workload->oneway)
		counts = c->dir == DIR_H2G ? ROLE_GUEST : ROLE_HOST;
	if (counts == ROLE_GUEST)
		result_from_sides(res, host, guest, queues);
	else
		result_from_sides(res, guest, host, queues);
	res->cpu_ns[ROLE_GUEST] = guest->cpu_ns;
	res->cpu_ns[ROLE_HOST] = host->cpu_ns;
}

const double bench_cdf_shares[BENCH_CDF_POINTS] = {
	0.001, 0.01, 0.05, 0.1,	  0.15, 0.2,   0.25, 0.3,   0.4,   0.5,	   0.6,	   0.7, 0.75,
	0.8,   0.85, 0.9,  0.925, 0.95, 0.975, 0.99, 0.995, 0.999, 0.9995, 0.9999, 1,
};

struct rtt_result rtt_of_ticks(const struct hist *h)
{
	struct rtt_result r = {
		.p50 = cpu_ticks_to_ns(hist_quantile(h, 0.5)),
		.p99 = cpu_ticks_to_ns(hist_quantile(h, 0.99)),
		.p999 = cpu_ticks_to_ns(hist_quantile(h, 0.999)),
		.max = cpu_ticks_to_ns(h->max),
	};

	for (unsigned i = 0; i < BENCH_CDF_POINTS; i++)
		r.cdf[i] = cpu_ticks_to_ns(hist_quantile(h, bench_cdf_shares[i]));
	return r;
}

double result_rate(const struct bench_result *r)
{
	return r->elapsed_ns ? (double)r->messages * 1e9 / (double)r->elapsed_ns : 0;
}

double result_gbit(const struct bench_result *r)
{
	return r->elapsed_ns ? (double)r->bytes * 8 / (double)r->elapsed_ns : 0;
}

const char *bench_polling(const struct bench_opts *o)
{
	return o->busy_poll ? "busy-polling" : o->sleep ? "sleeping" : "adaptive";
}
