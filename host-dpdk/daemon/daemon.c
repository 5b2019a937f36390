/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests and lcores: started, replaced and stopped by the main thread; theory in daemon.h. */
#include "daemon.h"

#include "control.h"
#include "endpoint.h"
#include "fds.h"
#include "log.h"
#include "relay.h"
#include "sock_claim.h"
#include "vu_limits.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ACCEPT_BACKLOG 1024u
#define DRAIN_STEP_MS  20
#define ABORTS_AT_ONCE 256u /* connections of a guest that is removed */

/* ---- queues on their lcores ---- */

static void queue_event(struct lcore_queue *lq, const struct zv_event *ev)
{
	struct guest_queue *gq = (struct guest_queue *)(void *)lq; /* first */
	struct conn_owner *o = ev->user;

	if (ev->events & ZV_EV_ACCEPT)
		endpoint_accept(gq);
	else if (o)
		o->event(o, ev);
}

static void queue_begin(struct lcore *lc, void *arg)
{
	struct guest_queue *gq = arg;

	lcore_queue_add(lc, &gq->lq);
}

/* Resets up to @most connections, and puts them behind those that have not had their turn. */
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

static void queue_abort(struct lcore *lc, void *arg)
{
	struct guest_queue *gq = arg;

	(void)lc;
	gq->ending = true;
	abort_some(gq, ABORTS_AT_ONCE);
}

static void queue_end(struct lcore *lc, void *arg)
{
	struct guest_queue *gq = arg;

	abort_some(gq, UINT32_MAX);
	lcore_drain(lc, &gq->n_owners);
	lcore_queue_remove(lc, &gq->lq);
}

/*
 * Takes the queues off their lcores, and all connections with them. Step by step, between which
 * other guests are served. A client may be on its way from one queue to another: once each queue
 * has been told, none sets out any more, and what is under way arrives before queue_end().
 */
static void queues_end(struct guest *g)
{
	unsigned left;

	do {
		left = 0;
		for (unsigned i = 0; i < g->n_queues; i++) {
			lcore_call(g->queues[i].lc, queue_abort, &g->queues[i]);
			left += __atomic_load_n(&g->queues[i].n_owners, __ATOMIC_ACQUIRE);
		}
	} while (left);
	for (unsigned i = 0; i < g->n_queues; i++)
		lcore_call(g->queues[i].lc, queue_end, &g->queues[i]);
}

/* ---- a guest ---- */

static int open_device(struct guest *g, const struct cfg_guest *cfg)
{
	struct zv_opts opts = {.size = sizeof(opts),
			       .queues = cfg->queues,
			       .buf_alloc = cfg->buf_alloc,
			       .max_conns = cfg->max_conns,
			       .connect_timeout_ns = cfg->connect_timeout_ms * 1000000ull};
	char uri[sizeof("host:,cid=18446744073709551615,mode=client") +
		 CFG_PATHS_MAX * CFG_PATH_MAX] = "host:";
	size_t len = strlen(uri);
	int ret;

	for (unsigned i = 0; i < cfg->n_sockets; i++)
		len += (size_t)snprintf(uri + len, sizeof(uri) - len, "%s%s", i ? "," : "",
					cfg->sockets[i]);
	(void)snprintf(uri + len, sizeof(uri) - len, ",cid=%llu%s", (unsigned long long)cfg->cid,
		       cfg->client ? ",mode=client" : "");
	ret = zv_open(&g->dev, uri, &opts);
	if (ret == 0)
		ret = zv_listen_all(g->dev, cfg->n_groups ? ZV_LISTEN_ANY_CID : 0, ACCEPT_BACKLOG);
	if (ret < 0)
		log_line(ZV_LOG_ERR, g->name, "%s", zv_error_text());
	return ret;
}

