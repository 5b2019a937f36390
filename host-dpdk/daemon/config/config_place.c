/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the configuration: paths of sockets, and host ports; see config_int.h. */
#include "config_int.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PORT_LAST   (UINT32_MAX - 1)		/* 2^32-1 is VMADDR_PORT_ANY */
#define PORT_SUFFIX (sizeof("_4294967294") - 1) /* the longest that a port adds to a path */

/* ---- paths -------------------------------------------------------------------------------- */

/* The use that a value of @k in the same section has been noted as, or NULL. */
static struct path_use *noted(const struct load *l, const struct key *k)
{
	for (unsigned i = l->n_paths; i-- > 0;)
		if (l->paths[i].guest == l->guest && strcmp(l->paths[i].what, k->name) == 0)
			return &l->paths[i];
	return NULL;
}

bool cfg_take_path(struct load *l, const struct key *k, const char *value, bool ports)
{
	size_t len = strlen(value), max = CFG_PATH_MAX - 1 - (ports ? PORT_SUFFIX : 0);
	struct path_use *use = NULL;

	if (value[0] != '/') {
		cfg_wrong(l, "%s = %s is a relative path; begin it with \"/\"", k->name, value);
		return false;
	}
	if (len > max) {
		cfg_wrong(l,
			  "%s = %s has %zu bytes, %zu fit into the address of a Unix socket%s; "
			  "choose a shorter path",
			  k->name, value, len, max, ports ? " with _PORT behind it" : "");
		return false;
	}
	if (value[len - 1] == '/') {
		cfg_wrong(l, "%s = %s names a directory; add the name of the socket", k->name,
			  value);
		return false;
	}
	if (!k->list && l->again) /* the command line replaces the file's */
		use = noted(l, k);
	if (!use)
		use = cfg_more(l, &l->paths, &l->n_paths, sizeof(*use));
	if (!use)
		return false;
	*use = (struct path_use){.what = k->name, .pos = l->now, .guest = l->guest, .ports = ports};
	memcpy(use->path, value, len + 1);
	return true;
}

void cfg_set_control(struct load *l, void *obj, const struct key *k, char *value)
{
	if (cfg_take_path(l, k, value, false))
		cfg_keep_text(obj, k, value);
}

void cfg_add_socket(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_guest *g = obj;

	if (g->n_sockets == CFG_PATHS_MAX)
		cfg_wrong(l,
			  "more than %u sockets; a guest has at most %u queue pairs, a "
			  "socket for each",
			  CFG_PATHS_MAX, CFG_PATHS_MAX);
	else if (strchr(value, ','))
		cfg_wrong(l, "socket = %s has a comma in it; choose another path", value);
	else if (cfg_take_path(l, k, value, false))
		memcpy(g->sockets[g->n_sockets++], value, strlen(value) + 1);
}

/* ---- ports -------------------------------------------------------------------------------- */

bool cfg_port(struct load *l, const struct key *k, const char *text, uint32_t *port)
{
	uint64_t v;

	if (cfg_number(text, 1, PORT_LAST, &v) < 0) {
		cfg_wrong(l, "%s: \"%s\" is no vsock port; take 1 to %u", k->name, text, PORT_LAST);
		return false;
	}
	*port = (uint32_t)v;
	return true;
}

bool cfg_take_ports(struct load *l, const struct key *k, const struct cfg_ports *p)
{
	struct port_use *use = cfg_more(l, &l->ports, &l->n_ports, sizeof(*use));

	if (!use)
		return false;
	*use = (struct port_use){k->name, p->first, p->last, l->now, l->guest};
	l->cfg->guests[l->guest].n_ports++;
	return true;
}

void cfg_take_rest(struct load *l)
{
	l->cfg->guests[l->guest].any_port = true;
}
