/* SPDX-License-Identifier: BSD-3-Clause */
/* What a configuration means, in words (zvsockd --check), and what differs between two (SIGHUP). */
#include "config_int.h"
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
		(void)fprintf(to, "; an idle one sleeps after %u us\n", c->spin_us);
}

unsigned cfg_vmms(const struct cfg *c)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++)
		n += c->guests[i].role == CFG_AS_HOST ? c->guests[i].n_devices : 0;
	return n;
}

uint64_t cfg_vmm_maps(const struct cfg *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];
		unsigned pairs = g->n_devices > 1 ? g->n_devices : g->queues;

		if (g->role == CFG_AS_HOST)
			n += VU_MAPS(VU_MAPS_VMM, pairs, g->n_devices);
	}
	return n;
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

/* Prints the lines of those @keys whose value in @obj is not the initial one. */
static void print_keys(const void *obj, const struct key *keys, FILE *to)
{
	for (const struct key *k = keys; k->name; k++) {
		uint32_t v;

		if (!k->label)
			continue;
		memcpy(&v, (const char *)obj + k->offset, sizeof(v));
		if (v == k->initial)
			continue;
		(void)fprintf(to, "  %-11s ", k->label);
		if (k->set == cfg_set_size)
			print_size(to, v);
		else
			(void)fprintf(to, "%u", v);
		(void)fprintf(to, " %s\n", k->words);
	}
}

static void print_apps(const struct cfg_apps *a, uint32_t channel, FILE *to)
{
	if (!*a->path)
		return;
	(void)fprintf(to, "  socket      applications attach at %s, mode %04o", a->path, a->mode);
	if (a->uid != (uid_t)-1)
		(void)fprintf(to, ", user %u", a->uid);
	if (a->gid != (gid_t)-1)
		(void)fprintf(to, ", group %u", a->gid);
	for (unsigned i = 0; i < a->n_users; i++)
		(void)fprintf(to, "%s %u", i ? "," : "; of user", a->users[i]);
	for (unsigned i = 0; i < a->n_groups; i++)
		(void)fprintf(to, "%s %u", i ? "," : "; of group", a->groups[i]);
	(void)fprintf(to, "; ");
	for (unsigned i = 0; i < a->n_ports; i++)
		(void)fprintf(to, "%s %u-%u", i ? "," : "ports", a->ports[i].first,
			      a->ports[i].last);
	(void)fprintf(to, "%s, those below 1024 for root\n", a->n_ports ? "" : "all ports");
	if (!a->region) {
		(void)fprintf(to,
			      "  region      none: what applications send each other is copied\n");
		return;
	}
	(void)fprintf(to, "  region      ");
	print_size(to, a->region);
	(void)fprintf(to, " for channels between applications");
	if (channel) {
		(void)fprintf(to, ", ");
		print_size(to, channel);
		(void)fprintf(to, " each");
	}
	(void)fprintf(to, "\n");
}

static void print_daemon(const struct cfg *c, FILE *to)
{
	static const char *const levels[] = {"", "err", "warn", "info", "debug"};

	(void)fprintf(to, "daemon\n");
	print_lcores(c, to);
	(void)fprintf(to, "  log         %s and more severe, to standard error\n",
		      levels[c->log_level]);
	(void)fprintf(to, "  stop        waits up to %u ms for open connections\n", c->drain_ms);
	if (c->max_fds)
		(void)fprintf(to, "  limit       %u descriptors for the connections of a guest\n",
			      c->max_fds);
	else
		(void)fprintf(to, "  limit       the connections of all guests share what "
				  "RLIMIT_NOFILE leaves\n");
	if (cfg_vmms(c) > VU_RTE_FRONTENDS)
		(void)fprintf(to,
			      "  limit       %u VMMs at a time of these %u sockets: start another "
			      "zvsockd for some guests\n",
			      VU_RTE_FRONTENDS, cfg_vmms(c));
	if (*c->user || *c->group)
		(void)fprintf(to, "  runs as     %s%s%s%s%s; start it as root\n",
			      *c->user ? "user " : "", c->user, *c->user && *c->group ? ", " : "",
			      *c->group ? "group " : "", c->group);
	else
		(void)fprintf(to, "  runs as     the user who starts it\n");
	if (*c->control_path)
		(void)fprintf(to, "  control     %s, mode %04o\n", c->control_path,
			      c->control_mode);
	else
		(void)fprintf(to, "  control     none, zvsockctl cannot be used\n");
	print_apps(&c->apps, c->channel_size, to);
	if (c->space.apps)
		cfg_print_space(&c->space, to);
	print_keys(c, cfg_daemon_keys, to);
}

