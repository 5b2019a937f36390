/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_dev.h"

#include "region/vm_region.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OPTION	      "region="
#define SIZE_MIN      (1ull << 20)
#define SIZE_MAX_MADE (1ull << 40)

enum cache_state { NOT_MEASURED, CACHED, NOT_CACHED };

/* A mapped region, or a part of one. */
struct mapping {
	struct region_map map; /* first */
	struct vm_region found;
	struct shm_region made;
	struct region_map *parent; /* if this is a part of another mapping */
	enum cache_state cached;   /* of a deferred region; atomic */
	uint32_t present;	   /* the host has announced it; atomic */
};

static void mapping_free(struct region_map *m)
{
	struct mapping *h = (struct mapping *)(void *)m;

	vm_region_close(&h->found);
	shm_region_destroy(&h->made);
	if (h->parent)
		region_map_put(h->parent);
	free(h);
}

static struct mapping *mapping_new(const char *scheme)
{
	struct mapping *h = calloc(1, sizeof(*h));

	if (!h) {
		(void)zv_err(-ENOMEM, "%s: no memory for a region", scheme);
		return NULL;
	}
	h->map.refs = 1;
	h->map.free = mapping_free;
	h->made.fd = -1;
	return h;
}

/* ---- the option ---- */

int own_region_option(const char *scheme, const char *rest, char **names, const char **which)
{
	size_t len = strlen(rest);
	bool first = true;
	char *copy = malloc(2 * (len + 1)), *to = copy;

	*names = copy;
	*which = NULL;
	if (!copy)
		return zv_err(-ENOMEM, "%s: no memory for the names of devices", scheme);
	for (const char *p = rest;; p++) {
		size_t n = strcspn(p, ",");

		if (strncmp(p, OPTION, strlen(OPTION)) == 0) {
			if (*which) {
				free(copy);
				return zv_err(-EINVAL, "%s:%s: region= is there twice", scheme,
					      rest);
			}
			*which = copy + len + 1;
			memcpy(copy + len + 1, p + strlen(OPTION), n - strlen(OPTION));
			copy[len + 1 + n - strlen(OPTION)] = 0;
		} else {
			if (!first)
				*to++ = ',';
			first = false;
			memcpy(to, p, n);
			to += n;
		}
		p += n;
		if (!*p)
			break;
	}
	*to = 0;
	return 0;
}

static bool none(const char *which, const struct zv_opts *opts)
{
	return (opts->flags & ZV_OPT_NO_CHANNEL) || (which && strcmp(which, "none") == 0);
}

/* ---- finding or creating a region ---- */

int own_region_find(struct own_region *r, const char *scheme, const char *which,
		    const struct zv_opts *opts, const struct vm_region_own *own)
{
	const struct vm_region_env place = {.root = "", .own = own};
	bool named = which && strcmp(which, "auto") != 0;
	struct mapping *h;
	int ret;

	*r = (struct own_region){.fd = -1};
	if (none(which, opts))
		return 0;
	h = mapping_new(scheme);
	if (!h)
		return -ENOMEM;
	ret = vm_region_open(&h->found, which ? which : "auto", &place);
	if (ret) {
		free(h);
		if (named || ret == -ENOENT)
			return named ? ret : 0;
		zv_log(ZV_LOG_WARN, "%s: no channels, payload goes through virtqueues: %s", scheme,
		       zv_error_text());
		return 0;
	}
	h->map.addr = h->found.addr;
	h->map.size = h->found.size;
	*r = (struct own_region){&h->map, h->found.gpa, h->found.size, -1};
	zv_log(ZV_LOG_INFO, "%s: region %s: %llu MiB at guest address 0x%llx", scheme,
	       h->found.name, (unsigned long long)r->size >> 20, (unsigned long long)r->gpa.v);
	return 0;
}

/* Parses a size as "64M". 0: it is none. */
static uint64_t parse_size(const char *text)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	uint64_t n;

	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (errno || (*end && (!unit || end[1])))
		return 0;
	for (long shift = unit ? unit - units + 1 : 0; shift > 0; shift--)
		if (__builtin_mul_overflow(n, 1024, &n))
			return 0;
	return n;
}

int own_region_make(struct own_region *r, const char *scheme, const char *which, struct gpa gpa,
		    const struct zv_opts *opts)
{
	uint64_t size;
	struct mapping *h;
	int ret;

	*r = (struct own_region){.fd = -1};
	if (!which || none(which, opts))
		return 0;
	size = parse_size(which);
	if (size < SIZE_MIN || size > SIZE_MAX_MADE)
		return zv_err(
			-EINVAL,
			"%s: region=%s: a device without a VM makes its region: write none, or "
			"its size, from 1M to 1T",
			scheme, which);
	h = mapping_new(scheme);
	if (!h)
		return -ENOMEM;
	ret = shm_region_create(&h->made, "zvsock-region", size,
				opts->flags & ZV_OPT_NO_HUGE ? SHM_NO_HUGE : 0);
	if (ret) {
		free(h);
		return zv_err(ret, "%s: no region of %llu MiB: %s", scheme,
			      (unsigned long long)size >> 20, zv_strerror(ret));
	}
	h->map.addr = h->made.addr;
	h->map.size = h->made.size;
	*r = (struct own_region){&h->map, gpa, h->made.size, h->made.fd};
	return 0;
}

