/* SPDX-License-Identifier: BSD-3-Clause */
#include "baseline.h"

#include "stats.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What two runs of one cell have in common. What a run lacks, its earlier self lacked too. */
static const char *const keys[] = {
	"target",    "path",	"name",	     "test",	   "direction", "type",	     "msg_size",
	"rx_buf",    "batch",	"queues",    "threads",	   "cpus",	"busy_poll", "sleep",
	"zero_copy", "touched", "coalesced", "registered", "in_flight", "conns",     "far_end",
};
#define KEYS (sizeof(keys) / sizeof(keys[0]))

struct cell {
	const json_t *run; /* the first one: the others have the same keys */
	double *v;
	unsigned n;
};

struct cells {
	struct cell *cell;
	unsigned n;
};

json_t *baseline_load(const char *path, char *why, size_t len)
{
	json_error_t e;
	json_t *j = json_load_file(path, 0, &e);

	if (!j)
		snprintf(why, len, "%s: %s%s", path, e.text,
			 e.line > 0 ? ", so it is no report of --json" : "");
	else if (json_is_array(json_object_get(j, "runs")) &&
		 json_integer_value(json_object_get(j, "schema")) == 1)
		return j;
	else
		snprintf(why, len, "%s is no report of --json", path);
	json_decref(j);
	return NULL;
}

static const char *scene_of(const json_t *run)
{
	const char *s =
		json_string_value(json_object_get(json_object_get(run, "fairness"), "scene"));

	return s ? s : "";
}

static bool same_cell(const json_t *a, const json_t *b)
{
	for (unsigned i = 0; i < KEYS; i++) {
		const json_t *x = json_object_get(a, keys[i]), *y = json_object_get(b, keys[i]);

		if ((x || y) && !json_equal(x, y))
			return false;
	}
	return strcmp(scene_of(a), scene_of(b)) == 0;
}

/* Of a run; *@less: less is better. 0: it has none that can be compared. */
static double figure(const json_t *run, const char **name, bool *less)
{
	const json_t *rtt = json_object_get(json_object_get(run, "rtt_ns"), "p50");
	static const char *const more[] = {"gbit_per_s", "conns_per_s", "msgs_per_s"};

	*less = json_is_number(rtt);
	*name = "us";
	if (*less)
		return json_number_value(rtt) / 1e3;
	for (unsigned i = 0; i < sizeof(more) / sizeof(more[0]); i++) {
		const json_t *v = json_object_get(run, more[i]);

		*name = i == 0 ? "Gbit/s" : i == 1 ? "conn/s" : "msg/s";
		if (json_is_number(v))
			return json_number_value(v);
	}
	return 0;
}

static struct cell *cell_of(const struct cells *all, const json_t *run)
{
	for (unsigned i = 0; i < all->n; i++)
		if (same_cell(all->cell[i].run, run))
			return &all->cell[i];
	return NULL;
}

static void cells_free(struct cells *all)
{
	for (unsigned i = 0; i < all->n; i++)
		free(all->cell[i].v);
	free(all->cell);
}

/* All cells of a report with their figures. */
static struct cells cells_of(const json_t *report)
{
	const json_t *runs = json_object_get(report, "runs");
	size_t n = json_array_size(runs);
	struct cells all = {.cell = calloc(n ? n : 1, sizeof(*all.cell))};

	for (size_t i = 0; all.cell && i < n; i++) {
		const json_t *run = json_array_get(runs, i);
		struct cell *c = cell_of(&all, run);
		const char *name;
		bool less;
		double v = figure(run, &name, &less);

		if (v <= 0)
			continue;
		if (!c) {
			c = &all.cell[all.n++];
			*c = (struct cell){.run = run, .v = calloc(n, sizeof(*c->v))};
		}
		if (c->v)
			c->v[c->n++] = v;
	}
	return all;
}

static const char *text(const json_t *run, const char *key)
{
	const char *s = json_string_value(json_object_get(run, key));

	return s ? s : "";
}

/* "zvsock relay throughput g2h 64 B copying, 4 queues" */
static void label(char *buf, size_t len, const json_t *run)
{
	uint32_t size = (uint32_t)json_integer_value(json_object_get(run, "msg_size"));
	int queues = (int)json_integer_value(json_object_get(run, "queues"));
	int conns = (int)json_integer_value(json_object_get(run, "in_flight"));
	const json_t *zc = json_object_get(run, "zero_copy");
	char bytes[32] = "", many[48] = "";

	if (size)
		size_text(bytes, sizeof(bytes), size);
	if (!conns)
		conns = (int)json_integer_value(json_object_get(run, "conns"));
	if (conns)
		snprintf(many, sizeof(many), ", %d connection%s", conns, conns == 1 ? "" : "s");
	snprintf(buf, len, "%s %s %s%s%s %s%s%s%s%s", text(run, "target"), text(run, "path"),
		 text(run, "test"), scene_of(run)[0] ? " " : "", scene_of(run),
		 text(run, "direction"), size ? " " : "", bytes,
		 json_is_true(json_object_get(run, "registered"))  ? " registered"
		 : json_is_true(json_object_get(run, "coalesced")) ? " coalesced"
		 : json_is_true(zc)				   ? " zero-copy"
		 : zc						   ? " copying"
								   : "",
		 many);
	if (queues > 1)
		snprintf(buf + strlen(buf), len - strlen(buf), ", %d queues", queues);
}

static void other_machine(FILE *f, const json_t *before, const json_t *now)
{
	static const char *const parts[] = {"cpu", "cores", "kernel"};
	const json_t *a = json_object_get(before, "machine"), *b = json_object_get(now, "machine");

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (!json_equal(json_object_get(a, parts[i]), json_object_get(b, parts[i]))) {
			fprintf(f, "  (another machine: its %s differs)\n", parts[i]);
			return;
		}
}

struct baseline baseline_compare(FILE *f, const json_t *before, const json_t *now, double factor)
{
	struct cells old = cells_of(before), new = cells_of(now);
	struct baseline b = {.only_before = old.n};

	fprintf(f, "\nBeside the earlier run (version %s)\n", text(before, "version"));
	other_machine(f, before, now);
	fprintf(f, "  %-64s %9s %9s %7s\n", "", "before", "now", "ratio");
	for (unsigned i = 0; i < new.n; i++) {
		struct cell *c = &new.cell[i], *was = cell_of(&old, c->run);
		char what[160], a[24], z[24];
		const char *name;
		double x, y, ratio;
		bool less;

		if (!was) {
			b.only_now++;
			continue;
		}
		figure(c->run, &name, &less);
		x = values_spread(was->v, was->n).med;
		y = values_spread(c->v, c->n).med;
		ratio = less ? x / y : y / x;
		b.cells++;
		b.only_before--;
		b.worse += ratio < factor;
		label(what, sizeof(what), c->run);
		fprintf(f, "  %-64s %9s %9s %7.2f %s%s\n", what, figure_text(a, sizeof(a), x),
			figure_text(z, sizeof(z), y), ratio, name, ratio < factor ? "  WORSE" : "");
	}
	if (b.only_now || b.only_before)
		fprintf(f, "  not compared: %u rows of this run, %u of the earlier one\n",
			b.only_now, b.only_before);
	cells_free(&old);
	cells_free(&new);
	return b;
}