static void print_devices(const struct cfg_guest *g, FILE *to)
{
	char name[CFG_DEVICE_NAME_MAX];

	for (unsigned i = 0; i < g->n_devices; i++) {
		cfg_device_name(g, i, name, sizeof(name));
		(void)fprintf(to, "  %-11s %s\n", cfg_roles[g->role].verbs[g->client], name);
	}
	if (g->disk)
		(void)fprintf(to, "  disk        the guest's memory may be files on local disks\n");
	(void)fprintf(to, "  modes       sockets %04o", g->socket_mode);
	if (g->socket_uid != (uid_t)-1)
		(void)fprintf(to, ", user %u", g->socket_uid);
	if (g->socket_gid != (gid_t)-1)
		(void)fprintf(to, ", group %u", g->socket_gid);
	(void)fprintf(to, "\n  queues      %u%s, ", g->queues,
		      g->n_devices > 1 ? ", a device for each" : "");
	print_size(to, g->buf_alloc);
	(void)fprintf(to, " of credit for a connection, %u connections at most on each\n",
		      g->max_conns);
	print_keys(g, cfg_guest_keys, to);
	cfg_print_space(&g->space, to);
	if (!g->region)
		return;
	(void)fprintf(to, "  region      ");
	print_size(to, g->region);
	(void)fprintf(to, " shared with the VM, ");
	if (g->region_kind == CFG_VIRTIO)
		(void)fprintf(to, "VIRTIO shared memory of its device\n");
	else
		(void)fprintf(to, "%s as an %s\n", g->region_path,
			      g->region_kind == CFG_IVSHMEM ? "ivshmem device" : "NVDIMM");
}

void cfg_print(const struct cfg *c, FILE *to)
{
	void *scratch[CFG_PARTS_MAX] = {NULL};

	print_daemon(c, to);
	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct cfg_guest *g = &c->guests[i];

		(void)fprintf(to, "%s %s", cfg_roles[g->role].section, g->name);
		if (g->cid)
			(void)fprintf(to, ", CID %" PRIu64, g->cid);
		(void)fprintf(to, "\n");
		print_devices(g, to);
		if (*g->space.dir)
			(void)fprintf(to, "  port        of a program: those that it has bound\n");
		else if (!g->n_ports && !g->any_port)
			(void)fprintf(
				to, "  port        none: whatever the %s connects to is refused\n",
				cfg_roles[g->role].peer);
		for (unsigned k = 0; c->parts[k]; k++)
			if (c->parts[k]->print && cfg_has_part(g, c->parts[k]))
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
			(void)fprintf(to, "%s: %s %s cannot be started: %s\n", g->origin,
				      cfg_roles[g->role].section, g->name, why);
		n += why != NULL;
	}
	return n;
}

/* ---- differences -------------------------------------------------------------------------- */

static bool same_parts(const struct cfg *c, const struct cfg_guest *a, const struct cfg_guest *b)
{
	for (unsigned i = 0; c->parts[i]; i++)
		if (c->parts[i]->same && !c->parts[i]->same(a->part[i], b->part[i]))
			return false;
	return true;
}

bool cfg_guest_same(const struct cfg *c, const struct cfg_guest *a, const struct cfg_guest *b)
{
	for (const struct key *k = cfg_guest_keys; k->name; k++)
		if (!cfg_same(a, b, k))
			return false;
	return a->role == b->role && strcmp(a->name, b->name) == 0 && same_parts(c, a, b);
}

const char *cfg_made_socket(const struct cfg *c, const struct cfg_guest *g, unsigned i)
{
	/* A device that we drive has no socket of ours, and an application's socket has no name. */
	unsigned ours = g->client || cfg_roles[g->role].attached ? 0 : g->n_devices;

	if (i < ours)
		return g->devices[i];
	i -= ours;
	if (*g->space.dir) {
		if (i < CFG_SPACE_SOCKETS)
			return g->space.sockets[i];
		i -= CFG_SPACE_SOCKETS;
	}
	for (unsigned k = 0; c->parts[k]; k++) {
		const char *path = NULL;
		unsigned n = 0;

		while (c->parts[k]->socket && (path = c->parts[k]->socket(g->part[k], n)) && n < i)
			n++;
		if (path)
			return path;
		i -= n;
	}
	return NULL;
}

void cfg_fixed_keys(const struct cfg *a, const struct cfg *b, char *buf, size_t len)
{
	size_t used = 0;

	buf[0] = 0;
	for (const struct key *k = cfg_daemon_keys; k->name && used < len; k++)
		if (k->fixed && !cfg_same(a, b, k))
			used += (size_t)snprintf(buf + used, len - used, "%s%s", used ? ", " : "",
						 k->name);
}
