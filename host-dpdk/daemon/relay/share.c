/* SPDX-License-Identifier: BSD-3-Clause */
#include "share.h"

#include <search.h>
#include <stdlib.h>

struct share {
	struct share_asker asker; /* first */
	uint32_t held;		  /* 0: not in the tree */
};

struct share_asker share_asker(const struct guest *g)
{
	const struct cfg_guest *c = guest_cfg(g);

	if (c->has_user)
		return (struct share_asker){NULL, c->app_uid};
	return (struct share_asker){g, 0};
}

static int by_asker(const void *a, const void *b)
{
	const struct share_asker *s = a, *t = b;
	uintptr_t x = (uintptr_t)s->guest, y = (uintptr_t)t->guest;

	if (x != y)
		return x < y ? -1 : 1;
	return s->uid < t->uid ? -1 : s->uid > t->uid;
}

static struct share *find_or_make(struct guest_queue *gq, const struct share_asker *asker)
{
	struct share *const *found = tfind(asker, &gq->shares, by_asker), *s;

	if (found)
		return *found;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->asker = *asker;
	if (tsearch(s, &gq->shares, by_asker))
		return s;
	free(s);
	return NULL;
}

static void drop_if_unused(struct guest_queue *gq, struct share *s)
{
	if (s->held)
		return;
	(void)tdelete(s, &gq->shares, by_asker);
	free(s);
}

struct share *share_get(struct guest_queue *gq, const struct share_asker *asker)
{
	uint32_t half = (guest_cfg(gq->guest)->max_conns + 1) / 2;
	struct share *s;

	if (gq->n_shared >= half)
		return NULL;
	s = find_or_make(gq, asker);
	if (!s)
		return NULL;
	if (s->held >= half - gq->n_shared) {
		drop_if_unused(gq, s);
		return NULL;
	}
	s->held++;
	gq->n_shared++;
	return s;
}

void share_put(struct guest_queue *gq, struct share *s)
{
	if (!s)
		return;
	s->held--;
	gq->n_shared--;
	drop_if_unused(gq, s);
}
