/* SPDX-License-Identifier: BSD-3-Clause */
/* --peer: vhost-user-vsock backends that run already. */
#include "measure/cpu.h"
#include "peer_opts.h"
#include "peer_target.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "targets.h"

#include <zvsock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- options ---- */

static void add_peer(char *arg)
{
	struct bench_opts *o = &bench_given;
	struct bench_peer *p = &o->peers[o->npeers];
	char why[200];

	if (o->npeers == BENCH_PEERS_MAX)
		option_bad("--peer can be given %u times", BENCH_PEERS_MAX);
	if (peer_parse(p, arg, o->npeers, why, sizeof(why)) < 0)
		option_bad("--peer: %s", why);
	for (unsigned i = 0; i < o->npeers; i++)
		if (strcmp(o->peers[i].name, p->name) == 0)
			option_bad("--peer: two are called %s: give them different name=", p->name);
	o->npeers++;
}

static const struct bench_option options[] = {
	{.name = "peer",
	 .arg = "PEER",
	 .group = OPTIONS_RUN,
	 .help = "Measure a running vhost-user-vsock backend instead: "
		 "[name=NAME,]vhost-user:PATH,uds=PATH (its vhost-user socket, its hybrid Unix "
		 "socket); up to 4 times, interleaved",
	 .kind = OPTION_CALL,
	 .call = add_peer},
	{.name = "backend",
	 .arg = "PLACE",
	 .group = OPTIONS_RUN,
	 .help = "--peer with --cpus 2cpu: whose CPU the backend shares: host (default), guest, or "
		 "alone (guest side and host program share the other one)",
	 .kind = OPTION_CHOICE,
	 .value = &bench_given.backend,
	 .names = &backend_names},
};

/* What a hybrid Unix socket has no way to carry, and what would not be a peer's figure. */
static int peer_check(const struct bench_opts *o, char *why, size_t len)
{
	if (o->npeers && (o->server_uri || o->client_uri))
		snprintf(why, len,
			 "--peer measures a backend that runs already: not with --server or "
			 "--client");
	else if (o->targets)
		return 0; /* a target that cannot do it is absent */
	else if (o->npeers && o->type != TYPE_STREAM)
		snprintf(why, len, "--peer: hybrid Unix sockets are streams, not --type %s",
			 type_names.name[o->type]);
	else if (o->npeers && o->queues > 1)
		snprintf(why, len, "--peer is measured on one queue, not --queues %u", o->queues);
	for (unsigned i = 0; o->npeers && !o->targets && i < nworkloads && !why[0]; i++)
		if (o->workloads >> i & 1 && !workload_can(workloads[i], IO_PEER))
			snprintf(why, len, "--peer: there is no --test %s of a foreign backend",
				 workloads[i]->name);
	if (!why[0] && o->backend != BACKEND_HOST &&
	    ((!o->npeers && !o->targets) || o->cpus != CPUS_2))
		snprintf(why, len, "--backend goes with --peer and --cpus 2cpu");
	return why[0] ? -EINVAL : 0;
}

/* ---- the target: all peers ---- */

struct peers {
	struct peer_target *peer[BENCH_PEERS_MAX];
};

/* The last one first: two peers may be one process, which gets its CPUs back in that order. */
static void peers_stop(void *state)
{
	struct peers *all = state;

	for (unsigned i = BENCH_PEERS_MAX; i-- > 0;)
		if (all->peer[i])
			peer_target_stop(all->peer[i]);
	free(all);
}

static int peers_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
		       struct proc_err *err)
{
	struct peers *all = calloc(1, sizeof(*all));
	int rc = 0;

	if (!all) {
		snprintf(err->text, sizeof(err->text), "no memory for peers");
		return -ENOMEM;
	}
	for (unsigned i = 0; i < o->npeers && rc == 0; i++)
		rc = peer_target_start(&all->peer[i], o, i, facts, err);
	if (rc < 0)
		peers_stop(all);
	else
		*state = all;
	return rc;
}

static int peers_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		     struct bench_result *res, struct proc_err *err)
{
	struct peers *all = state;

	(void)o;
	return peer_target_run(all->peer[c->peer], c, res, err);
}

static int peers_restart(void *state, const struct bench_opts *o, const struct bench_cell *c,
			 struct bench_facts *facts, struct proc_err *err)
{
	struct peers *all = state;

