/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_backend.h"

#include "charge.h"
#include "dpdk/vu_rte.h"
#include "map_limit.h"
#include "mem/iotlb.h"
#include "vu_device.h"
#include "vu_messages.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* What devices of a user may have left to be closed or unmapped, before it gets no further one:
 * devices, of which a user has half as many, and descriptors in all of its devices, of which 64
 * that end at once have fewer. And devices of all users. */
#define LEFT_USER     64u
#define LEFT_USER_FDS 4096u
#define LEFT_ALL      512u

/* ---- what the sockets say ---- */

/* One for all pairs. Without memory for it, whoever drops a map unmaps it, until the next frontend
 * comes. */
static void get_unmapper(struct vu_dev *d)
{
	struct unmapper *u = d->nqueues && !d->queues[0]->unmapper ? unmapper_new(d->charge) : NULL;

	for (unsigned i = 0; i < d->nqueues && u; i++)
		__atomic_store_n(&d->queues[i]->unmapper, unmapper_get(u), __ATOMIC_RELEASE);
	unmapper_put(u);
}

static void on_attached(void *ctx)
{
	struct vu_dev *d = ctx;

	struct timespec t;

	d->offered = d->protocol = 0;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	__atomic_store_n(&d->ran, false, __ATOMIC_RELAXED);
	__atomic_store_n(&d->attached_ns, (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec,
			 __ATOMIC_RELEASE);
	for (unsigned i = 0; i < d->nqueues; i++)
		d->queues[i]->closer = vu_server_closer(d->socket);
	get_unmapper(d);
}

static int on_message(void *ctx, struct vu_exchange *x)
{
	return vu_message_act(ctx, x);
}

static void on_refused(void *ctx, const struct vu_msg *m)
{
	vu_message_refused(ctx, m);
}

static void on_gone(void *ctx)
{
	struct vu_dev *d = ctx;

	__atomic_store_n(&d->attached_ns, 0, __ATOMIC_RELEASE);
	vu_forget_frontend(d);
}

static void on_died(void *ctx)
{
	const struct vu_dev *d = ctx;

	for (unsigned i = 0; i < d->nqueues; i++)
		vhost_pair_driver_gone(d->queues[i]);
}

static void driver_died(void *ctx)
{
	vu_forget_driver(ctx);
}

void vu_driver_died(struct vu_dev *d)
{
	vu_server_do(d->socket, driver_died);
}

static void on_again(void *ctx)
{
	vu_start_again(ctx);
}

/*
 * A new memory table waits until there is room for it, and until the maps of former ones are
 * unmapped but for one a queue: to import a table is quicker than to unmap it.
 */
static bool on_busy(void *ctx)
{
	const struct vu_dev *d = ctx;
	bool busy = d->nqueues && unmapper_count(d->queues[0]->unmapper) > d->nqueues;

	for (unsigned i = 0; i < d->nqueues && !busy; i++)
		busy = vhost_pair_unmaps(d->queues[i]);
	return busy;
}

static const struct vu_server_ops server_ops = {
	.attached = on_attached,
	.message = on_message,
	.refused = on_refused,
	.gone = on_gone,
	.died = on_died,
	.again = on_again,
	.busy = on_busy,
};

/* ---- open and close ---- */

static void dev_free(struct vu_dev *d)
{
	guest_shares_table(&d->shares, NULL, NULL);
	if (d->iommu)
		d->iommu->ops->free(d->iommu);
	vhost_ring_fini(&d->evt);
	charge_end(d->charge);
	free(d->path);
	free(d);
}

int vu_user_admitted(const char *name, uid_t user)
{
	/* Mappings beyond those that check_limits() of zvsockd plans with: an eighth. */
	const unsigned maps = map_limit_peers() - map_limit_loans();
	struct charged its, all;

	if (user == CHARGE_ALL)
		return 0;
	its = charged_to(user);
	if (its.left >= LEFT_USER || its.fds >= LEFT_USER_FDS || its.maps >= maps / 2)
		return zv_err(-EBUSY,
			      "%s: this user has left too many descriptors that take long to "
			      "close, or too much memory that takes long to unmap: end the "
			      "programs that use them",
			      name);
	all = charged_to(CHARGE_ALL);
	if (user == 0 || user == geteuid() || (all.left < LEFT_ALL && all.maps < maps))
		return 0;
	return zv_err(-EBUSY,
		      "%s: users have left too many descriptors that take long to close, or too "
		      "much memory that takes long to unmap: end the programs that use them",
		      name);
}

int vu_open(struct vu_dev **out, const struct vu_backend_config *c)
{
	const uint64_t map_max = c->fd >= 0 ? VU_MAP_MAX_FD : VU_MAP_MAX;
	struct vu_dev *d = calloc(1, sizeof(*d));
	struct vu_socket_config sc = {.path = c->path,
				      .user = c->user,
				      .client = c->client,
				      .fd = c->fd,
				      .sockmode = c->sockmode,
				      .ops = &server_ops,
				      .link = &vu_rte_link,
				      .ctx = d};
	int ret;

	if (d)
		d->evt_call.fd = d->backend_fd = d->shmem_fd = -1;
	if (d && c->user != CHARGE_ALL)
		d->charge = charge_new(c->user);
	if (!d || !(d->path = strdup(c->path)) || !(d->iommu = iotlb_new()) ||
	    (c->user != CHARGE_ALL && !d->charge)) {
		if (d)
			dev_free(d);
		return zv_err(-ENOMEM, "host:%s: out of memory", c->path);
	}
	d->shares.host_shm = c->shmem;
	d->terms.shmem = c->shmem && c->maps_shmem ? c->shmem->size : 0;
	d->terms.nrings = VSOCK_VQS(c->nqueues);
	d->terms.ring_max = c->fd >= 0 ? vu_app_ring_max(c->nqueues) : VU_VRING_SIZE_MAX;
	d->terms.mem_max = map_max / (c->nqueues + 1);
	vu_set_features(d, 0);
	d->cid = c->cid;
	d->disk = c->disk;
	d->queues = c->queues;
	d->nqueues = c->nqueues;
	d->restarted = c->restarted;
	d->ctx = c->ctx;
	for (unsigned i = 0; i < c->nqueues; i++) {
		c->queues[i]->retired_max = map_max / c->nqueues;
		/* All pairs may end at once, and the control thread copies it. */
		c->queues[i]->saved_max = VHOST_SAVED_MAX / c->nqueues;
		c->queues[i]->sweep_max = VHOST_WORK + VHOST_SWEEP_MAX / c->nqueues;
		c->queues[i]->wakes = &d->wakes;
	}
	sc.charge = d->charge;
	sc.log = &d->log;
	sc.terms = &d->terms;
	ret = vu_server_add(&d->socket, &sc);
	if (ret < 0) {
		dev_free(d);
		return ret;
	}
	*out = d;
	return 0;
}

/* From now on no SHMEM_MAP is sent: the descriptor for it would not be closed any more. */
static void closing(void *ctx)
{
	struct vu_dev *d = ctx;

	vu_drop_fd(d, d->shmem_fd);
	d->shmem_fd = -1;
	d->shmem = VU_SHMEM_IDLE;
	d->terms.shmem = 0;
}

void vu_close(struct vu_dev *d)
{
	vu_server_do(d->socket, closing);
	vu_server_remove(d->socket);
	for (unsigned i = 0; i < d->nqueues; i++)
		d->queues[i]->closer = NULL; /* it has ended with the socket */
	dev_free(d);
}

void vu_end_paused(struct vu_dev *d)
{
	vu_drop_paused(d);
}

int vu_region_import(struct vu_dev *d, struct gpa gpa, uint64_t size, struct guest_shared **out)
{
	enum guest_shared_fault f;
	int err;

	f = guest_shared_import(&d->shares, gpa, size, out, &err);
	if (f == GUEST_SHARED_OK)
		return 0;
	return zv_err(err, "host:%s: no region of %llu bytes at guest address 0x%llx: %s%s%s",
		      d->path, (unsigned long long)size, (unsigned long long)gpa.v,
		      guest_shared_fault_text(f), f == GUEST_SHARED_SYSTEM ? ": " : "",
		      f == GUEST_SHARED_SYSTEM ? zv_strerror(err) : "");
}

uint64_t vu_page_size(struct vu_dev *d)
{
	return __atomic_load_n(&d->page_size, __ATOMIC_RELAXED);
}

uint64_t vu_attached(struct vu_dev *d, uint32_t *flags)
{
	uint64_t ns = __atomic_load_n(&d->attached_ns, __ATOMIC_ACQUIRE);
	bool blocked =
		__atomic_load_n(&d->uncalled, __ATOMIC_RELAXED) || wake_limit_used(&d->wakes);

	for (unsigned i = 0; i < d->nqueues; i++)
		blocked |= __atomic_load_n(&d->queues[i]->blocked, __ATOMIC_RELAXED);
	if (ns && __atomic_load_n(&d->ran, __ATOMIC_RELAXED))
		*flags |= ZV_DEV_RAN;
	if (blocked)
		*flags |= ZV_DEV_BLOCKED;
	return ns;
}
