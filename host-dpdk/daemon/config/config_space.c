/* SPDX-License-Identifier: BSD-3-Clause */
/* Drop-in directories: the keys af_vsock and af_vsock_*, of [daemon], guests and devices. */
#include "config_int.h"

#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define NONE "none"

/* In the order of cfg_space.sockets. */
static const char *const names[CFG_SPACE_SOCKETS] = {"ask", "stream", "seqpacket", "dgram"};

/* ---- keys --------------------------------------------------------------------------------- */

void cfg_set_space(struct load *l, void *obj, const struct key *k, char *value)
{
	const size_t most = CFG_PATH_MAX - sizeof("/seqpacket");
	size_t len = strlen(value);

	if (len > 1 && value[len - 1] == '/')
		value[--len] = 0;
	if (strcmp(value, NONE) != 0 && value[0] != '/')
		cfg_wrong(l, "%s = %s is a relative path; begin it with \"/\", or write none",
			  k->name, value);
	else if (len > most)
		cfg_wrong(l,
			  "%s = %s has %zu bytes, %zu fit with the names of the sockets in it; "
			  "choose a shorter path",
			  k->name, value, len, most);
	else
		cfg_keep_text(obj, k, value);
}

static void add_id(struct load *l, const struct key *k, uint32_t *ids, unsigned *n, uint32_t id)
{
	if (*n == CFG_SPACE_IDS_MAX)
		cfg_wrong(l, "%s: more than %u; make a group for them", k->name, CFG_SPACE_IDS_MAX);
	else
		ids[(*n)++] = id;
}

void cfg_add_low(struct load *l, void *obj, const struct key *k, char *value)
{
	/* The key's offset is that of low_users. */
	struct cfg_space *s = (struct cfg_space *)(void *)((char *)cfg_member(obj, k) -
							   offsetof(struct cfg_space, low_users));
	uid_t uid;
	gid_t gid;

	if (*value == '@' && cfg_gid(l, k, value + 1, &gid))
		add_id(l, k, s->low_groups, &s->n_low_groups, gid);
	else if (*value != '@' && cfg_uid(l, k, value, &uid))
		add_id(l, k, s->low_users, &s->n_low_users, uid);
}

/* ---- as a whole --------------------------------------------------------------------------- */

static bool given(const struct load *l, unsigned guest, const char *key)
{
	return cfg_where(l, guest, key) != &l->sections[guest].pos;
}

/* Keys that the guest does not set are inherited from [daemon]. */
static void inherit(struct load *l, unsigned i)
{
	static const char *const keys[] = {"af_vsock_mode", "af_vsock_owner", "af_vsock_low_ports"};
	struct cfg_space *s = &l->cfg->guests[i].space;
	const struct cfg_space *d = &l->cfg->space;

	if (!*s->dir || strcmp(s->dir, NONE) == 0) {
		bool none = *s->dir;

		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			if (given(l, i, keys[k]))
				cfg_fault(l, cfg_where(l, i, keys[k]),
					  "%s is about a directory of this section's own; write "
					  "af_vsock = DIR too, or move it to [daemon]",
					  keys[k]);
		if (none)
			memset(s, 0, sizeof(*s));
		else
			*s = *d;
		return;
	}
	s->becomes = d->becomes;
	if (s->mode == (mode_t)-1)
		s->mode = d->mode;
	if (s->uid == (uid_t)-1)
		s->uid = d->uid;
	if (s->gid == (gid_t)-1)
		s->gid = d->gid;
	if (!given(l, i, "af_vsock_low_ports")) {
		memcpy(s->low_users, d->low_users, sizeof(s->low_users));
		memcpy(s->low_groups, d->low_groups, sizeof(s->low_groups));
		s->n_low_users = d->n_low_users;
		s->n_low_groups = d->n_low_groups;
	}
}

struct space_use {
	const struct cfg_space *space;
	const char *who;
};

static int by_dir(const void *a, const void *b)
{
	return strcmp(((const struct space_use *)a)->space->dir,
		      ((const struct space_use *)b)->space->dir);
}

static void free_nothing(void *node)
{
	(void)node;
}

static void name_sockets(struct cfg_space *s)
{
	for (unsigned k = 0; *s->dir && k < CFG_SPACE_SOCKETS; k++)
		(void)snprintf(s->sockets[k], sizeof(s->sockets[k]), "%.*s/%s",
			       (int)(CFG_PATH_MAX - sizeof("/seqpacket")), s->dir, names[k]);
}

