/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests and lcores: started, replaced and stopped; see lifecycle.h. */
#include "lifecycle.h"

#include "apps.h"
#include "as_host.h"
#include "base/clock.h"
#include "channel/broker.h"
#include "channel/reach.h"
#include "control/control.h"
#include "core/attached.h"
#include "core/fds.h"
#include "core/log.h"
#include "endpoint/af_vsock/endpoint_af_vsock.h"
#include "endpoint/endpoint.h"
#include "guests.h"
#include "map_limit.h"
#include "relay/relay.h"
#include "vu_limits.h"

#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_STEP_MS	20
#define DEATHS_MS	300u   /* interval of checks for dead drivers */
#define RETURN_MS	60000u /* for guests to connect again to a zvsockd that was started again */
#define RETRY_FIRST_MS	1000u
#define RETRY_LAST_MS	60000u
#define RETRIES_AT_ONCE 16u /* guests: each blocks this thread a bit */

void daemon_check_maps(const struct cfg *cfg)
{
	uint64_t apps = *cfg->apps.path ? APPS_MAX * VU_MAPS(VU_MAPS_APP, ZV_QUEUES_MAX, 1) : 0;
	uint64_t maps = cfg_vmm_maps(cfg) + apps;

	if (maps > map_limit_loans())
		log_line(ZV_LOG_WARN, NULL,
			 "%u guests and the applications can make zvsockd have %llu memory "
			 "mappings, "
			 "more than the %u that sysctl vm.max_map_count leaves for them: hostile "
			 "ones could keep others out; raise it to %llu",
			 cfg->n_guests, (unsigned long long)maps, map_limit_loans(),
			 (unsigned long long)maps / 5 * 8 + 8);
}

/* What this process can serve of @cfg; called before guests of it are started. */
static void check_limits(const struct cfg *cfg)
{
	fds_plan(cfg, (*cfg->control_path ? CONTROL_FDS : 0) + apps_fds(cfg));
	if (cfg_vmms(cfg) > VU_RTE_FRONTENDS)
		log_line(ZV_LOG_WARN, NULL,
			 "there are %u vhost-user sockets, but one process serves %u VMMs at a "
			 "time: further ones will be turned away; start another zvsockd for some "
			 "guests",
			 cfg_vmms(cfg), VU_RTE_FRONTENDS);
	daemon_check_maps(cfg);
}

/* ---- guests that run, and those that do not ---- */

void daemon_add(struct daemon *d, struct guest *g)
{
	*d->guests_end = g;
	d->guests_end = &g->next;
}

void daemon_remove(struct daemon *d, struct guest *g)
{
	struct guest **p = &d->guests;

	while (*p != g)
		p = &(*p)->next;
	*p = g->next;
	if (d->guests_end == &g->next)
		d->guests_end = p;
	g->next = NULL;
}

static void guest_runs(struct daemon *d, struct guest *g)
{
	daemon_add(d, g);
	d->n_guests++;
}

/* Tries @cfg for the first time. */
static void try_first(struct daemon *d, const struct cfg_guest *cfg)
{
	char why[GUEST_WHY_MAX];
	struct guest *g = guest_start(d, cfg, why);
	struct guest_down *gd;

	if (g) {
		guest_runs(d, g);
		return;
	}
	gd = calloc(1, sizeof(*gd));
	log_line(ZV_LOG_ERR, cfg->name, "not started: %s; tried again %s", why,
		 gd ? "automatically, and at a reload" : "at a reload");
	if (!gd)
		return;
	gd->cfg = cfg;
	gd->wait_ms = RETRY_FIRST_MS;
	gd->next_ms = now_ms() + gd->wait_ms;
	gd->named = cfg_trouble(d->cfg, cfg);
	memcpy(gd->why, why, sizeof(why));
	gd->next = d->down;
	d->down = gd;
	d->n_down++;
}

static void forget_down(struct daemon *d)
{
	struct guest_down *gd;

	while ((gd = d->down)) {
		d->down = gd->next;
		free(gd);
	}
	d->n_down = 0;
}

