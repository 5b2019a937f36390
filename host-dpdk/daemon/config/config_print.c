/* SPDX-License-Identifier: BSD-3-Clause */
/* What a configuration means, in words (zvsockd --check), and what differs between two (SIGHUP). */
#include "config.h"
#include "vu_limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

#define SIBLINGS_SHOWN 32u /* of a guest */

/* ---- in words ----------------------------------------------------------------------------- */

static void print_lcores(const struct cfg *c, FILE *to)
{
	unsigned loose = 0, pinned = 0;

	(void)fprintf(to, "  lcores      %u: ", c->n_cpus);
	for (unsigned i = 0; i < c->n_cpus; i++) {
		if (c->cpus[i] < 0)
			loose++;
		else
			(void)fprintf(to, "%s%d", pinned++ ? ", " : "on CPU ", c->cpus[i]);
	}
	if (loose)
		(void)fprintf(to, "%s%u not pinned", pinned ? ", " : "", loose);
	if (c->busy_poll)
		(void)fprintf(to, "; they never sleep\n");
	else
		(void)fprintf(to, "; idle for %u us they sleep\n", c->spin_us);
}

unsigned cfg_vmms(const struct cfg *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++)
		n += c->guests[i].n_sockets;
	return n;
}

static void print_daemon(const struct cfg *c, FILE *to)
{
	static const char *const levels[] = {"", "err", "warn", "info", "debug"};

	(void)fprintf(to, "daemon\n");
	print_lcores(c, to);
	(void)fprintf(to, "  log         %s and worse, to standard error\n", levels[c->log_level]);
	(void)fprintf(to, "  stop        connections get %u ms to end\n", c->drain_ms);
	if (c->max_fds)
		(void)fprintf(to, "  limit       %u descriptors for the connections of a guest\n",
			      c->max_fds);
	else
		(void)fprintf(
			to,
			"  limit       all guests' connections share what RLIMIT_NOFILE leaves\n");
	if (cfg_vmms(c) > VU_RTE_FRONTENDS)
		(void)fprintf(to,
			      "  limit       %u VMMs at a time of these %u sockets: start another "
			      "zvsockd for some guests\n",
			      VU_RTE_FRONTENDS, cfg_vmms(c));
	if (*c->user || *c->group)
		(void)fprintf(to, "  becomes     %s%s%s%s%s, which takes root at the start\n",
			      *c->user ? "user " : "", c->user, *c->user && *c->group ? ", " : "",
			      *c->group ? "group " : "", c->group);
	else
		(void)fprintf(to, "  becomes     nobody else, stays the user who starts it\n");
	if (*c->control_path)
		(void)fprintf(to, "  control     %s, mode %04o\n", c->control_path,
			      c->control_mode);
	else
		(void)fprintf(to, "  control     none, zvsockctl cannot be used\n");
}

static void print_size(FILE *to, uint32_t bytes)
{
	if (bytes % (1u << 20) == 0)
		(void)fprintf(to, "%u MiB", bytes >> 20);
	else if (bytes % 1024 == 0)
		(void)fprintf(to, "%u KiB", bytes >> 10);
	else
		(void)fprintf(to, "%u bytes", bytes);
}

static void print_sockets(const struct cfg_guest *g, FILE *to)
{
	for (unsigned i = 0; i < g->n_sockets; i++)
		(void)fprintf(to, "  %s %s\n", g->client ? "connects to" : "listens at ",
			      g->sockets[i]);
	(void)fprintf(to, "  modes       sockets %04o", g->socket_mode);
	if (g->socket_uid != (uid_t)-1)
		(void)fprintf(to, ", user %u", g->socket_uid);
	if (g->socket_gid != (gid_t)-1)
		(void)fprintf(to, ", group %u", g->socket_gid);
	(void)fprintf(to, "\n  queues      %u%s, ", g->queues,
		      g->n_sockets > 1 ? ", a device for each" : "");
	print_size(to, g->buf_alloc);
	(void)fprintf(to, " of credit for a connection, %u connections at most on each\n",
		      g->max_conns);
	if (g->rx_memory) {
		(void)fprintf(to, "  memory      ");
		print_size(to, g->rx_memory);
		(void)fprintf(to, " at most for payload of all its connections\n");
	}
}

