/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the control socket answers. Each request is looked up by name and gets a JSON object back.
 *
 * What lcores own is copied by a call on the lcore (lcore_call), into memory that this thread has
 * allocated and touched before; a call that finds too little room says so and is made again with
 * more. So an lcore spends some tens of nanoseconds a connection, and allocates nothing.
 */
#include "control_int.h"
#include "counters.h"
#include "endpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zvsock.h>

#define CONNS_FIRST 1024u

/* Every counter of the library has its name: their number and their order are those of the struct.
 */
#define FIELD_IN_ORDER(field, group, meaning) COUNTER_##field,
enum { QUEUE_COUNTERS(FIELD_IN_ORDER) COUNTERS };
#define CHECK_ORDER(field, group, meaning)                                                         \
	_Static_assert(offsetof(struct zv_queue_stats, field) ==                                   \
			       COUNTER_##field * sizeof(uint64_t),                                 \
		       "counters.h: " #field " is not at its place");
QUEUE_COUNTERS(CHECK_ORDER)
_Static_assert(offsetof(struct zv_queue_stats, reserved) == COUNTERS * sizeof(uint64_t),
	       "counters.h lacks a counter of struct zv_queue_stats");

json_t *control_refuse(struct refusal *why, const char *code, const char *fmt, ...)
{
	va_list ap;

	why->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	/* It may quote the client: what is not plain text must not spoil the answer. */
	for (char *p = why->text; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
	return NULL;
}

static json_t *out_of_memory(struct refusal *why)
{
	return control_refuse(why, "memory", "the daemon is out of memory for this answer");
}

bool control_string(const json_t *request, const char *key, const char **value, struct refusal *why)
{
	const json_t *v = json_object_get(request, key);

	if (v && !json_is_string(v)) {
		(void)control_refuse(why, "request", "\"%s\" must be a string", key);
		return false;
	}
	if (v)
		*value = json_string_value(v);
	return true;
}

bool control_number(const json_t *request, const char *key, uint64_t max, uint64_t *value,
		    struct refusal *why)
{
	const json_t *v = json_object_get(request, key);

	if (v && (!json_is_integer(v) || json_integer_value(v) < 0 ||
		  (uint64_t)json_integer_value(v) > max)) {
		(void)control_refuse(why, "request", "\"%s\" must be a number from 0 to %llu", key,
				     (unsigned long long)max);
		return false;
	}
	if (v)
		*value = (uint64_t)json_integer_value(v);
	return true;
}

bool control_guest(struct control *ct, const json_t *request, struct guest **only,
		   struct refusal *why)
{
	char known[256] = "";
	const char *name = NULL;
	size_t len = 0;

	*only = NULL;
	if (!control_string(request, "guest", &name, why))
		return false;
	if (!name)
		return true;
	for (struct guest *g = ct->d->guests; g; g = g->next) {
		if (strcmp(g->cfg->name, name) == 0) {
			*only = g;
			return true;
		}
		if (len < sizeof(known))
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
						len ? ", " : "", g->cfg->name);
	}
	(void)control_refuse(why, "guest", "no guest \"%.64s\" here; %s%s%s", name,
			     *known ? "there are: " : "there is none at all", known,
			     len >= sizeof(known) ? "..." : "");
	return false;
}

/* ---- connections, from the lcores ---- */

struct snapshot {
	struct zv_queue *q;
	struct zv_conn_info *conns; /* NULL: only count */
	size_t n, room;
	bool full;
};

static int snapshot_take(void *ctx, const struct zv_conn_info *info)
{
	struct snapshot *s = ctx;

	if (s->conns && s->n == s->room) {
		s->full = true;
		return 1;
	}
	if (s->conns)
		s->conns[s->n] = *info;
	s->n++;
	return 0;
}

static void snapshot_call(struct lcore *lc, void *arg)
{
	struct snapshot *s = arg;

	(void)lc;
	s->n = 0;
	s->full = false;
	(void)zv_queue_conns(s->q, snapshot_take, s);
}

static size_t count_conns(const struct guest *g)
{
	size_t n = 0;

	for (unsigned i = 0; i < g->n_queues; i++) {
		struct snapshot s = {.q = g->queues[i].q};

		lcore_call(g->queues[i].lc, snapshot_call, &s);
		n += s.n;
	}
	return n;
}

/* The queue's connections in @s, whose memory is used again from queue to queue. */
static bool snapshot_conns(const struct guest_queue *gq, struct snapshot *s)
{
	s->q = gq->q;
	for (;;) {
		if (s->conns) {
			lcore_call(gq->lc, snapshot_call, s);
			if (!s->full)
				return true;
		}
		s->room = s->conns ? s->room * 4 : CONNS_FIRST;
		free(s->conns);
		s->conns = malloc(s->room * sizeof(*s->conns));
		if (!s->conns)
			return false;
		/* The lcore shall not take the page faults. */
		memset(s->conns, 0xff, s->room * sizeof(*s->conns));
	}
}

/* ---- the answers ---- */

/* Appends @value, which may be NULL for want of memory. */
static bool append(json_t *array, json_t *value)
{
	return value && json_array_append_new(array, value) == 0;
}

/* {@name: @array}; NULL and *why when something in it was not @complete. */
static json_t *wrap(const char *name, json_t *array, bool complete, struct refusal *why)
{
	json_t *answer = complete ? json_pack("{sO}", name, array) : NULL;

	json_decref(array);
	return answer ? answer : out_of_memory(why);
}

static json_t *conn_json(const struct guest *g, const struct zv_conn_info *c, uint64_t now)
{
	return json_pack("{ss ss ss sI sI sI sI sI sI sI sI sI sI sI sI}", "type",
			 c->type == ZV_SEQPACKET ? "seqpacket" : "stream", "state", c->state,
			 "guest", g->cfg->name, "queue", (json_int_t)c->queue, "local_cid",
			 (json_int_t)c->local_cid, "local_port", (json_int_t)c->local_port,
			 "peer_cid", (json_int_t)c->peer_cid, "peer_port", (json_int_t)c->peer_port,
			 "rx_bytes", (json_int_t)c->rx_bytes, "tx_bytes", (json_int_t)c->tx_bytes,
			 "rx_unread", (json_int_t)c->rx_unread, "tx_unacked",
			 (json_int_t)c->tx_unacked, "tx_credit", (json_int_t)c->tx_credit,
			 "peer_buf_alloc", (json_int_t)c->peer_buf_alloc, "age_ns",
			 (json_int_t)(now > c->opened_ns ? now - c->opened_ns : 0));
}

static json_t *answer_list(struct control *ct, struct client *cl, const json_t *request,
			   struct refusal *why)
{
	struct snapshot s = {0};
	struct guest *only;
	json_t *conns;
	bool ok = true;

	(void)cl;
	if (!control_guest(ct, request, &only, why))
		return NULL;
	if (ct->unsent > CONTROL_UNSENT_MAX)
		return control_refuse(why, "busy",
				      "too many large answers have not been read yet; try again");
	conns = json_array();
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next) {
		for (unsigned i = 0; i < g->n_queues && ok && (!only || g == only); i++) {
			struct timespec t;

			ok = snapshot_conns(&g->queues[i], &s);
			(void)clock_gettime(CLOCK_MONOTONIC, &t);
			for (size_t k = 0; k < s.n && ok; k++)
				ok = append(conns, conn_json(g, &s.conns[k],
							     (uint64_t)t.tv_sec * 1000000000u +
								     (uint64_t)t.tv_nsec));
		}
	}
	free(s.conns);
	return wrap("connections", conns, ok, why);
}

