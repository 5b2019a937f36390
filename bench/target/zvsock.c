/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock between two processes: the host side has the backend in its own process (host: URI) and
 * is the server, the guest side is the vhost-user frontend and the client. Both live through all
 * cells; while other targets are measured the guest waits for a command and the host is paused.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"
#include "targets.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_NS 30000000000ull
#define STOP_NS	 10000000000ull

struct zt_shared {
	struct side_ctl ctl;
	struct bench_cell cell;
	struct bench_result res;
	struct bench_facts facts;
	struct proc_err err[2]; /* by role */
};

struct zv_target {
	const struct bench_opts *o;
	struct zt_shared *sh;
	struct proc guest, host;
	char dir[96];
	char guest_uri[160], host_uri[160];
};

struct zv_client {
	struct zv_side side;
};

static int zt_host(int fd, void *arg)
{
	struct zv_target *t = arg;
	struct zv_side s = {.ctl = &t->sh->ctl};
	int rc = side_open(&s, t->o, t->host_uri, &t->sh->err[ROLE_HOST]);

	if (rc == 0 && proc_child_say(fd, 'r') == 0)
		rc = server_run(&s);
	side_close(&s);
	return rc < 0;
}

static int zt_guest(int fd, void *arg)
{
	struct zv_target *t = arg;
	struct zv_side s = {.ctl = &t->sh->ctl};
	int rc = side_open(&s, t->o, t->guest_uri, &t->sh->err[ROLE_GUEST]);
	char cmd;

	if (rc == 0) {
		cpu_pin(t->o->cpus, ROLE_GUEST, 0);
		rc = client_meet(&s, &t->sh->facts);
	}
	if (rc == 0)
		rc = proc_child_say(fd, 'r');
	while (rc == 0 && proc_child_wait(fd, &cmd) == 0) {
		rc = client_run_cell(&s, &t->sh->cell, &t->sh->res);
		proc_child_say(fd, rc == 0 ? 'd' : 'e');
	}
	side_close(&s);
	return rc < 0;
}

static void zt_pause(struct zv_target *t, bool pause)
{
	__atomic_store_n(&t->sh->ctl.paused, pause, __ATOMIC_RELEASE);
	if (!pause)
		proc_futex_wake(&t->sh->ctl.paused);
}

/* What a side had to say, best first: the host's trouble is usually the cause of the guest's. */
static int zt_explain(struct zv_target *t, int rc, const char *what, struct proc_err *err)
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

static int zt_start_child(struct zv_target *t, struct proc *p, const char *name,
			  int (*fn)(int fd, void *arg), struct proc_err *err)
{
	char c = 0;
	int rc = proc_spawn(p, name, fn, t);

	if (rc < 0)
		return zt_explain(t, rc, "cannot start a process", err);
	rc = (int)proc_recv(p, &c, 1, cpu_now_ns() + START_NS);
	return rc == 1 && c == 'r' ? 0 : zt_explain(t, rc, name, err);
}

int zv_target_start(struct zv_target **out, const struct bench_opts *o, struct bench_facts *facts,
		    struct proc_err *err)
{
	const char *tmp = getenv("TMPDIR");
	struct zv_target *t = calloc(1, sizeof(*t));
	int rc = -ENOMEM;

	if (t)
		t->sh = proc_shared(sizeof(*t->sh));
	if (!t || !t->sh) {
		snprintf(err->text, sizeof(err->text), "no memory for the zvsock target");
		free(t);
		return rc;
	}
	t->o = o;
	/* The whole path must fit sun_path. */
	if (!tmp || !tmp[0] || strlen(tmp) > 64)
		tmp = "/tmp";
	snprintf(t->dir, sizeof(t->dir), "%s/vsock-bench-XXXXXX", tmp);
	if (!mkdtemp(t->dir)) {
		rc = -errno;
		snprintf(err->text, sizeof(err->text), "cannot make a directory %s: %s", t->dir,
			 strerror(-rc));
		t->dir[0] = '\0';
	} else {
		snprintf(t->host_uri, sizeof(t->host_uri), "host:%s/s.sock,cid=3", t->dir);
		snprintf(t->guest_uri, sizeof(t->guest_uri), "vhost-user:%s/s.sock", t->dir);
		rc = zt_start_child(t, &t->host, "host side", zt_host, err);
		if (rc == 0)
			rc = zt_start_child(t, &t->guest, "guest side", zt_guest, err);
	}
	if (rc < 0) {
		zv_target_stop(t);
		return rc;
	}
	zt_pause(t, true);
	*facts = t->sh->facts;
	snprintf(facts->uri, sizeof(facts->uri), "%s", t->guest_uri);
	*out = t;
	return 0;
}

