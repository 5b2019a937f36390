/* SPDX-License-Identifier: BSD-3-Clause */
/* The output of --json: one object, with each run of each cell in the order in which they ran. */
#include "busy.h"
#include "core/far_end.h"
#include "core/run.h"
#include "core/target.h"
#include "json_set.h"
#include "measure/cpu.h"
#include "report.h"
#include "zvsock.h"

#include <errno.h>
#include <sys/utsname.h>

/* It uses all the queues; a bare ring and the other tests of sockets have one. */
static bool many_queues(const struct bench_cell *c)
{
	return target_zv(c->target) ||
	       (c->target->io == IO_SOCKET && c->workload->socket.per_queue);
}

static void add_setup(json_t *j, const struct bench_cell *c, const struct bench_opts *of_run,
		      const struct bench_facts *facts)
{
	const struct bench_opts *o = target_opts(c->target, of_run);
	const struct workload *wl = c->workload;
	bool zv = target_zv(c->target), raw = io_is_bare(c->target->io), many = many_queues(c);
	unsigned type = zv || c->target->io == IO_CLIENT ? o->type : TYPE_STREAM;
	/* Socket baselines use one thread for each connection. */
	unsigned threads = zv ? o->threads : many ? o->queues : 1;

	if (c->target->seqpacket)
		type = TYPE_SEQPACKET;
	json_set_str(j, "target", c->target->name);
	json_set_str(j, "id", target_id(c->target));
	json_set_str(j, "path", c->target->path);
	if (c->target->json)
		c->target->json(j, o, c, facts);
	json_set_str(j, "test", wl->name);
	json_set_str(j, "direction", dir_names.name[c->dir]);
	if (!raw)
		json_set_str(j, "type", type_names.name[type]);
	if (c->msg_size)
		json_set_int(j, "msg_size", c->msg_size);
	if (zv)
		json_set_int(j, "rx_buf", o->rx_buf ? o->rx_buf : 65536);
	if (!raw)
		json_set_str(j, "ring", o->ring_flags & ZV_OPT_PACKED ? "packed" : "split");
	if (wl->json_setup)
		wl->json_setup(j, o, c);
	json_set_int(j, "queues", many ? o->queues : 1);
	json_set_int(j, "threads", wl->zv.threads ? threads : 1);
	json_set_str(j, "cpus", cpus_names.name[o->cpus]);
	json_set_bool(j, "busy_poll", raw ? !o->sleep : zv && o->busy_poll);
	if (o->sleep)
		json_set_bool(j, "sleep", raw || zv);
	if (wl->calls) {
		json_set_bool(j, "zero_copy", c->zero_copy);
		/* A bare round trip has no payload. */
		json_set_bool(j, "touched", wl->touches ? c->target->io != IO_RAW : o->touch);
	}
}

static void add_figures(json_t *j, const struct bench_cell *c, const struct bench_result *r,
			const struct bench_opts *o)
{
	json_t *cpu;

	json_set_num(j, "duration_s", (double)r->elapsed_ns / 1e9);
	c->workload->json(j, c, r);
	cpu = json_sides((double)r->cpu_ns[ROLE_GUEST] / 1e9, (double)r->cpu_ns[ROLE_HOST] / 1e9);
	if (o->services) /* a service's is not known */
		json_object_del(cpu, "host");
	if (r->cpu_other_ns)
		json_set_num(cpu, "daemon", (double)r->cpu_other_ns / 1e9);
	json_object_set_new(j, "cpu_s", cpu);
}

/* Of the sides that spin on a CPU of their own. */
static void add_share(json_t *j, const struct bench_cell *c, const struct bench_result *r,
		      const struct bench_opts *o)
{
	double guest = busy_share(c, r, o, cpu_count(), ROLE_GUEST);
	double host = busy_share(c, r, o, cpu_count(), ROLE_HOST);
	json_t *share = json_object();

	if (guest >= 0)
		json_set_num(share, "guest", guest);
	if (host >= 0)
		json_set_num(share, "host", host);
	if (json_object_size(share))
		json_object_set(j, "cpu_share", share);
	json_decref(share);
}

static json_t *busy_object(const struct bench_plan *p, const struct bench_opts *o)
{
	json_t *j = json_object();
	struct busy b;

	busy_check(&b, p, o, cpu_count());
	json_set_bool(j, "warned", b.short_runs || b.apart);
	json_set_int(j, "spinning_runs", b.runs);
	json_set_int(j, "short_of_cpu", b.short_runs);
	if (b.runs)
		json_set_num(j, "least_cpu_share", b.least_share);
	json_set_int(j, "cells", b.cells);
	json_set_int(j, "far_apart", b.apart);
	if (b.cells)
		json_set_num(j, "widest_max_to_min", b.widest);
	return j;
}

