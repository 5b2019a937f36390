/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keys of the configuration; see config_int.h. docs/daemon.md and zvsock.conf(5) describe each,
 * and a test compares them with these tables.
 */
#include "config_int.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#define D(member) offsetof(struct cfg, member)
#define G(member) offsetof(struct cfg_guest, member)

/* The mode of the control socket has a mask instead of a maximum: others must not write. */
const struct key cfg_daemon_keys[] = {
	{"cpus", cfg_set_cpus, 0, 0, 0, false},
	{"poll", cfg_set_poll, D(busy_poll), 0, 0, false},
	{"spin_us", cfg_set_u32, D(spin_us), 0, 1000000, false},
	{"log_level", cfg_set_log_level, D(log_level), 0, 0, false},
	{"drain_ms", cfg_set_u32, D(drain_ms), 0, 600000, false},
	{"max_fds", cfg_set_u32, D(max_fds), 0, 1u << 20, false},
	{"user", cfg_set_user, D(user), 0, 0, false},
	{"group", cfg_set_group, D(group), 0, 0, false},
	{"control", cfg_set_control, D(control_path), 0, 0, false},
	{"control_mode", cfg_set_mode, D(control_mode), 0, 0775, false},
	{0},
};

const struct key cfg_guest_keys[] = {
	{"cid", cfg_set_cid, G(cid), 0, 0, false},
	{"socket", cfg_add_socket, 0, 0, 0, true},
	{"mode", cfg_set_vhost_mode, G(client), 0, 0, false},
	{"queues", cfg_set_u32, G(queues), 1, ZV_QUEUES_MAX, false},
	{"ring_size", cfg_set_ring_size, G(ring_size), 16, 32768, false},
	{"buf_alloc", cfg_set_size, G(buf_alloc), 4096, 1u << 30, false},
	{"rx_memory", cfg_set_size, G(rx_memory), 65536, 1u << 30, false},
	{"max_conns", cfg_set_u32, G(max_conns), 1, 1u << 24, false},
	{"connect_timeout_ms", cfg_set_u32, G(connect_timeout_ms), 10, 600000, false},
	{"socket_mode", cfg_set_mode, G(socket_mode), 0, 0777, false},
	{"socket_owner", cfg_set_owner, 0, 0, 0, false},
	{"low_port_users", cfg_add_low_user, 0, 0, 0, true},
	{"low_port_groups", cfg_add_low_group, 0, 0, 0, true},
	{"groups", cfg_add_sibling_group, 0, 0, 0, true},
	{"unix", cfg_set_unix, G(unix_path), 0, 0, false},
	{"tcp", cfg_add_tcp, 0, 0, 0, true},
	{"vsock", cfg_add_vsock, 0, 0, 0, true},
	{"builtin", cfg_add_builtin, 0, 0, 0, true},
	{0},
};

static_assert(sizeof(cfg_daemon_keys) / sizeof(struct key) <= KEYS_MAX, "struct section");
static_assert(sizeof(cfg_guest_keys) / sizeof(struct key) <= KEYS_MAX, "struct section");

static const struct key *find(const struct key *keys, const char *name)
{
	for (; keys->name; keys++)
		if (strcmp(keys->name, name) == 0)
			return keys;
	return NULL;
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

static void unknown_key(struct load *l, const struct key *keys, const char *name)
{
	bool daemon = keys == cfg_daemon_keys;
	const struct key *nearest = NULL;
	unsigned best = strlen(name) > 4 ? 4 : 3; /* from here on it is another word */

	if (find(daemon ? cfg_guest_keys : cfg_daemon_keys, name)) {
		cfg_fault(l, &l->now, "%s is not a key of [%s]; move it to %s", name,
			  daemon ? "daemon" : "guest NAME", daemon ? "[guest NAME]" : "[daemon]");
		return;
	}
	for (const struct key *k = keys; k->name; k++) {
		unsigned d = distance(name, k->name);

		if (d < best) {
			best = d;
			nearest = k;
		}
	}
	if (nearest)
		cfg_fault(l, &l->now, "%s is an unknown key; did you mean %s?", name,
			  nearest->name);
	else
		cfg_fault(l, &l->now, "%s is an unknown key; zvsock.conf(5) lists those of [%s]",
			  name, daemon ? "daemon" : "guest NAME");
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
			cfg_fault(l, &l->now, "%s has an empty item; take the comma out", k->name);
		value = comma ? comma + 1 : NULL;
	}
}

void cfg_item(struct load *l, const char *name, char *value)
{
	bool daemon = l->guest == UINT_MAX;
	struct section *s = daemon ? &l->daemon : &l->sections[l->guest];
	const struct key *keys = daemon ? cfg_daemon_keys : cfg_guest_keys;
	void *obj = daemon ? (void *)l->cfg : &l->cfg->guests[l->guest];
	const struct key *k = find(keys, name);
	struct pos *at;

	if (!k) {
		unknown_key(l, keys, name);
		return;
	}
	at = &s->at[k - keys];
	if (!k->list && l->now.line && at->line) {
		cfg_fault(l, &l->now, "%s is given twice, first in line %u; keep one", name,
			  at->line);
		return;
	}
	if (!k->list && l->now.word && at->word == l->now.word) {
		cfg_fault(l, &l->now, "%s is given twice; keep one", name);
		return;
	}
	*at = l->now;
	if (!*value)
		cfg_fault(l, &l->now, "%s has no value; write one or take the key out", name);
	else if (k->list)
		each_of_list(l, obj, k, value);
	else
		k->set(l, obj, k, value);
}

const struct pos *cfg_where(const struct load *l, unsigned guest, const char *key)
{
	bool daemon = guest == UINT_MAX;
	const struct key *keys = daemon ? cfg_daemon_keys : cfg_guest_keys;
	const struct section *s = daemon ? &l->daemon : &l->sections[guest];
	const struct pos *at = &s->at[find(keys, key) - keys];

	return pos_given(at) ? at : &s->pos;
}
