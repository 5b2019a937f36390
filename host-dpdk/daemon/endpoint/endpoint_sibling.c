/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sibling endpoint: guests that share a group reach each other by CID.
 *
 * Theory of operation
 * -------------------
 * A guest's REQUEST names the CID of another guest. The daemon ends the connection here and makes
 * one to the other guest, under the CID and port of the asking one, so that both see what they
 * would see without a daemon between them; splice.h joins the two. The source CID needs no check
 * here: the backend lets no packet pass that does not carry its guest's own.
 *
 * Who is in a group is kept in the group, under a lock of its own: guests that share no group share
 * no lock. The list of groups is the main thread's alone. A guest leaves its groups before it is
 * taken off its lcores, and what was posted to them for it under the lock runs before that.
 *
 * A guest that asks and gives up at once, again and again, could fill the other lcore's mailbox
 * faster than that one reads it: no more than ASKS_MAX of a guest are on their way at a time. A
 * request that is refused here costs no memory at all.
 */
#include "core/log.h"
#include "endpoint.h"
#include "relay/splice.h"
#include "spin.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define ASKS_MAX 1024u

struct member {
	uint64_t cid; /* the guest's */
	struct guest *guest;
	struct group *group;
};

struct group {
	char name[CFG_NAME_MAX];
	unsigned refs; /* the main thread's */
	pthread_mutex_t lock;
	void *members; /* tree, by CID; under the lock */
};

struct memberships {
	bool left;     /* the main thread's */
	unsigned asks; /* on their way to other lcores; atomic */
	unsigned n;
	struct member member[CFG_GROUPS_MAX];
};

static void *groups; /* tree, by name; the main thread's */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct group *)a)->name, ((const struct group *)b)->name);
}

static int by_cid(const void *a, const void *b)
{
	uint64_t x = ((const struct member *)a)->cid, y = ((const struct member *)b)->cid;

	return x < y ? -1 : x > y;
}

static struct group *group_named(const char *name)
{
	struct group *g = calloc(1, sizeof(*g)), *const * found;

	if (!g)
		return NULL;
	memcpy(g->name, name, sizeof(g->name));
	found = tsearch(g, &groups, by_name);
	if (!found || *found != g) {
		free(g);
		return found ? *found : NULL;
	}
	pthread_mutex_init(&g->lock, NULL);
	return g;
}

static void group_put(struct group *g)
{
	if (--g->refs)
		return;
	(void)tdelete(g, &groups, by_name);
	pthread_mutex_destroy(&g->lock);
	free(g);
}

/* Nobody finds the guest any more; its own lcores may still be looking for others. */
static void sibling_stop(struct guest *g)
{
	struct memberships *ms = g->ep->siblings;

	for (unsigned i = 0; ms && !ms->left && i < ms->n; i++) {
		struct group *in = ms->member[i].group;

		pthread_mutex_lock(&in->lock);
		(void)tdelete(&ms->member[i], &in->members, by_cid);
		pthread_mutex_unlock(&in->lock);
	}
	if (ms)
		ms->left = true;
}

static void sibling_free(struct guest *g)
{
	struct memberships *ms = g->ep->siblings;
	unsigned steps = 0;

	for (unsigned i = 0; ms && i < ms->n; i++)
		group_put(ms->member[i].group);
	while (ms && __atomic_load_n(&ms->asks, __ATOMIC_ACQUIRE))
		spin_step(&steps); /* lcores that are running take them: a round or two */
	free(ms);
	g->ep->siblings = NULL;
}

static int sibling_start(struct guest *g)
{
	const struct cfg_guest *cfg = guest_cfg(g);
	struct memberships *ms;
	bool ok;

	if (!cfg->n_groups)
		return 0;
	ms = g->ep->siblings = calloc(1, sizeof(*ms));
	ok = ms;
	for (unsigned i = 0; ok && i < cfg->n_groups; i++) {
		struct member *m = &ms->member[i];

		m->cid = cfg->cid;
		m->guest = g;
		m->group = group_named(cfg->groups[i]);
		if (!m->group)
			return -ENOMEM;
		m->group->refs++;
		pthread_mutex_lock(&m->group->lock);
		ok = tsearch(m, &m->group->members, by_cid);
		pthread_mutex_unlock(&m->group->lock);
		if (ok)
			ms->n++;
		else
			group_put(m->group);
	}
	return ok ? 0 : -ENOMEM;
}

