/* SPDX-License-Identifier: BSD-3-Clause */
/* The JSON of --json: one object, each run of each cell in the order in which they ran. */
#include "busy.h"
#include "measure/cpu.h"
#include "report.h"
#include "target/targets.h"

#include <errno.h>
#include <jansson.h>
#include <sys/utsname.h>

static void set_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void set_str(json_t *o, const char *key, const char *v)
{
	json_object_set_new(o, key, json_string(v));
}

static void set_bool(json_t *o, const char *key, bool v)
{
	json_object_set_new(o, key, json_boolean(v));
}

static void set_num(json_t *o, const char *key, double v)
{
	json_object_set_new(o, key, json_real(v));
}

static json_t *both_sides(double guest, double host)
{
	json_t *o = json_object();

	set_num(o, "guest", guest);
	set_num(o, "host", host);
	return o;
}

static void add_setup(json_t *j, const struct bench_cell *c, const struct bench_opts *o,
		      const struct bench_facts *facts)
{
	static const char *const paths[] = {"virtqueue", "uds", "socket", "raw", "relay"};
	static const char *const cpus[] = {"", "1cpu", "2cpu", "free"};
	static const char *const backends[] = {"host", "guest", "alone"};
	const struct bench_peer *peer = c->target == TGT_PEER ? &o->peers[c->peer] : NULL;
	bool zv = c->target == TGT_ZVSOCK || peer;
	bool many = zv || (c->target != TGT_RAW && c->test == TEST_THROUGHPUT);
	/* Socket baselines use one thread for each connection. */
	unsigned threads = zv ? o->threads : many ? o->queues : 1;

	set_str(j, "target", target_name(c->target));
	set_str(j, "path", paths[c->target]);
	if (peer) {
		set_str(j, "name", peer->name);
		set_str(j, "uds", peer->uds);
		if (o->cpus == CPUS_2)
			set_str(j, "backend_cpu", backends[o->backend]);
		set_bool(j, "backend_pinned", facts->peers[c->peer].pinned);
	}
	if (zv)
		set_str(j, "uri", peer ? peer->uri : facts->uri);
	set_str(j, "test", test_name(c->test));
	set_str(j, "direction", dir_name(c->dir));
	if (c->target != TGT_RAW)
		set_str(j, "type", zv && o->seqpacket ? "seqpacket" : "stream");
	if (c->msg_size)
		set_int(j, "msg_size", c->msg_size);
	if (zv)
		set_int(j, "rx_buf", o->rx_buf ? o->rx_buf : 65536);
	if (c->test == TEST_THROUGHPUT && (zv || c->target == TGT_RAW))
		set_int(j, "batch", o->batch);
	if (c->coalesce)
		set_bool(j, "coalesced", true);
	if (c->test == TEST_CONNRATE)
		set_int(j, "in_flight", c->in_flight);
	if (c->target == TGT_RAW && c->test == TEST_THROUGHPUT)
		set_int(j, "slots", raw_slots(c->msg_size));
	set_int(j, "queues", many ? o->queues : 1);
	set_int(j, "threads", c->test == TEST_THROUGHPUT || c->test == TEST_CONNRATE ? threads : 1);
	set_str(j, "cpus", cpus[o->cpus]);
	set_bool(j, "busy_poll", c->target == TGT_RAW || (zv && o->busy_poll));
	if (c->test == TEST_THROUGHPUT || c->test == TEST_RTT) {
		set_bool(j, "zero_copy", c->zero_copy);
		/* Round trips are always verified; the raw one has no payload. */
		set_bool(j, "touched", c->test == TEST_RTT ? c->target != TGT_RAW : o->touch);
	}
}

static json_t *rtt_object(const struct rtt_result *r)
{
	json_t *rtt = json_object();

	set_int(rtt, "p50", r->p50);
	set_int(rtt, "p99", r->p99);
	set_int(rtt, "p999", r->p999);
	set_int(rtt, "max", r->max);
	return rtt;
}

static void add_fairness(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	json_t *fair = json_object();

	set_str(fair, "scene", scene_name(c->scene));
	if (c->scene >= SCENE_PING) {
		json_object_set_new(j, "rtt_ns", rtt_object(&r->rtt));
	} else {
		set_int(fair, "conns", c->in_flight);
		set_num(fair, "slowest_gbit_per_s", r->fair.slowest);
		set_num(fair, "mean_gbit_per_s", r->fair.mean);
	}
	json_object_set_new(j, "fairness", fair);
}

