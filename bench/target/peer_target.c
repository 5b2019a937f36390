/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts the programs on the two sides of a foreign backend, runs the cells, and combines the
 * figures of all processes.
 */
#include "peer_target.h"

#include "io/peer/peer.h"
#include "io/peer/program.h"
#include "measure/cpu.h"
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
	struct proc guest, program;
	char dir[96]; /* of a program's sockets */
	struct peer_daemon daemon;
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

int peer_target_run(struct peer_target *t, const struct bench_cell *c, struct bench_result *res,
		    struct proc_err *err)
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

void peer_target_stop(struct peer_target *t)
{
	if (proc_interrupted)
		proc_kill(&t->guest); /* it may be in mid-cell */
	proc_finish(&t->guest, cpu_now_ns() + STOP_NS);
	peer_daemon_unpin(&t->daemon);
	program_stop(&t->program);
	bench_dir_remove(t->dir);
	proc_unshare(t->sh, sizeof(*t->sh));
	free(t);
}

/* How the programs that we know are told of their one guest. */
static int program_run(struct peer_target *t, const struct bench_opts *o, struct proc_err *err)
{
	struct bench_peer *peer = &t->sh->peer;
	const char *sockets[] = {peer->uri + strlen("vhost-user:"), peer->uds, NULL};
	char guest[300], *zvsockd[] = {peer->program, "-g", guest, NULL};
	char *other[] = {peer->program, "--guest-cid", "3",	  "--socket",
			 NULL,		"--uds-path",  peer->uds, NULL};
	int rc = bench_dir_make(t->dir, sizeof(t->dir), err);

	if (rc < 0)
		return rc;
	snprintf(peer->uri, sizeof(peer->uri), "vhost-user:%s/s.sock", t->dir);
	snprintf(peer->uds, sizeof(peer->uds), "%s/uds", t->dir);
	snprintf(guest, sizeof(guest), "name=bench,cid=3,socket=%s/s.sock,unix=%s/uds", t->dir,
		 t->dir);
	other[4] = peer->uri + strlen("vhost-user:");
	return program_start(&t->program, peer->name,
			     strcmp(peer->name, "zvsockd") == 0 ? zvsockd : other, t->dir, o->cpus,
			     peer_backend_place(o), sockets, err);
}

/* Short runs: do connections arrive both ways, and who is the backend? */
static int peer_trial(struct peer_target *t, const struct bench_opts *o, struct proc_err *err)
{
	struct bench_cell c = {.workload = &workload_connrate, .dir = DIR_H2G, .in_flight = 1};
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

int peer_target_start(struct peer_target **out, const struct bench_opts *o, unsigned index,
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
	rc = t->sh->peer.program[0] ? program_run(t, o, err) : 0;
	if (rc == 0) {
		rc = proc_spawn(&t->guest, "guest side", peer_guest_main, t->sh);
		if (rc < 0)
			peer_explain(t, rc, "guest side could not be started and", err);
	}
	if (rc == 0)
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
	*out = t;
	return 0;
}