/* Mode and owner of the vhost-user sockets that we have made. */
static int set_rights(const struct guest *g, const struct cfg_guest *cfg)
{
	for (unsigned i = 0; i < cfg->n_sockets && !cfg->client; i++) {
		const char *path = cfg->sockets[i];
		int ret = sock_set_rights(path, cfg->socket_mode ? cfg->socket_mode : (mode_t)-1,
					  cfg->socket_uid, cfg->socket_gid);

		if (ret < 0) {
			log_line(ZV_LOG_ERR, g->name,
				 "%s: cannot set the socket's mode or owner: %s", path,
				 zv_strerror(ret));
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
	free(g);
}

static void guest_stop(struct daemon *d, struct guest *g)
{
	control_guest_down(d, g);
	endpoints_stop(g);
	(void)zv_unlisten(g->dev, ZV_PORT_ANY);
	queues_end(g);
	log_line(ZV_LOG_INFO, g->name, "stopped");
	guest_free(g);
}

static unsigned queues_of(const struct daemon *d, const struct lcore *lc)
{
	unsigned n = 0;

	for (const struct guest *g = d->guests; g; g = g->next)
		for (unsigned i = 0; i < g->n_queues; i++)
			n += g->queues[i].lc == lc;
	return n;
}

/* Each queue goes to the lcore that has fewest. @g is on the list already. */
static void deal_queues(struct daemon *d, struct guest *g)
{
	unsigned n = zv_nqueues(g->dev);

	for (unsigned i = 0; i < n; i++) {
		struct guest_queue *gq = &g->queues[i];
		struct lcore *best = d->lcores[0];

		for (unsigned k = 1; k < d->n_lcores; k++)
			if (queues_of(d, d->lcores[k]) < queues_of(d, best))
				best = d->lcores[k];
		gq->guest = g;
		gq->index = i;
		gq->q = gq->lq.q = zv_queue(g->dev, i);
		gq->lc = best;
		gq->lq.event = queue_event;
		TAILQ_INIT(&gq->owners);
		g->n_queues = i + 1;
	}
}

static int guest_start(struct daemon *d, const struct cfg_guest *cfg, uint32_t max_fds)
{
	struct guest *g = calloc(1, sizeof(*g)), **end = &d->guests;
	int ret;

	if (!g)
		return -ENOMEM;
	memcpy(g->name, cfg->name, sizeof(g->name));
	g->cfg = cfg;
	log_guest(g->name, cfg->cid);
	for (unsigned i = 0; i < cfg->n_sockets; i++)
		log_guest_socket(g->name, cfg->sockets[i]);
	ret = open_device(g, cfg);
	if (ret == 0)
		ret = set_rights(g, cfg);
	if (ret < 0) {
		guest_free(g);
		return ret;
	}
	while (*end)
		end = &(*end)->next;
	*end = g;
	deal_queues(d, g);
	ret = endpoints_start(g, max_fds);
	if (!g->ep) {
		*end = NULL;
		guest_free(g);
		return ret;
	}
	for (unsigned i = 0; i < g->n_queues; i++)
		lcore_call(g->queues[i].lc, queue_begin, &g->queues[i]);
	control_guest_up(d, g);
	if (ret < 0) { /* some may have been started, and have clients */
		*end = NULL;
		guest_stop(d, g);
		return ret;
	}
	log_line(ZV_LOG_INFO, g->name, "serving CID %llu on %s", (unsigned long long)cfg->cid,
		 cfg->sockets[0]);
	return 0;
}

/* What this process can serve of @cfg; called before guests of it are started. */
static void check_limits(const struct cfg *cfg)
{
	fds_plan(cfg);
	if (cfg_vmms(cfg) > VU_RTE_FRONTENDS)
		log_line(ZV_LOG_WARN, NULL,
			 "there are %u vhost-user sockets, but one process serves %u VMMs at a "
			 "time: further ones will be turned away; start another zvsockd for some "
			 "guests",
			 cfg_vmms(cfg), VU_RTE_FRONTENDS);
}

/* ---- reload ---- */

static const struct cfg_guest *find_same(const struct cfg *cfg, const struct cfg_guest *g)
{
	for (unsigned i = 0; i < cfg->n_guests; i++)
		if (strcmp(cfg->guests[i].name, g->name) == 0)
			return cfg_guest_same(&cfg->guests[i], g) ? &cfg->guests[i] : NULL;
	return NULL;
}

static bool is_running(const struct daemon *d, const struct cfg_guest *cfg)
{
	const struct guest *g = d->guests;

	while (g && g->cfg != cfg)
		g = g->next;
	return g != NULL;
}

static void round_over(struct lcore *lc, void *arg)
{
	(void)lc;
	(void)arg;
}

/* Ends guests that @cfg does not have as they are, and gives the others their new description. */
static void keep_same(struct daemon *d, const struct cfg *cfg)
{
	struct guest **p = &d->guests, *g;

	while ((g = *p)) {
		const struct cfg_guest *same = find_same(cfg, g->cfg);

		if (same) {
			__atomic_store_n(&g->cfg, same, __ATOMIC_RELEASE);
			p = &g->next;
		} else {
			*p = g->next;
			guest_stop(d, g);
		}
	}
	/* Nobody looks at the old descriptions any more. */
	for (unsigned i = 0; i < d->n_lcores; i++)
		lcore_call(d->lcores[i], round_over, NULL);
}

int daemon_reload(struct daemon *d, struct cfg *cfg)
{
	struct cfg *old = d->cfg;
	int ret = 0;

	keep_same(d, cfg);
	d->cfg = cfg;
	cfg_free(old);
	check_limits(cfg);
	for (unsigned i = 0; i < cfg->n_guests; i++) {
		int err = is_running(d, &cfg->guests[i])
				  ? 0
				  : guest_start(d, &cfg->guests[i], cfg->max_fds);

		ret = ret ? ret : err;
	}
	return ret;
}

/* ---- the daemon ---- */

static int start_lcores(struct daemon *d, const struct cfg *cfg)
{
	d->lcores = calloc(cfg->n_cpus, sizeof(*d->lcores));
	if (!d->lcores)
		return -ENOMEM;
	for (; d->n_lcores < cfg->n_cpus; d->n_lcores++) {
		int ret = lcore_start(&d->lcores[d->n_lcores], cfg->cpus[d->n_lcores],
				      cfg->busy_poll, cfg->spin_us);

		if (ret < 0)
			return ret;
	}
	return 0;
}

int daemon_start(struct daemon *d, struct cfg *cfg)
{
	int ret;

	memset(d, 0, sizeof(*d));
	d->cfg = cfg;
	check_limits(cfg);
	ret = start_lcores(d, cfg);
	for (unsigned i = 0; i < cfg->n_guests && ret == 0; i++)
		ret = guest_start(d, &cfg->guests[i], cfg->max_fds);
	return ret;
}

static unsigned connections(const struct daemon *d)
{
	unsigned n = 0;

	for (const struct guest *g = d->guests; g; g = g->next)
		for (unsigned i = 0; i < g->n_queues; i++)
			n += __atomic_load_n(&g->queues[i].n_owners, __ATOMIC_ACQUIRE);
	return n;
}

static void fini_local(struct lcore *lc, void *arg)
{
	(void)arg;
	relay_lcore_fini(lc);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

void daemon_drain(struct daemon *d)
{
	uint64_t end = now_ms() + d->cfg->drain_ms;

	for (struct guest *g = d->guests; g; g = g->next) {
		endpoints_stop(g);
		(void)zv_unlisten(g->dev, ZV_PORT_ANY);
	}
	while (connections(d) && now_ms() < end && !__atomic_load_n(&d->hurry, __ATOMIC_RELAXED)) {
		struct pollfd p = {.fd = control_fd(d), .events = POLLIN};

		if (poll(&p, 1, DRAIN_STEP_MS) > 0)
			control_serve(d);
	}
	if (connections(d))
		log_line(ZV_LOG_WARN, NULL, "%u connections are still open: reset", connections(d));
}

void daemon_stop(struct daemon *d)
{
	struct guest *g;

	while ((g = d->guests)) {
		d->guests = g->next;
		guest_stop(d, g);
	}
	while (d->n_lcores) {
		struct lcore *lc = d->lcores[--d->n_lcores];

		lcore_call(lc, fini_local, NULL);
		lcore_stop(lc);
	}
	free(d->lcores);
	cfg_free(d->cfg);
	memset(d, 0, sizeof(*d));
}