/* Who serves what the guest connects to on CID 2, in the order in which a port is looked up. */
static void print_ports(const struct cfg_guest *g, FILE *to)
{
	static const char *const services[] = {
		[CFG_ECHO] = "echo", [CFG_DISCARD] = "discard", [CFG_SOURCE] = "source"};

	for (unsigned i = 0; i < g->n_builtin; i++)
		(void)fprintf(to, "  port        %u: %s, built in\n", g->builtin[i].port,
			      services[g->builtin[i].service]);
	for (unsigned i = 0; i < g->n_tcp; i++)
		(void)fprintf(to,
			      strchr(g->tcp[i].host, ':') ? "  port        %u: TCP to [%s]:%u\n"
							  : "  port        %u: TCP to %s:%u\n",
			      g->tcp[i].port, g->tcp[i].host, g->tcp[i].target);
	for (unsigned i = 0; i < g->n_vsock; i++) {
		(void)fprintf(to, "  port        %u", g->vsock[i].first);
		if (g->vsock[i].last != g->vsock[i].first)
			(void)fprintf(to, "-%u", g->vsock[i].last);
		(void)fprintf(to, ": AF_VSOCK of this host\n");
	}
	if (*g->unix_path)
		(void)fprintf(to,
			      "  port        %s: Unix socket %s_PORT\n"
			      "  to guest    connect to %s and write \"CONNECT PORT\"\n",
			      g->n_builtin + g->n_tcp + g->n_vsock ? "any other" : "any",
			      g->unix_path, g->unix_path);
	else if (!(g->n_builtin + g->n_tcp + g->n_vsock))
		(void)fprintf(to,
			      "  port        none: whatever the guest connects to is refused\n");
}

/* Who is in which group, by the groups' names. */
struct membership {
	const char *group;
	unsigned guest;
};

struct memberships {
	struct membership *m;
	unsigned n;
};

static int by_group(const void *x, const void *y)
{
	const struct membership *a = x, *b = y;
	int ret = strcmp(a->group, b->group);

	if (ret == 0)
		ret = a->guest < b->guest ? -1 : a->guest > b->guest;
	return ret;
}

static struct memberships memberships(const struct cfg *c)
{
	struct memberships all = {NULL, 0};
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++)
		n += c->guests[i].n_groups;
	all.m = n ? calloc(n, sizeof(*all.m)) : NULL;
	for (unsigned i = 0; all.m && i < c->n_guests; i++)
		for (unsigned k = 0; k < c->guests[i].n_groups; k++)
			all.m[all.n++] = (struct membership){c->guests[i].groups[k], i};
	if (all.m)
		qsort(all.m, all.n, sizeof(*all.m), by_group);
	return all;
}

static unsigned first_member(const struct memberships *all, const char *group)
{
	unsigned low = 0, high = all->n;

	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (strcmp(all->m[mid].group, group) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* True if @other is in one of the first @n groups of @g. */
static bool shares(const struct cfg_guest *g, unsigned n, const struct cfg_guest *other)
{
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < other->n_groups; j++)
			if (strcmp(g->groups[i], other->groups[j]) == 0)
				return true;
	return false;
}

/* Some by name: a group of thousands would fill the screen for each of them. */
static void print_siblings(const struct cfg *c, const struct memberships *all,
			   const struct cfg_guest *g, FILE *to)
{
	unsigned shown = 0;

	(void)fprintf(to, "  siblings    ");
	for (unsigned k = 0; k < g->n_groups; k++) {
		unsigned i = first_member(all, g->groups[k]);

		for (; i < all->n && strcmp(all->m[i].group, g->groups[k]) == 0; i++) {
			const struct cfg_guest *other = &c->guests[all->m[i].guest];

			if (other == g || shares(g, k, other))
				continue;
			if (shown == SIBLINGS_SHOWN) {
				(void)fprintf(to, ", and others of its groups\n");
				return;
			}
			(void)fprintf(to, "%s%s (CID %" PRIu64 ")", shown++ ? ", " : "",
				      other->name, other->cid);
		}
	}
	(void)fprintf(to, "%s\n", shown ? "" : "none");
}

static void print_low_ports(const struct cfg_guest *g, FILE *to)
{
	if (!*g->unix_path)
		return;
	(void)fprintf(to, "  low ports   of the host may be served by root");
	for (unsigned i = 0; i < g->n_low_uids; i++)
		(void)fprintf(to, ", user %u", g->low_uids[i]);
	for (unsigned i = 0; i < g->n_low_gids; i++)
		(void)fprintf(to, ", group %u", g->low_gids[i]);
	(void)fprintf(to, "\n");
}

void cfg_print(const struct cfg *c, FILE *to)
{
	struct memberships all = memberships(c);

	print_daemon(c, to);
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];

		(void)fprintf(to, "guest %s, CID %" PRIu64 "\n", g->name, g->cid);
		print_sockets(g, to);
		print_ports(g, to);
		print_low_ports(g, to);
		print_siblings(c, &all, g, to);
	}
	free(all.m);
}

