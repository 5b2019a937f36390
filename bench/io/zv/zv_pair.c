/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_pair.h"

#include "io/peer/peer.h"
#include "io/peer/program.h"
#include "measure/cpu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_NS 30000000000ull
#define STOP_NS	 10000000000ull

struct pair_shared {
	struct side_ctl ctl;
	struct bench_cell cell;
	struct bench_result res;
	struct bench_facts facts;
	struct proc_err err[2]; /* by role */
};

struct zv_pair {
	const struct bench_opts *o;
	const struct zv_pair_spec *spec;
	struct pair_shared *sh;
	struct proc guest, host, between;
	struct peer_daemon cost; /* of the program between */
	char dir[96];
	char guest_uri[ZV_PAIR_URI_LEN], host_uri[ZV_PAIR_URI_LEN];
};

static int pair_host(int fd, void *arg)
{
	struct zv_pair *t = arg;
	struct zv_side s = {.ctl = &t->sh->ctl};
	int rc;

	if (t->spec->serve)
		return t->spec->serve(fd, t->o, &t->sh->err[ROLE_HOST]) < 0;
	rc = side_open_server(&s, t->o, t->host_uri, &t->sh->err[ROLE_HOST]);
	if (rc == 0 && proc_child_send(fd, 'r') == 0)
		rc = server_run(&s);
	side_close(&s);
	return rc < 0;
}

static int pair_guest(int fd, void *arg)
{
	struct zv_pair *t = arg;
	struct zv_side s = {.ctl = &t->sh->ctl};
	int rc = side_open(&s, t->o, t->guest_uri, &t->sh->err[ROLE_GUEST]);
	char cmd;

	if (rc == 0) {
		cpu_pin(t->o->cpus, ROLE_GUEST, 0);
		rc = client_meet(&s, &t->sh->facts);
	}
	if (rc == 0)
		rc = proc_child_send(fd, 'r');
	while (rc == 0 && proc_child_wait(fd, &cmd) == 0) {
		rc = client_run_cell(&s, &t->sh->cell, &t->sh->res);
		proc_child_send(fd, rc == 0 ? 'd' : 'e');
	}
	side_close(&s);
	return rc < 0;
}

static void pair_pause(struct zv_pair *t, bool pause)
{
	__atomic_store_n(&t->sh->ctl.paused, pause, __ATOMIC_RELEASE);
	if (!pause)
		proc_futex_wake(&t->sh->ctl.paused);
}

/* What a side had to say, best first: the host's trouble is usually the cause of the guest's. */
static int pair_explain(struct zv_pair *t, int rc, const char *what, struct proc_err *err)
{
	const char *host = t->sh->err[ROLE_HOST].text, *guest = t->sh->err[ROLE_GUEST].text;

	if (host[0])
		snprintf(err->text, sizeof(err->text), "host side: %.280s", host);
	else if (guest[0])
		snprintf(err->text, sizeof(err->text), "guest side: %.280s", guest);
	else
		snprintf(err->text, sizeof(err->text), "%s: %s", what,
			 rc == -EPIPE	    ? "the process died"
			 : rc == -ETIMEDOUT ? "no answer in time"
			 : rc == -EINTR	    ? "stopped by a signal"
					    : strerror(-rc));
	return rc < 0 ? rc : -EIO;
}

static int pair_start_child(struct zv_pair *t, struct proc *p, const char *name,
			    int (*fn)(int fd, void *arg), struct proc_err *err)
{
	char c = 0;
	int rc = proc_spawn(p, name, fn, t);

	if (rc < 0)
		return pair_explain(t, rc, "cannot start a process", err);
	rc = (int)proc_recv(p, &c, 1, cpu_now_ns() + START_NS);
	return rc == 1 && c == 'r' ? 0 : pair_explain(t, rc, name, err);
}

void zv_pair_stop(struct zv_pair *t)
{
	/* The guest first: it has an orderly end only while the backend answers. */
	__atomic_store_n(&t->sh->ctl.paused, 0, __ATOMIC_RELEASE);
	proc_futex_wake(&t->sh->ctl.paused);
	if (proc_interrupted)
		proc_kill(&t->guest); /* it may be in mid-cell */
	proc_finish(&t->guest, cpu_now_ns() + STOP_NS);
	__atomic_store_n(&t->sh->ctl.stop, 1, __ATOMIC_RELEASE);
	proc_finish(&t->host, cpu_now_ns() + STOP_NS);
	program_stop(&t->between);
	bench_dir_remove(t->dir);
	proc_unshare(t->sh, sizeof(*t->sh));
	free(t);
}

int zv_pair_start(struct zv_pair **out, const struct zv_pair_spec *spec, const struct bench_opts *o,
		  struct bench_facts *facts, struct proc_err *err)
{
	struct zv_pair *t = calloc(1, sizeof(*t));
	int rc = -ENOMEM;

	if (t)
		t->sh = proc_shared(sizeof(*t->sh));
	if (!t || !t->sh) {
		snprintf(err->text, sizeof(err->text), "no memory for the zvsock target");
		free(t);
		return rc;
	}
	t->o = o;
	t->spec = spec;
	rc = bench_dir_make(t->dir, sizeof(t->dir), err);
	if (rc == 0)
		spec->uris(t->host_uri, t->guest_uri, ZV_PAIR_URI_LEN, t->dir);
	if (rc == 0 && spec->between)
		rc = spec->between(&t->between, t->dir, o, err);
	if (rc == 0)
		rc = pair_start_child(t, &t->host, "host side", pair_host, err);
	if (rc == 0)
		rc = pair_start_child(t, &t->guest, "guest side", pair_guest, err);
	if (rc < 0) {
		zv_pair_stop(t);
		return rc;
	}
	pair_pause(t, true);
	peer_daemon_init(&t->cost, t->between.pid);
	/* Of several pairs the one between two processes of libzvsock stands first, and stays. */
	if (!facts->uri[0]) {
		facts->page_size = t->sh->facts.page_size;
		memcpy(facts->peer, t->sh->facts.peer, sizeof(facts->peer));
		memcpy(facts->uri, t->guest_uri, sizeof(t->guest_uri));
	}
	*out = t;
	return 0;
}

int zv_pair_run(struct zv_pair *t, const struct bench_cell *c, struct bench_result *res,
		struct proc_err *err)
{
	uint64_t timeout = client_limit_ns(t->o, c), cpu0 = peer_daemon_cpu_ns(&t->cost);
	char cmd = 'c';
	int rc;

	t->sh->cell = *c;
	pair_pause(t, false);
	rc = proc_send(&t->guest, &cmd, 1);
	if (rc == 0)
		rc = (int)proc_recv(&t->guest, &cmd, 1, cpu_now_ns() + timeout);
	pair_pause(t, true);
	if (rc != 1 || cmd != 'd') {
		if (rc == -ETIMEDOUT)
			proc_kill(&t->guest); /* in mid-cell: it would not end by itself */
		return pair_explain(t, rc, "guest side", err);
	}
	*res = t->sh->res;
	if (cpu0)
		res->cpu_other_ns = peer_daemon_cpu_ns(&t->cost) - cpu0;
	return 0;
}
