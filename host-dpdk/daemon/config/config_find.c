/* SPDX-License-Identifier: BSD-3-Clause */
/* Look-ups in a configuration, for each connection: in sorted arrays, which may be long. */
#include "config_int.h"

#include <stdlib.h>

static int by_number(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int builtin_order(const void *a, const void *b)
{
	return by_number(((const struct cfg_builtin *)a)->port,
			 ((const struct cfg_builtin *)b)->port);
}

static int tcp_order(const void *a, const void *b)
{
	return by_number(((const struct cfg_tcp *)a)->port, ((const struct cfg_tcp *)b)->port);
}

static int vsock_order(const void *a, const void *b)
{
	return by_number(((const struct cfg_ports *)a)->first,
			 ((const struct cfg_ports *)b)->first);
}

static int id_order(const void *a, const void *b)
{
	return by_number(*(const uint32_t *)a, *(const uint32_t *)b);
}

static void sort(void *array, unsigned n, size_t size, int (*order)(const void *, const void *))
{
	if (n)
		qsort(array, n, size, order);
}

void cfg_sort(struct cfg *c)
{
	for (unsigned i = 0; i < c->n_guests; i++) {
		struct cfg_guest *g = &c->guests[i];

		sort(g->builtin, g->n_builtin, sizeof(*g->builtin), builtin_order);
		sort(g->tcp, g->n_tcp, sizeof(*g->tcp), tcp_order);
		sort(g->vsock, g->n_vsock, sizeof(*g->vsock), vsock_order);
		sort(g->low_uids, g->n_low_uids, sizeof(*g->low_uids), id_order);
		sort(g->low_gids, g->n_low_gids, sizeof(*g->low_gids), id_order);
	}
}

static void *find(const void *key, const void *array, unsigned n, size_t size,
		  int (*order)(const void *, const void *))
{
	return n ? bsearch(key, array, n, size, order) : NULL;
}

const struct cfg_builtin *cfg_builtin_at(const struct cfg_guest *g, uint32_t port)
{
	const struct cfg_builtin key = {.port = port};

	return find(&key, g->builtin, g->n_builtin, sizeof(key), builtin_order);
}

const struct cfg_tcp *cfg_tcp_at(const struct cfg_guest *g, uint32_t port)
{
	const struct cfg_tcp key = {.port = port};

	return find(&key, g->tcp, g->n_tcp, sizeof(key), tcp_order);
}

/* The key is a range of one port. */
static int in_range(const void *a, const void *b)
{
	const struct cfg_ports *key = a, *range = b;

	if (key->first > range->last)
		return 1;
	return key->first < range->first ? -1 : 0;
}

const struct cfg_ports *cfg_vsock_at(const struct cfg_guest *g, uint32_t port)
{
	const struct cfg_ports key = {port, port};

	return find(&key, g->vsock, g->n_vsock, sizeof(key), in_range);
}

bool cfg_low_ports_of(const struct cfg_guest *g, uid_t uid, gid_t gid)
{
	return find(&uid, g->low_uids, g->n_low_uids, sizeof(uid), id_order) ||
	       find(&gid, g->low_gids, g->n_low_gids, sizeof(gid), id_order);
}
