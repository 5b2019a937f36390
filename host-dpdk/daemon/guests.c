/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest from its configuration to its end: device, queues, endpoints; theory in core/daemon.h. */
#include "guests.h"

#include "as_host.h"

#include "base/clock.h"
#include "channel/broker.h"
#include "channel/reach.h"
#include "control/control.h"
#include "core/log.h"
#include "endpoint/endpoint.h"
#include "fd_closer.h"
#include "relay/flow.h"
#include "relay/sndbuf.h"
#include "sock_claim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_dgram.h>

#define ACCEPT_BACKLOG 1024u
#define ABORTS_AT_ONCE 256u /* connections of a guest that is removed */

/* ---- queues on their lcores ---- */

static void queue_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	struct guest_queue *gq = (struct guest_queue *)(void *)lq; /* first */
	struct conn_owner *o = ev->user;

	if (ev->events & ZV_EV_ACCEPT)
		endpoint_accept(gq);
	else if (ev->events & ZV_EV_BROKER)
		broker_poll(gq);
	else if (ev->events & ZV_EV_DGRAM)
		endpoint_datagrams(gq);
	else if (o)
		o->event(o, ev);
}

/* A rest of @ns begins (lcore.h), or is over. */
static void queue_rests(struct lcore_queue *lq, uint64_t ns)
{
	struct guest_queue *gq = (struct guest_queue *)(void *)lq; /* first */
	uint64_t now = now_ns(), was;

	as_host_rest(gq, ns);
	if (!ns) {
		flow_rested(gq);
		return;
	}
	GUEST_COUNT(gq, mem_rests);
	was = __atomic_exchange_n(&gq->guest->rests_until, now + ns, __ATOMIC_RELAXED);
	if (was > now) /* its other queues do, and that is in the log */
		return;
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "an lcore has slept because of this peer's memory, which is swapped out, or "
		 "changed under us (holes, fallocate): the peer is not served for %llu ms; keep "
		 "its memory resident, and see what its process does",
		 (unsigned long long)ns / 1000000);
}

static void queue_watch(struct lcore_queue *lq, void (*fn)(void *lq, bool enters))
{
	as_host_watch((struct guest_queue *)(void *)lq, fn);
}

static void queue_begin(struct lcore *lc, void *arg)
{
	struct guest_queue *gq = arg;

	lcore_queue_add(lc, &gq->lq);
}

/* Resets up to @most connections, and moves them behind those that have not had their turn. */
static void abort_some(struct guest_queue *gq, unsigned most)
{
	struct conn_owner *o;

	for (unsigned n = gq->n_owners < most ? gq->n_owners : most; n; n--) {
		o = TAILQ_FIRST(&gq->owners);
		if (!o) /* abort() may free at once, but no other than @o */
			break;
		TAILQ_REMOVE(&gq->owners, o, link);
		TAILQ_INSERT_TAIL(&gq->owners, o, link);
		o->abort(o);
	}
}

struct queue_abort {
	struct guest_queue *gq;
	bool waits; /* there are some who wait for its driver */
};

static void queue_abort(struct lcore *lc, void *arg)
{
	struct queue_abort *a = arg;

	(void)lc;
	a->gq->ending = true;
	a->waits = broker_abort(a->gq);
	abort_some(a->gq, ABORTS_AT_ONCE);
}

static void queue_end(struct lcore *lc, void *arg)
{
	struct guest_queue *gq = arg;

	abort_some(gq, UINT32_MAX);
	lcore_drain(lc, &gq->n_owners);
	broker_end(gq);
	lcore_queue_remove(lc, &gq->lq);
}

/*
 * Removes the queues from their lcores, with all their connections, in steps, between which other
 * guests are served. A client may be moving from one queue to another: once each queue has been
 * told, none starts to move any more, and those in transit arrive before queue_end().
 */
static void queues_end(struct guest *g)
{
	unsigned left;

	do {
		left = 0;
		for (unsigned i = 0; i < g->n_queues; i++) {
			struct queue_abort a = {.gq = &g->queues[i]};

			lcore_call(a.gq->lc, queue_abort, &a);
			left += __atomic_load_n(&a.gq->n_owners, __ATOMIC_ACQUIRE) + a.waits;
		}
	} while (left);
	for (unsigned i = 0; i < g->n_queues; i++)
		lcore_call(g->queues[i].lc, queue_end, &g->queues[i]);
}

/* ---- a guest ---- */

/* Prepares the process to be the host of a guest, or a guest. NULL: nothing needed. */
static int (*const prepare[CFG_ROLES])(struct guest *g) = {
	[CFG_AS_HOST] = as_host_prepare, [CFG_APP] = as_host_prepare};

/* The URI of zv_open. */
static void write_uri(const struct cfg_guest *cfg, char *uri, size_t size)
{
	size_t len = (size_t)snprintf(uri, size, "%s:", cfg->scheme);

	for (unsigned i = 0; i < cfg->n_devices; i++)
		len += (size_t)snprintf(uri + len, size - len, "%s%s", i ? "," : "",
					cfg->devices[i]);
	if (cfg->cid)
		len += (size_t)snprintf(uri + len, size - len, ",cid=%llu%s",
					(unsigned long long)cfg->cid,
					cfg->client ? ",mode=client" : "");
	if (cfg->region && cfg->region_kind == CFG_VIRTIO)
		(void)snprintf(uri + len, size - len, ",region=%uK", cfg->region >> 10);
}