/* Records the paths of the sockets, once for all guests that share them. */
static void note_paths(struct load *l, const struct cfg_space *s, unsigned guest,
		       const struct pos *at)
{
	for (unsigned k = 0; k < CFG_SPACE_SOCKETS; k++) {
		struct path_use *use = cfg_more(l, &l->paths, &l->n_paths, sizeof(*use));

		if (!use)
			return;
		*use = (struct path_use){.what = "af_vsock", .pos = *at, .guest = guest};
		memcpy(use->path, s->sockets[k], sizeof(use->path));
	}
}

static bool same_rights(const struct cfg_space *a, const struct cfg_space *b)
{
	return a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
	       a->n_low_users == b->n_low_users && a->n_low_groups == b->n_low_groups &&
	       memcmp(a->low_users, b->low_users, sizeof(a->low_users)) == 0 &&
	       memcmp(a->low_groups, b->low_groups, sizeof(a->low_groups)) == 0;
}

/* One more use of a directory, in the tree of those before it. */
static void check_use(struct load *l, void **tree, struct space_use *use, unsigned guest,
		      const struct pos *at)
{
	struct space_use *const *found = *use->space->dir ? tsearch(use, tree, by_dir) : NULL;

	if (!found)
		return;
	if (*found == use)
		note_paths(l, use->space, guest, at);
	else if (!same_rights((*found)->space, use->space))
		cfg_fault(l, at,
			  "af_vsock = %s is the directory of %s too, with another mode, owner or "
			  "af_vsock_low_ports; write the same in both",
			  use->space->dir, (*found)->who);
}

/* Says of the directory of applications that it is theirs. */
static void mark_apps(struct cfg *c)
{
	c->space.apps = *c->space.dir && *c->apps.path;
	for (unsigned i = 0; i < c->n_guests; i++)
		c->guests[i].space.apps =
			c->space.apps && strcmp(c->guests[i].space.dir, c->space.dir) == 0;
}

void cfg_keep_apps(struct cfg *c, const struct cfg *running)
{
	if (!*c->apps.path == !*running->apps.path)
		return;
	c->apps = running->apps;
	mark_apps(c);
}

void cfg_check_spaces(struct load *l)
{
	struct cfg_space *d = &l->cfg->space;
	struct space_use own = {d, "applications"};
	unsigned n = l->cfg->n_guests;
	struct space_use *uses = NULL;
	void *tree = NULL;
	unsigned n_uses = 0;

	if (strcmp(d->dir, NONE) == 0)
		*d->dir = 0;
	name_sockets(d);
	for (unsigned i = 0; i < n;
	     i++) /* allocated for all of them, so that the array does not move */
		if (!cfg_more(l, &uses, &n_uses, sizeof(*uses)))
			n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct cfg_guest *g = &l->cfg->guests[i];

		if (l->sections[i].ignore)
			continue;
		inherit(l, i);
		name_sockets(&g->space);
		uses[i] = (struct space_use){&g->space, g->name};
		check_use(l, &tree, &uses[i], i, cfg_where(l, i, "af_vsock"));
	}
	mark_apps(l->cfg);
	if (d->apps)
		check_use(l, &tree, &own, UINT_MAX, cfg_where(l, UINT_MAX, "af_vsock"));
	tdestroy(tree, free_nothing);
	free(uses);
}

bool cfg_space_low(const struct cfg_space *s, uid_t uid, const gid_t *gids, unsigned n_gids)
{
	bool low = uid == 0;

	for (unsigned i = 0; i < s->n_low_users; i++)
		low |= s->low_users[i] == uid;
	for (unsigned i = 0; i < s->n_low_groups; i++)
		for (unsigned k = 0; k < n_gids; k++)
			low |= s->low_groups[i] == gids[k];
	return low;
}

void cfg_print_space(const struct cfg_space *s, FILE *to)
{
	if (!*s->dir)
		return;
	(void)fprintf(to, "  AF_VSOCK    programs of this machine, by %s, mode %04o", s->dir,
		      s->mode);
	if (s->uid != (uid_t)-1)
		(void)fprintf(to, ", user %u", s->uid);
	if (s->gid != (gid_t)-1)
		(void)fprintf(to, ", group %u", s->gid);
	(void)fprintf(to, "; ports below 1024 for root");
	for (unsigned i = 0; i < s->n_low_users; i++)
		(void)fprintf(to, ", user %u", s->low_users[i]);
	for (unsigned i = 0; i < s->n_low_groups; i++)
		(void)fprintf(to, ", group %u", s->low_groups[i]);
	(void)fprintf(to, "\n");
}
