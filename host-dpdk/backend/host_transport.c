/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `host:` transport: one guest's device in this process. It has one vhost-user socket, which
 * carries all its pairs, or several sockets ("bonded": a VMM that supports only three virtqueues
 * per device gets several devices with the same CID). Then queue i is pair 0 of socket i, and the
 * sessions of the sockets start and end independently.
 *
 * The devices of a process are kept in a list, so that no two can claim one CID: packets are
 * checked against the CID of the socket they came from, and a second guest with that CID could
 * forge them. CID 2 belongs to no guest: any number of host applications may be attached under it
 * ("fd=N").
 */
#include "dpdk/eal.h"
#include "host_uri.h"
#include "mem_look.h"
#include "pair/vhost_pair.h"
#include "sock_claim.h"
#include "transport.h"
#include "vhost-user/vu_backend.h"
#include "vu_limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <zvsock_host.h>

struct host_dev {
	struct transport_dev base; /* first */
	struct host_uri uri;
	struct vhost_pair *q[ZV_QUEUES_MAX];
	pthread_mutex_t lock; /* protects vu[]: the control thread goes from one to the others */
	struct vu_dev *vu[HOST_PATHS_MAX];
	int claim[HOST_PATHS_MAX];
	struct shm_region shmem; /* VIRTIO shared memory for the guest; fd -1: none */
	struct host_dev *next;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct host_dev *registry;

static struct host_dev *host_of(struct transport_dev *d)
{
	return (struct host_dev *)(void *)d;
}

/* The first path of @a that is also in @b, or NULL. */
static const char *same_path(const struct host_uri *a, const struct host_uri *b)
{
	if (a->fd >= 0 || b->fd >= 0) /* numbers of descriptors, which are closed by now */
		return NULL;
	for (unsigned i = 0; i < a->npaths; i++)
		for (unsigned k = 0; k < b->npaths; k++)
			if (strcmp(a->path[i], b->path[k]) == 0)
				return a->path[i];
	return NULL;
}

static int registry_add(struct host_dev *d)
{
	int ret = 0;

	pthread_mutex_lock(&registry_lock);
	for (struct host_dev *o = registry; o && ret == 0; o = o->next) {
		const char *same = same_path(&d->uri, &o->uri);

		if (o->uri.cid == d->uri.cid && d->uri.cid != VSOCK_CID_HOST)
			ret = zv_err(-EADDRINUSE,
				     "host:%s: CID %llu belongs to the guest on %s; "
				     "give each guest its own",
				     d->uri.path[0], (unsigned long long)d->uri.cid,
				     o->uri.path[0]);
		else if (same)
			ret = zv_err(-EADDRINUSE,
				     "host:%s: this process serves CID %llu on that "
				     "socket; give each guest its own",
				     same, (unsigned long long)o->uri.cid);
	}
	if (ret == 0) {
		d->next = registry;
		registry = d;
	}
	pthread_mutex_unlock(&registry_lock);
	return ret;
}

static void registry_remove(struct host_dev *d)
{
	pthread_mutex_lock(&registry_lock);
	for (struct host_dev **p = &registry; *p; p = &(*p)->next)
		if (*p == d) {
			*p = d->next;
			break;
		}
	pthread_mutex_unlock(&registry_lock);
}

static void set_vu(struct host_dev *d, unsigned i, struct vu_dev *vu)
{
	pthread_mutex_lock(&d->lock);
	d->vu[i] = vu;
	pthread_mutex_unlock(&d->lock);
}

static void on_restarted(void *ctx)
{
	struct host_dev *d = ctx;

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->uri.npaths; i++)
		if (d->vu[i])
			vu_end_paused(d->vu[i]);
	pthread_mutex_unlock(&d->lock);
}

static void host_close(struct transport_dev *t)
{
	struct host_dev *d = host_of(t);

	for (unsigned i = 0; i < d->uri.npaths; i++) {
		struct vu_dev *vu = d->vu[i];

		set_vu(d, i, NULL);
		if (vu)
			vu_close(vu);
	}
	pthread_mutex_destroy(&d->lock);
	for (unsigned i = 0; i < t->nqueues; i++)
		if (d->q[i]) {
			vhost_pair_fini(d->q[i]);
			free(d->q[i]);
		}
	for (unsigned i = 0; i < d->uri.npaths; i++)
		if (d->claim[i] >= 0)
			sock_unclaim(d->uri.path[i], d->claim[i]);
	registry_remove(d);
	shm_region_destroy(&d->shmem);
	free(d);
}

/* Its pages keep the contents from former VMs of the same guest, like those of an NVDIMM. */
static int make_shmem(struct host_dev *d)
{
	int ret = 0;

	if (d->uri.region)
		ret = shm_region_create(&d->shmem, "zvsock-region", d->uri.region, 0);
	return ret == 0 ? 0
			: zv_err(ret, "host:%s: no memory for a region of %llu MiB: %s",
				 d->uri.path[0], (unsigned long long)d->uri.region >> 20,
				 zv_strerror(ret));
}