unsigned cfg_print_troubles(const struct cfg *c, FILE *to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];

		if (g->trouble)
			(void)fprintf(to, "%s: guest %s cannot be started: %s\n", g->origin,
				      g->name, g->trouble);
		n += g->trouble != NULL;
	}
	return n;
}

/* ---- differences -------------------------------------------------------------------------- */

static bool same_tcp(const struct cfg_guest *a, const struct cfg_guest *b)
{
	if (a->n_tcp != b->n_tcp)
		return false;
	for (unsigned i = 0; i < a->n_tcp; i++)
		if (a->tcp[i].port != b->tcp[i].port || a->tcp[i].target != b->tcp[i].target ||
		    strcmp(a->tcp[i].host, b->tcp[i].host) != 0)
			return false;
	return true;
}

static bool same_builtin(const struct cfg_guest *a, const struct cfg_guest *b)
{
	if (a->n_builtin != b->n_builtin)
		return false;
	for (unsigned i = 0; i < a->n_builtin; i++)
		if (a->builtin[i].service != b->builtin[i].service ||
		    a->builtin[i].port != b->builtin[i].port)
			return false;
	return true;
}

static bool same_array(const void *a, unsigned na, const void *b, unsigned nb, size_t size)
{
	return na == nb && (na == 0 || memcmp(a, b, na * size) == 0);
}

static bool same_names(const struct cfg_guest *a, const struct cfg_guest *b)
{
	if (strcmp(a->name, b->name) != 0 || strcmp(a->unix_path, b->unix_path) != 0 ||
	    a->n_sockets != b->n_sockets || a->n_groups != b->n_groups)
		return false;
	for (unsigned i = 0; i < a->n_sockets; i++)
		if (strcmp(a->sockets[i], b->sockets[i]) != 0)
			return false;
	for (unsigned i = 0; i < a->n_groups; i++)
		if (strcmp(a->groups[i], b->groups[i]) != 0)
			return false;
	return true;
}

bool cfg_guest_same(const struct cfg_guest *a, const struct cfg_guest *b)
{
	return a->cid == b->cid && a->client == b->client && a->queues == b->queues &&
	       a->ring_size == b->ring_size && a->buf_alloc == b->buf_alloc &&
	       a->rx_memory == b->rx_memory && a->max_conns == b->max_conns &&
	       a->connect_timeout_ms == b->connect_timeout_ms && a->socket_mode == b->socket_mode &&
	       a->socket_uid == b->socket_uid && a->socket_gid == b->socket_gid &&
	       same_names(a, b) && same_tcp(a, b) && same_builtin(a, b) &&
	       same_array(a->low_uids, a->n_low_uids, b->low_uids, b->n_low_uids, sizeof(uid_t)) &&
	       same_array(a->low_gids, a->n_low_gids, b->low_gids, b->n_low_gids, sizeof(gid_t)) &&
	       same_array(a->vsock, a->n_vsock, b->vsock, b->n_vsock, sizeof(struct cfg_ports));
}

void cfg_fixed_keys(const struct cfg *a, const struct cfg *b, char *buf, size_t len)
{
	const struct {
		const char *key;
		bool same;
	} keys[] = {
		{"cpus", a->n_cpus == b->n_cpus &&
				 memcmp(a->cpus, b->cpus, a->n_cpus * sizeof(a->cpus[0])) == 0},
		{"poll", a->busy_poll == b->busy_poll},
		{"spin_us", a->spin_us == b->spin_us},
		{"user", strcmp(a->user, b->user) == 0},
		{"group", strcmp(a->group, b->group) == 0},
		{"control", strcmp(a->control_path, b->control_path) == 0},
		{"control_mode", a->control_mode == b->control_mode},
	};
	size_t used = 0;

	buf[0] = 0;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && used < len; i++)
		if (!keys[i].same)
			used += (size_t)snprintf(buf + used, len - used, "%s%s", used ? ", " : "",
						 keys[i].key);
}