int zv_target_run(struct zv_target *t, const struct bench_cell *c, struct bench_result *res,
		  struct proc_err *err)
{
	uint64_t timeout = t->o->duration_ns + BENCH_GRACE_NS;
	char cmd = 'c';
	int rc;

	if (c->test == TEST_IDLE)
		timeout += BENCH_GRACE_NS; /* opening the connections is not part of the duration */
	if (c->test == TEST_FAIRNESS)
		timeout += BENCH_FAIR_TIMES * t->o->duration_ns + BENCH_GRACE_NS;
	t->sh->cell = *c;
	zt_pause(t, false);
	rc = proc_send(&t->guest, &cmd, 1);
	if (rc == 0)
		rc = (int)proc_recv(&t->guest, &cmd, 1, cpu_now_ns() + timeout);
	zt_pause(t, true);
	if (rc != 1 || cmd != 'd')
		return zt_explain(t, rc, "guest side", err);
	*res = t->sh->res;
	return 0;
}

/* Our own directory: the socket, and what a killed backend may have left beside it. */
static void remove_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	rmdir(dir);
}

void zv_target_stop(struct zv_target *t)
{
	/* The guest first: it has an orderly end only while the backend answers. */
	__atomic_store_n(&t->sh->ctl.paused, 0, __ATOMIC_RELEASE);
	proc_futex_wake(&t->sh->ctl.paused);
	if (proc_interrupted)
		proc_kill(&t->guest); /* it may be in mid-cell */
	proc_finish(&t->guest, cpu_now_ns() + STOP_NS);
	__atomic_store_n(&t->sh->ctl.stop, 1, __ATOMIC_RELEASE);
	proc_finish(&t->host, cpu_now_ns() + STOP_NS);
	if (t->dir[0]) {
		remove_dir(t->dir);
	}
	proc_unshare(t->sh, sizeof(*t->sh));
	free(t);
}

int zv_serve(const struct bench_opts *o, struct proc_err *err)
{
	struct zv_side s = {0};
	int rc = side_open(&s, o, o->server_uri, err);

	if (rc == 0) {
		fprintf(stderr, "vsock-bench: serving on %s, %u queue%s; Ctrl-C ends it\n",
			o->server_uri, s.nqueues, s.nqueues == 1 ? "" : "s");
		rc = server_run(&s);
	}
	side_close(&s);
	return rc;
}

int zv_client_start(struct zv_client **out, const struct bench_opts *o, struct bench_facts *facts,
		    struct proc_err *err)
{
	struct zv_client *cl = calloc(1, sizeof(*cl));
	int rc;

	if (!cl) {
		snprintf(err->text, sizeof(err->text), "no memory for the client");
		return -ENOMEM;
	}
	rc = side_open(&cl->side, o, o->client_uri, err);
	if (rc == 0) {
		cpu_pin(o->cpus, cl->side.role, 0);
		rc = client_meet(&cl->side, facts);
	}
	if (rc < 0) {
		zv_client_stop(cl);
		return rc;
	}
	snprintf(facts->uri, sizeof(facts->uri), "%s", o->client_uri);
	*out = cl;
	return 0;
}

int zv_client_run(struct zv_client *cl, const struct bench_cell *c, struct bench_result *res,
		  struct proc_err *err)
{
	int rc = client_run_cell(&cl->side, c, res);

	if (rc < 0 && !err->text[0])
		snprintf(err->text, sizeof(err->text), "%s", strerror(-rc));
	return rc;
}

void zv_client_stop(struct zv_client *cl)
{
	side_close(&cl->side);
	free(cl);
}