static bool is_deferred(const struct mapping *h)
{
	return h->found.kind && h->found.kind->deferred;
}

bool own_region_present(const struct own_region *r)
{
	const struct mapping *h = (const struct mapping *)(const void *)r->map;

	return h && (!is_deferred(h) || __atomic_load_n(&h->present, __ATOMIC_ACQUIRE));
}

bool own_region_announced(const struct own_region *r)
{
	return r->map && __atomic_load_n(&((const struct mapping *)(const void *)r->map)->present,
					 __ATOMIC_ACQUIRE);
}

int own_region_file(const struct own_region *r)
{
	const struct mapping *h = (const struct mapping *)(const void *)r->map;

	return !h ? -1 : h->found.kind ? h->found.fd : h->made.fd;
}

void own_region_lost(const struct own_region *r)
{
	if (r->map)
		__atomic_store_n(&((struct mapping *)(void *)r->map)->present, 0, __ATOMIC_RELAXED);
}

void own_region_release(struct own_region *r)
{
	if (r->map)
		region_map_put(r->map);
	*r = (struct own_region){.fd = -1};
}

/* ---- called by the socket layer ---- */

int own_region_offer(const struct own_region *r, struct ctrl_offer *out)
{
	if (!r->map)
		return -ENOENT;
	*out = (struct ctrl_offer){.gpa = r->gpa.v, .size = r->size};
	return 0;
}

/*
 * Measures a deferred region. It can be accessed now, because the host has announced it. Two queues
 * may do so at the same time.
 */
static int check_deferred(const struct own_region *r, const char *scheme, const char *name)
{
	struct mapping *h = (struct mapping *)(void *)r->map;
	enum cache_state cached = __atomic_load_n(&h->cached, __ATOMIC_RELAXED);
	struct vm_region measured = h->found;

	if (!is_deferred(h))
		return 0;
	if (cached == CACHED || (cached == NOT_MEASURED && vm_region_measure(&measured) == 0)) {
		__atomic_store_n(&h->cached, CACHED, __ATOMIC_RELAXED);
		return 0;
	}
	if (cached == NOT_MEASURED)
		zv_log(ZV_LOG_WARN, "%s %s: no channels, payload goes through virtqueues: %s",
		       scheme, name, zv_error_text());
	__atomic_store_n(&h->cached, NOT_CACHED, __ATOMIC_RELAXED);
	return -EOPNOTSUPP;
}

/* Maps the part that the host has announced, by its address. */
int own_region_map_part(const struct own_region *r, const char *scheme, const char *name,
			unsigned queue, const struct ctrl_region *at, struct region_map **out)
{
	uint64_t off = at->gpa - r->gpa.v;
	struct mapping *h;
	int ret;

	if (!r->map || off >= r->size || !at->size || at->size > r->size - off) {
		zv_log(ZV_LOG_WARN,
		       "%s %s: queue %u: the host names a region of %llu bytes at 0x%llx, which is "
		       "not in ours: declined",
		       scheme, name, queue, (unsigned long long)at->size,
		       (unsigned long long)at->gpa);
		return -ENXIO;
	}
	ret = check_deferred(r, scheme, name);
	if (ret)
		return ret;
	__atomic_store_n(&((struct mapping *)(void *)r->map)->present, 1, __ATOMIC_RELEASE);
	if (off == 0 && at->size == r->size) {
		*out = region_map_hold(r->map);
		return 0;
	}
	h = mapping_new(scheme);
	if (!h)
		return -ENOMEM;
	h->map.addr = (uint8_t *)r->map->addr + off;
	h->map.size = at->size;
	h->parent = region_map_hold(r->map);
	*out = &h->map;
	return 0;
}

static int offer(struct transport_dev *d, unsigned queue, struct ctrl_offer *out)
{
	(void)queue;
	return own_region_offer(&((struct guest_dev *)(void *)d)->own, out);
}

static int map(struct transport_dev *d, unsigned queue, const struct ctrl_region *at,
	       struct region_map **out)
{
	struct guest_dev *g = (struct guest_dev *)(void *)d;
	int ret = own_region_map_part(&g->own, g->scheme, g->name, queue, at, out);

	if (ret == 0)
		eventfd_signal(g->regions.fd); /* guest_alive_update() */
	return ret;
}

/* A map is freed with its last reference. */
static void forget(struct transport_dev *d, unsigned queue, uint64_t id)
{
	(void)d;
	(void)queue;
	(void)id;
}

const struct transport_region_ops own_region_ops = {
	.offer = offer,
	.map = map,
	.forget = forget,
};
