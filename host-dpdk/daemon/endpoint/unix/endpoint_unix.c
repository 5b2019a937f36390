/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix endpoint as a whole: configuration, start and end; see endpoint_unix.h. */
#include "endpoint_unix.h"

#include "dir_open.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS_LISTENER 3u /* socket, lock file, directory */
#define FDS_LOOKER   2u /* the socket that it connects, and to which */

/* ---- configuration ---- */

static void set_unix(struct load *l, void *values, const struct key *k, char *value)
{
	if (!cfg_take_path(l, k, value, true))
		return;
	memcpy(cfg_member(values, k), value, strlen(value) + 1);
	cfg_take_rest(l);
}

static void add_low_user(struct load *l, void *values, const struct key *k, char *value)
{
	struct unix_values *v = values;
	uid_t uid, *added;

	if (cfg_uid(l, k, value, &uid) && (added = cfg_add(l, &v->low_uids, sizeof(uid))))
		*added = uid;
}

static void add_low_group(struct load *l, void *values, const struct key *k, char *value)
{
	struct unix_values *v = values;
	gid_t gid, *added;

	if (cfg_gid(l, k, value, &gid) && (added = cfg_add(l, &v->low_gids, sizeof(gid))))
		*added = gid;
}

static const struct key unix_keys[] = {
	{"unix", set_unix, .offset = offsetof(struct unix_values, path)},
	{"low_port_users", add_low_user, .list = true},
	{"low_port_groups", add_low_group, .list = true},
	{0},
};

static void unix_ready(void *values)
{
	struct unix_values *v = values;

	cfg_sort_ids(&v->low_uids);
	cfg_sort_ids(&v->low_gids);
}

static void unix_release(void *values)
{
	struct unix_values *v = values;

	free(v->low_uids.v);
	free(v->low_gids.v);
}

static bool unix_same(const void *a, const void *b)
{
	const struct unix_values *x = a, *y = b;

	return strcmp(x->path, y->path) == 0 &&
	       cfg_same_array(&x->low_uids, &y->low_uids, sizeof(uid_t)) &&
	       cfg_same_array(&x->low_gids, &y->low_gids, sizeof(gid_t));
}

static void unix_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
		       void **scratch, FILE *to)
{
	const struct unix_values *v = values;
	const uid_t *uids = v->low_uids.v;
	const gid_t *gids = v->low_gids.v;

	(void)c;
	(void)scratch;
	if (!*v->path)
		return;
	(void)fprintf(to,
		      "  port        %s: Unix socket %s_PORT\n"
		      "  to %-8s connect to %s and write \"CONNECT PORT\"\n",
		      g->n_ports ? "any other" : "any", v->path, cfg_roles[g->role].peer, v->path);
	(void)fprintf(to, "  low ports   of the %s may be served by root", cfg_roles[g->role].ours);
	for (unsigned i = 0; i < v->low_uids.n; i++)
		(void)fprintf(to, ", user %u", uids[i]);
	for (unsigned i = 0; i < v->low_gids.n; i++)
		(void)fprintf(to, ", group %u", gids[i]);
	(void)fprintf(to, "\n");
}

static const char *unix_socket(const void *values, unsigned i)
{
	const struct unix_values *v = values;

	return i == 0 && *v->path ? v->path : NULL;
}

static unsigned unix_fds(const void *values)
{
	return unix_socket(values, 0) ? FDS_LISTENER + FDS_LOOKER : 0;
}

bool unix_low_ports_of(const struct cfg_guest *g, uid_t uid, gid_t gid)
{
	const struct unix_values *v = unix_values(g);

	return cfg_has_id(&v->low_uids, uid) || cfg_has_id(&v->low_gids, gid);
}

/* ---- start and end ---- */

static int unix_start(struct guest *g)
{
	struct unix_guest *u;
	const char *name;
	int ret;

	if (!*unix_path(g))
		return 0;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	for (unsigned i = 0; i < ZV_QUEUES_MAX; i++)
		TAILQ_INIT(&u->waitq[i].waiting);
	u->dir = -1;
	g->part[ENDPOINT_unix] = u;
	ret = acceptor_start_unix(&u->listener, g, unix_path(g), unix_client_begin, 0);
	if (ret < 0)
		return ret;
	u->passed = acceptor_passed(u->listener);
	/* Once: whoever owns the directory may have something mounted on it later. */
	u->dir = dir_open(unix_path(g), &name);
	if (u->dir < 0) {
		guest_fails(g, "unix socket: %s: cannot open its directory: %s", unix_path(g),
			    zv_strerror(u->dir));
		return u->dir;
	}
	u->name_at = (unsigned)(name - unix_path(g));
	u->looker = unix_looker_new(u->dir);
	return u->looker ? 0 : -ENOMEM;
}

static void unix_stop(struct guest *g)
{
	struct unix_guest *u = unix_guest(g);

	if (!u || !u->listener)
		return;
	acceptor_stop(u->listener);
	u->listener = NULL;
}

static void unix_free(struct guest *g)
{
	struct unix_guest *u = unix_guest(g);

	if (u && u->looker)
		unix_looker_free(u->looker);
	else if (u && u->dir >= 0)
		(void)close(u->dir);
	free(u);
	g->part[ENDPOINT_unix] = NULL;
}

/* ---- the endpoint ---- */

static void unix_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			  size_t len)
{
	if (info->flags & ZV_CONN_INCOMING)
		(void)snprintf(buf, len, "unix:%s_%u", unix_path(g), info->local_port);
	else
		(void)snprintf(buf, len, "unix:%s", unix_path(g));
}

const struct endpoint_ops endpoint_unix = {
	.name = "unix",
	.cfg = {.keys = unix_keys,
		.size = sizeof(struct unix_values),
		.ready = unix_ready,
		.release = unix_release,
		.same = unix_same,
		.print = unix_print,
		.socket = unix_socket,
		.fds = unix_fds},
	.kind = CONN_KIND(endpoint_unix.kind, unix_describe),
	.start = unix_start,
	.stop = unix_stop,
	.free = unix_free,
	.serve = unix_target_serve,
};
