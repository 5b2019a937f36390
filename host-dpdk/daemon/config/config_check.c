/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of several values together: missing ones, duplicates, collisions; see config_int.h. */
#include "config_int.h"
#include "proto/ctrl/hello.h"

#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static bool given(const struct load *l, unsigned guest, const char *key)
{
	return cfg_where(l, guest, key) != &l->sections[guest].pos;
}

/* ---- one guest or device ------------------------------------------------------------------ */

static void check_queues(struct load *l, unsigned i)
{
	struct cfg_guest *g = &l->cfg->guests[i];
	const struct cfg_role_info *role = &cfg_roles[g->role];

	if (!given(l, i, "queues")) {
		g->queues = g->n_devices ? g->n_devices : 1;
	} else if (g->n_devices > 1 && g->queues && g->queues != g->n_devices) {
		cfg_fault(l, cfg_where(l, i, "queues"),
			  "%s %s has %u %ss and %u queues; with "
			  "several %ss each is a queue: write queues = %u or leave it out",
			  role->section, g->name, g->n_devices, role->device, g->queues,
			  role->device, g->n_devices);
	}
}

/* Sockets that are created before zvsockd changes its user belong to the new user. */
static void default_owners(const struct load *l)
{
	const struct cfg *c = l->cfg;
	const struct passwd *pw = *c->user ? getpwnam(c->user) : NULL;
	uid_t uid = pw ? pw->pw_uid : (uid_t)-1;
	gid_t gid = pw ? pw->pw_gid : (gid_t)-1;
	const struct group *gr = *c->group ? getgrnam(c->group) : NULL;

	if (gr)
		gid = gr->gr_gid;
	for (unsigned i = 0; i < c->n_guests; i++) {
		struct cfg_guest *g = &c->guests[i];

		if (g->socket_uid == (uid_t)-1)
			g->socket_uid = uid;
		if (g->socket_gid == (gid_t)-1)
			g->socket_gid = gid;
	}
	l->cfg->space.becomes = uid;
	if (l->cfg->space.uid == (uid_t)-1)
		l->cfg->space.uid = uid;
	if (l->cfg->space.gid == (gid_t)-1)
		l->cfg->space.gid = gid;
	if (l->cfg->apps.uid == (uid_t)-1)
		l->cfg->apps.uid = uid;
	if (l->cfg->apps.gid == (gid_t)-1)
		l->cfg->apps.gid = gid;
}

static void check_guest(struct load *l, unsigned i)
{
	const struct cfg_guest *g = &l->cfg->guests[i];
	const struct cfg_role_info *role = &cfg_roles[g->role];

	for (size_t k = 0; k < sizeof(role->needs) / sizeof(role->needs[0]); k++)
		if (role->needs[k].key && !given(l, i, role->needs[k].key))
			cfg_fault(l, &l->sections[i].pos, "%s %s has no %s; write %s",
				  role->section, g->name, role->needs[k].key, role->needs[k].how);
	check_queues(l, i);
	cfg_check_vm_region(l, i);
}

struct cid_use {
	uint64_t cid;
	unsigned guest;
};

static int by_cid(const void *x, const void *y)
{
	const struct cid_use *a = x, *b = y;

	if (a->cid != b->cid)
		return a->cid < b->cid ? -1 : 1;
	return a->guest < b->guest ? -1 : a->guest > b->guest;
}

static void check_cids(struct load *l)
{
	struct cid_use *uses = NULL, *first = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < l->cfg->n_guests; i++) {
		struct cid_use *u;

		if (l->sections[i].ignore || !l->cfg->guests[i].cid)
			continue;
		u = cfg_more(l, &uses, &n, sizeof(*u));
		if (!u)
			break;
		*u = (struct cid_use){l->cfg->guests[i].cid, i};
	}
	if (n)
		qsort(uses, n, sizeof(*uses), by_cid);
	for (unsigned i = 0; i < n; i++) {
		if (first && first->cid == uses[i].cid)
			cfg_fault(l, cfg_where(l, uses[i].guest, "cid"),
				  "CID %" PRIu64 " is that of guest %s already; take another",
				  uses[i].cid, l->cfg->guests[first->guest].name);
		else
			first = &uses[i];
	}
	free(uses);
}

