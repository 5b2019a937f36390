/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of the configuration: sockets, ports and what stands behind them; see config_int.h. */
#include "config_int.h"
#include "endpoint/lookup.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define PORT_LAST   (UINT32_MAX - 1)		/* 2^32-1 is VMADDR_PORT_ANY */
#define UNIX_SUFFIX (sizeof("_4294967294") - 1) /* the longest that a port adds to the path */

static void *member(void *obj, const struct key *k)
{
	return (char *)obj + k->offset;
}

/* ---- names and paths ---------------------------------------------------------------------- */

void cfg_add_sibling_group(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_guest *g = obj;

	(void)k;
	if (!cfg_name_ok(value)) {
		cfg_fault(l, &l->now,
			  "groups: \"%s\" is no name of a group; take up to %u letters, "
			  "digits, \"-\" and \"_\"",
			  value, CFG_NAME_MAX - 1);
		return;
	}
	for (unsigned i = 0; i < g->n_groups; i++) {
		if (strcmp(g->groups[i], value) == 0) {
			cfg_fault(l, &l->now, "groups: %s is there twice; name it once", value);
			return;
		}
	}
	if (g->n_groups == CFG_GROUPS_MAX)
		cfg_fault(l, &l->now, "groups: more than %u; a guest can be in so many",
			  CFG_GROUPS_MAX);
	else
		memcpy(g->groups[g->n_groups++], value, strlen(value) + 1);
}

/* Checks @value as the path of a socket to which @suffix bytes may be added, and notes its use. */
static bool use_path(struct load *l, const struct key *k, const char *value, size_t suffix)
{
	size_t len = strlen(value), max = CFG_PATH_MAX - 1 - suffix;
	struct section *s = l->guest == UINT_MAX ? &l->daemon : &l->sections[l->guest];
	struct path_use *use = NULL;

	if (value[0] != '/') {
		cfg_fault(l, &l->now, "%s = %s is a relative path; begin it with \"/\"", k->name,
			  value);
		return false;
	}
	if (len > max) {
		cfg_fault(l, &l->now,
			  "%s = %s has %zu bytes, %zu fit into the address of a Unix socket%s; "
			  "choose a shorter path",
			  k->name, value, len, max, suffix ? " with _PORT behind it" : "");
		return false;
	}
	if (value[len - 1] == '/') {
		cfg_fault(l, &l->now, "%s = %s names a directory; add the name of the socket",
			  k->name, value);
		return false;
	}
	if (!k->list && s->path) /* the command line replaces the file's */
		use = &l->paths[s->path - 1];
	else
		use = cfg_more(l, &l->paths, &l->n_paths, sizeof(*use));
	if (!use)
		return false;
	if (!k->list) /* a section has one key of this kind */
		s->path = (unsigned)(use - l->paths) + 1;
	*use = (struct path_use){.what = k->name, .pos = l->now, .guest = l->guest};
	memcpy(use->path, value, len + 1);
	return true;
}

void cfg_set_control(struct load *l, void *obj, const struct key *k, char *value)
{
	if (use_path(l, k, value, 0))
		memcpy(member(obj, k), value, strlen(value) + 1);
}

void cfg_set_unix(struct load *l, void *obj, const struct key *k, char *value)
{
	if (use_path(l, k, value, UNIX_SUFFIX))
		memcpy(member(obj, k), value, strlen(value) + 1);
}

void cfg_add_socket(struct load *l, void *obj, const struct key *k, char *value)
{
	struct cfg_guest *g = obj;

	if (g->n_sockets == CFG_PATHS_MAX)
		cfg_fault(l, &l->now,
			  "more than %u sockets; a guest has at most %u queue pairs, a "
			  "socket for each",
			  CFG_PATHS_MAX, CFG_PATHS_MAX);
	else if (strchr(value, ','))
		cfg_fault(l, &l->now, "socket = %s has a comma in it; choose another path", value);
	else if (use_path(l, k, value, 0))
		memcpy(g->sockets[g->n_sockets++], value, strlen(value) + 1);
}

/* ---- ports -------------------------------------------------------------------------------- */