_Static_assert(VU_MAPS_APP / ZV_QUEUES_MAX >= 2 * GUEST_MEM_REGIONS,
	       "a session goes on in a new table while loans are in the former");

static int make_queues(struct host_dev *d)
{
	const uint32_t maps = d->uri.fd >= 0 ? VU_MAPS_APP : VU_MAPS_VMM;

	for (unsigned i = 0; i < d->base.nqueues; i++) {
		struct vhost_pair *q = aligned_alloc(SHM_CACHE_LINE, sizeof(*q));
		const char *path = d->uri.path[d->uri.npaths > 1 ? i : 0];
		int ret;

		if (!q)
			return zv_err(-ENOMEM, "host:%s: out of memory", path);
		ret = vhost_pair_init(q, i, path);
		q->work = VHOST_WORK / d->base.nqueues; /* one lcore may serve them all */
		q->maps_max = VU_MAPS_PAIR(maps, d->base.nqueues);
		if (ret < 0) {
			free(q);
			return zv_err(ret, "host:%s: cannot make queue %u: %s", path, i,
				      zv_strerror(ret));
		}
		d->q[i] = q;
	}
	return 0;
}

static int host_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts);

static uint64_t host_cid(struct transport_dev *t)
{
	return host_of(t)->uri.cid;
}

static uint64_t host_page_size(struct transport_dev *t)
{
	const struct host_dev *d = host_of(t);
	uint64_t size = 0;

	for (unsigned i = 0; i < d->uri.npaths && size == 0; i++)
		size = vu_page_size(d->vu[i]);
	return size;
}

/* Of several frontends the first; a stock driver starts only the pair of one. */
static uint64_t host_attached(struct transport_dev *t, uint32_t *flags)
{
	const struct host_dev *d = host_of(t);
	uint64_t first = 0;

	for (unsigned i = 0; i < d->uri.npaths; i++) {
		uint64_t ns = vu_attached(d->vu[i], flags);

		if (ns && (!first || ns < first))
			first = ns;
	}
	return first;
}

static struct transport_queue *host_queue(struct transport_dev *t, unsigned i)
{
	return i < t->nqueues ? &host_of(t)->q[i]->tq : NULL;
}

static const struct transport_ops host_ops = {
	.scheme = "host",
	.role = ZV_ROLE_HOST,
	.open = host_open,
	.close = host_close,
	.guest_cid = host_cid,
	.page_size = host_page_size,
	.attached = host_attached,
	.queue = host_queue,
	.fd = vhost_pair_fd,
};

static int host_setup(struct host_dev *d, uint32_t flags)
{
	bool bonded = d->uri.npaths > 1;
	struct vu_dev *vu;
	int ret = make_queues(d);

	if (ret == 0)
		ret = make_shmem(d);
	/* All claims first, so that nothing is opened halfway. */
	for (unsigned i = 0; i < d->uri.npaths && ret == 0 && !d->uri.client && d->uri.fd < 0;
	     i++) {
		d->claim[i] = sock_claim(d->uri.path[i]);
		ret = d->claim[i] < 0 ? d->claim[i] : 0;
	}
	for (unsigned i = 0; i < d->uri.npaths && ret == 0; i++) {
		struct vu_backend_config c = {
			.path = d->uri.path[i],
			.client = d->uri.client,
			.fd = d->uri.fd,
			.sockmode = d->uri.sockmode,
			.user = d->uri.user,
			.cid = d->uri.cid,
			.shmem = d->shmem.addr ? &d->shmem : NULL,
			.maps_shmem = i == 0,
			.disk = flags & ZV_OPT_DISK_MEMORY,
			.queues = &d->q[i],
			.nqueues = bonded ? 1 : d->base.nqueues,
			.restarted = on_restarted,
			.ctx = d,
		};

		ret = vu_open(&vu, &c);
		if (ret == 0)
			set_vu(d, i, vu);
	}
	return ret;
}

static int host_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct host_uri uri;
	struct host_dev *d;
	int ret = host_uri_parse(&uri, rest);

	if (ret < 0)
		return ret;
	if (opts->queues < 1 || opts->queues > ZV_QUEUES_MAX)
		return zv_err(-EINVAL, "host:%s: %u queues; choose 1 to %u", uri.path[0],
			      opts->queues, ZV_QUEUES_MAX);
	if (uri.npaths > 1 && opts->queues != 1 && opts->queues != uri.npaths)
		return zv_err(-EINVAL,
			      "host:%s: %u queues, but %u sockets: each is one queue; leave queues "
			      "at 1 or name as many sockets",
			      uri.path[0], opts->queues, uri.npaths);
	ret = vu_user_admitted(uri.path[0], uri.user);
	if (ret < 0)
		return ret;
	d = calloc(1, sizeof(*d));
	if (!d)
		return zv_err(-ENOMEM, "host:%s: out of memory", uri.path[0]);
	d->base.ops = &host_ops;
	d->base.nqueues = uri.npaths > 1 ? uri.npaths : opts->queues;
	d->uri = uri;
	d->shmem.fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	for (unsigned i = 0; i < HOST_PATHS_MAX; i++)
		d->claim[i] = -1;
	ret = registry_add(d);
	if (ret < 0) {
		free(d);
		return ret;
	}
	quiesce_init();
	ret = host_setup(d, opts->flags);
	if (ret < 0) {
		host_close(&d->base);
		return ret;
	}
	*out = &d->base;
	return 0;
}

