/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sibling endpoint: guests that share a group ("groups = NAME, ...") reach each other by CID.
 *
 * Theory of operation
 * -------------------
 * A guest's REQUEST names the CID of another guest. The daemon ends the connection here and makes
 * one to the other guest, from the CID and port of the requesting one, so that both see what they
 * would see without a daemon between them; relay/splice.h joins the two. The source CID needs no
 * check here: the backend rejects packets that do not carry its guest's own CID.
 *
 * The members of a group are stored in the group, under a lock of its own: guests that share no
 * group share no lock. The list of groups belongs to the main thread. A guest is marked as gone in
 * its groups before it is removed from its lcores, and what was posted to them for it under the
 * lock runs before that.
 */
#include "core/log.h"
#include "endpoint/endpoint.h"
#include "relay/splice_ask.h"
#include "sibling_dgram.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define GROUPS_MAX     16u
#define SIBLINGS_SHOWN 32u /* of a guest, by --check */

/* ---- configuration ---- */

struct sibling_values {
	char groups[GROUPS_MAX][CFG_NAME_MAX];
	unsigned n;
};

static const struct sibling_values *values_of(const struct cfg_guest *g)
{
	return g->part[ENDPOINT_sibling];
}

static void add_group(struct load *l, void *values, const struct key *k, char *value)
{
	struct sibling_values *v = values;

	(void)k;
	if (!cfg_name_ok(value)) {
		cfg_wrong(l,
			  "groups: \"%s\" is no name of a group; take up to %u letters, "
			  "digits, \"-\" and \"_\"",
			  value, CFG_NAME_MAX - 1);
		return;
	}
	for (unsigned i = 0; i < v->n; i++) {
		if (strcmp(v->groups[i], value) == 0) {
			cfg_wrong(l, "groups: %s is there twice; name it once", value);
			return;
		}
	}
	if (v->n == GROUPS_MAX)
		cfg_wrong(l, "groups: more than %u; a guest can be in so many", GROUPS_MAX);
	else
		memcpy(v->groups[v->n++], value, strlen(value) + 1);
}

static const struct key sibling_keys[] = {
	{"groups", add_group, .list = true,
	 .absent = {[CFG_AS_GUEST] = "which guests may reach each other is for their host to say"}},
	{0},
};

static bool sibling_same(const void *a, const void *b)
{
	const struct sibling_values *x = a, *y = b;

	if (x->n != y->n)
		return false;
	for (unsigned i = 0; i < x->n; i++)
		if (strcmp(x->groups[i], y->groups[i]) != 0)
			return false;
	return true;
}

static const char *sibling_group(const void *values, unsigned i)
{
	const struct sibling_values *v = values;

	return i < v->n ? v->groups[i] : NULL;
}

static uint32_t sibling_listen_flags(const void *values)
{
	const struct sibling_values *v = values;

	return v->n ? ZV_LISTEN_ANY_CID : 0;
}

/* ---- what --check prints ---- */

/* The members of each group, by the name of the group. */
struct membership {
	const char *group;
	unsigned guest;
};

struct directory {
	unsigned n;
	struct membership m[];
};

static int by_group(const void *x, const void *y)
{
	const struct membership *a = x, *b = y;
	int ret = strcmp(a->group, b->group);

	if (ret == 0)
		ret = a->guest < b->guest ? -1 : a->guest > b->guest;
	return ret;
}

/* NULL: no memory. */
static struct directory *directory(const struct cfg *c)
{
	struct directory *d;
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++)
		n += values_of(&c->guests[i])->n;
	d = calloc(1, sizeof(*d) + n * sizeof(d->m[0]));
	if (!d)
		return NULL;
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct sibling_values *v = values_of(&c->guests[i]);

		for (unsigned k = 0; k < v->n; k++)
			d->m[d->n++] = (struct membership){v->groups[k], i};
	}
	if (n)
		qsort(d->m, n, sizeof(d->m[0]), by_group);
	return d;
}