static json_t *strings(const char *first, size_t stride, unsigned n)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < n; i++)
		if (!append(array, json_string(first + i * stride))) {
			json_decref(array);
			return NULL;
		}
	return array;
}

static json_t *guest_json(const struct guest *g)
{
	static const char *const peers[] = {"unknown", "plain", "zvsock"};
	struct zv_dev_info info = {.size = sizeof(info)};
	const struct cfg_guest *cfg = g->cfg;

	(void)zv_dev_info(g->dev, &info);
	return json_pack("{ss sI ss so ss sI sI ss sI sI so}", "name", cfg->name, "cid",
			 (json_int_t)cfg->cid, "state", info.queues_up ? "up" : "down", "sockets",
			 strings(cfg->sockets[0], sizeof(cfg->sockets[0]), cfg->n_sockets), "mode",
			 cfg->client ? "client" : "server", "queues", (json_int_t)g->n_queues,
			 "queues_up", (json_int_t)info.queues_up, "peer",
			 (unsigned)info.peer < 3 ? peers[info.peer] : "unknown", "ring_size",
			 (json_int_t)cfg->ring_size, "connections", (json_int_t)count_conns(g),
			 "groups", strings(cfg->groups[0], sizeof(cfg->groups[0]), cfg->n_groups));
}

