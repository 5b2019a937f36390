/* SPDX-License-Identifier: BSD-3-Clause */
/* Guests and devices of a configuration: their names and initial values; see config_int.h. */
#include "config_int.h"

#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

bool cfg_name_ok(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len < CFG_NAME_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

/* Of a guest that is not ignored, in the tree l->names. */
struct guest_name {
	unsigned guest;
	char name[CFG_NAME_MAX];
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct guest_name *)a)->name, ((const struct guest_name *)b)->name);
}

unsigned cfg_find_guest(const struct load *l, const char *name)
{
	struct guest_name key = {0}, *const * found;
	size_t len = strlen(name);

	if (len >= sizeof(key.name))
		return UINT_MAX;
	memcpy(key.name, name, len + 1);
	found = tfind(&key, &l->names, by_name);
	return found ? (*found)->guest : UINT_MAX;
}

static void remember_guest(struct load *l, const char *name, unsigned guest)
{
	struct guest_name *n = calloc(1, sizeof(*n));

	if (n) {
		n->guest = guest;
		memcpy(n->name, name, strlen(name) + 1); /* checked by cfg_name_ok() */
	}
	if (!n || !tsearch(n, &l->names, by_name)) {
		l->no_memory = true;
		free(n);
	}
}

static void guest_defaults(struct cfg_guest *g, const struct load *l)
{
	const struct cfg_role_info *role = &cfg_roles[g->role];

	cfg_initial(g, cfg_guest_keys);
	g->client = role->client;
	if (role->scheme)
		(void)snprintf(g->scheme, sizeof(g->scheme), "%s", role->scheme);
	if (l->now.word)
		(void)snprintf(g->origin, sizeof(g->origin), "%s", l->now.word);
	else
		(void)snprintf(g->origin, sizeof(g->origin), "%s:%u", l->file, l->now.line);
}

/* False: no memory. */
static bool add_parts(struct load *l, struct cfg_guest *g)
{
	for (unsigned i = 0; l->cfg->parts[i]; i++) {
		if (!l->cfg->parts[i]->size)
			continue;
		g->part[i] = calloc(1, l->cfg->parts[i]->size);
		if (!g->part[i])
			l->no_memory = true;
	}
	return !l->no_memory;
}

/* False: @name is not a valid name, or already in use. */
static bool check_name(struct load *l, const char *what, const char *name)
{
	unsigned twin = cfg_find_guest(l, name);
	const char *other = twin == UINT_MAX ? NULL : cfg_roles[l->cfg->guests[twin].role].section;

	if (!*name)
		cfg_wrong(l, "a %s without a name; write [%s NAME] or --%s=name=NAME,...", what,
			  what, what);
	else if (!cfg_name_ok(name))
		cfg_wrong(l,
			  "\"%s\" is no name for a %s; take up to %u letters, digits, \"-\" "
			  "and \"_\"",
			  name, what, CFG_NAME_MAX - 1);
	else if (strcmp(name, "daemon") == 0)
		cfg_wrong(l, "a %s cannot be called daemon; choose another name", what);
	else if (other && l->sections[twin].pos.line)
		cfg_wrong(l,
			  "%s %s is there already, in line %u; choose another name or join "
			  "the two",
			  other, name, l->sections[twin].pos.line);
	else if (other)
		cfg_wrong(l, "%s %s is there already, on the command line; choose another name",
			  other, name);
	else
		return true;
	return false;
}

void cfg_begin_guest(struct load *l, enum cfg_role role, const char *name)
{
	bool ignore = !check_name(l, cfg_roles[role].section, name);
	unsigned n = l->cfg->n_guests;
	struct section *s;
	struct cfg_guest *g;

	s = cfg_more(l, &l->sections, &n, sizeof(*s));
	g = cfg_more(l, &l->cfg->guests, &l->cfg->n_guests, sizeof(*g));
	if (!s || !g || !add_parts(l, g) || !(s->at = cfg_positions(l, false)))
		return;
	s->pos = l->now;
	s->ignore = ignore;
	l->guest = l->cfg->n_guests - 1;
	g->role = role;
	guest_defaults(g, l);
	(void)snprintf(g->name, sizeof(g->name), "%s", name);
	if (!ignore)
		remember_guest(l, name, l->guest);
}

void cfg_forget_names(struct load *l)
{
	tdestroy(l->names, free);
}