/* Payload that nobody looks at: a service throws it away. */
static bool cell_unseen(const struct bench_cell *c, const struct bench_opts *o)
{
	return o->client_uri && far_end_of(o)->dull && c->workload->far[c->dir] == FAR_SINK;
}

static json_t *run_object(const struct bench_cell *c, const struct bench_result *r,
			  const struct bench_opts *o, const struct bench_facts *facts)
{
	json_t *j = json_object();

	add_setup(j, c, o, facts);
	add_figures(j, c, r, o);
	add_share(j, c, r, o);
	if (!io_is_bare(c->target->io) && !c->workload->no_per_queue) {
		json_t *per = json_array();

		for (unsigned i = 0; i < (many_queues(c) ? o->queues : 1); i++)
			json_array_append_new(per, json_integer((json_int_t)r->per_queue[i]));
		json_object_set_new(j, "per_queue_msgs", per);
	}
	if (json_is_true(json_object_get(j, "touched")) && !cell_unseen(c, o))
		json_set_bool(j, "verified", r->errors == 0);
	json_set_int(j, "errors", r->errors);
	return j;
}

/* What it was, and why there are no figures. */
static json_t *failed_object(const struct bench_cell *c, const struct bench_opts *o,
			     const struct bench_facts *facts)
{
	json_t *j = json_object();
	char text[RUN_CELL_LEN];

	add_setup(j, c, o, facts);
	json_set_str(j, "cell", run_cell_text(text, sizeof(text), o, c));
	json_set_str(j, "failed", c->failed);
	return j;
}

static void add_absent(json_t *runs, const struct target *t, const char *why, bool broken)
{
	json_t *j = json_object();

	/* By its own name, so that it is not taken for a run of its sibling. */
	json_set_str(j, "target", target_id(t));
	json_set_str(j, "id", target_id(t));
	json_set_str(j, "about", t->about);
	json_set_str(j, "absent", why);
	if (broken)
		json_set_bool(j, "broken", true);
	else if (t->missing && t->get)
		json_set_str(j, "get", t->get);
	json_array_append_new(runs, j);
}

static void add_absents(json_t *runs, const struct bench_opts *o, const struct bench_facts *facts)
{
	for (unsigned i = 0; i < ntargets; i++) {
		const char *why = target_absent(targets[i], o);

		if (!why && facts->gone[i][0])
			why = facts->gone[i];
		if (why)
			add_absent(runs, targets[i], why, facts->gone[i][0] != '\0');
	}
}

static void add_run(json_t *runs, const struct bench_cell *c, unsigned nth,
		    const struct bench_opts *o, const struct bench_facts *facts)
{
	if (c->res[nth].valid)
		json_array_append_new(runs, run_object(c, &c->res[nth], o, facts));
	else if (c->failed[0] && c->failed_run == nth)
		json_array_append_new(runs, failed_object(c, o, facts));
}

json_t *report_object(const struct bench_plan *p, const struct bench_opts *o,
		      const struct bench_facts *facts)
{
	json_t *top = json_object(), *machine = json_object(), *runs = json_array();
	struct utsname un;

	json_set_int(top, "schema", 1);
	json_set_str(machine, "cpu", cpu_model());
	json_set_int(machine, "cores", cpu_count());
	if (uname(&un) == 0)
		json_set_str(machine, "kernel", un.release);
	if (facts->page_size)
		json_set_int(machine, "page_size", facts->page_size);
	json_object_set_new(top, "machine", machine);
	json_set_str(top, "version", zv_version());
	for (unsigned r = 0; r < o->repeat; r++)
		for (unsigned i = 0; i < p->n; i++)
			add_run(runs, &p->cells[i], r, o, facts);
	json_object_set_new(top, "busy", busy_object(p, o));
	add_absents(runs, o, facts);
	json_object_set_new(top, "runs", runs);
	return top;
}

int report_json(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		const struct bench_facts *facts)
{
	json_t *top = report_object(p, o, facts);
	int rc = 0;

	if (json_dumpf(top, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0 ||
	    fputc('\n', f) == EOF || fflush(f) != 0)
		rc = -EIO;
	json_decref(top);
	return rc;
}