/* ---- devices that we drive ---------------------------------------------------------------- */

struct device_use {
	const char *scheme, *name;
	unsigned guest;
};

static int by_device(const void *x, const void *y)
{
	const struct device_use *a = x, *b = y;
	int ret = strcmp(a->scheme, b->scheme);

	if (ret == 0)
		ret = strcmp(a->name, b->name);
	if (ret == 0)
		ret = a->guest < b->guest ? -1 : a->guest > b->guest;
	return ret;
}

/* Each has one driver. */
static void check_devices(struct load *l)
{
	struct device_use *uses = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < l->cfg->n_guests; i++) {
		const struct cfg_guest *g = &l->cfg->guests[i];

		if (l->sections[i].ignore || cfg_roles[g->role].scheme)
			continue; /* of guests: check_paths() */
		for (unsigned k = 0; k < g->n_devices; k++) {
			struct device_use *u = cfg_more(l, &uses, &n, sizeof(*u));

			if (u)
				*u = (struct device_use){g->scheme, g->devices[k], i};
		}
	}
	if (n && !l->no_memory)
		qsort(uses, n, sizeof(*uses), by_device);
	for (unsigned i = 1; i < n && !l->no_memory; i++)
		if (strcmp(uses[i - 1].scheme, uses[i].scheme) == 0 &&
		    strcmp(uses[i - 1].name, uses[i].name) == 0)
			cfg_fault(l, cfg_where(l, uses[i].guest, "uri"),
				  "%s:%s is driven by %s already; name each device once",
				  uses[i].scheme, uses[i].name,
				  l->cfg->guests[uses[i - 1].guest].name);
	free(uses);
}

/* ---- paths -------------------------------------------------------------------------------- */

static bool ignored(const struct load *l, unsigned guest)
{
	return guest != UINT_MAX && l->sections[guest].ignore;
}

static const char *owner_of(const struct load *l, const struct path_use *p)
{
	return p->guest == UINT_MAX ? "the daemon" : l->cfg->guests[p->guest].name;
}

/* True if @s is a valid port number. */
static bool is_port(const char *s)
{
	uint64_t v;

	return cfg_number(s, 0, UINT32_MAX, &v) == 0;
}

/* Conflicts between two paths: they are equal; one is the other with ".lock" appended; or one is
 * PATH_PORT of another guest, on which programs of the host listen. */
static void check_path_pair(struct load *l, const struct path_use *a, const struct path_use *b)
{
	size_t len = strlen(a->path);
	const char *rest = b->path + len;

	if (strncmp(a->path, b->path, len) != 0)
		return;
	if (!*rest)
		cfg_fault(l, &b->pos, "%s = %s is the %s of %s already; choose another %s", b->what,
			  b->path, a->what, owner_of(l, a), b->address ? "address" : "path");
	else if (strcmp(rest, ".lock") == 0)
		cfg_fault(l, &b->pos, "%s = %s is the lock file of %s's %s; choose another path",
			  b->what, b->path, owner_of(l, a), a->what);
	else if (a->ports && *rest == '_' && is_port(rest + 1))
		cfg_fault(l, &b->pos,
			  "%s = %s is where %s looks for a program on port %s (%s_PORT); "
			  "choose another path",
			  b->what, b->path, owner_of(l, a), rest + 1, a->path);
}

static int by_path(const void *x, const void *y)
{
	const struct path_use *a = x, *b = y;
	int ret = strcmp(a->path, b->path);

	if (ret == 0)
		ret = a->pos.rank < b->pos.rank ? -1 : a->pos.rank > b->pos.rank;
	return ret;
}

