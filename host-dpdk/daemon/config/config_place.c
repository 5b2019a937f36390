/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the configuration: paths of sockets, devices, and ports; see config_int.h. */
#include "config_int.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PORT_LAST (UINT32_MAX - 1) /* 2^32-1 is VMADDR_PORT_ANY */
#define PORT_SUFFIX                                                                                \
	(sizeof("_4294967294") - 1) /* the longest suffix that a port adds to a path               \
				     */

/* ---- paths -------------------------------------------------------------------------------- */

/* The entry that was recorded for an earlier value of @k in the same section, or NULL. */
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

bool cfg_take_address(struct load *l, const struct key *k, const char *address)
{
	struct path_use *use = cfg_more(l, &l->paths, &l->n_paths, sizeof(*use));

	if (!use)
		return false;
	*use = (struct path_use){
		.what = k->name, .pos = l->now, .guest = l->guest, .address = true};
	(void)snprintf(use->path, sizeof(use->path), "%s", address);
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

	if (g->n_devices == CFG_PATHS_MAX)
		cfg_wrong(l,
			  "more than %u sockets; a guest has at most %u queue pairs, a "
			  "socket for each",
			  CFG_PATHS_MAX, CFG_PATHS_MAX);
	else if (strchr(value, ','))
		cfg_wrong(l, "socket = %s has a comma in it; choose another path", value);
	else if (cfg_take_path(l, k, value, false))
		memcpy(g->devices[g->n_devices++], value, strlen(value) + 1);
}

/* ---- devices ------------------------------------------------------------------------------ */

/* Appends an option "region=..." to the device before it. False: it is not an option, or does not
 * fit. */
static bool add_option(struct cfg_guest *g, const char *item, size_t len)
{
	char *last = g->n_devices ? g->devices[g->n_devices - 1] : NULL;
	size_t have = last ? strlen(last) : 0;

	if (!last || strncmp(item, "region=", 7) != 0 || have + 1 + len >= CFG_PATH_MAX)
		return false;
	last[have] = ',';
	memcpy(last + have + 1, item, len);
	return true;
}

/* Reads the list of devices after the scheme. False: a fault. */
static bool add_devices(struct load *l, struct cfg_guest *g, const char *uri, const char *list)
{
	for (; list; list = strchr(list, ',') ? strchr(list, ',') + 1 : NULL) {
		size_t len = strcspn(list, ",");

		if (len == 0) {
			cfg_wrong(l, "uri = %s has a device without a name; take the comma out",
				  uri);
			return false;
		}
		if (add_option(g, list, len))
			continue;
		if (len >= CFG_PATH_MAX) {
			cfg_wrong(l,
				  "uri = %s has a device whose name has %zu bytes, %u can be "
				  "taken; choose a shorter path",
				  uri, len, CFG_PATH_MAX - 1);
			return false;
		}
		if (g->n_devices == CFG_PATHS_MAX) {
			cfg_wrong(l, "uri = %s has more than %u devices; take fewer", uri,
				  CFG_PATHS_MAX);
			return false;
		}
		memcpy(g->devices[g->n_devices++], list, len);
	}
	return true;
}

/* SCHEME:DEVICE[,DEVICE...]. zv_open() checks the scheme, except for the one of the host's side. */
void cfg_set_uri(struct load *l, void *obj, const struct key *k, char *value)
{
	size_t len = strcspn(value, ":");
	struct cfg_guest *g = obj;

	memset(cfg_member(obj, k), 0, k->size);
	if (len == 0 || len >= CFG_SCHEME_MAX || value[len] != ':' || !value[len + 1]) {
		cfg_wrong(l,
			  "uri = %s is no device; write vfio:BDF, uio:BDF, vhost-user:PATH or "
			  "vhost-kernel:cid=N",
			  value);
	} else if (strncmp(value, "host:", 5) == 0) {
		cfg_wrong(l,
			  "uri = %s is the host's end; write [guest NAME] with a cid and a "
			  "socket",
			  value);
	} else if (add_devices(l, g, value, value + len + 1)) {
		memcpy(g->scheme, value, len);
	}
}

void cfg_device_name(const struct cfg_guest *g, unsigned i, char *buf, size_t len)
{
	bool plain = cfg_roles[g->role].scheme;

	if (cfg_roles[g->role].attached) {
		(void)snprintf(buf, len, "%s", g->origin);
		return;
	}
	(void)snprintf(buf, len, "%s%s%s", plain ? "" : g->scheme, plain ? "" : ":", g->devices[i]);
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
