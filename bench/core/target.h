/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A target: what a workload runs on. All that the bench knows about a target is in one file of
 * target/, which defines one struct target. To add one, write that file and add a line to
 * target/targets.h and one to meson.build. The target then runs every workload that supports its
 * way of carrying one (enum bench_io).
 */
#ifndef BENCH_TARGET_H
#define BENCH_TARGET_H

#include "option.h"
#include "plan.h"
#include "workload.h"

#include <stdio.h>

struct target {
	const char *name;  /* in the JSON */
	const char *id;	   /* for --target, where the name is not enough; NULL: the name */
	const char *path;  /* in the JSON: what the bytes go through */
	const char *label; /* of a row */
	const char *brief; /* in a warning */
	const char *about; /* for --list-targets: a line */
	/* Head of the column of ratios to it; NULL: it is measured, nothing is compared with it. */
	const char *ratio;
	enum bench_io io;
	bool seqpacket; /* sockets that keep messages whole, whatever --type says */
	bool datagrams; /* of libzvsock, from end to end */
	/* True for a --client or --server URI that it takes; NULL: for none. */
	bool (*is_device)(const char *uri);
	struct bench_options options;
	/* Do the options fit together? 0, or -EINVAL with a sentence in @why. */
	int (*check)(const struct bench_opts *o, char *why, size_t len);
	/* Once all options are there: what it adds to them; NULL: nothing. */
	void (*prepare)(struct bench_opts *o);
	/* The options that its sides run with, made of those of the run; NULL: these. */
	const struct bench_opts *(*opts)(const struct bench_opts *o);
	/* Without --target: why it is not measured, for the JSON; NULL: it is. A target without
	 * this function is measured with --target only. */
	const char *(*absent)(const struct bench_opts *o);
	/*
	 * With --target: why this machine cannot have it, or not with these options; NULL: it can.
	 * No function: every machine can. @get: how to get it.
	 */
	const char *(*missing)(const struct bench_opts *o);
	const char *get;

	/* Adds the cells of @c on this target by plan_add(); NULL: one. 0 or -ENOMEM. */
	int (*plan)(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c);

	/*
	 * start, stop: once, around all cells; NULL: it keeps nothing in *@state.
	 * run: one cell, once. 0 and *@res, or -errno.
	 * A sentence for each failure goes into @err, which lies in memory shared with children.
	 */
	int (*start)(void **state, const struct bench_opts *o, struct bench_facts *facts,
		     struct proc_err *err);
	int (*run)(void *state, const struct bench_opts *o, const struct bench_cell *c,
		   struct bench_result *res, struct proc_err *err);
	void (*stop)(void *state);
	/* After @c has failed, in place of stop() and start(): what its peer alone uses is stopped
	 * and started anew; the other peers are not touched. As start(). NULL: there are no peers.
	 */
	int (*restart)(void *state, const struct bench_opts *o, const struct bench_cell *c,
		       struct bench_facts *facts, struct proc_err *err);
	/* --server: serves tests on o->server_uri until a signal. 0, or -errno and a sentence. */
	int (*serve)(const struct bench_opts *o, struct proc_err *err);

	/* Lines above and below the tables, of a target that is measured. */
	void (*print_run)(FILE *f, const struct bench_opts *o, const struct bench_facts *facts);
	void (*print_foot)(FILE *f, const struct bench_opts *o);
	/* Keys of the JSON; NULL: none. */
	void (*json)(struct json_t *j, const struct bench_opts *o, const struct bench_cell *c,
		     const struct bench_facts *facts);
};

/* All of them; in a row of ratios they stand in this order (target/targets.h). */
extern const struct target *const targets[];
extern const unsigned ntargets;
/* What --target calls it. */
const char *target_id(const struct target *t);
/* Its place in the table. */
unsigned target_index(const struct target *t);

/* Why it is not measured in this run; NULL: it is. */
const char *target_absent(const struct target *t, const struct bench_opts *o);

/* --target "zvsock,af_unix" or "all" into o->targets. 0, or -EINVAL with a sentence. */
int targets_parse(struct bench_opts *o, char *arg, char *why, size_t len);
/* --path "virtqueue,channel" into o->paths: which of zvsock's paths are measured. As above. */
int paths_parse(struct bench_opts *o, char *arg, char *why, size_t len);
/* --list-targets: each, what it is, and whether it can be measured here. */
void targets_list(FILE *f, const struct bench_opts *o);

/* The options that the sides of @t run with. */
static inline const struct bench_opts *target_opts(const struct target *t,
						   const struct bench_opts *o)
{
	return t->opts ? t->opts(o) : o;
}

/* Tables have a column of ratios to it: those of sockets and raw limits always, measured or not. */
bool target_has_column(const struct target *t, const struct bench_opts *o);

/* What is measured in this run, the others being what it is compared with; NULL: nothing is. */
const struct target *target_measured(const struct bench_opts *o);

/* Who takes --client or --server @uri; libzvsock says what is wrong with one that is nobody's. */
const struct target *target_of_uri(const char *uri);

/* libzvsock is on at least one side. */
static inline bool target_zv(const struct target *t)
{
	return t->io == IO_ZV || t->io == IO_PEER || t->io == IO_ZV_SOCK;
}

#endif