static int open_device(const struct daemon *d, struct guest *g, const struct cfg_guest *cfg)
{
	const uint32_t any_cid = cfg_roles[cfg->role].any_cid ? ZV_LISTEN_ANY_CID : 0;
	/* If they would reach nobody, their sender is told. */
	bool datagrams = endpoints_take_datagrams(cfg) ||
			 (cfg_roles[cfg->role].host_ports && *d->cfg->apps.path);
	/* Applications are known to say HELLO. A connection that waits for a channel is not
	 * answered; whoever asks for one has a time limit of its own. */
	uint64_t late_ns = cfg_roles[cfg->role].attached ? broker_timeout_ns() : 0;
	struct zv_opts opts = {.size = sizeof(opts),
			       .flags = (datagrams ? 0 : ZV_OPT_NO_DGRAM) |
					(cfg_roles[cfg->role].broker ? ZV_OPT_BROKER : 0) |
					(cfg->disk ? ZV_OPT_DISK_MEMORY : 0),
			       .queues = cfg->queues,
			       .ring_size = cfg->ring_size,
			       .buf_alloc = cfg->buf_alloc,
			       .rx_memory = cfg->rx_memory,
			       .max_conns = cfg->max_conns,
			       .connect_timeout_ns = cfg->connect_timeout_ms * 1000000ull + late_ns,
			       .hello_timeout_ns = late_ns,
			       .tx_timeout_ns = cfg->tx_timeout_ms * 1000000ull};
	char uri[CFG_SCHEME_MAX +
		 sizeof(",cid=18446744073709551615,mode=client,region=4294967295K") +
		 CFG_PATHS_MAX * CFG_PATH_MAX];
	int ret = prepare[cfg->role] ? prepare[cfg->role](g) : 0;

	if (ret < 0)
		return ret;
	write_uri(cfg, uri, sizeof(uri));
	ret = zv_open(&g->dev, uri, &opts);
	if (ret == 0)
		ret = zv_listen_all(g->dev, endpoints_listen_flags(cfg) | any_cid, ACCEPT_BACKLOG);
	if (ret == 0 && datagrams)
		ret = zv_dgram_bind_all(g->dev, endpoints_listen_flags(cfg) | any_cid, 0);
	if (ret < 0)
		guest_fails(g, "%s", zv_error_text());
	return ret;
}

/* Mode and owner of the vhost-user sockets that we have made. */
static int set_rights(struct guest *g, const struct cfg_guest *cfg)
{
	bool made = !cfg->client && !cfg_roles[cfg->role].attached;

	for (unsigned i = 0; i < cfg->n_devices && made; i++) {
		const char *path = cfg->devices[i];
		int ret = sock_set_rights(path, cfg->socket_mode ? cfg->socket_mode : (mode_t)-1,
					  cfg->socket_uid, cfg->socket_gid);

		if (ret < 0) {
			guest_fails(g, "%s: cannot set the socket's mode or owner: %s", path,
				    sock_rights_error(ret));
			return ret;
		}
	}
	return 0;
}

static void guest_free(struct guest *g)
{
	if (g->dev && zv_close(g->dev) < 0)
		log_line(ZV_LOG_ERR, g->name, "cannot close the device: %s", zv_error_text());
	endpoints_free(g);
	fd_closer_free(g->closer);
	mem_account_put(g->mem);
	free(g);
}

static void give_queues_back(struct daemon *d, const struct guest *g)
{
	for (unsigned i = 0; i < g->n_queues; i++)
		d->lcore_queues[g->queues[i].lcore]--;
}

uint32_t guest_stop(struct daemon *d, struct guest *g)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	control_guest_down(d, g);
	endpoints_stop(g);
	(void)zv_unlisten(g->dev, ZV_PORT_ANY);
	queues_end(g);
	reach_guest_end(g);
	give_queues_back(d, g);
	(void)zv_dev_info(g->dev, &info);
	if (!g->why && !cfg_roles[g->cfg->role].attached)
		log_line(ZV_LOG_INFO, g->name, "stopped");
	guest_free(g);
	return info.flags;
}

/* The queues of @g on one lcore share what a guest may make it do in a round. */
static void share_work(struct guest *g)
{
	for (unsigned i = 0; i < g->n_queues; i++) {
		unsigned n = 1, first = i;

		for (unsigned k = 0; k < g->n_queues; k++) {
			if (k == i || g->queues[k].lc != g->queues[i].lc)
				continue;
			first = k < first ? k : first;
			n++;
		}
		g->queues[i].work_share = WORK_ROUND / n;
		g->queues[i].lq.turn = n > 1 ? &g->queues[first].turn : NULL;
	}
}