/* ---- connections ---- */

/* On its way to the lcore of the other guest. */
struct ask {
	struct memberships *from;
	struct splice *sp;
	struct guest_queue *gq;
};

static void asked(struct lcore *lc, void *arg)
{
	struct ask *a = arg;

	(void)lc;
	splice_connect(a->sp, a->gq);
	__atomic_sub_fetch(&a->from->asks, 1, __ATOMIC_RELEASE);
	free(a);
}

/* Under the lock of a group of which @to is a member. 1: @conn is taken, -errno: it is not. */
static int ask(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info,
	       struct guest *to)
{
	struct memberships *from = gq->guest->ep->siblings;
	struct ask *a = malloc(sizeof(*a));
	struct zv_dev_info dev = {.size = sizeof(dev)};
	unsigned up;

	if (!a)
		return -ENOMEM;
	a->sp = splice_new(gq, conn, info, false);
	if (!a->sp) {
		free(a);
		return -ENOMEM;
	}
	/* The same ports always meet on the same queue, so a pair in use is noticed. */
	(void)zv_dev_info(to->dev, &dev);
	up = dev.queues_up && dev.queues_up < to->n_queues ? dev.queues_up : to->n_queues;
	a->from = from;
	a->gq = &to->queues[(info->peer_port ^ info->local_port) % up];
	__atomic_add_fetch(&from->asks, 1, __ATOMIC_RELAXED);
	if (lcore_post(a->gq->lc, asked, a) < 0) {
		__atomic_sub_fetch(&from->asks, 1, __ATOMIC_RELAXED);
		ENDPOINT_COUNT(gq, no_memory);
		splice_refuse(a->sp);
		free(a);
	}
	return 1;
}

/* Looks for the guest with @info's local CID in one group. 0: not here; otherwise as ask(). */
static int ask_in(struct group *g, struct guest_queue *gq, struct zv_conn *conn,
		  const struct zv_conn_info *info)
{
	const struct member key = {.cid = info->local_cid};
	struct member *const *found;
	int ret = 0;

	pthread_mutex_lock(&g->lock);
	found = tfind(&key, &g->members, by_cid);
	if (found)
		ret = ask(gq, conn, info, (*found)->guest);
	pthread_mutex_unlock(&g->lock);
	return ret;
}

static int sibling_serve(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	struct memberships *ms = gq->guest->ep->siblings;
	int ret = 0;

	if (info->local_cid == ZV_CID_HOST)
		return 0;
	if (ms && __atomic_load_n(&ms->asks, __ATOMIC_RELAXED) >= ASKS_MAX) {
		ENDPOINT_COUNT(gq, connect_failed);
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "%u requests to siblings wait for an answer already: refusing more",
			 ASKS_MAX);
		return -ECONNREFUSED;
	}
	for (unsigned i = 0; ms && i < ms->n && ret == 0; i++)
		ret = ask_in(ms->member[i].group, gq, conn, info);
	if (ret > 0)
		return 1;
	if (ret < 0) {
		ENDPOINT_COUNT(gq, no_memory);
		return ret;
	}
	ENDPOINT_COUNT(gq, sibling_denied);
	log_line(ZV_LOG_DEBUG, gq->guest->name,
		 "CID %llu port %u: no guest with that CID shares a group with this one",
		 (unsigned long long)info->local_cid, info->local_port);
	return -ECONNREFUSED;
}

const struct endpoint_ops endpoint_sibling = {
	.name = "sibling",
	.start = sibling_start,
	.stop = sibling_stop,
	.free = sibling_free,
	.serve = sibling_serve,
};