/* ---- regions ---- */

int zv_host_region_import(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
			  struct zv_host_region **out)
{
	struct transport_dev *t = dev ? zv_dev_transport(dev) : NULL;
	struct guest_shared *r = NULL;
	struct host_dev *d;
	struct vu_dev *vu;
	int ret;

	if (!t || !out || queue >= t->nqueues)
		return zv_err(-EINVAL, "zv_host_region_import: dev and out must be set, and queue "
				       "be one of its");
	if (t->ops != &host_ops)
		return zv_err(-EOPNOTSUPP, "zv_host_region_import: not a device of `host:`, which "
					   "alone has a guest's memory");
	d = host_of(t);
	pthread_mutex_lock(&d->lock);
	vu = d->vu[d->uri.npaths > 1 ? queue : 0];
	ret = vu ? vu_region_import(vu, (struct gpa){gpa}, size, &r) : -ENXIO;
	pthread_mutex_unlock(&d->lock);
	if (ret == 0)
		*out = (struct zv_host_region *)(void *)r;
	return ret;
}

void zv_host_region_get_info(const struct zv_host_region *region, struct zv_host_region_info *info)
{
	const struct guest_shared *r = (const struct guest_shared *)(const void *)region;

	*info = (struct zv_host_region_info){
		.addr = r->map.addr,
		.size = r->size,
		.gpa = r->gpa.v,
		.dev = r->dev,
		.ino = r->ino,
		.fd_offset = r->offset,
		.page_size = r->map.page_size,
		.fd = r->map.fd,
		.state = (guest_shared_gone(r) ? ZV_HOST_REGION_GONE : 0) |
			 (guest_shared_pending(r) ? ZV_HOST_REGION_PENDING : 0) |
			 (guest_shared_truncated(r) ? ZV_HOST_REGION_TRUNCATED : 0),
	};
}

int zv_host_region_orphaned(const struct zv_host_region *region, uint64_t cid)
{
	return guest_shared_orphaned((const struct guest_shared *)(const void *)region, cid);
}

unsigned zv_host_region_lent(const struct zv_host_region *region, uint64_t *cids, unsigned n)
{
	return guest_shared_lent((const struct guest_shared *)(const void *)region, cids, n);
}

void zv_host_region_serve(struct zv_host_region *region, uint64_t cid)
{
	guest_shared_serve((struct guest_shared *)(void *)region, cid);
}

int zv_host_driver_died(struct zv_dev *dev)
{
	struct transport_dev *t = dev ? zv_dev_transport(dev) : NULL;
	struct vu_dev *vu[HOST_PATHS_MAX];
	struct host_dev *d;

	if (!t || t->ops != &host_ops)
		return zv_err(-EINVAL, "zv_host_driver_died: not a device of `host:`");
	d = host_of(t);
	pthread_mutex_lock(&d->lock);
	memcpy((void *)vu, (void *)d->vu, sizeof(vu));
	pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < HOST_PATHS_MAX; i++)
		if (vu[i])
			vu_driver_died(vu[i]);
	return 0;
}

/* NULL: no such queue. */
static struct transport_queue *queue_of(struct zv_dev *dev, unsigned queue)
{
	struct transport_dev *t = dev ? zv_dev_transport(dev) : NULL;

	return t && t->ops == &host_ops && queue < t->nqueues ? host_ops.queue(t, queue) : NULL;
}

void zv_host_queue_watch(struct zv_dev *dev, unsigned queue, void (*watch)(void *arg, bool enters),
			 void *arg)
{
	struct transport_queue *tq = queue_of(dev, queue);

	if (!tq)
		return;
	tq->qs.watch = watch;
	tq->qs.watch_arg = arg;
}

void zv_host_queue_rest(struct zv_dev *dev, unsigned queue, bool rests)
{
	struct transport_queue *tq = queue_of(dev, queue);

	if (tq)
		vhost_pair_rest(vhost_pair_of(tq), rests);
}

uint64_t zv_host_others_took(uint64_t since, uint64_t now)
{
	return mem_others_took(since, now);
}

void zv_host_region_put(struct zv_host_region *r)
{
	guest_shared_put((struct guest_shared *)(void *)r);
}

int zv_host_init(void)
{
	int ret = eal_start();

	if (ret < 0)
		return ret;
	ret = zv_transport_register(&host_ops);
	if (ret == -EEXIST)
		return 0;
	return ret < 0 ? zv_err(ret, "zv_host_init: no room for another transport") : 0;
}