/* Assigns each queue to the lcore with the fewest. */
static void deal_queues(struct daemon *d, struct guest *g)
{
	unsigned n = zv_nqueues(g->dev);

	for (unsigned i = 0; i < n; i++) {
		struct guest_queue *gq = &g->queues[i];
		unsigned best = 0;

		for (unsigned k = 1; k < d->n_lcores; k++)
			if (d->lcore_queues[k] < d->lcore_queues[best])
				best = k;
		d->lcore_queues[best]++;
		gq->guest = g;
		gq->index = i;
		gq->q = gq->lq.q = zv_queue(g->dev, i);
		gq->lcore = best;
		gq->lc = gq->lq.lc = d->lcores[best];
		gq->lq.event = queue_event;
		gq->lq.mem = g->mem;
		gq->lq.watch = queue_watch;
		gq->lq.rests = queue_rests;
		TAILQ_INIT(&gq->owners);
		TAILQ_INIT(&gq->waiting);
		TAILQ_INIT(&gq->sndbufs);
		TAILQ_INIT(&gq->sndbufs_waiting);
		gq->lq.pays = LCORE_PAYS / n ? LCORE_PAYS / n : 1;
		g->n_queues = i + 1;
	}
	share_work(g);
}

/* Its buffers are in memory of its own, which it may change. That of `memory = disk` makes lcores
 * wait in any case. */
static bool has_memory(const struct cfg_guest *cfg)
{
	return prepare[cfg->role] && !cfg->disk;
}

/* Starts device, queues and endpoints. 0: *g runs; otherwise it has been freed. */
static int start(struct daemon *d, struct guest *g, const struct cfg_guest *cfg)
{
	int ret = open_device(d, g, cfg);

	if (ret == 0)
		ret = set_rights(g, cfg);
	if (ret == 0 && has_memory(cfg)) {
		g->mem = mem_account_get(cfg->has_user ? cfg->app_uid : MEM_ACCOUNT_OWN);
		ret = g->mem ? 0 : -ENOMEM;
	}
	if (ret < 0) {
		guest_free(g);
		return ret;
	}
	deal_queues(d, g);
	g->max_fds = d->cfg->max_fds ? d->cfg->max_fds : UINT32_MAX;
	g->sndbufs = sndbuf_limits(cfg, g->n_queues);
	ret = endpoints_start(g);
	for (unsigned i = 0; i < g->n_queues; i++)
		lcore_call(g->queues[i].lc, queue_begin, &g->queues[i]);
	if (ret < 0) { /* some may have been started, and have clients */
		guest_fails(g, "%s", zv_strerror(ret));
		(void)guest_stop(d, g);
		return ret;
	}
	control_guest_up(d, g);
	return 0;
}

/* The library's lines about its devices are about the guest. */
static void name_in_log(const struct cfg_guest *cfg)
{
	char name[CFG_DEVICE_NAME_MAX];

	log_guest(cfg_roles[cfg->role].section, cfg->name, cfg->cid);
	if (cfg_roles[cfg->role].attached) {
		log_guest_socket(cfg->name, cfg->name); /* the name in its URI */
		return;
	}
	for (unsigned i = 0; i < cfg->n_devices; i++) {
		cfg_device_name(cfg, i, name, sizeof(name));
		log_guest_socket(cfg->name, name);
		if (cfg_roles[cfg->role].scheme)
			continue;
		name[strlen(cfg->scheme)] = ' '; /* "vfio 0000:00:02.0: transport reset" */
		log_guest_socket(cfg->name, name);
	}
}

void guest_check(struct guest *g)
{
	uint64_t cid = guest_cid(g);

	if (!cid || cid == g->cid)
		return;
	log_guest(cfg_roles[g->cfg->role].section, g->name, cid);
	if (g->cid)
		log_line(ZV_LOG_INFO, g->name, "the device has another CID now, %llu",
			 (unsigned long long)cid);
	g->cid = cid;
}

struct guest *guest_start(struct daemon *d, const struct cfg_guest *cfg, char *why)
{
	static uint64_t serial;
	const char *trouble = cfg_trouble(d->cfg, cfg);
	char name[CFG_DEVICE_NAME_MAX];
	struct guest *g;
	int ret = -ENOMEM;

	if (trouble) {
		(void)snprintf(why, GUEST_WHY_MAX, "%s", trouble);
		return NULL;
	}
	g = calloc(1, sizeof(*g));
	if (g) {
		memcpy(g->name, cfg->name, sizeof(g->name));
		g->serial = ++serial;
		g->cfg = cfg;
		g->why = why;
		*why = 0;
		name_in_log(cfg);
		ret = start(d, g, cfg);
	}
	if (ret < 0) {
		if (!g || !*why) /* no reason was noted */
			(void)snprintf(why, GUEST_WHY_MAX, "%s", zv_strerror(ret));
		return NULL;
	}
	g->why = NULL;
	guest_check(g);
	if (cfg_roles[cfg->role].attached)
		return g;
	cfg_device_name(cfg, 0, name, sizeof(name));
	log_line(ZV_LOG_INFO, g->name, "serving CID %llu on %s", (unsigned long long)g->cid, name);
	return g;
}
