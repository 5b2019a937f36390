/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration keys that every daemon, guest and device has; those of endpoint types are in
 * their own files. See config_int.h. docs/daemon.md and zvsock.conf(5) describe each key, and a
 * test compares them with the tables.
 */
#include "config_int.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* A member of @type, or all from @first to @last. */
#define MEMBERS(type, first, last)                                                                 \
	.offset = offsetof(struct type, first), .size = offsetof(struct type, last) +              \
							sizeof(((struct type *)0)->last) -         \
							offsetof(struct type, first)
#define D(member) MEMBERS(cfg, member, member)
#define G(member) MEMBERS(cfg_guest, member, member)

/* The mode of the control socket has a mask instead of a maximum: others must not write. */
const struct key cfg_daemon_keys[] = {
	{"cpus", cfg_set_cpus, MEMBERS(cfg, cpus, n_cpus), .fixed = true},
	{"poll", cfg_set_poll, D(busy_poll), .fixed = true},
	{"spin_us", cfg_set_u32, D(spin_us), .max = 1000000, .initial = 50, .fixed = true},
	{"log_level", cfg_set_log_level, D(log_level), .initial = ZV_LOG_INFO},
	{"drain_ms", cfg_set_u32, D(drain_ms), .max = 600000, .initial = 5000},
	{"max_fds", cfg_set_u32, D(max_fds), .max = 1u << 20},
	{"user", cfg_set_user, D(user), .fixed = true},
	{"group", cfg_set_group, D(group), .fixed = true},
	{"control", cfg_set_control, D(control_path), .fixed = true},
	{"control_mode", cfg_set_mode, D(control_mode), .max = 0775, .initial = 0600,
	 .fixed = true},
	{"applications", cfg_set_control, D(apps.path), .fixed = true},
	{"applications_mode", cfg_set_mode, D(apps.mode), .max = 0777, .initial = 0600,
	 .fixed = true},
	{"applications_owner", cfg_set_owner, MEMBERS(cfg, apps.uid, apps.gid),
	 .initial = UINT32_MAX, .fixed = true},
	{"application_users", cfg_add_app_user, D(apps.users), .list = true},
	{"application_groups", cfg_add_app_group, D(apps.groups), .list = true},
	{"application_ports", cfg_add_app_ports, D(apps.ports), .list = true},
	{"application_region", cfg_set_region, D(apps.region), .min = 1u << 20, .max = 4095u << 20,
	 .initial = 256u << 20},
	{"channel_size", cfg_set_channel, D(channel_size), .min = 256u << 10, .max = 1u << 30},
	{"channel_timeout_ms", cfg_set_u32, D(channel_timeout_ms), .min = 100, .max = 600000,
	 .initial = 1000, .label = "channels", .words = "ms for the other end to map the memory"},
	{"af_vsock", cfg_set_space, D(space.dir)},
	{"af_vsock_mode", cfg_set_mode, D(space.mode), .max = 0777, .initial = 0660},
	{"af_vsock_owner", cfg_set_owner, MEMBERS(cfg, space.uid, space.gid),
	 .initial = UINT32_MAX},
	{"af_vsock_low_ports", cfg_add_low, MEMBERS(cfg, space.low_users, space.n_low_groups),
	 .list = true},
	{0},
};

