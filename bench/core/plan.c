/* SPDX-License-Identifier: BSD-3-Clause */
#include "plan.h"

#include <errno.h>
#include <stdlib.h>

#define FAIR_MSG     4096u
#define FAIR_CONNS   200u
#define FAIR_ACTIVE  1000u
#define COALESCE_MAX 256u /* messages up to this size get a coalesced row */

static const unsigned in_flight[] = {1, 16};

const char *target_name(enum bench_target t)
{
	static const char *const names[] = {"zvsock", "af_unix", "tcp", "raw", "vhost-user"};

	return names[t];
}

const char *test_name(enum bench_test t)
{
	static const char *const names[] = {"",		"throughput", "rtt",
					    "connrate", "idle",	      "fairness"};

	return names[t];
}

const char *dir_name(enum bench_dir d)
{
	static const char *const names[] = {"", "g2h", "h2g", "both"};

	return names[d];
}

const char *cell_how(const struct bench_cell *c)
{
	if (c->target != TGT_ZVSOCK || (c->test != TEST_THROUGHPUT && c->test != TEST_RTT))
		return "";
	return c->coalesce ? "coalesced" : c->zero_copy ? "zero-copy" : "copying";
}

static int plan_add(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
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

/* The zvsock cells of one test and size in the directions and ways that were asked for. */
static int plan_zvsock(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	bool oneway = c.test == TEST_THROUGHPUT;
	int rc = 0;

	for (enum bench_dir d = DIR_G2H; d <= (oneway ? DIR_H2G : DIR_G2H) && rc == 0; d++) {
		if (oneway && !(o->dir & d))
			continue;
		c.dir = oneway ? d : DIR_BOTH;
		c.zero_copy = true;
		if (o->zero_copy)
			rc = plan_add(p, o, c);
		c.zero_copy = false;
		if (o->copy && rc == 0)
			rc = plan_add(p, o, c);
		c.coalesce = true;
		if (o->copy && rc == 0 && oneway && !o->seqpacket && c.msg_size <= COALESCE_MAX)
			rc = plan_add(p, o, c);
		c.coalesce = false;
	}
	return rc;
}

const char *scene_name(enum bench_scene s)
{
	static const char *const names[] = {"",	      "alone", "holds",	   "reserves",
					    "active", "ping",  "ping-bulk"};

	return names[s];
}

/* Beside each other what is compared: with and without the one that disturbs. */
static int plan_fairness(struct bench_plan *p, const struct bench_opts *o)
{
	int rc = 0;

	for (enum bench_scene s = SCENE_ALONE; s <= SCENE_PING_BULK; s++)
		for (enum bench_dir d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
			struct bench_cell c = {
				.test = TEST_FAIRNESS,
				.scene = s,
				.dir = s == SCENE_PING ? DIR_BOTH : d,
				.zero_copy = o->zero_copy,
				.msg_size = s >= SCENE_PING ? o->sizes[0] : FAIR_MSG,
				.in_flight = s >= SCENE_PING	 ? 1
					     : s == SCENE_ACTIVE ? FAIR_ACTIVE
								 : FAIR_CONNS,
			};

			if (s == SCENE_PING ? d == DIR_G2H : (o->dir & d) != 0)
				rc = plan_add(p, o, c);
		}
	return rc;
}

/* Each peer in the directions that were asked for, then what all are compared with. */
static int plan_peers(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	c.target = TGT_PEER;
	c.zero_copy = o->zero_copy;
	for (c.peer = 0; c.peer < o->npeers; c.peer++)
		for (enum bench_dir d = DIR_G2H; d <= DIR_H2G && rc == 0; d++) {
			c.dir = c.test == TEST_RTT ? DIR_BOTH : d;
			if (c.test == TEST_RTT ? d == DIR_G2H : (o->dir & d) != 0)
				rc = plan_add(p, o, c);
		}
	if (!o->baselines || rc < 0)
		return rc;
	c.target = TGT_AF_UNIX;
	c.dir = c.test == TEST_RTT ? DIR_BOTH : DIR_G2H;
	c.zero_copy = false;
	return plan_add(p, o, c);
}

static int plan_test(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	int rc = 0;

	if (o->npeers)
		return plan_peers(p, o, c);
	if (c.test == TEST_CONNRATE || c.test == TEST_IDLE) {
		c.dir = c.test == TEST_IDLE ? DIR_BOTH : DIR_G2H;
		rc = plan_add(p, o, c);
	} else {
		rc = plan_zvsock(p, o, c);
		c.dir = c.test == TEST_RTT ? DIR_BOTH : DIR_G2H;
	}
	if (!o->baselines || c.test == TEST_IDLE)
		return rc;
	for (enum bench_target t = TGT_AF_UNIX; t <= TGT_RAW && rc == 0; t++) {
		c.target = t;
		c.zero_copy = t == TGT_RAW;
		if (t != TGT_RAW || c.test != TEST_CONNRATE)
			rc = plan_add(p, o, c);
	}
	return rc;
}

int plan_make(struct bench_plan *p, const struct bench_opts *o)
{
	int rc = 0;

	if (o->tests[TEST_THROUGHPUT])
		for (unsigned i = 0; i < o->nsizes && rc == 0; i++)
			rc = plan_test(p, o,
				       (struct bench_cell){.test = TEST_THROUGHPUT,
							   .msg_size = o->sizes[i]});
	if (o->tests[TEST_RTT] && rc == 0)
		rc = plan_test(p, o,
			       (struct bench_cell){.test = TEST_RTT, .msg_size = o->sizes[0]});
	for (unsigned i = 0; o->tests[TEST_CONNRATE] && i < 2 && rc == 0; i++)
		rc = plan_test(
			p, o,
			(struct bench_cell){.test = TEST_CONNRATE, .in_flight = in_flight[i]});
	if (o->tests[TEST_IDLE] && rc == 0)
		rc = plan_test(p, o, (struct bench_cell){.test = TEST_IDLE, .in_flight = o->conns});
	if (o->tests[TEST_FAIRNESS] && rc == 0)
		rc = plan_fairness(p, o);
	return rc;
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

		if (o->target == TGT_PEER && o->peer == 0 && o->test == c->test &&
		    o->dir == c->dir && o->msg_size == c->msg_size && o->in_flight == c->in_flight)
			return o;
	}
	return NULL;
}

const struct bench_cell *plan_peer(const struct bench_plan *p, const struct bench_cell *c,
				   enum bench_target target)
{
	for (unsigned i = 0; i < p->n; i++) {
		const struct bench_cell *o = &p->cells[i];

		if (o->target == target && o->test == c->test && o->msg_size == c->msg_size &&
		    o->in_flight == c->in_flight)
			return o;
	}
	return NULL;
}
