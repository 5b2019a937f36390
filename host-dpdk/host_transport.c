/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `host:` transport: one guest's device in this process, behind one vhost-user socket.
 *
 * Devices of a process are kept in a list, so that two cannot claim one CID: packets are checked
 * against the CID of the socket they came from, and a second guest with it would be a forger.
 */
#include "eal.h"
#include "host_uri.h"
#include "sigbus.h"
#include "sock_claim.h"
#include "transport.h"
#include "vhost_user.h"
#include "vsock_dev.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <zvsock_host.h>

struct host_dev {
	struct tdev base; /* first */
	struct host_uri uri;
	struct hq *q[ZV_QUEUES_MAX];
	struct vu_dev *vu;
	int claim;
	struct host_dev *next;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct host_dev *registry;

static struct host_dev *host_of(struct tdev *d)
{
	return (struct host_dev *)(void *)d;
}

static int registry_add(struct host_dev *d)
{
	int ret = 0;

	pthread_mutex_lock(&registry_lock);
	for (struct host_dev *o = registry; o && ret == 0; o = o->next) {
		if (o->uri.cid == d->uri.cid)
			ret = zv_err(-EADDRINUSE,
				     "host:%s: CID %llu belongs to the guest on %s; "
				     "give each guest its own",
				     d->uri.path, (unsigned long long)d->uri.cid, o->uri.path);
		else if (strcmp(o->uri.path, d->uri.path) == 0)
			ret = zv_err(-EADDRINUSE,
				     "host:%s: this process serves CID %llu on that "
				     "socket; give each guest its own",
				     d->uri.path, (unsigned long long)o->uri.cid);
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

static void host_close(struct tdev *t)
{
	struct host_dev *d = host_of(t);

	if (d->vu)
		vu_close(d->vu);
	for (unsigned i = 0; i < t->nqueues; i++)
		if (d->q[i]) {
			hq_fini(d->q[i]);
			free(d->q[i]);
		}
	if (d->claim >= 0)
		sock_unclaim(d->uri.path, d->claim);
	registry_remove(d);
	free(d);
}

static int make_queues(struct host_dev *d, const struct transport_ops *ops)
{
	for (unsigned i = 0; i < d->base.nqueues; i++) {
		struct hq *q = aligned_alloc(SHM_CACHE_LINE, sizeof(*q));
		int ret;

		if (!q)
			return zv_err(-ENOMEM, "host:%s: out of memory", d->uri.path);
		ret = hq_init(q, ops, i, d->uri.path);
		if (ret < 0) {
			free(q);
			return zv_err(ret, "host:%s: cannot make queue %u: %s", d->uri.path, i,
				      zv_strerror(ret));
		}
		d->q[i] = q;
	}
	return 0;
}

static int host_open(struct tdev **out, const char *rest, const struct zv_opts *opts);

static uint64_t host_cid(struct tdev *t)
{
	return host_of(t)->uri.cid;
}

static uint64_t host_page_size(struct tdev *t)
{
	return vu_page_size(host_of(t)->vu);
}

static struct tq *host_queue(struct tdev *t, unsigned i)
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
	.queue = host_queue,
	.rx_burst = hq_rx_burst,
	.rx_release = hq_rx_release,
	.tx_reserve = hq_tx_reserve,
	.tx_commit = hq_tx_commit,
	.tx_cancel = hq_tx_cancel,
	.publish = hq_publish,
	.tx_max = hq_tx_max,
	.tx_ready = hq_tx_ready,
	.arm = hq_arm,
	.disarm = hq_disarm,
	.fd = hq_fd,
};

static int host_setup(struct host_dev *d)
{
	struct vu_config c = {
		.path = d->uri.path, .cid = d->uri.cid, .queues = d->q, .nqueues = d->base.nqueues};
	int ret = make_queues(d, &host_ops);

	if (ret == 0) {
		d->claim = sock_claim(d->uri.path);
		ret = d->claim < 0 ? d->claim : 0;
	}
	return ret == 0 ? vu_open(&d->vu, &c) : ret;
}

static int host_open(struct tdev **out, const char *rest, const struct zv_opts *opts)
{
	struct host_uri uri;
	struct host_dev *d;
	int ret = host_uri_parse(&uri, rest);

	if (ret < 0)
		return ret;
	if (opts->queues < 1 || opts->queues > ZV_QUEUES_MAX)
		return zv_err(-EINVAL, "host:%s: %u queues; choose 1 to %u", uri.path, opts->queues,
			      ZV_QUEUES_MAX);
	d = calloc(1, sizeof(*d));
	if (!d)
		return zv_err(-ENOMEM, "host:%s: out of memory", uri.path);
	d->base.ops = &host_ops;
	d->base.nqueues = opts->queues;
	d->uri = uri;
	d->claim = -1;
	ret = registry_add(d);
	if (ret < 0) {
		free(d);
		return ret;
	}
	quiesce_init();
	ret = host_setup(d);
	if (ret < 0) {
		host_close(&d->base);
		return ret;
	}
	*out = &d->base;
	return 0;
}

int zv_host_catch_sigbus(void)
{
	int ret = sigbus_install();

	return ret < 0 ? zv_err(ret, "zv_host_catch_sigbus: %s", zv_strerror(ret)) : 0;
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