#define VM_HAS_IT "this VM has been given its region by its host, and the driver finds it"
const struct key cfg_guest_keys[] = {
	{"cid", cfg_set_cid, G(cid),
	 .absent = {[CFG_AS_GUEST] = "the device says which CID it has"}},
	{"socket", cfg_add_socket, MEMBERS(cfg_guest, devices, n_devices), .list = true,
	 .absent = {[CFG_AS_GUEST] = "uri says which device it is"}},
	{"mode", cfg_set_vhost_mode, G(client),
	 .absent = {[CFG_AS_GUEST] = "zvsockd connects to the device, which is there first"}},
	{"memory", cfg_set_memory, G(disk),
	 .absent = {[CFG_AS_GUEST] = "the memory of a device is zvsockd's own"}},
	{"uri", cfg_set_uri, MEMBERS(cfg_guest, scheme, n_devices),
	 .absent = {[CFG_AS_HOST] = "it names a device that zvsockd drives as a guest, and a guest "
				    "has a socket"}},
	{"queues", cfg_set_u32, G(queues), .min = 1, .max = ZV_QUEUES_MAX},
	{"ring_size", cfg_set_ring_size, G(ring_size), .min = 16, .max = 32768, .label = "ring",
	 .words = "descriptors"},
	{"buf_alloc", cfg_set_size, G(buf_alloc), .min = 4096, .max = 1u << 30, .initial = 262144},
	{"rx_memory", cfg_set_size, G(rx_memory), .min = 65536, .max = 1u << 30, .label = "memory",
	 .words = "at most for payload of all its connections"},
	{"max_conns", cfg_set_u32, G(max_conns), .min = 1, .max = 1u << 24, .initial = 65536},
	{"programs", cfg_set_u32, G(programs), .max = 4096, .initial = 64, .label = "programs",
	 .words = "on the guest's own driver that can have channels",
	 .absent = {[CFG_AS_GUEST] = "the host has it, for programs of its guests"}},
	{"connect_timeout_ms", cfg_set_u32, G(connect_timeout_ms), .min = 10, .max = 600000,
	 .initial = 2000, .label = "timeout", .words = "ms for a connect to be answered"},
	{"tx_timeout_ms", cfg_set_u32, G(tx_timeout_ms), .min = 100, .max = 600000, .initial = 5000,
	 .label = "lost", .words = "ms after it has taken no packet",
	 .absent = {[CFG_AS_HOST] = "a guest's driver has it, not its host"}},
	{"region", cfg_set_size, G(region), .min = 16u << 20, .max = 4080u << 20,
	 .absent = {[CFG_AS_GUEST] = VM_HAS_IT}},
	{"region_path", cfg_set_region_path, G(region_path),
	 .absent = {[CFG_AS_GUEST] = VM_HAS_IT}},
	{"region_kind", cfg_set_region_kind, G(region_kind),
	 .absent = {[CFG_AS_GUEST] = VM_HAS_IT}},
	{"socket_mode", cfg_set_mode, G(socket_mode), .max = 0777, .initial = 0600},
	{"socket_owner", cfg_set_owner, MEMBERS(cfg_guest, socket_uid, socket_gid),
	 .initial = UINT32_MAX},
	{"af_vsock", cfg_set_space, G(space.dir)},
	{"af_vsock_mode", cfg_set_mode, G(space.mode), .max = 0777, .initial = UINT32_MAX},
	{"af_vsock_owner", cfg_set_owner, MEMBERS(cfg_guest, space.uid, space.gid),
	 .initial = UINT32_MAX},
	{"af_vsock_low_ports", cfg_add_low, MEMBERS(cfg_guest, space.low_users, space.n_low_groups),
	 .list = true},
	{0},
};

/* ---- values -------------------------------------------------------------------------------- */

void cfg_initial(void *obj, const struct key *keys)
{
	for (const struct key *k = keys; k->name; k++) {
		uint32_t *word = cfg_member(obj, k);

		for (size_t i = 0; k->initial && i < k->size / sizeof(*word); i++)
			word[i] = k->initial;
	}
}

bool cfg_same(const void *a, const void *b, const struct key *k)
{
	return memcmp((const char *)a + k->offset, (const char *)b + k->offset, k->size) == 0;
}

void cfg_keep_text(void *obj, const struct key *k, const char *text)
{
	memset(cfg_member(obj, k), 0, k->size);
	memcpy(cfg_member(obj, k), text, strlen(text));
}

/* ---- finding keys -------------------------------------------------------------------------- */

/* The @i-th table of keys of [daemon], or of guests and devices: ours, then those of the parts.
 * NULL: no more. */
static const struct key *table(const struct load *l, bool daemon, unsigned i)
{
	static const struct key none = {0};

	if (i == 0)
		return daemon ? cfg_daemon_keys : cfg_guest_keys;
	if (daemon || !l->cfg->parts[i - 1])
		return NULL;
	return l->cfg->parts[i - 1]->keys ? l->cfg->parts[i - 1]->keys : &none;
}

/* Where a key was found. */
struct found {
	const struct key *key; /* NULL: unknown key */
	unsigned table;
	unsigned number; /* in all tables of the section */
};

static struct found find(const struct load *l, bool daemon, const char *name)
{
	struct found f = {0};
	const struct key *k;

	for (; (k = table(l, daemon, f.table)); f.table++)
		for (; k->name; k++, f.number++)
			if (strcmp(k->name, name) == 0) {
				f.key = k;
				return f;
			}
	return f;
}

struct pos *cfg_positions(struct load *l, bool daemon)
{
	struct pos *at = calloc(find(l, daemon, "").number, sizeof(*at));

	if (!at)
		l->no_memory = true;
	return at;
}

