/* SPDX-License-Identifier: BSD-3-Clause */
#include "claims.h"

#include "base/clock.h"

#include <errno.h>
#include <proto/ctrl/ctrl_msg.h>
#include <search.h>
#include <stdlib.h>

struct claim_key {
	uint32_t port, peer_port;
	uint64_t peer_cid; /* for a listener, this and peer_port are 0 */
	uint16_t type;
	bool listens;
};

struct claim {
	struct claim_key key; /* first */
	struct claimant *who;
	uint64_t until_ns; /* when it expires; for connections */
	TAILQ_ENTRY(claim) link;
	TAILQ_ENTRY(claim) age; /* for connections: in the order of expiry */
};

/* Claims of a queue; freed with the last one. */
struct claims {
	void *tree;
	unsigned n;
	TAILQ_HEAD(, claim) ages;
};

static int compare(const void *a, const void *b)
{
	const struct claim_key *x = a, *y = b;

	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	if (x->peer_port != y->peer_port)
		return x->peer_port < y->peer_port ? -1 : 1;
	if (x->peer_cid != y->peer_cid)
		return x->peer_cid < y->peer_cid ? -1 : 1;
	if (x->type != y->type)
		return x->type < y->type ? -1 : 1;
	return (int)x->listens - (int)y->listens;
}

static struct claim *find(const struct claims *all, const struct claim_key *key)
{
	struct claim *const *found = all ? tfind(key, &all->tree, compare) : NULL;

	return found ? *found : NULL;
}

/* Also frees the state of the queue if this was its last claim. */
static void drop(struct guest_queue *gq, struct claim *c)
{
	struct claims *all = gq->claims;

	(void)tdelete(&c->key, &all->tree, compare);
	TAILQ_REMOVE(&c->who->claims, c, link);
	c->who->n--;
	if (!c->key.listens)
		TAILQ_REMOVE(&all->ages, c, age);
	free(c);
	if (--all->n)
		return;
	free(all);
	gq->claims = NULL;
}

/* Forgets expired claims, CLAIMS_FORGET at most: those of all programs of a guest may expire at the
 * same time. */
static void forget_old(struct guest_queue *gq, uint64_t now)
{
	struct claim *c;

	for (unsigned i = 0; i < CLAIMS_FORGET && gq->claims; i++) {
		c = TAILQ_FIRST(&gq->claims->ages);
		if (!c || c->until_ns > now)
			return;
		drop(gq, c);
	}
}

/* The unexpired claim; NULL: none. An expired one is freed. */
static struct claim *find_new(struct guest_queue *gq, const struct claim_key *key)
{
	uint64_t now = gq->claims ? now_ns() : 0;
	struct claim *c;

	forget_old(gq, now);
	c = find(gq->claims, key);
	if (!c || key->listens || c->until_ns > now)
		return c;
	drop(gq, c);
	return NULL;
}

void claimant_init(struct claimant *who, struct broker *b, void (*hear)(struct claimant *who))
{
	*who = (struct claimant){.b = b, .hear = hear};
	TAILQ_INIT(&who->claims);
}

static struct claims *need(struct guest_queue *gq)
{
	if (gq->claims)
		return gq->claims;
	gq->claims = calloc(1, sizeof(*gq->claims));
	if (gq->claims)
		TAILQ_INIT(&gq->claims->ages);
	return gq->claims;
}

static int add(struct guest_queue *gq, struct claimant *who, const struct claim_key *key)
{
	struct claim *c = who->n < CLAIMS_MAX ? calloc(1, sizeof(*c)) : NULL;
	struct claims *all = c ? need(gq) : NULL;

	if (c) {
		c->key = *key;
		c->who = who;
	}
	if (!all || !tsearch(c, &all->tree, compare)) {
		free(c);
		if (all && !all->n) {
			free(all);
			gq->claims = NULL;
		}
		return who->n < CLAIMS_MAX ? -ENOMEM : -ENOSPC;
	}
	all->n++;
	who->n++;
	TAILQ_INSERT_TAIL(&who->claims, c, link);
	if (key->listens)
		return 0;
	c->until_ns = now_ns() + CLAIM_NS;
	TAILQ_INSERT_TAIL(&all->ages, c, age);
	return 0;
}

int claim_on_msg(struct guest_queue *gq, struct claimant *who, const struct ctrl_claim *m)
{
	bool listens = m->what == CTRL_CLAIM_LISTEN || m->what == CTRL_CLAIM_NO_LISTEN;
	bool no = m->what == CTRL_CLAIM_NO_CONNECT || m->what == CTRL_CLAIM_NO_LISTEN;
	const struct claim_key key = {.port = m->port,
				      .peer_port = listens ? 0 : m->peer_port,
				      .peer_cid = listens ? 0 : m->peer_cid,
				      .type = m->type,
				      .listens = listens};
	struct claim *c;

	c = find_new(gq, &key);
	if (c && c->who != who && !no) {
		c->who->hear(c->who);
		c = find_new(gq, &key);
	}
	if (c && c->who != who && !c->who->ended)
		return no ? 0 : -EADDRINUSE;
	/* Claimed again: its time starts anew; or withdrawn; or of a program that has ended. */
	if (c && (no || !listens || c->who != who))
		drop(gq, c);
	else if (c)
		return 0;
	return no ? 0 : add(gq, who, &key);
}

void claims_end(struct guest_queue *gq, struct claimant *who)
{
	struct claim *c;

	while ((c = TAILQ_FIRST(&who->claims)))
		drop(gq, c); /* takes it off the list: NOLINT(clang-analyzer-unix.Malloc) */
}

struct broker *claim_take(struct guest_queue *gq, const struct zv_conn_info *info)
{
	const struct claim_key key = {.port = info->peer_port,
				      .peer_port = info->local_port,
				      .peer_cid = info->local_cid,
				      .type = (uint16_t)info->type};
	struct claim *c;
	struct broker *b;

	c = find_new(gq, &key);
	b = c ? c->who->b : NULL;
	if (c)
		drop(gq, c);
	return b;
}

struct broker *claims_listener(struct guest_queue *gq, uint32_t port, enum zv_type type)
{
	const struct claim_key key = {.port = port, .type = (uint16_t)type, .listens = true};
	const struct claim *c = find(gq->claims, &key);

	return c ? c->who->b : NULL;
}
