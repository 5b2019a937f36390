/* SPDX-License-Identifier: BSD-3-Clause */
/* What a configuration means, in words (zvsockd --check), and what differs between two (SIGHUP). */
#include "config_part.h"
#include "vu_limits.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock.h>

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

void cfg_print(const struct cfg *c, FILE *to)
{
	void *scratch[CFG_PARTS_MAX] = {NULL};

	print_daemon(c, to);
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];

		(void)fprintf(to, "guest %s, CID %" PRIu64 "\n", g->name, g->cid);
		print_sockets(g, to);
		if (!g->n_ports && !g->any_port)
			(void)fprintf(to, "  port        none: whatever the guest connects to is "
					  "refused\n");
		for (unsigned k = 0; c->parts[k]; k++)
			if (c->parts[k]->print)
				c->parts[k]->print(c, g, g->part[k], &scratch[k], to);
	}
	for (unsigned k = 0; c->parts[k]; k++)
		free(scratch[k]);
}

unsigned cfg_print_troubles(const struct cfg *c, FILE *to)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];
		const char *why = cfg_trouble(c, g);

		if (why)
			(void)fprintf(to, "%s: guest %s cannot be started: %s\n", g->origin,
				      g->name, why);
		n += why != NULL;
	}
	return n;
}

/* ---- differences -------------------------------------------------------------------------- */

static bool same_names(const struct cfg_guest *a, const struct cfg_guest *b)
{
	if (strcmp(a->name, b->name) != 0 || a->n_sockets != b->n_sockets)
		return false;
	for (unsigned i = 0; i < a->n_sockets; i++)
		if (strcmp(a->sockets[i], b->sockets[i]) != 0)
			return false;
	return true;
}

static bool same_parts(const struct cfg *c, const struct cfg_guest *a, const struct cfg_guest *b)
{
	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->same && !c->parts[i]->same(a->part[i], b->part[i]))
			return false;
	return true;
}

bool cfg_guest_same(const struct cfg *c, const struct cfg_guest *a, const struct cfg_guest *b)
{
	return a->cid == b->cid && a->client == b->client && a->queues == b->queues &&
	       a->ring_size == b->ring_size && a->buf_alloc == b->buf_alloc &&
	       a->rx_memory == b->rx_memory && a->max_conns == b->max_conns &&
	       a->connect_timeout_ms == b->connect_timeout_ms && a->socket_mode == b->socket_mode &&
	       a->socket_uid == b->socket_uid && a->socket_gid == b->socket_gid &&
	       same_names(a, b) && same_parts(c, a, b);
}

const char *cfg_made_socket(const struct cfg *c, const struct cfg_guest *g, unsigned i)
{
	unsigned ours = g->client ? 0 : g->n_sockets;

	if (i < ours)
		return g->sockets[i];
	i -= ours;
	for (unsigned k = 0; c->parts[k]; k++) {
		const char *path = c->parts[k]->socket ? c->parts[k]->socket(g->part[k]) : NULL;

		if (path && i-- == 0)
			return path;
	}
	return NULL;
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
