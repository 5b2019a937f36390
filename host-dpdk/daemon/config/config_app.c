/* SPDX-License-Identifier: BSD-3-Clause */
/* Applications of the host: their keys in [daemon], and a configuration for each that attaches. */
#include "config_int.h"

#include <stdlib.h>
#include <string.h>

/* ---- keys --------------------------------------------------------------------------------- */

static void add_id(struct load *l, const struct key *k, uint32_t *ids, unsigned *n, uint32_t id)
{
	if (*n == CFG_APP_IDS_MAX)
		cfg_wrong(l, "%s: more than %u; make a group for them", k->name, CFG_APP_IDS_MAX);
	else
		ids[(*n)++] = id;
}

void cfg_add_app_user(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_apps *a = &((struct cfg *)obj)->apps;
	uid_t uid;

	if (cfg_uid(l, k, value, &uid))
		add_id(l, k, a->users, &a->n_users, uid);
}

void cfg_add_app_group(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_apps *a = &((struct cfg *)obj)->apps;
	gid_t gid;

	if (cfg_gid(l, k, value, &gid))
		add_id(l, k, a->groups, &a->n_groups, gid);
}

void cfg_add_app_ports(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_apps *a = &((struct cfg *)obj)->apps;
	char *dash = strchr(value, '-');
	uint32_t first, last;

	if (dash)
		*dash = 0;
	if (!cfg_port(l, k, value, &first) || !cfg_port(l, k, dash ? dash + 1 : value, &last))
		return;
	if (last < first) {
		cfg_wrong(l, "%s: the range %u-%u runs backwards; write %u-%u", k->name, first,
			  last, last, first);
	} else if (a->n_ports == CFG_APP_PORTS_MAX) {
		cfg_wrong(l, "%s: more than %u ranges; join some", k->name, CFG_APP_PORTS_MAX);
	} else {
		a->ports[a->n_ports].first = first;
		a->ports[a->n_ports++].last = last;
	}
}

void cfg_set_region(struct load *l, void *obj, const struct key *k, char *value)
{
	if (strcmp(value, "0") == 0)
		*(uint32_t *)cfg_member(obj, k) = 0;
	else
		cfg_set_size(l, obj, k, value);
}

void cfg_set_channel(struct load *l, void *obj, const struct key *k, char *value)
{
	uint32_t *bytes = cfg_member(obj, k);

	cfg_set_size(l, obj, k, value);
	if (*bytes & (*bytes - 1)) {
		cfg_wrong(l, "%s = %s is no power of two; take 256K, 512K, 1M and so on", k->name,
			  value);
		*bytes = 0;
	}
}

/* ---- questions ---------------------------------------------------------------------------- */

static bool has(const uint32_t *ids, unsigned n, uint32_t id)
{
	for (unsigned i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

bool cfg_app_admits(const struct cfg_apps *a, uid_t uid, const gid_t *gids, unsigned n_gids)
{
	if ((!a->n_users && !a->n_groups) || has(a->users, a->n_users, uid))
		return true;
	for (unsigned i = 0; i < n_gids; i++)
		if (has(a->groups, a->n_groups, gids[i]))
			return true;
	return false;
}

bool cfg_app_port(const struct cfg_apps *a, uint32_t port)
{
	for (unsigned i = 0; i < a->n_ports; i++)
		if (port >= a->ports[i].first && port <= a->ports[i].last)
			return true;
	return !a->n_ports;
}

/* ---- as if it were a section -------------------------------------------------------------- */

struct cfg_guest *cfg_app_new(const struct cfg *c, const char *name, const char *device,
			      unsigned queues)
{
	struct cfg_guest *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->role = CFG_APP;
	cfg_initial(g, cfg_guest_keys);
	g->cid = cfg_roles[CFG_APP].peer_cid;
	g->queues = queues;
	(void)snprintf(g->name, sizeof(g->name), "%s", name);
	(void)snprintf(g->scheme, sizeof(g->scheme), "%s", cfg_roles[CFG_APP].scheme);
	(void)snprintf(g->devices[0], sizeof(g->devices[0]), "%s", device);
	g->n_devices = 1;
	for (unsigned i = 0; c->parts[i]; i++) {
		if (!c->parts[i]->size)
			continue;
		g->part[i] = calloc(1, c->parts[i]->size);
		if (!g->part[i]) {
			cfg_app_free(g);
			return NULL;
		}
	}
	return g;
}

/* Its values are the initial ones, which refer to no memory. */
void cfg_app_free(struct cfg_guest *g)
{
	for (unsigned i = 0; i < CFG_PARTS_MAX; i++)
		free(g->part[i]);
	free(g);
}