static unsigned first_member(const struct directory *d, const char *group)
{
	unsigned low = 0, high = d->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (strcmp(d->m[mid].group, group) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* True if @other is in one of the first @n groups of @g. */
static bool shares(const struct sibling_values *g, unsigned n, const struct sibling_values *other)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < other->n; j++)
			if (strcmp(g->groups[i], other->groups[j]) == 0)
				return true;
	return false;
}

/* Names SIBLINGS_SHOWN at most, because a group may have thousands. */
static void sibling_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
			  void **scratch, FILE *to)
{
	const struct sibling_values *v = values;
	const struct directory *d;
	unsigned shown = 0;

	if (!*scratch)
		*scratch = directory(c);
	d = *scratch;
	(void)fprintf(to, "  siblings    ");
	for (unsigned k = 0; d && k < v->n; k++) {
		unsigned i = first_member(d, v->groups[k]);

		for (; i < d->n && strcmp(d->m[i].group, v->groups[k]) == 0; i++) {
			const struct cfg_guest *other = &c->guests[d->m[i].guest];

			if (other == g || shares(v, k, values_of(other)))
				continue;
			if (shown == SIBLINGS_SHOWN) {
				(void)fprintf(to, ", and others of its groups\n");
				return;
			}
			(void)fprintf(to, "%s%s (CID %" PRIu64 ")", shown++ ? ", " : "",
				      other->name, other->cid);
		}
	}
	(void)fprintf(to, "%s\n", shown ? "" : "none");
}

/* ---- groups ---- */

struct member {
	uint64_t cid; /* the guest's */
	struct guest *guest;
	struct group *group;
	bool gone; /* takes no more connections; under the group's lock */
};

struct group {
	char name[CFG_NAME_MAX];
	unsigned refs; /* the main thread's */
	pthread_mutex_t lock;
	void *members; /* tree, by CID; under the lock */
};

/* State of a guest that is in groups. */
struct memberships {
	struct splice_asks asks;
	struct dgram_in_transit in_transit;
	unsigned n;
	struct member member[GROUPS_MAX];
};

static struct memberships *memberships(const struct guest *g)
{
	return g->part[ENDPOINT_sibling];
}

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

/* No new connection to the guest begins; its own lcores may still be looking for others. */
static void sibling_stop(struct guest *g)
{
	struct memberships *ms = memberships(g);

	for (unsigned i = 0; ms && i < ms->n; i++) {
		struct group *in = ms->member[i].group;

		pthread_mutex_lock(&in->lock);
		ms->member[i].gone = true;
		pthread_mutex_unlock(&in->lock);
	}
}

static void sibling_free(struct guest *g)
{
	struct memberships *ms = memberships(g);

	for (unsigned i = 0; ms && i < ms->n; i++) {
		struct group *in = ms->member[i].group;

		pthread_mutex_lock(&in->lock);
		(void)tdelete(&ms->member[i], &in->members, by_cid);
		pthread_mutex_unlock(&in->lock);
		group_put(in);
	}
	if (ms) {
		splice_asks_end(&ms->asks);
		dgram_in_transit_end(&ms->in_transit);
	}
	free(ms);
	g->part[ENDPOINT_sibling] = NULL;
}