/* True: it runs. */
static bool try_again(struct daemon *d, struct guest_down *gd)
{
	char why[GUEST_WHY_MAX];
	struct guest *g = guest_start(d, gd->cfg, why);

	if (g) {
		guest_runs(d, g);
		return true;
	}
	if (strcmp(why, gd->why) != 0)
		log_line(ZV_LOG_ERR, gd->cfg->name, "still not started: %s", why);
	memcpy(gd->why, why, sizeof(why));
	gd->named = cfg_trouble(d->cfg, gd->cfg);
	return false;
}

/* Doubles the time between two tries. True: it is due. */
static bool due(struct guest_down *gd, uint64_t now)
{
	if (now < gd->next_ms)
		return false;
	gd->wait_ms = gd->wait_ms * 2 < RETRY_LAST_MS ? gd->wait_ms * 2 : RETRY_LAST_MS;
	gd->next_ms = now + gd->wait_ms;
	return true;
}

bool daemon_retry(struct daemon *d)
{
	struct guest_down **p = &d->down, *gd;
	unsigned left = RETRIES_AT_ONCE, ran = d->n_guests;
	uint64_t now = now_ms();
	bool ask = false;

	(void)cfg_answers(d->cfg, 0);
	while ((gd = *p) && left) {
		bool lacks = cfg_trouble(d->cfg, gd->cfg);
		bool try = due(gd, now) || (gd->named && !lacks);

		ask |= try && lacks;
		if (try && !lacks) {
			left--;
			if (try_again(d, gd)) {
				*p = gd->next;
				free(gd);
				d->n_down--;
				continue;
			}
		}
		p = &gd->next;
	}
	if (ask)
		(void)cfg_ask(d->cfg); /* no memory: the next time */
	return d->n_guests != ran;
}

/* ---- regions ---- */

static void changed(struct lcore *lc, void *arg)
{
	(void)lc;
	broker_regions_changed(arg);
}

static void regions_changed(const struct daemon *d)
{
	for (struct guest *g = d->guests; g; g = g->next)
		for (unsigned i = 0; i < g->n_queues; i++)
			lcore_call(g->queues[i].lc, changed, &g->queues[i]);
}

/* Sets the region of applications from the configuration; @apps: there can be some. */
static void apply_region(const struct daemon *d, bool apps)
{
	const struct cfg *c = d->cfg;

	broker_set_timeout(c->channel_timeout_ms);
	if (reach_own_size(apps ? c->apps.region : 0, c->channel_size))
		regions_changed(d);
}

/* A guest that does not return is not waited for: its VM may have ended while zvsockd was away. */
struct returning {
	const struct guest *guests;
	bool late;
};

static bool may_return(uint64_t cid, void *arg)
{
	struct zv_dev_info i = {.size = sizeof(i)};
	const struct returning *r = arg;
	const struct guest *g = r->guests;

	while (g && guest_cid(g) != cid)
		g = g->next;
	return g && g->dev && (!r->late || (!zv_dev_info(g->dev, &i) && i.queues_up));
}

bool daemon_check(const struct daemon *d)
{
	static uint64_t next_ms; /* applications choose how often this is called */
	static uint64_t return_ms;
	static bool lent;
	uint64_t now = now_ms();
	struct returning r = {.guests = d->guests};
	bool due = now >= next_ms;

	if (!return_ms)
		return_ms = now + RETURN_MS;
	r.late = now >= return_ms;
	next_ms = due ? now + DEATHS_MS : next_ms;
	lent &= !due;
	for (struct guest *g = d->guests; g; g = g->next) {
		if (!g->cfg->cid)
			guest_check(g);
		if (!due)
			continue;
		attached_check(g, now * 1000000u);
		lent |= as_host_check(g);
		reach_look_lent(g, may_return, &r);
	}
	if (regions_check())
		regions_changed(d);
	return lent;
}

/* ---- reload ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct cfg_guest *)a)->name, ((const struct cfg_guest *)b)->name);
}

static void free_nothing(void *node)
{
	(void)node; /* the configuration's */
}

/* A tree of the guests of @c by name; *whole is false when memory did not suffice. */
static void *guests_by_name(const struct cfg *c, bool *whole)
{
	void *tree = NULL;

	*whole = true;
	for (unsigned i = 0; i < c->n_guests && *whole; i++)
		*whole = tsearch(&c->guests[i], &tree, by_name);
	return tree;
}

static void round_over(struct lcore *lc, void *arg)
{
	(void)lc;
	(void)arg;
}

