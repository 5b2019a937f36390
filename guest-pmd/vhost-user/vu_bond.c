/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `vhost-user:PATH,PATH...`: several sockets as one device, as a guest in a VM has several PCI
 * devices of one CID. Queue i is the pair of socket i; each socket is a whole device below, with
 * memory, control thread and sessions of its own.
 */
#include "vu_bond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct vu_bond {
	struct transport_dev d;	  /* first; nqueues members are open */
	struct transport_ops ops; /* of d: those of a member but for what concerns all of them */
	struct transport_dev *member[ZV_QUEUES_MAX];
};

static void bond_close(struct transport_dev *d)
{
	struct vu_bond *b = (struct vu_bond *)d;

	for (unsigned i = 0; i < d->nqueues; i++)
		b->member[i]->ops->close(b->member[i]);
	free(b);
}

static uint64_t bond_guest_cid(struct transport_dev *d)
{
	struct transport_dev *m = ((struct vu_bond *)d)->member[0];

	return m->ops->guest_cid(m);
}

static uint64_t bond_page_size(struct transport_dev *d)
{
	struct transport_dev *m = ((struct vu_bond *)d)->member[0];

	return m->ops->page_size(m);
}

static struct transport_queue *bond_queue(struct transport_dev *d, unsigned i)
{
	struct transport_dev *m = i < d->nqueues ? ((struct vu_bond *)d)->member[i] : NULL;

	return m ? m->ops->queue(m, 0) : NULL;
}

/* Opens the socket at the front of *paths as the next member. */
static int add_member(struct vu_bond *b, const struct transport_ops *one, const char **paths,
		      const struct zv_opts *opts)
{
	size_t len = strcspn(*paths, ",");
	char *path = strndup(*paths, len);
	struct transport_dev *m = NULL; /* stays so when it cannot be opened */
	int ret;

	if (!path)
		return zv_err(-ENOMEM, "no memory for the device on %s", *paths);
	ret = len ? one->open(&m, path, opts)
		  : zv_err(-EINVAL, "vhost-user:...,%s: a socket path is empty", *paths);
	if (m) {
		b->member[b->d.nqueues++] = m;
		if (m->ops->guest_cid(m) != bond_guest_cid(&b->d))
			ret = zv_err(-EINVAL,
				     "vhost-user %s: the guest's CID is %llu here and %llu on the "
				     "first socket; all sockets of a device lead to one CID",
				     path, (unsigned long long)m->ops->guest_cid(m),
				     (unsigned long long)bond_guest_cid(&b->d));
	}
	free(path);
	*paths += len + ((*paths)[len] == ',');
	return ret;
}

int vu_bond_open(struct transport_dev **out, const char *paths, const struct zv_opts *opts,
		 const struct transport_ops *one)
{
	struct zv_opts each = *opts;
	struct vu_bond *b;
	unsigned n = 1;
	int ret = 0;

	for (const char *p = paths; *p; p++)
		n += *p == ',';
	if (n > ZV_QUEUES_MAX || (opts->queues > 1 && opts->queues != n))
		return zv_err(-EINVAL,
			      "vhost-user: %u sockets for %u queues: each is one queue, and there "
			      "are at most %u; leave queues at 1 or name as many sockets",
			      n, opts->queues, ZV_QUEUES_MAX);
	b = calloc(1, sizeof(*b));
	if (!b)
		return zv_err(-ENOMEM, "no memory for the device on %s", paths);
	b->ops = *one;
	b->ops.close = bond_close;
	b->ops.guest_cid = bond_guest_cid;
	b->ops.page_size = bond_page_size;
	b->ops.queue = bond_queue;
	b->d.ops = &b->ops;
	each.queues = 1;
	while (n-- && ret == 0)
		ret = add_member(b, one, &paths, &each);
	if (ret) {
		bond_close(&b->d);
		return ret;
	}
	*out = &b->d;
	return 0;
}
