/* SPDX-License-Identifier: BSD-3-Clause */
/* "stats" of the control socket: every counter (base/counters.h) of every guest, queue and lcore.
 */
#include "control_int.h"

#include <zvsock.h>

/* Adds @n counters with the names in @table and the values in @value. */
static void add_counters(json_t *to, const struct counter *table, unsigned n, const uint64_t *value)
{
	for (unsigned i = 0; i < n; i++)
		(void)json_object_set_new(to, table[i].name, json_integer((json_int_t)value[i]));
}

static json_t *queue_json(const struct guest_queue *gq)
{
	struct zv_queue_stats st = {0};
	json_t *counters = json_object();

	(void)zv_queue_stats(gq->q, &st, sizeof(st));
	add_counters(counters, queue_counters, N_QUEUE_COUNTERS, (const uint64_t *)&st);
	return json_pack("{sI sI so}", "queue", (json_int_t)gq->index, "lcore",
			 (json_int_t)gq->lcore, "counters", counters);
}

static json_t *endpoints_json(const struct guest *g)
{
	struct guest_counters st;
	json_t *counters = json_object();

	guest_counters_read(g, &st);
	add_counters(counters, guest_counters, N_GUEST_COUNTERS, (const uint64_t *)&st);
	return counters;
}

static json_t *guest_stats_json(const struct guest *g)
{
	json_t *queues = json_array();

	for (unsigned i = 0; i < g->n_queues; i++)
		(void)control_append(queues, queue_json(&g->queues[i]));
	return json_pack("{ss ss sI so so}", "name", g->cfg->name, "kind",
			 cfg_roles[g->cfg->role].section, "cid", (json_int_t)guest_cid(g), "queues",
			 queues, "endpoints", endpoints_json(g));
}

static json_t *lcores_json(const struct daemon *d)
{
	json_t *lcores = json_array();

	for (unsigned i = 0; i < d->n_lcores; i++) {
		struct lcore_stats st = {0};
		json_t *j;

		lcore_stats(d->lcores[i], &st);
		j = json_pack("{sI sI sf}", "lcore", (json_int_t)i, "cpu",
			      (json_int_t)(i < d->cfg->n_cpus ? d->cfg->cpus[i] : -1),
			      "cpu_seconds", st.cpu_s);
		add_counters(j, lcore_counters, N_LCORE_COUNTERS, (const uint64_t *)&st.counters);
		(void)control_append(lcores, j);
	}
	return lcores;
}

json_t *control_stats(struct control *ct, struct client *cl, const json_t *request,
		      struct refusal *why)
{
	json_t *guests, *answer;
	struct guest *only;
	bool ok = true;

	(void)cl;
	if (!control_guest(ct, request, &only, why))
		return NULL;
	guests = json_array();
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next)
		if (!only || g == only)
			ok = control_append(guests, guest_stats_json(g));
	answer = control_wrap("guests", guests, ok, why);
	if (answer) {
		(void)json_object_set_new(answer, "lcores", lcores_json(ct->d));
		(void)json_object_set_new(answer, "failed", json_integer(ct->d->n_down));
	}
	return answer;
}