static bool parse_port(struct load *l, const struct key *k, const char *text, uint32_t *port)
{
	uint64_t v;

	if (cfg_number(text, 1, PORT_LAST, &v) < 0) {
		cfg_fault(l, &l->now, "%s: \"%s\" is no vsock port; take 1 to %u", k->name, text,
			  PORT_LAST);
		return false;
	}
	*port = (uint32_t)v;
	return true;
}

static bool use_ports(struct load *l, const struct key *k, uint32_t first, uint32_t last)
{
	struct port_use *use = cfg_more(l, &l->ports, &l->n_ports, sizeof(*use));

	if (!use)
		return false;
	*use = (struct port_use){k->name, first, last, l->now, l->guest};
	return true;
}

void cfg_add_builtin(struct load *l, void *obj, const struct key *k, char *value)
{
	static const char *const names[] = {
		[CFG_ECHO] = "echo", [CFG_DISCARD] = "discard", [CFG_SOURCE] = "source"};
	char *colon = strchr(value, ':');
	struct cfg_guest *g = obj;
	struct cfg_builtin *b;
	unsigned service = 0;
	uint32_t port;

	if (colon)
		*colon = 0;
	while (service < 3 && strcmp(value, names[service]) != 0)
		service++;
	if (service == 3 || !colon) {
		cfg_fault(l, &l->now,
			  "builtin: \"%s\" is %s; write echo:PORT, discard:PORT or "
			  "source:PORT",
			  value, colon ? "no service" : "no SERVICE:PORT");
		return;
	}
	if (!parse_port(l, k, colon + 1, &port) || !use_ports(l, k, port, port))
		return;
	b = cfg_more(l, &g->builtin, &g->n_builtin, sizeof(*b));
	if (b)
		*b = (struct cfg_builtin){(enum cfg_service)service, port};
}

void cfg_add_vsock(struct load *l, void *obj, const struct key *k, char *value)
{
	char *dash = strchr(value, '-');
	struct cfg_guest *g = obj;
	struct cfg_ports *p;
	uint32_t first, last;

	if (dash)
		*dash = 0;
	if (!parse_port(l, k, value, &first) || !parse_port(l, k, dash ? dash + 1 : value, &last))
		return;
	if (last < first) {
		cfg_fault(l, &l->now, "vsock: the range %u-%u runs backwards; write %u-%u", first,
			  last, last, first);
		return;
	}
	if (!use_ports(l, k, first, last))
		return;
	p = cfg_more(l, &g->vsock, &g->n_vsock, sizeof(*p));
	if (p)
		*p = (struct cfg_ports){first, last};
}

/* Cuts "HOST:TARGET" or "[ADDRESS]:TARGET" into @t. */
static bool parse_target(struct cfg_tcp *t, const char *text)
{
	const char *host = text, *colon = strrchr(text, ':');
	uint64_t target;
	size_t len;

	if (!colon || cfg_number(colon + 1, 1, UINT16_MAX, &target) < 0)
		return false;
	len = (size_t)(colon - text);
	if (*host == '[') {
		if (len < 3 || host[len - 1] != ']')
			return false;
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return false; /* an IPv6 address without brackets: where does the port begin? */
	}
	if (len == 0 || len >= sizeof(t->host))
		return false;
	memcpy(t->host, host, len);
	t->target = (uint16_t)target;
	return true;
}

void cfg_add_tcp(struct load *l, void *obj, const struct key *k, char *value)
{
	char *target = strchr(value, '=');
	struct cfg_tcp t = {0}, *p;
	struct cfg_guest *g = obj;

	if (target) {
		*target++ = 0;
		if (!parse_port(l, k, value, &t.port))
			return;
	}
	if (!target || !parse_target(&t, target)) {
		cfg_fault(l, &l->now,
			  "tcp: \"%s\" is no HOST:TARGET; write PORT=HOST:TARGET, for example "
			  "8080=127.0.0.1:80 or 8080=[::1]:80",
			  target ? target : value);
		return;
	}
	(void)lookup_number(&t); /* names: all at once, when everything is read */
	if (!use_ports(l, k, t.port, t.port))
		return;
	p = cfg_more(l, &g->tcp, &g->n_tcp, sizeof(*p));
	if (p)
		*p = t;
}