static int sibling_start(struct guest *g)
{
	const struct cfg_guest *cfg = guest_cfg(g);
	const struct sibling_values *v = values_of(cfg);
	struct memberships *ms;
	bool ok;

	if (!v->n)
		return 0;
	ms = g->part[ENDPOINT_sibling] = calloc(1, sizeof(*ms));
	ok = ms;
	for (unsigned i = 0; ok && i < v->n; i++) {
		struct member *m = &ms->member[i];

		m->cid = cfg->cid;
		m->guest = g;
		m->group = group_named(v->groups[i]);
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

/* Looks for the guest with @info's local CID in one group. 0: not here; otherwise as splice_ask().
 */
static int request_in(struct group *g, struct guest_queue *gq, struct zv_conn *conn,
		      const struct zv_conn_info *info)
{
	const struct member key = {.cid = info->local_cid};
	struct member *const *found;
	int ret = 0;

	pthread_mutex_lock(&g->lock);
	found = tfind(&key, &g->members, by_cid);
	if (found && !(*found)->gone)
		ret = splice_ask(&memberships(gq->guest)->asks, gq, conn, &endpoint_sibling.kind,
				 info, (*found)->guest);
	pthread_mutex_unlock(&g->lock);
	return ret;
}

static int sibling_serve(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	struct memberships *ms = memberships(gq->guest);
	int ret = 0;

	for (unsigned i = 0; ms && i < ms->n && ret == 0; i++)
		ret = request_in(ms->member[i].group, gq, conn, info);
	if (ret > 0)
		return 1;
	if (ret == -EAGAIN) {
		GUEST_COUNT(gq, connect_failed);
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "%u requests to siblings wait for an answer already: refusing more",
			 SPLICE_ASKS_MAX);
		return -ECONNREFUSED;
	}
	if (ret < 0) {
		GUEST_COUNT(gq, no_memory);
		return ret;
	}
	GUEST_COUNT(gq, sibling_denied);
	log_line(ZV_LOG_DEBUG, gq->guest->name,
		 "CID %llu port %u: no guest with that CID shares a group with this one",
		 (unsigned long long)info->local_cid, info->local_port);
	return -ECONNREFUSED;
}

/* ---- datagrams ---- */

static bool with_sibling(struct guest *g, const struct zv_dgram_addr *to,
			 void (*fn)(void *arg, struct guest *to), void *arg)
{
	struct memberships *ms = memberships(g);
	const struct member key = {.cid = to->local_cid};
	bool there = false;

	for (unsigned i = 0; ms && i < ms->n && !there; i++) {
		struct group *in = ms->member[i].group;
		struct member *const *found;

		pthread_mutex_lock(&in->lock);
		found = tfind(&key, &in->members, by_cid);
		there = found && !(*found)->gone && (*found)->guest != g;
		if (there)
			fn(arg, (*found)->guest);
		pthread_mutex_unlock(&in->lock);
	}
	return there;
}

static bool sibling_has_datagrams(const struct cfg_guest *c)
{
	return values_of(c)->n;
}

static bool sibling_datagram(struct guest_queue *gq, const struct zv_dgram_addr *from,
			     const void *data, uint32_t len)
{
	struct memberships *ms = memberships(gq->guest);

	return ms && sibling_dgram(gq, &ms->in_transit, from, data, len, with_sibling);
}

/* "guest:NAME", of the guest at the other end. */
static void sibling_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			     size_t len)
{
	const struct memberships *ms = memberships(g);
	const struct member key = {.cid = info->local_cid};
	struct member *const *found = NULL;

	for (unsigned i = 0; ms && i < ms->n && !found; i++) {
		struct group *in = ms->member[i].group;

		pthread_mutex_lock(&in->lock);
		found = tfind(&key, &in->members, by_cid);
		if (found) /* while the lock is held, its guest is not freed */
			(void)snprintf(buf, len, "guest:%s", (*found)->guest->name);
		pthread_mutex_unlock(&in->lock);
	}
	if (!found)
		(void)snprintf(buf, len, "guest:CID %" PRIu64, info->local_cid);
}

const struct endpoint_ops endpoint_sibling = {
	.name = "sibling",
	.cfg = {.keys = sibling_keys,
		.size = sizeof(struct sibling_values),
		.same = sibling_same,
		.print = sibling_print,
		.names = "groups",
		.name = sibling_group},
	.kind = CONN_KIND(endpoint_sibling.kind, sibling_describe),
	.start = sibling_start,
	.stop = sibling_stop,
	.free = sibling_free,
	.listen_flags = sibling_listen_flags,
	.others = true,
	.serve = sibling_serve,
	.has_datagrams = sibling_has_datagrams,
	.datagram = sibling_datagram,
};
