/* SPDX-License-Identifier: BSD-3-Clause */
/* A foreign backend: starts the programs on its two sides, measures, puts together. See peer.h. */
#include "io/peer.h"
#include "measure/cpu.h"
#include "peer_opts.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "targets.h"
#include "workload/workloads.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_NS 30000000000ull
#define STOP_NS	 10000000000ull
#define TRIAL_NS 2000000ull

struct peer_target {
	struct peer_shm *sh;
	struct proc guest;
	struct peer_daemon daemon;
	bool pinned;
};

/* Who had what to say, best first: the host program sees the cause of most troubles. */
static int peer_explain(struct peer_target *t, int rc, const char *who, struct proc_err *err)
{
	const char *host = t->sh->err[ROLE_HOST].text, *guest = t->sh->err[ROLE_GUEST].text;

	if (rc == -EINTR)
		return rc;
	if (host[0])
		snprintf(err->text, sizeof(err->text), "host program: %.260s", host);
	else if (guest[0])
		snprintf(err->text, sizeof(err->text), "guest side: %.260s", guest);
	else
		snprintf(err->text, sizeof(err->text), "the %s %s", who,
			 rc == -ETIMEDOUT ? "did not finish in time" : "ended early");
	return rc < 0 ? rc : -EIO;
}

/* Waits for @want from a child. 0 or -errno. */
static int peer_expect(struct peer_target *t, struct proc *p, char want, uint64_t deadline,
		       struct proc_err *err)
{
	char c = 0;
	ssize_t n = proc_recv(p, &c, 1, deadline);

	return n == 1 && c == want ? 0 : peer_explain(t, n < 0 ? (int)n : -EIO, p->name, err);
}

static int peer_target_run(struct peer_target *t, const struct bench_cell *c,
			   struct bench_result *res, struct proc_err *err)
{
	uint64_t deadline = cpu_now_ns() + t->sh->o.duration_ns + BENCH_GRACE_NS, cpu0;
	struct peer_shm *sh = t->sh;
	struct proc host = {0};
	bool ready;
	char cmd = 'c';
	int rc;

	sh->cell = *c;
	memset(sh->side, 0, sizeof(sh->side));
	memset(&sh->rtt, 0, sizeof(sh->rtt));
	sh->total = 0;
	rc = proc_spawn(&host, "host program", peer_host_main, sh);
	if (rc < 0)
		return peer_explain(t, rc, "host program could not be started and", err);
	rc = peer_expect(t, &host, 'r', deadline, err);
	ready = rc == 0;
	cpu0 = peer_daemon_cpu_ns(&t->daemon);
	if (rc == 0)
		rc = proc_send(&host, &cmd, 1);
	if (rc == 0)
		rc = proc_send(&t->guest, &cmd, 1);
	/* A host program that has failed says so at once; the guest side would wait for it. */
	if (rc == 0 && c->dir == DIR_H2G)
		rc = peer_expect(t, &host, 'd', deadline, err);
	if (rc == 0)
		rc = peer_expect(t, &t->guest, 'd', deadline, err);
	if (rc == 0 && c->dir != DIR_H2G)
		rc = peer_expect(t, &host, 'd', deadline, err);
	if (rc < 0) {
		proc_kill(&host);
		if (ready)
			peer_host_clean(sh);
		proc_kill(&t->guest); /* in mid-cell */
		return rc;
	}
	result_of_cell(res, c, &sh->side[ROLE_GUEST], &sh->side[ROLE_HOST],
		       c->dir == DIR_H2G ? ROLE_HOST : ROLE_GUEST, 1);
	res->rtt = sh->rtt;
	if (cpu0)
		res->cpu_other_ns = peer_daemon_cpu_ns(&t->daemon) - cpu0;
	proc_finish(&host, cpu_now_ns() + STOP_NS);
	return 0;
}

static void peer_target_stop(struct peer_target *t)
{
	if (proc_interrupted)
		proc_kill(&t->guest); /* it may be in mid-cell */
	proc_finish(&t->guest, cpu_now_ns() + STOP_NS);
	peer_daemon_unpin(&t->daemon);
	proc_unshare(t->sh, sizeof(*t->sh));
	free(t);
}