static void add_figures(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	json_t *cpu;

	set_num(j, "duration_s", (double)r->elapsed_ns / 1e9);
	if (c->test == TEST_THROUGHPUT || c->test == TEST_RTT) {
		set_int(j, "messages", r->messages);
		set_num(j, "msgs_per_s", result_rate(r));
	}
	if (c->test == TEST_THROUGHPUT) {
		set_int(j, "bytes", r->bytes);
		set_num(j, "gbit_per_s", result_gbit(r));
	}
	if (c->test == TEST_RTT)
		json_object_set_new(j, "rtt_ns", rtt_object(&r->rtt));
	if (c->test == TEST_CONNRATE)
		set_num(j, "conns_per_s", result_rate(r));
	if (c->test == TEST_IDLE) {
		json_t *idle = json_object();

		set_int(idle, "conns", c->in_flight);
		json_object_set_new(idle, "rss_per_conn",
				    both_sides((double)r->rss_per_conn[ROLE_GUEST],
					       (double)r->rss_per_conn[ROLE_HOST]));
		json_object_set_new(j, "idle", idle);
	}
	if (c->test == TEST_FAIRNESS)
		add_fairness(j, c, r);
	cpu = both_sides((double)r->cpu_ns[ROLE_GUEST] / 1e9, (double)r->cpu_ns[ROLE_HOST] / 1e9);
	if (r->cpu_daemon_ns)
		set_num(cpu, "daemon", (double)r->cpu_daemon_ns / 1e9);
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
		set_num(share, "guest", guest);
	if (host >= 0)
		set_num(share, "host", host);
	if (json_object_size(share))
		json_object_set(j, "cpu_share", share);
	json_decref(share);
}

static json_t *busy_object(const struct bench_plan *p, const struct bench_opts *o)
{
	json_t *j = json_object();
	struct busy b;

	busy_look(&b, p, o, cpu_count());
	set_bool(j, "warned", b.short_runs || b.apart);
	set_int(j, "spinning_runs", b.runs);
	set_int(j, "short_of_cpu", b.short_runs);
	if (b.runs)
		set_num(j, "least_cpu_share", b.least_share);
	set_int(j, "cells", b.cells);
	set_int(j, "far_apart", b.apart);
	if (b.cells)
		set_num(j, "widest_max_to_min", b.widest);
	return j;
}

static json_t *run_object(const struct bench_cell *c, const struct bench_result *r,
			  const struct bench_opts *o, const struct bench_facts *facts)
{
	json_t *j = json_object();

	add_setup(j, c, o, facts);
	add_figures(j, c, r);
	add_share(j, c, r, o);
	if (c->target != TGT_RAW) {
		bool many = c->target == TGT_ZVSOCK || c->test == TEST_THROUGHPUT;
		json_t *per = json_array();

		for (unsigned i = 0; i < (many ? o->queues : 1) && c->test != TEST_IDLE; i++)
			json_array_append_new(per, json_integer((json_int_t)r->per_queue[i]));
		if (json_array_size(per))
			json_object_set(j, "per_queue_msgs", per);
		json_decref(per);
	}
	if (json_is_true(json_object_get(j, "touched")))
		set_bool(j, "verified", r->errors == 0);
	set_int(j, "errors", r->errors);
	return j;
}

static void add_absent(json_t *runs, const char *target, const char *why)
{
	json_t *j = json_object();

	set_str(j, "target", target);
	set_str(j, "absent", why);
	json_array_append_new(runs, j);
}

static void add_absents(json_t *runs, const struct bench_opts *o)
{
	const char *other = "not a target of this version";

	if (!o->baselines) {
		const char *why = o->client_uri ? "--client" : "--no-baselines";

		add_absent(runs, "af_unix", why);
		if (!o->npeers) {
			add_absent(runs, "tcp", why);
			add_absent(runs, "raw", why);
		}
	}
	if (o->npeers) {
		add_absent(runs, "zvsock", "--peer");
		add_absent(runs, "tcp", "--peer");
		add_absent(runs, "raw", "--peer");
	} else {
		add_absent(runs, "vhost-user", "no --peer");
	}
	add_absent(runs, "vhost-kernel", other);
	add_absent(runs, "vsock_loopback", other);
}

int report_json(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		const struct bench_facts *facts)
{
	json_t *top = json_object(), *machine = json_object(), *runs = json_array();
	struct utsname un;
	int rc = 0;

	set_int(top, "schema", 1);
	set_str(machine, "cpu", cpu_model());
	set_int(machine, "cores", cpu_count());
	if (uname(&un) == 0)
		set_str(machine, "kernel", un.release);
	if (facts->page_size)
		set_int(machine, "page_size", facts->page_size);
	json_object_set_new(top, "machine", machine);
	set_str(top, "version", facts->zv_version);
	for (unsigned r = 0; r < o->repeat; r++)
		for (unsigned i = 0; i < p->n; i++)
			if (p->cells[i].res[r].valid)
				json_array_append_new(
					runs,
					run_object(&p->cells[i], &p->cells[i].res[r], o, facts));
	json_object_set_new(top, "busy", busy_object(p, o));
	add_absents(runs, o);
	json_object_set_new(top, "runs", runs);
	if (json_dumpf(top, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0 ||
	    fputc('\n', f) == EOF || fflush(f) != 0)
		rc = -EIO;
	json_decref(top);
	return rc;
}
