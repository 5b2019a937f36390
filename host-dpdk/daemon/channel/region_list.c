/* SPDX-License-Identifier: BSD-3-Clause */
#include "region_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* With the region's lock. False: no memory. */
static bool info_of(const struct region *r, struct region_info *i)
{
	const struct member *m;

	*i = (struct region_info){.id = r->id,
				  .size = r->mem.size,
				  .page_size = r->mem.page_size,
				  .retired = r->retired,
				  .channel_bytes =
					  __atomic_load_n(&r->channel_bytes, __ATOMIC_RELAXED),
				  .free_bytes = buddy_free_bytes(r->buddy),
				  .largest_free = buddy_largest(r->buddy),
				  .channels = r->n_parts};
	memcpy(i->origin, r->origin, sizeof(i->origin));
	i->members = calloc(r->n_members + 1, sizeof(*i->members));
	if (!i->members)
		return false;
	TAILQ_FOREACH(m, &r->members, link) {
		struct region_member_info *to = &i->members[i->n_members++];

		memcpy(to->name, m->user.name, sizeof(to->name));
		to->admitted = m->admitted;
		to->bytes = m->bytes;
		to->ends = m->ends;
	}
	return true;
}

/* With regions.lock. */
static unsigned count(const struct region_list *l, const char *origin)
{
	const struct region *r;
	unsigned n = 0;

	TAILQ_FOREACH(r, l, link)
		n += strcmp(r->origin, origin) == 0;
	return n;
}

unsigned regions_of(const char *origin)
{
	unsigned n;

	pthread_mutex_lock(&regions.lock);
	n = count(&regions.all, origin) + count(&regions.dead, origin);
	pthread_mutex_unlock(&regions.lock);
	return n;
}

/* With its lock. False: the memory of a guest that cannot have channels in it yet. */
static bool is_in_use(const struct region *r)
{
	return !r->from.drop || r->owners || r->retired;
}

int region_infos(struct region_info **out)
{
	struct region_info *infos;
	struct region *r;
	bool ok;
	int n = 0;

	pthread_mutex_lock(&regions.lock);
	TAILQ_FOREACH(r, &regions.all, link)
		n++;
	infos = calloc((size_t)n + 1, sizeof(*infos));
	ok = infos;
	n = 0;
	TAILQ_FOREACH(r, &regions.all, link) {
		pthread_mutex_lock(&r->lock);
		if (is_in_use(r))
			ok = ok && info_of(r, &infos[n++]);
		pthread_mutex_unlock(&r->lock);
	}
	pthread_mutex_unlock(&regions.lock);
	if (!ok) {
		region_infos_free(infos, n);
		return -ENOMEM;
	}
	*out = infos;
	return n;
}

void region_infos_free(struct region_info *infos, int n)
{
	for (int i = 0; infos && i < n; i++)
		free(infos[i].members);
	free(infos);
}