/* Short runs: do connections arrive both ways, and who is the backend? */
static int peer_trial(struct peer_target *t, const struct bench_opts *o, struct proc_err *err)
{
	struct bench_cell c = {.target = &target_peer,
			       .workload = &workload_connrate,
			       .dir = DIR_H2G,
			       .in_flight = 1};
	struct bench_result res = {0};
	int rc;

	t->sh->o.duration_ns = TRIAL_NS;
	rc = peer_target_run(t, &c, &res, err);
	c.dir = DIR_G2H;
	if (rc == 0)
		rc = peer_target_run(t, &c, &res, err);
	t->sh->o.duration_ns = o->duration_ns;
	return rc;
}

static int peer_target_start(struct peer_target **out, const struct bench_opts *o, unsigned index,
			     struct bench_facts *facts, struct proc_err *err)
{
	struct peer_target *t = calloc(1, sizeof(*t));
	int rc, cpu = cpu_place(o->cpus, peer_backend_place(o), 0);

	if (t)
		t->sh = proc_shared(sizeof(*t->sh));
	if (!t || !t->sh) {
		snprintf(err->text, sizeof(err->text), "no memory for a peer");
		free(t);
		return -ENOMEM;
	}
	t->sh->o = *o;
	t->sh->peer = o->peers[index];
	rc = proc_spawn(&t->guest, "guest side", peer_guest_main, t->sh);
	if (rc < 0)
		peer_explain(t, rc, "guest side could not be started and", err);
	else
		rc = peer_expect(t, &t->guest, 'r', cpu_now_ns() + START_NS, err);
	if (rc == 0)
		rc = peer_trial(t, o, err);
	if (rc < 0) {
		char why[sizeof(err->text)];

		memcpy(why, err->text, sizeof(why));
		snprintf(err->text, sizeof(err->text), "%s: %.280s", t->sh->peer.name, why);
		peer_target_stop(t);
		return rc;
	}
	peer_daemon_init(&t->daemon, t->sh->daemon_pid);
	facts->peers[index].pinned = cpu >= 0 && peer_daemon_pin(&t->daemon, cpu) == 0;
	facts->peers[index].pid = t->sh->daemon_pid;
	facts->peers[index].zvsock = strcmp(t->sh->facts.peer, "zvsock") == 0;
	facts->page_size = t->sh->facts.page_size;
	memcpy(facts->zv_version, t->sh->facts.zv_version, sizeof(facts->zv_version));
	*out = t;
	return 0;
}

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
	else if (o->npeers && o->type != TYPE_STREAM)
		snprintf(why, len, "--peer: hybrid Unix sockets are streams, not --type %s",
			 type_names.name[o->type]);
	else if (o->npeers && o->queues > 1)
		snprintf(why, len, "--peer is measured on one queue, not --queues %u", o->queues);
	for (unsigned i = 0; o->npeers && i < nworkloads && !why[0]; i++)
		if (o->workloads >> i & 1 && !workload_can(workloads[i], IO_PEER))
			snprintf(why, len, "--peer: there is no --test %s of a foreign backend",
				 workloads[i]->name);
	if (!why[0] && o->backend != BACKEND_HOST && (!o->npeers || o->cpus != CPUS_2))
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

static const char *peers_absent(const struct bench_opts *o)
{
	return o->npeers ? NULL : "no --peer";
}

/* Each peer, in the directions that were asked for. */
static int peers_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	bool both = c.dir == DIR_BOTH;
	int rc = 0;

	c.zero_copy = o->zero_copy;
	for (c.peer = 0; c.peer < o->npeers; c.peer++)
		for (unsigned d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
			c.dir = both ? DIR_BOTH : d;
			if (both ? d == DIR_G2H : (o->dir & d) != 0)
				rc = plan_add(p, o, c);
		}
	return rc;
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

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", facts->zv_version, cpu_model(), cpu_count(),
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

static void peer_json(json_t *j, const struct bench_opts *o, const struct bench_cell *c,
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
	.io = IO_PEER,
	.options = BENCH_OPTIONS(options),
	.check = peer_check,
	.absent = peers_absent,
	.plan = peers_plan,
	.start = peers_start,
	.run = peers_run,
	.stop = peers_stop,
	.print_run = peer_print_run,
	.print_foot = peer_print_foot,
	.json = peer_json,
};