/* A device that has gone is opened again: after an unplug this is the only way to get it back. */
static bool has_gone(const struct guest *g)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	(void)zv_dev_info(g->dev, &info);
	return g->cfg->role == CFG_AS_GUEST && !info.queues_up;
}

/* Ends guests that are not in @cfg with the same values, and gives the others their new
 * configuration; these are marked in @kept, by their index in @cfg. */
static void keep_unchanged(struct daemon *d, const struct cfg *cfg, void *tree, bool *kept)
{
	struct guest **p = &d->guests, *g;

	while ((g = *p)) {
		struct cfg_guest *const *found = tfind(g->cfg, &tree, by_name);

		if (cfg_roles[g->cfg->role].attached) {
			p = &g->next; /* the configuration does not have it */
		} else if (found && cfg_guest_same(cfg, *found, g->cfg) && !has_gone(g)) {
			cfg_keep(cfg, *found, g->cfg);
			__atomic_store_n(&g->cfg, *found, __ATOMIC_RELEASE);
			endpoints_trim(g);
			kept[*found - cfg->guests] = true;
			p = &g->next;
		} else {
			*p = g->next;
			d->n_guests--;
			(void)guest_stop(d, g);
		}
	}
	d->guests_end = p;
	/* After this no lcore uses the old configurations. */
	for (unsigned i = 0; i < d->n_lcores; i++)
		lcore_call(d->lcores[i], round_over, NULL);
}

int daemon_reload(struct daemon *d, struct cfg *cfg)
{
	bool *kept = calloc(cfg->n_guests, sizeof(*kept)), whole = false;
	void *tree = kept ? guests_by_name(cfg, &whole) : NULL;
	struct cfg *old = d->cfg;

	if (whole) {
		cfg_keep_apps(cfg, old);
		forget_down(d);
		keep_unchanged(d, cfg, tree, kept);
		d->cfg = cfg;
		cfg_free(old);
		apps_trim(d);
		av_spaces_reload(cfg);
		apps_extend(d);
		check_limits(cfg);
		apply_region(d, d->apps);
		for (struct guest *g = d->guests; g; g = g->next)
			endpoints_extend(g);
		for (unsigned i = 0; i < cfg->n_guests; i++)
			if (!kept[i])
				try_first(d, &cfg->guests[i]);
	} else {
		cfg_free(cfg);
	}
	tdestroy(tree, free_nothing);
	free(kept);
	return whole ? 0 : -ENOMEM;
}

/* ---- the daemon ---- */

static int start_lcores(struct daemon *d, const struct cfg *cfg)
{
	d->lcores = calloc(cfg->n_cpus, sizeof(struct lcore *));
	d->lcore_queues = calloc(cfg->n_cpus, sizeof(*d->lcore_queues));
	if (!d->lcores || !d->lcore_queues)
		return -ENOMEM;
	for (; d->n_lcores < cfg->n_cpus; d->n_lcores++) {
		int ret = lcore_start(&d->lcores[d->n_lcores], d->n_lcores, cfg->cpus[d->n_lcores],
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
	d->guests_end = &d->guests;
	check_limits(cfg);
	ret = start_lcores(d, cfg);
	if (ret == 0)
		apply_region(d, *cfg->apps.path);
	for (unsigned i = 0; i < cfg->n_guests && ret == 0; i++)
		try_first(d, &cfg->guests[i]);
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

void daemon_drain(struct daemon *d)
{
	uint64_t end = now_ms() + d->cfg->drain_ms;

	d->join = NULL;
	for (struct guest *g = d->guests; g; g = g->next) {
		endpoints_stop(g);
		(void)zv_unlisten(g->dev, ZV_PORT_ANY);
	}
	while (connections(d) && now_ms() < end &&
	       !__atomic_load_n(&d->skip_drain, __ATOMIC_RELAXED)) {
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

	forget_down(d);
	apps_stop(d);
	while ((g = d->guests)) {
		d->guests = g->next;
		(void)guest_stop(d, g);
	}
	av_spaces_end();
	while (d->n_lcores) {
		struct lcore *lc = d->lcores[--d->n_lcores];

		lcore_call(lc, fini_local, NULL);
		lcore_stop(lc);
	}
	(void)reach_own_size(0, 0);
	(void)regions_check();
	free(d->lcores);
	free(d->lcore_queues);
	cfg_free(d->cfg);
	memset(d, 0, sizeof(*d));
}