	peer_target_stop(all->peer[c->peer]);
	all->peer[c->peer] = NULL;
	return peer_target_start(&all->peer[c->peer], o, c->peer, facts, err);
}

static const char *peers_absent(const struct bench_opts *o)
{
	return o->npeers ? NULL : "no --peer";
}

int peer_target_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	bool both = c.dir == DIR_BOTH;
	int rc = 0;

	c.zero_copy = o->zero_copy;
	for (unsigned d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
		c.dir = both ? DIR_BOTH : d;
		if (both ? d == DIR_G2H : (o->dir & d) != 0)
			rc = plan_add(p, o, c);
	}
	return rc;
}

static int peers_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	for (c.peer = 0; c.peer < o->npeers && rc == 0; c.peer++)
		rc = peer_target_plan(p, o, c);
	return rc;
}

const char *peer_target_cannot(const struct bench_opts *o)
{
	if (o->type != TYPE_STREAM)
		return "hybrid Unix sockets are streams";
	return o->queues > 1 ? "a hybrid Unix socket is measured on one queue" : NULL;
}

static const char *peers_missing(const struct bench_opts *o)
{
	return o->npeers ? peer_target_cannot(o) : "no --peer was given";
}

/* ---- report ---- */

static void peer_print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	static const char *const cpus[] = {
		[CPUS_1] = "all three on one CPU", [CPUS_FREE] = "not pinned"};
	static const char *const places[] = {
		[BACKEND_HOST] = "guest side on one CPU, host program and backend on another",
		[BACKEND_GUEST] = "guest side and backend on one CPU, host program on another",
		[BACKEND_ALONE] =
			"backend alone on one CPU, guest side and host program on another"};
	char rx_buf[32], credit[32];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", zv_version(), cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	size_text(rx_buf, sizeof(rx_buf), o->rx_buf ? o->rx_buf : 65536);
	size_text(credit, sizeof(credit), o->buf_alloc);
	fprintf(f, "%s, guest side %s, %s calls, RX buffers %s, credit %s, batch %u\n",
		o->cpus == CPUS_2 ? places[o->backend] : cpus[o->cpus],
		o->busy_poll ? "busy-polling" : "adaptive", o->zero_copy ? "zero-copy" : "copying",
		rx_buf, credit, o->batch);
	for (unsigned i = 0; i < o->npeers; i++)
		fprintf(f, "%s: process %d, %s%s\n", o->peers[i].name, facts->peers[i].pid,
			facts->peers[i].zvsock ? "a zvsock backend" : "plain VIRTIO",
			o->cpus == CPUS_FREE || facts->peers[i].pinned
				? ""
				: ", NOT PINNED (not permitted, or not a process of this machine)");
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

static void peer_print_foot(FILE *f, const struct bench_opts *o)
{
	fprintf(f,
		"\nxUNIX, x%s: the figure divided by that of the same repetition there (round "
		"trips: less is better).\ng / h / b: guest side / host program / backend, CPU "
		"seconds of one run; the last column is the CPU time of all three.\n",
		o->peers[0].name);
}

void peer_target_json(json_t *j, const struct bench_opts *o, const struct bench_cell *c,
		      const struct bench_facts *facts)
{
	const struct bench_peer *peer = &o->peers[c->peer];

	json_set_str(j, "name", peer->name);
	json_set_str(j, "uds", peer->uds);
	if (o->cpus == CPUS_2)
		json_set_str(j, "backend_cpu", backend_names.name[o->backend]);
	json_set_bool(j, "backend_pinned", facts->peers[c->peer].pinned);
	json_set_str(j, "uri", peer->uri);
}

const struct target target_peer = {
	.name = "vhost-user",
	.path = "relay",
	.label = "peer",
	.brief = "a peer",
	.about = "vhost-user-vsock backends that run already (--peer)",
	.io = IO_PEER,
	.options = BENCH_OPTIONS(options),
	.check = peer_check,
	.absent = peers_absent,
	.missing = peers_missing,
	.get = "--peer, for a backend that runs already",
	.plan = peers_plan,
	.start = peers_start,
	.restart = peers_restart,
	.run = peers_run,
	.stop = peers_stop,
	.print_run = peer_print_run,
	.print_foot = peer_print_foot,
	.json = peer_target_json,
};
