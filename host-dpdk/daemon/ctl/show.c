/* SPDX-License-Identifier: BSD-3-Clause */
/* list, guests, stats: answers of the daemon as tables. */
#include "ctl.h"
#include "table.h"

#include "base/counters.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static int64_t num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Short, for people: 850ms, 12.3s, 4m05s, 3h20m, 5d04h. */
static void add_age(struct table *t, int64_t ns)
{
	int64_t s = ns / 1000000000;

	if (s < 1)
		table_add(t, "%" PRId64 "ms", ns / 1000000);
	else if (s < 60)
		table_add(t, "%.1fs", (double)ns / 1e9);
	else if (s < 3600)
		table_add(t, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
	else if (s < 86400)
		table_add(t, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
	else
		table_add(t, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
}

static void add_head(struct table *t, const char *const *names)
{
	for (; *names; names++)
		table_add(t, "%s", *names);
}

int ctl_list(struct ctl *c)
{
	static const char *const head[] = {"Netid",  "State", "Recv-Q", "Send-Q",   "Local",
					   "Peer",   "Guest", "Queue",	"Received", "Sent",
					   "Credit", "Age",   "Path",	"Endpoint", NULL};
	json_t *answer = ctl_ask(c, "list"), *conn;
	struct table *t;
	size_t i;

	if (c->json) {
		ctl_print_json(answer, false);
		return CTL_OK;
	}
	t = table_new("llrrrrlrrrrrll");
	add_head(t, head);
	json_array_foreach(json_object_get(answer, "connections"), i, conn) {
		/* Names as in ss(8). */
		table_add(t, "%s", strcmp(str(conn, "type"), "stream") == 0 ? "v_str" : "v_seq");
		table_add(t, "%s", str(conn, "state"));
		table_add(t, "%" PRId64, num(conn, "rx_unread"));
		table_add(t, "%" PRId64, num(conn, "tx_unacked"));
		table_add(t, "%" PRId64 ":%" PRId64, num(conn, "local_cid"),
			  num(conn, "local_port"));
		table_add(t, "%" PRId64 ":%" PRId64, num(conn, "peer_cid"), num(conn, "peer_port"));
		table_add(t, "%s", str(conn, "guest"));
		table_add(t, "%" PRId64, num(conn, "queue"));
		table_add(t, "%" PRId64, num(conn, "rx_bytes"));
		table_add(t, "%" PRId64, num(conn, "tx_bytes"));
		table_add(t, "%" PRId64, num(conn, "tx_credit"));
		add_age(t, num(conn, "age_ns"));
		table_add(t, "%s", str(conn, "path"));
		table_add(t, "%s", str(conn, "endpoint"));
	}
	table_print(t);
	json_decref(answer);
	return CTL_OK;
}

/* The sockets of a guest, or the device of a [device NAME]. */
static const json_t *ctl_devices(const json_t *guest)
{
	const json_t *sockets = json_object_get(guest, "sockets");

	return sockets ? sockets : json_object_get(guest, "devices");
}

/* The lines below the table of guests. */
static void guest_notes(const json_t *guest)
{
	const json_t *ports = json_object_get(guest, "ports"), *p;
	size_t i;

	if (json_object_get(guest, "error"))
		(void)printf("%s is not started: %s\n", str(guest, "name"), str(guest, "error"));
	if (json_object_get(guest, "hint"))
		(void)printf("%s: %s\n", str(guest, "name"), str(guest, "hint"));
	if (!json_array_size(ports))
		return;
	(void)printf("%s has port", str(guest, "name"));
	json_array_foreach(ports, i, p)
		(void)printf("%s %" PRId64 "/%s", i ? "," : "", num(p, "port"), str(p, "type"));
	(void)printf("\n");
}

int ctl_guests(struct ctl *c)
{
	static const char *const head[] = {"Guest",	  "CID",  "State",   "Queues up", "Peer",
					   "Connections", "Mode", "Sockets", NULL};
	json_t *answer = ctl_ask(c, "guests"), *guest, *path;
	struct table *t;
	size_t i, k;

	if (c->json) {
		ctl_print_json(answer, false);
		return CTL_OK;
	}
	t = table_new("lrlrlrll");
	add_head(t, head);
	json_array_foreach(json_object_get(answer, "guests"), i, guest) {
		char paths[4096] = "";
		size_t len = 0;

		json_array_foreach(ctl_devices(guest), k, path)
			if (len < sizeof(paths))
				len += (size_t)snprintf(paths + len, sizeof(paths) - len, "%s%s",
							k ? " " : "", json_string_value(path));
		table_add(t, "%s", str(guest, "name"));
		table_add(t, "%" PRId64, num(guest, "cid"));
		table_add(t, "%s", str(guest, "state"));
		table_add(t, "%" PRId64 "/%" PRId64, num(guest, "queues_up"), num(guest, "queues"));
		table_add(t, "%s", str(guest, "peer"));
		table_add(t, "%" PRId64, num(guest, "connections"));
		table_add(t, "%s", str(guest, "mode"));
		table_add(t, "%s", paths);
	}
	table_print(t);
	json_array_foreach(json_object_get(answer, "guests"), i, guest)
		guest_notes(guest);
	json_decref(answer);
	return CTL_OK;
}

/* ---- regions ---- */

/* In the largest unit that gives a whole number. */
static void add_size(struct table *t, int64_t bytes)
{
	if (bytes && bytes % (1 << 20) == 0)
		table_add(t, "%" PRId64 "M", bytes >> 20);
	else
		table_add(t, "%" PRId64 "K", bytes >> 10);
}

int ctl_regions(struct ctl *c)
{
	static const char *const head[] = {"Region", "Origin",	 "Size",    "Pages",
					   "Free",   "Channels", "Channel", "Device",
					   "Holds",  "Ends",	 NULL};
	json_t *answer = ctl_ask(c, "regions"), *r, *m;
	struct table *t;
	size_t i, k;

	if (c->json) {
		ctl_print_json(answer, false);
		return CTL_OK;
	}
	t = table_new("llrrrrrlrr");
	add_head(t, head);
	json_array_foreach(json_object_get(answer, "regions"), i, r) {
		table_add(t, "%s", str(r, "id"));
		table_add(t, "%s%s", str(r, "origin"),
			  json_is_true(json_object_get(r, "retired")) ? " (until it is free)" : "");
		add_size(t, num(r, "size"));
		add_size(t, num(r, "page_size"));
		add_size(t, num(r, "free"));
		table_add(t, "%" PRId64, num(r, "channels"));
		add_size(t, num(r, "channel_size"));
		for (k = 0; k < 3; k++)
			table_add(t, "%s", "");
		json_array_foreach(json_object_get(r, "members"), k, m) {
			for (unsigned blank = 0; blank < 7; blank++)
				table_add(t, "%s", "");
			table_add(t, "%s", str(m, "name"));
			add_size(t, num(m, "bytes"));
			table_add(t, "%" PRId64, num(m, "ends"));
		}
	}
	table_print(t);
	json_decref(answer);
	return CTL_OK;
}

/* ---- stats ---- */

#define QUEUES_MAX 64u /* columns of a table; the daemon has fewer */

/* Where the column of each queue is; with one queue the total is enough. */
static size_t queue_columns(const json_t *queues)
{
	return json_array_size(queues) > 1 ? json_array_size(queues) : 0;
}

static const char *const group_names[COUNTER_GROUPS] = {"traffic", "connections", "errors"};

static bool has_group(const struct counter *table, unsigned n, enum counter_group g)
{
	while (n && table[n - 1].group != g)
		n--;
	return n;
}

static void head_row(struct table *t, const char *owner, enum counter_group g, bool first,
		     const json_t *queues)
{
	table_add(t, "%s%s", owner, group_names[g]);
	table_add(t, "%s", first ? "total" : "");
	for (size_t i = 0; i < queue_columns(queues); i++) {
		if (first)
			table_add(t, "queue %" PRId64, num(json_array_get(queues, i), "queue"));
		else
			table_add(t, "%s", "");
	}
	table_add(t, "%s", "");
}

/* Marks gauges, because their names do not show it. */
static void add_meaning(struct table *t, const struct counter *k)
{
	table_add(t, "%s%s", k->meaning, k->kind == KIND_GAUGE ? ", now" : "");
}

static void queue_row(struct table *t, const struct counter *k, const json_t *queues)
{
	json_t *queue;
	int64_t sum = 0;
	size_t i;

	json_array_foreach(queues, i, queue)
		sum += num(json_object_get(queue, "counters"), k->name);
	table_add(t, "  %s", k->name);
	table_add(t, "%" PRId64, sum);
	for (i = 0; i < queue_columns(queues); i++)
		table_add(t, "%" PRId64,
			  num(json_object_get(json_array_get(queues, i), "counters"), k->name));
	add_meaning(t, k);
}

/* Endpoints count for the guest as a whole. */
static void endpoint_row(struct table *t, const struct counter *k, const json_t *guest)
{
	table_add(t, "  %s", k->name);
	table_add(t, "%" PRId64, num(json_object_get(guest, "endpoints"), k->name));
	for (size_t i = 0; i < queue_columns(json_object_get(guest, "queues")); i++)
		table_add(t, "%s", "");
	add_meaning(t, k);
}

static void guest_stats(const json_t *guest)
{
	const json_t *queues = json_object_get(guest, "queues");
	char align[QUEUES_MAX + 4] = "lr"; /* name, total, queues, meaning */
	struct table *t;

	for (size_t i = 0; i < queue_columns(queues) && i < QUEUES_MAX; i++)
		align[2 + i] = 'r';
	align[strlen(align)] = 'l';
	t = table_new(align);
	(void)printf("%s %s, cid %" PRId64 "\n", str(guest, "kind"), str(guest, "name"),
		     num(guest, "cid"));
	for (enum counter_group g = 0; g < COUNTER_GROUPS; g++) {
		if (!has_group(queue_counters, N_QUEUE_COUNTERS, g))
			continue;
		head_row(t, "", g, g == COUNTER_TRAFFIC, queues);
		for (unsigned i = 0; i < N_QUEUE_COUNTERS; i++)
			if (queue_counters[i].group == g)
				queue_row(t, &queue_counters[i], queues);
	}
	for (enum counter_group g = 0; g < COUNTER_GROUPS; g++) {
		if (!has_group(guest_counters, N_GUEST_COUNTERS, g))
			continue;
		head_row(t, "endpoints: ", g, false, queues);
		for (unsigned i = 0; i < N_GUEST_COUNTERS; i++)
			if (guest_counters[i].group == g)
				endpoint_row(t, &guest_counters[i], guest);
	}
	table_print(t);
}

/* The counters of all lcores, like those of a guest: by group, with their meaning. */
static void lcore_counters_print(const json_t *lcores)
{
	struct table *t = table_new("lrl");
	json_t *lc;
	size_t i;

	for (enum counter_group g = 0; g < COUNTER_GROUPS; g++) {
		if (!has_group(lcore_counters, N_LCORE_COUNTERS, g))
			continue;
		head_row(t, "lcores: ", g, true, NULL);
		for (unsigned k = 0; k < N_LCORE_COUNTERS; k++) {
			int64_t sum = 0;

			if (lcore_counters[k].group != g)
				continue;
			json_array_foreach(lcores, i, lc)
				sum += num(lc, lcore_counters[k].name);
			table_add(t, "  %s", lcore_counters[k].name);
			table_add(t, "%" PRId64, sum);
			add_meaning(t, &lcore_counters[k]);
		}
	}
	table_print(t);
}

static void lcore_stats_print(const json_t *lcores)
{
	char align[3 + N_LCORE_COUNTERS + 1] = "";
	struct table *t;
	json_t *lc;
	size_t i;

	memset(align, 'r', sizeof(align) - 1);
	t = table_new(align);
	add_head(t, (const char *const[]){"lcore", "CPU", "CPU seconds", NULL});
	for (unsigned k = 0; k < N_LCORE_COUNTERS; k++)
		table_add(t, "%s", lcore_counters[k].name);
	json_array_foreach(lcores, i, lc) {
		table_add(t, "%" PRId64, num(lc, "lcore"));
		if (num(lc, "cpu") < 0)
			table_add(t, "any");
		else
			table_add(t, "%" PRId64, num(lc, "cpu"));
		table_add(t, "%.2f", json_real_value(json_object_get(lc, "cpu_seconds")));
		for (unsigned k = 0; k < N_LCORE_COUNTERS; k++)
			table_add(t, "%" PRId64, num(lc, lcore_counters[k].name));
	}
	table_print(t);
}

int ctl_stats(struct ctl *c)
{
	json_t *answer = ctl_ask(c, "stats"), *guest;
	size_t i;

	if (c->json) {
		ctl_print_json(answer, false);
		return CTL_OK;
	}
	json_array_foreach(json_object_get(answer, "guests"), i, guest) {
		guest_stats(guest);
		(void)fputc('\n', stdout);
	}
	lcore_counters_print(json_object_get(answer, "lcores"));
	(void)fputc('\n', stdout);
	lcore_stats_print(json_object_get(answer, "lcores"));
	json_decref(answer);
	return CTL_OK;
}
