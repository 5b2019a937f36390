/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock between two processes: the host side has the backend in its own process (host: URI) and
 * is the server, the guest side is the vhost-user frontend and the client. Both live through all
 * cells; while other targets are measured the guest waits for a command and the host is paused.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "targets.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_NS     30000000000ull
#define STOP_NS	     10000000000ull
#define COALESCE_MAX 256u /* messages up to this size get a coalesced row */

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

/* What the target keeps: both sides forked, or this process is the client of a --server. */
struct zv_state {
	struct zv_target *forked;
	struct zv_side *client;
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

static void zv_target_stop(struct zv_target *t)
{
	/* The guest first: it has an orderly end only while the backend answers. */
	__atomic_store_n(&t->sh->ctl.paused, 0, __ATOMIC_RELEASE);
	proc_futex_wake(&t->sh->ctl.paused);
	if (proc_interrupted)
		proc_kill(&t->guest); /* it may be in mid-cell */
	proc_finish(&t->guest, cpu_now_ns() + STOP_NS);
	__atomic_store_n(&t->sh->ctl.stop, 1, __ATOMIC_RELEASE);
	proc_finish(&t->host, cpu_now_ns() + STOP_NS);
	if (t->dir[0])
		remove_dir(t->dir);
	proc_unshare(t->sh, sizeof(*t->sh));
	free(t);
}

static int zv_target_start(struct zv_target **out, const struct bench_opts *o,
			   struct bench_facts *facts, struct proc_err *err)
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

static int zv_target_run(struct zv_target *t, const struct bench_cell *c, struct bench_result *res,
			 struct proc_err *err)
{
	uint64_t timeout = client_limit_ns(t->o, c);
	char cmd = 'c';
	int rc;

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

static int zv_client_start(struct zv_side **out, const struct bench_opts *o,
			   struct bench_facts *facts, struct proc_err *err)
{
	struct zv_side *s = calloc(1, sizeof(*s));
	int rc;

	if (!s) {
		snprintf(err->text, sizeof(err->text), "no memory for the client");
		return -ENOMEM;
	}
	rc = side_open(s, o, o->client_uri, err);
	if (rc == 0) {
		cpu_pin(o->cpus, s->role, 0);
		rc = client_meet(s, facts);
	}
	if (rc < 0) {
		side_close(s);
		free(s);
		return rc;
	}
	snprintf(facts->uri, sizeof(facts->uri), "%s", o->client_uri);
	*out = s;
	return 0;
}

static int zv_client_run(struct zv_side *s, const struct bench_cell *c, struct bench_result *res,
			 struct proc_err *err)
{
	int rc = client_run_cell(s, c, res);

	if (rc < 0 && !err->text[0])
		snprintf(err->text, sizeof(err->text), "%s", strerror(-rc));
	return rc;
}

/* ---- the target ---- */

static int zvsock_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			struct proc_err *err)
{
	struct zv_state *z = calloc(1, sizeof(*z));
	int rc;

	if (!z) {
		snprintf(err->text, sizeof(err->text), "no memory for the zvsock target");
		return -ENOMEM;
	}
	if (o->client_uri)
		rc = zv_client_start(&z->client, o, facts, err);
	else
		rc = zv_target_start(&z->forked, o, facts, err);
	if (rc < 0)
		free(z);
	else
		*state = z;
	return rc;
}

static int zvsock_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		      struct bench_result *res, struct proc_err *err)
{
	struct zv_state *z = state;

	(void)o;
	return z->client ? zv_client_run(z->client, c, res, err)
			 : zv_target_run(z->forked, c, res, err);
}

static void zvsock_stop(void *state)
{
	struct zv_state *z = state;

	if (z->forked)
		zv_target_stop(z->forked);
	if (z->client)
		side_close(z->client);
	free(z->client);
	free(z);
}

static const char *zvsock_absent(const struct bench_opts *o)
{
	return o->npeers ? "--peer" : NULL;
}

/* In the directions and ways of calling that were asked for, where the workload has such. */
static int zvsock_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	bool oneway = c.workload->oneway;
	int rc = 0;

	if (!c.workload->calls)
		return plan_add(p, o, c);
	for (unsigned d = DIR_G2H; d <= (oneway ? DIR_H2G : DIR_G2H) && rc == 0; d++) {
		if (oneway && !(o->dir & d))
			continue;
		if (oneway)
			c.dir = d;
		c.zero_copy = true;
		if (o->zero_copy)
			rc = plan_add(p, o, c);
		c.zero_copy = false;
		if (o->copy && rc == 0)
			rc = plan_add(p, o, c);
		c.coalesce = true;
		if (o->copy && rc == 0 && oneway && o->type == TYPE_STREAM &&
		    c.msg_size <= COALESCE_MAX)
			rc = plan_add(p, o, c);
		c.coalesce = false;
	}
	return rc;
}

static void zvsock_print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	static const char *const places[] = {[CPUS_1] = "both sides on one CPU",
					     [CPUS_2] = "one CPU each",
					     [CPUS_FREE] = "not pinned"};
	char rx_buf[32], credit[32];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", facts->zv_version, cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	size_text(rx_buf, sizeof(rx_buf), o->rx_buf ? o->rx_buf : 65536);
	size_text(credit, sizeof(credit), o->buf_alloc);
	fprintf(f,
		"%u queue%s, %u thread%s a side, %s, zvsock %s, %s, RX buffers %s, credit %s, "
		"batch %u\n",
		o->queues, o->queues == 1 ? "" : "s", o->threads, o->threads == 1 ? "" : "s",
		places[o->cpus], o->busy_poll ? "busy-polling" : "adaptive",
		o->type == TYPE_SEQPACKET ? "SEQPACKET" : "STREAM", rx_buf, credit, o->batch);
	if (facts->page_size >= 2u << 20)
		fprintf(f, "buffers in hugepages of %llu MiB; ",
			(unsigned long long)(facts->page_size >> 20));
	else if (facts->page_size)
		fprintf(f, "buffers in normal pages of %llu KiB (no hugepages free); ",
			(unsigned long long)(facts->page_size >> 10));
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

static void zvsock_print_foot(FILE *f, const struct bench_opts *o)
{
	const char *sep = "";

	(void)o;
	fputc('\n', f);
	for (unsigned i = 0; i < ntargets; i++)
		if (targets[i]->ratio) {
			fprintf(f, "%s%s", sep, targets[i]->ratio);
			sep = ", ";
		}
	fprintf(f, ": the figure divided by that of the same repetition there (round trips: less "
		   "is better).\ng / h: guest side / host side, CPU seconds of one run.\n");
}

static void zvsock_json(json_t *j, const struct bench_opts *o, const struct bench_cell *c,
			const struct bench_facts *facts)
{
	(void)o;
	(void)c;
	json_set_str(j, "uri", facts->uri);
}

const struct target target_zvsock = {
	.name = "zvsock",
	.path = "virtqueue",
	.label = "zvsock",
	.brief = "zvsock",
	.io = IO_ZV,
	.absent = zvsock_absent,
	.plan = zvsock_plan,
	.start = zvsock_start,
	.run = zvsock_run,
	.stop = zvsock_stop,
	.print_run = zvsock_print_run,
	.print_foot = zvsock_print_foot,
	.json = zvsock_json,
};
