/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several devices as one. Queue i is the pair of device i; each member is a whole device, with
 * memory, control thread and sessions of its own.
 */
#include "guest_bond.h"

#include "guest_dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct guest_bond {
	struct transport_dev d;	  /* first; nqueues members are open */
	struct transport_ops ops; /* of d: those of a member, some replaced */
	struct transport_dev *member[ZV_QUEUES_MAX];
};

static void bond_close(struct transport_dev *d)
{
	struct guest_bond *b = (struct guest_bond *)d;

	for (unsigned i = 0; i < d->nqueues; i++)
		b->member[i]->ops->close(b->member[i]);
	free(b);
}

static uint64_t bond_guest_cid(struct transport_dev *d)
{
	struct transport_dev *m = ((struct guest_bond *)d)->member[0];

	return m->ops->guest_cid(m);
}

static uint64_t bond_page_size(struct transport_dev *d)
{
	struct transport_dev *m = ((struct guest_bond *)d)->member[0];

	return m->ops->page_size(m);
}

static struct transport_queue *bond_queue(struct transport_dev *d, unsigned i)
{
	struct transport_dev *m = i < d->nqueues ? ((struct guest_bond *)d)->member[i] : NULL;

	return m ? m->ops->queue(m, 0) : NULL;
}

static int bond_region_offer(struct transport_dev *d, unsigned queue, struct ctrl_offer *out)
{
	struct transport_dev *m = ((struct guest_bond *)d)->member[queue];

	return m->ops->regions->offer ? m->ops->regions->offer(m, 0, out) : -ENOENT;
}

static int bond_region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
			   struct region_map **out)
{
	struct transport_dev *m = ((struct guest_bond *)d)->member[queue];

	return m->ops->regions->map(m, 0, r, out);
}

static void bond_region_forget(struct transport_dev *d, unsigned queue, uint64_t id)
{
	struct transport_dev *m = ((struct guest_bond *)d)->member[queue];

	m->ops->regions->forget(m, 0, id);
}

static const struct transport_region_ops bond_region_ops = {
	.offer = bond_region_offer,
	.map = bond_region_map,
	.forget = bond_region_forget,
};

struct transport_dev *const *guest_bond_members(struct transport_dev *bond)
{
	return ((struct guest_bond *)bond)->member;
}

void guest_bond_share_region(struct transport_dev *bond, const struct own_region *r)
{
	for (unsigned i = 0; r->map && i < bond->nqueues; i++) {
		struct guest_dev *g = (struct guest_dev *)((struct guest_bond *)bond)->member[i];

		g->own = *r;
		(void)region_map_hold(r->map);
	}
}

/* Opens the device at the front of *names as the next member. */
static int add_member(struct guest_bond *b, const struct transport_ops *one, const char **names,
		      const char *noun, const struct zv_opts *opts)
{
	size_t len = strcspn(*names, ",");
	char *name = strndup(*names, len);
	struct transport_dev *m = NULL; /* remains NULL if it cannot be opened */
	int ret;

	if (!name)
		return zv_err(-ENOMEM, "no memory for the device on %s", *names);
	ret = len ? one->open(&m, name, opts)
		  : zv_err(-EINVAL, "%s:...,%s: the name of a %s is empty", one->scheme, *names,
			   noun);
	if (m) {
		b->member[b->d.nqueues++] = m;
		b->d.end = m->end;
		if (m->ops->guest_cid(m) != bond_guest_cid(&b->d))
			ret = zv_err(-EINVAL,
				     "%s %s: the guest's CID is %llu here and %llu on the first "
				     "%s; all of them must have one CID",
				     one->scheme, name, (unsigned long long)m->ops->guest_cid(m),
				     (unsigned long long)bond_guest_cid(&b->d), noun);
	}
	free(name);
	*names += len + ((*names)[len] == ',');
	return ret;
}

/* Finds the first name that is in the list twice. Returns its length; 0: none. */
static size_t named_twice(const char *names, const char **name)
{
	for (const char *a = names; a; a = strchr(a, ',') ? strchr(a, ',') + 1 : NULL) {
		size_t len = strcspn(a, ",");

		for (const char *b = strchr(a, ','); b && len; b = strchr(b + 1, ',')) {
			if (strcspn(b + 1, ",") == len && strncmp(a, b + 1, len) == 0) {
				*name = a;
				return len;
			}
		}
	}
	return 0;
}

int guest_bond_open(struct transport_dev **out, const char *names, const struct zv_opts *opts,
		    const struct transport_ops *one, const char *noun)
{
	struct zv_opts each = *opts;
	struct guest_bond *b;
	const char *name;
	unsigned n = 1;
	size_t twice;
	int ret = 0;

	for (const char *p = names; *p; p++)
		n += *p == ',';
	if (n > ZV_QUEUES_MAX || (opts->queues > 1 && opts->queues != n))
		return zv_err(-EINVAL,
			      "%s: %u %ss for %u queues: each is one queue, and there are at most "
			      "%u; leave queues at 1 or name as many %ss",
			      one->scheme, n, noun, opts->queues, ZV_QUEUES_MAX, noun);
	twice = named_twice(names, &name);
	if (twice)
		return zv_err(-EINVAL, "%s: the %s %.*s is named twice; name each once",
			      one->scheme, noun, (int)twice, name);
	b = calloc(1, sizeof(*b));
	if (!b)
		return zv_err(-ENOMEM, "no memory for the device on %s", names);
	b->ops = *one;
	b->ops.close = bond_close;
	b->ops.guest_cid = bond_guest_cid;
	b->ops.page_size = bond_page_size;
	b->ops.queue = bond_queue;
	b->ops.mem_map = NULL; /* each member has memory of its own: payload is copied */
	b->ops.mem_unmap = NULL;
	if (one->regions)
		b->ops.regions = &bond_region_ops;
	b->d.ops = &b->ops;
	each.queues = 1;
	each.flags |= ZV_OPT_NO_CHANNEL; /* a device's region would be mapped once per member */
	while (n-- && ret == 0)
		ret = add_member(b, one, &names, noun, &each);
	if (ret) {
		bond_close(&b->d);
		return ret;
	}
	*out = &b->d;
	return 0;
}