/* Letters to change, add or drop, or to exchange with their neighbour, to get from @a to @b. */
static unsigned distance(const char *a, const char *b)
{
	enum { LONG = 24 };
	unsigned d[LONG + 1][LONG + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > LONG || lb > LONG)
		return UINT_MAX;
	for (unsigned i = 0; i <= la; i++) {
		for (unsigned j = 0; j <= lb; j++) {
			unsigned best = i + j;

			if (i && j)
				best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
			if (i && d[i - 1][j] + 1 < best)
				best = d[i - 1][j] + 1;
			if (j && d[i][j - 1] + 1 < best)
				best = d[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    d[i - 2][j - 2] + 1 < best)
				best = d[i - 2][j - 2] + 1;
			d[i][j] = best;
		}
	}
	return d[la][lb];
}

/* Name of the section that is being read: "daemon", "guest NAME" or "device NAME". */
static const char *section_text(const struct load *l, char *buf, size_t len)
{
	if (l->guest == UINT_MAX)
		return "daemon";
	(void)snprintf(buf, len, "%s NAME", cfg_roles[l->cfg->guests[l->guest].role].section);
	return buf;
}

/* Why @k is not allowed in the section that is being read; NULL: it is allowed. */
static const char *unfit(const struct load *l, const struct key *k)
{
	return l->guest == UINT_MAX ? NULL : k->absent[l->cfg->guests[l->guest].role];
}

static void unknown_key(struct load *l, bool daemon, const char *name)
{
	const struct key *nearest = NULL, *k = find(l, !daemon, name).key;
	unsigned best = strlen(name) > 4 ? 4 : 3; /* from here on it is another word */
	char buf[32];
	const char *section = section_text(l, buf, sizeof(buf));

	if (k) {
		cfg_wrong(l, "%s is not a key of [%s]; move it to %s", name, section,
			  !daemon		   ? "[daemon]"
			  : k->absent[CFG_AS_HOST] ? "[device NAME]"
						   : "[guest NAME]");
		return;
	}
	for (unsigned i = 0; (k = table(l, daemon, i)); i++)
		for (; k->name; k++) {
			unsigned d = distance(name, k->name);

			if (d < best && !unfit(l, k)) {
				best = d;
				nearest = k;
			}
		}
	if (nearest)
		cfg_wrong(l, "%s is an unknown key; did you mean %s?", name, nearest->name);
	else
		cfg_wrong(l, "%s is an unknown key; zvsock.conf(5) lists those of [%s]", name,
			  section);
}

/* Every value of "A, B,C". */
static void each_of_list(struct load *l, void *obj, const struct key *k, char *value)
{
	while (value) {
		char *comma = strchr(value, ','), *end;

		if (comma)
			*comma = 0;
		value += strspn(value, " \t");
		end = value + strlen(value);
		while (end > value && strchr(" \t", end[-1]))
			*--end = 0;
		if (*value)
			k->set(l, obj, k, value);
		else
			cfg_wrong(l, "%s has an empty item; take the comma out", k->name);
		value = comma ? comma + 1 : NULL;
	}
}

static void *object(struct load *l, unsigned from_table)
{
	struct cfg_guest *g;

	if (l->guest == UINT_MAX)
		return l->cfg;
	g = &l->cfg->guests[l->guest];
	return from_table ? g->part[from_table - 1] : g;
}

void cfg_item(struct load *l, const char *name, char *value)
{
	bool daemon = l->guest == UINT_MAX;
	struct section *s = daemon ? &l->daemon : &l->sections[l->guest];
	struct found f = find(l, daemon, name);
	const struct key *k = f.key;
	char buf[32];
	struct pos *at;

	if (!k) {
		unknown_key(l, daemon, name);
		return;
	}
	if (unfit(l, k)) {
		cfg_wrong(l, "%s is not a key of [%s]: %s; take it out", name,
			  section_text(l, buf, sizeof(buf)), unfit(l, k));
		return;
	}
	at = &s->at[f.number];
	if (!k->list && l->now.line && at->line) {
		cfg_wrong(l, "%s is given twice, first in line %u; keep one", name, at->line);
		return;
	}
	if (!k->list && l->now.word && at->word == l->now.word) {
		cfg_wrong(l, "%s is given twice; keep one", name);
		return;
	}
	l->again = pos_given(at);
	*at = l->now;
	if (!*value)
		cfg_wrong(l, "%s has no value; write one or take the key out", name);
	else if (k->list)
		each_of_list(l, object(l, f.table), k, value);
	else
		k->set(l, object(l, f.table), k, value);
}

const struct pos *cfg_where(const struct load *l, unsigned guest, const char *key)
{
	bool daemon = guest == UINT_MAX;
	const struct section *s = daemon ? &l->daemon : &l->sections[guest];
	const struct pos *at = &s->at[find(l, daemon, key).number];

	return pos_given(at) ? at : &s->pos;
}
