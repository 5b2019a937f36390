/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan.h"

#include "far_end.h"
#include "target.h"
#include "workload.h"

#include <errno.h>
#include <stdlib.h>

bool workload_can(const struct workload *wl, enum bench_io io)
{
	switch (io) {
	case IO_ZV:
		return wl->zv.run;
	case IO_ZV_SOCK: /* the server of io/sock/sock_client.h is told what to do, or has it by the
			  * port
			  */
		return wl->zv.run && wl->socket.guest;
	case IO_SOCKET:
		return wl->socket.guest;
	case IO_RAW:
		return wl->raw.guest;
	case IO_RING:
		return wl->ring.guest;
	case IO_PEER:
		return wl->peer.guest;
	case IO_CLIENT:
		return wl->socket.guest && !wl->socket.local;
	}
	return false;
}

const char *cell_how(const struct bench_cell *c)
{
	if ((c->target->io != IO_ZV && c->target->io != IO_ZV_SOCK) || !c->workload->calls)
		return "";
	return c->registered  ? "registered"
	       : c->coalesce  ? "coalesced"
	       : c->zero_copy ? "zero-copy"
			      : "copying";
}

int plan_add(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	/* A --client is only given what its far end can do. */
	if (o->client_uri && !far_end_of(o)->port(o, c.workload->far[c.dir]))
		return 0;
	if (p->n == p->cap) {
		unsigned cap = p->cap ? 2 * p->cap : 64;
		struct bench_cell *cells = realloc(p->cells, cap * sizeof(*cells));

		if (!cells)
			return -ENOMEM;
		p->cells = cells;
		p->cap = cap;
	}
	c.res = calloc(o->repeat, sizeof(*c.res));
	if (!c.res)
		return -ENOMEM;
	p->cells[p->n++] = c;
	return 0;
}

static int plan_targets(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c,
			bool compared)
{
	int rc = 0;

	for (unsigned i = 0; i < ntargets && rc == 0; i++) {
		const struct target *t = targets[i];

		if ((t->ratio != NULL) != compared || target_absent(t, o) ||
		    !workload_can(c.workload, t->io) || (c.workload->datagrams && !t->datagrams))
			continue;
		c.target = t;
		rc = t->plan ? t->plan(p, o, c) : plan_add(p, o, c);
	}
	return rc;
}

int plan_cells(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = plan_targets(p, o, c, false);

	return rc < 0 ? rc : plan_targets(p, o, c, true);
}

int plan_sizes(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	for (unsigned i = 0; i < o->nsizes && rc == 0; i++) {
		c.msg_size = o->sizes[i];
		rc = plan_cells(p, o, c);
	}
	return rc;
}

int plan_make(struct bench_plan *p, const struct bench_opts *o)
{
	int rc = 0;

	for (unsigned i = 0; i < nworkloads && rc == 0; i++)
		if (o->workloads >> i & 1)
			rc = workloads[i]->plan(p, o,
						(struct bench_cell){.workload = workloads[i]});
	return rc;
}

bool cell_ran(const struct bench_cell *c, unsigned repeat)
{
	for (unsigned i = 0; i < repeat; i++)
		if (c->res[i].valid)
			return true;
	return false;
}

void plan_first(struct bench_plan *p)
{
	while (p->n > 1)
		free(p->cells[--p->n].res);
}

void plan_free(struct bench_plan *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->cells[i].res);
	free(p->cells);
	p->cells = NULL;
	p->n = p->cap = 0;
}

const struct bench_cell *plan_first_peer(const struct bench_plan *p, const struct bench_cell *c)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *o = &p->cells[i];

		if (o->target->io == IO_PEER && o->peer == 0 && o->workload == c->workload &&
		    o->dir == c->dir && o->msg_size == c->msg_size && o->in_flight == c->in_flight)
			return o;
	}
	return NULL;
}

/* Sockets are measured one way, and have one way of calling. */
static bool same_calls(const struct bench_cell *a, const struct bench_cell *b)
{
	return a->dir == b->dir && a->zero_copy == b->zero_copy && a->coalesce == b->coalesce &&
	       a->registered == b->registered && a->variant == b->variant;
}

const struct bench_cell *plan_beside(const struct bench_plan *p, const struct bench_cell *c,
				     const struct target *target)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *o = &p->cells[i];

		if (o->target == target && o->workload == c->workload &&
		    o->msg_size == c->msg_size && o->in_flight == c->in_flight &&
		    (target->io != IO_ZV || same_calls(o, c)) &&
		    (target->io != IO_RING || o->dir == c->dir))
			return o;
	}
	return NULL;
}
