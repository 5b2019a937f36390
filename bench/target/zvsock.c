/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsock between two processes: the host side has the backend in its own process (host: URI), the
 * guest side is the vhost-user frontend. With --client this process is one of the two sides.
 */
#include "core/far_end.h"
#include "io/zv/zv_pair.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "targets.h"

#include <zvsock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COALESCE_MAX 256u /* messages up to this size get a coalesced row */

static void pair_uris(char *host, char *guest, size_t len, const char *dir)
{
	snprintf(host, len, "host:%s/s.sock,cid=3", dir);
	snprintf(guest, len, "vhost-user:%s/s.sock", dir);
}

const struct zv_pair_spec zv_virtqueues = {.uris = pair_uris};

/* What the target keeps: both sides forked, or this process is the client of a --server. */
struct zv_state {
	struct zv_pair *forked;
	struct zv_side *client;
};

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
		rc = zv_pair_start(&z->forked, &zv_virtqueues, o, facts, err);
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
			 : zv_pair_run(z->forked, c, res, err);
}

static void zvsock_stop(void *state)
{
	struct zv_state *z = state;

	if (z->forked)
		zv_pair_stop(z->forked);
	if (z->client)
		side_close(z->client);
	free(z->client);
	free(z);
}

static int zvsock_check(const struct bench_opts *o, char *why, size_t len)
{
	if (!o->services || !o->client_uri || !side_is_host_uri(o->client_uri))
		return 0;
	snprintf(why, len,
		 "--services are the host's: a client on the host has a --server in the guest");
	return -EINVAL;
}

static const char *zvsock_absent(const struct bench_opts *o)
{
	if (o->npeers)
		return "--peer";
	return o->client_uri && target_of_uri(o->client_uri) != &target_zvsock ? "--client" : NULL;
}

int zv_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
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
		/* A service sends as it likes. */
		if (o->copy && rc == 0 && oneway && o->type == TYPE_STREAM &&
		    c.msg_size <= COALESCE_MAX && !(o->services && d == DIR_H2G))
			rc = plan_add(p, o, c);
		c.coalesce = false;
		c.registered = true;
		if (o->registered && rc == 0 && c.workload->registers && d == DIR_G2H)
			rc = plan_add(p, o, c);
		c.registered = false;
	}
	return rc;
}

void zv_print_run(FILE *f, const struct bench_opts *o, const struct bench_facts *facts)
{
	static const char *const places[] = {[CPUS_1] = "both sides on one CPU",
					     [CPUS_2] = "one CPU each",
					     [CPUS_FREE] = "not pinned"};
	char rx_buf[32], credit[32], far[100];

	fprintf(f, "vsock-bench %s: %s, %u CPU%s\n", zv_version(), cpu_model(), cpu_count(),
		cpu_count() == 1 ? "" : "s");
	size_text(rx_buf, sizeof(rx_buf), o->rx_buf ? o->rx_buf : 65536);
	size_text(credit, sizeof(credit), o->buf_alloc);
	fprintf(f,
		"%u queue%s, %u thread%s a side, %s, zvsock %s, %s, RX buffers %s, credit %s, "
		"batch %u\n",
		o->queues, o->queues == 1 ? "" : "s", o->threads, o->threads == 1 ? "" : "s",
		places[o->cpus], bench_polling(o),
		o->type == TYPE_SEQPACKET ? "SEQPACKET" : "STREAM", rx_buf, credit, o->batch);
	if (facts->page_size >= 2u << 20)
		fprintf(f, "buffers in hugepages of %llu MiB; ",
			(unsigned long long)(facts->page_size >> 20));
	else if (facts->page_size)
		fprintf(f, "buffers in normal pages of %llu KiB (no hugepages free); ",
			(unsigned long long)(facts->page_size >> 10));
	if (o->client_uri)
		fprintf(f, "against %s; ", far_end_text(far, sizeof(far), o));
	fprintf(f, "medians of %u runs of %.3g s each, interleaved\n", o->repeat,
		(double)o->duration_ns / 1e9);
}

void zv_print_foot(FILE *f, const struct bench_opts *o)
{
	const char *sep = "";

	fputc('\n', f);
	for (unsigned i = 0; i < ntargets; i++)
		if (target_has_column(targets[i], o)) {
			fprintf(f, "%s%s", sep, targets[i]->ratio);
			sep = ", ";
		}
	fprintf(f,
		": the figure divided by that of the same repetition there (round trips: less "
		"is better).\ng / h: guest side / host side, CPU seconds of one run%s.\n",
		o->services ? "; a service's are not known" : "");
	for (unsigned i = 0; i < ntargets; i++) {
		const char *why = targets[i]->missing ? targets[i]->missing(o) : NULL;

		/* One of zvsock's paths that this machine lacks: never silently dropped. */
		if (why && targets[i]->io == IO_ZV && !targets[i]->ratio && targets[i]->absent &&
		    targets[i]->absent(o) == why)
			fprintf(f, "absent: %s: %s; to get it: %s\n", target_id(targets[i]), why,
				targets[i]->get);
	}
}

static void zvsock_json(json_t *j, const struct bench_opts *o, const struct bench_cell *c,
			const struct bench_facts *facts)
{
	(void)c;
	json_set_str(j, "uri", facts->uri);
	if (o->client_uri)
		json_set_str(j, "far_end", far_end_of(o)->name);
}

const struct target target_zvsock = {
	.name = "zvsock",
	.path = "virtqueue",
	.label = "zvsock",
	.brief = "zvsock",
	.about = "zvsock, two processes and their virtqueues",
	.io = IO_ZV,
	.datagrams = true,
	.check = zvsock_check,
	.absent = zvsock_absent,
	.plan = zv_plan,
	.start = zvsock_start,
	.run = zvsock_run,
	.stop = zvsock_stop,
	.serve = server_main,
	.print_run = zv_print_run,
	.print_foot = zv_print_foot,
	.json = zvsock_json,
};