/* After sorting, a path precedes all paths that begin with it. */
static void check_paths(struct load *l)
{
	if (l->n_paths > 1)
		qsort(l->paths, l->n_paths, sizeof(*l->paths), by_path);
	for (unsigned i = 0; i < l->n_paths; i++) {
		const struct path_use *a = &l->paths[i];
		size_t len = strlen(a->path);

		for (unsigned j = i + 1; j < l->n_paths; j++) {
			const struct path_use *b = &l->paths[j];

			if (strncmp(a->path, b->path, len) != 0)
				break;
			if (!ignored(l, a->guest) && !ignored(l, b->guest))
				check_path_pair(l, a, b);
			if (strcmp(a->path, b->path) == 0)
				break; /* the next round compares it with the others */
		}
	}
}

/* ---- ports -------------------------------------------------------------------------------- */

static int by_port(const void *x, const void *y)
{
	const struct port_use *a = x, *b = y;

	if (a->guest != b->guest)
		return a->guest < b->guest ? -1 : 1;
	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	return a->pos.rank < b->pos.rank ? -1 : a->pos.rank > b->pos.rank;
}

static void overlap(struct load *l, const struct port_use *a, const struct port_use *b)
{
	const struct port_use *first = a->pos.rank <= b->pos.rank ? a : b;
	const struct port_use *second = first == a ? b : a;

	cfg_fault(l, &second->pos,
		  "%s: port %u is served by %s already%s; give each port to one service",
		  second->what, b->first, first->what,
		  first->pos.rank == second->pos.rank ? " on this line" : "");
}

/* Each range is compared with the earlier one that ends last, so it is reported once at most. */
static void check_ports(struct load *l)
{
	const struct port_use *far = NULL;

	if (l->n_ports)
		qsort(l->ports, l->n_ports, sizeof(*l->ports), by_port);
	for (unsigned i = 0; i < l->n_ports; i++) {
		const struct port_use *p = &l->ports[i];

		if (ignored(l, p->guest))
			continue;
		if (p->first == p->last && (p->first == ZV_CTRL_PORT || p->first == ZV_PROC_PORT))
			cfg_fault(l, &p->pos,
				  "%s: port %u is zvsock's own, for HELLO; leave it out", p->what,
				  p->first);
		if (far && far->guest == p->guest && p->first <= far->last)
			overlap(l, far, p);
		if (!far || far->guest != p->guest || p->last > far->last)
			far = p;
	}
}

static void parts_ready(const struct cfg *c, struct cfg_guest *g)
{
	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->ready)
			c->parts[i]->ready(g->part[i]);
}

/* The region must have room for two channels, because each device may have half of it. */
static void check_region(struct load *l)
{
	static const struct pos whole = {0};
	const struct cfg *c = l->cfg;

	if (*c->apps.path && c->apps.region && c->channel_size > c->apps.region / 2)
		cfg_fault(l, &whole,
			  "channel_size is %u KiB and application_region %u KiB: no channel would "
			  "be made; a region has room for two at least, and 0 is none",
			  c->channel_size >> 10, c->apps.region >> 10);
}

void cfg_check(struct load *l)
{
	static const struct pos whole = {0};

	if (l->cfg->n_cpus == 0)
		l->cfg->cpus[l->cfg->n_cpus++] = -1;
	for (unsigned i = 0; i < l->cfg->n_guests; i++) {
		if (l->sections[i].ignore)
			continue;
		check_guest(l, i);
	}
	check_region(l);
	check_cids(l);
	check_devices(l);
	default_owners(l);
	cfg_check_spaces(l);
	check_paths(l);
	check_ports(l);
	for (unsigned i = 0; i < l->cfg->n_guests; i++)
		parts_ready(l->cfg, &l->cfg->guests[i]);
	/* Earlier faults may be the reason. */
	if (l->cfg->n_guests == 0 && !*l->cfg->apps.path && l->n_faults == 0)
		cfg_fault(l, &whole,
			  "no guest and no device; write [guest NAME] with a cid and a socket, or "
			  "[device NAME] with a uri, or use --guest or --device; or applications = "
			  "PATH for applications of the host alone");
}
