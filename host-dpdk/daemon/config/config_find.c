/* SPDX-License-Identifier: BSD-3-Clause */
/* Look-ups in a configuration, for each connection: in sorted arrays, which may be long. */
#include "config_part.h"

#include <stdlib.h>
#include <string.h>

static int by_number(uint32_t a, uint32_t b)
{
	return a < b ? -1 : a > b;
}

static int by_first_port(const void *a, const void *b)
{
	return by_number(((const struct cfg_ports *)a)->first,
			 ((const struct cfg_ports *)b)->first);
}

/* The key is a port. */
static int in_range(const void *key, const void *element)
{
	uint32_t port = *(const uint32_t *)key;
	const struct cfg_ports *range = element;

	if (port > range->last)
		return 1;
	return port < range->first ? -1 : 0;
}

static int by_id(const void *a, const void *b)
{
	return by_number(*(const uint32_t *)a, *(const uint32_t *)b);
}

void cfg_sort_ports(struct cfg_array *a, size_t size)
{
	if (a->n)
		qsort(a->v, a->n, size, by_first_port);
}

const void *cfg_find_port(const struct cfg_array *a, size_t size, uint32_t port)
{
	return a->n ? bsearch(&port, a->v, a->n, size, in_range) : NULL;
}

void cfg_sort_ids(struct cfg_array *a)
{
	if (a->n)
		qsort(a->v, a->n, sizeof(uint32_t), by_id);
}

bool cfg_has_id(const struct cfg_array *a, uint32_t id)
{
	return a->n && bsearch(&id, a->v, a->n, sizeof(id), by_id);
}

bool cfg_same_array(const struct cfg_array *a, const struct cfg_array *b, size_t size)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->v, b->v, a->n * size) == 0);
}