static json_t *answer_guests(struct control *ct, struct client *cl, const json_t *request,
			     struct refusal *why)
{
	json_t *guests;
	struct guest *only;
	bool ok = true;

	(void)cl;
	if (!control_guest(ct, request, &only, why))
		return NULL;
	guests = json_array();
	for (const struct guest *g = ct->d->guests; g && ok; g = g->next)
		if (!only || g == only)
			ok = append(guests, guest_json(g));
	return wrap("guests", guests, ok, why);
}

/* For a list of counters: puts each of st into counters. */
#define SET(field, group, meaning)                                                                 \
	(void)json_object_set_new(counters, #field, json_integer((json_int_t)st.field));

static json_t *queue_json(const struct control *ct, const struct guest_queue *gq)
{
	struct zv_queue_stats st = {0};
	json_t *counters = json_object();
	unsigned lcore = 0;

	while (lcore < ct->d->n_lcores && ct->d->lcores[lcore] != gq->lc)
		lcore++;
	(void)zv_queue_stats(gq->q, &st, sizeof(st));
	QUEUE_COUNTERS(SET)
	return json_pack("{sI sI so}", "queue", (json_int_t)gq->index, "lcore", (json_int_t)lcore,
			 "counters", counters);
}

static json_t *endpoints_json(const struct guest *g)
{
	struct endpoint_stats st = {0};
	json_t *counters = json_object();

	endpoint_stats(g, &st);
	ENDPOINT_COUNTERS(SET)
	return counters;
}

static json_t *guest_stats_json(const struct control *ct, const struct guest *g)
{
	json_t *queues = json_array();

	for (unsigned i = 0; i < g->n_queues; i++)
		(void)append(queues, queue_json(ct, &g->queues[i]));
	return json_pack("{ss sI so so}", "name", g->cfg->name, "cid", (json_int_t)g->cfg->cid,
			 "queues", queues, "endpoints", endpoints_json(g));
}

static json_t *lcores_json(const struct daemon *d)
{
	json_t *lcores = json_array();

	for (unsigned i = 0; i < d->n_lcores; i++) {
		struct lcore_stats st = {0};

		lcore_stats(d->lcores[i], &st);
		(void)append(lcores,
			     json_pack("{sI sI sf sI sI}", "lcore", (json_int_t)i, "cpu",
				       (json_int_t)(i < d->cfg->n_cpus ? d->cfg->cpus[i] : -1),
				       "cpu_seconds", st.cpu_s, "rounds", (json_int_t)st.rounds,
				       "sleeps", (json_int_t)st.sleeps));
	}
	return lcores;
}

static json_t *answer_stats(struct control *ct, struct client *cl, const json_t *request,
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
			ok = append(guests, guest_stats_json(ct, g));
	answer = wrap("guests", guests, ok, why);
	if (answer)
		(void)json_object_set_new(answer, "lcores", lcores_json(ct->d));
	return answer;
}

/* ---- requests ---- */

static const struct {
	const char *cmd;
	json_t *(*answer)(struct control *ct, struct client *cl, const json_t *request,
			  struct refusal *why);
} requests[] = {
	{"guests", answer_guests},  {"list", answer_list},	 {"stats", answer_stats},
	{"capture", capture_begin}, {"stop", capture_end_early},
};

json_t *control_answer(struct control *ct, struct client *cl, const json_t *request,
		       struct refusal *why)
{
	const json_t *v = json_object_get(request, "v");
	const char *cmd = NULL;

	if (!json_is_object(request))
		return control_refuse(why, "request", "the request is not a JSON object");
	if (!json_is_integer(v) || json_integer_value(v) != CONTROL_PROTOCOL)
		return control_refuse(why, "version", "this daemon speaks version %d (\"v\":%d)",
				      CONTROL_PROTOCOL, CONTROL_PROTOCOL);
	if (!control_string(request, "cmd", &cmd, why))
		return NULL;
	for (unsigned i = 0; cmd && i < sizeof(requests) / sizeof(requests[0]); i++)
		if (strcmp(requests[i].cmd, cmd) == 0)
			return requests[i].answer(ct, cl, request, why);
	return control_refuse(why, "request",
			      "\"cmd\" must be guests, list, stats, capture or stop");
}
