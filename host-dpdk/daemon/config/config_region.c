/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of the configuration: memory that a VM shares with its host. It is QEMU that makes the
 * file and gives it to the VM; zvsockctl qemu-args prints how. See config_int.h.
 */
#include "config_int.h"

#include <string.h>

#define NVDIMM_UNIT (16u << 20) /* Linux takes no other sizes as a dax device */

void cfg_set_region_path(struct load *l, void *obj, const struct key *k, char *value)
{
	size_t len = strlen(value);

	if (value[0] != '/' || value[len - 1] == '/')
		cfg_wrong(l, "%s = %s is no file's absolute path; begin it with \"/\"", k->name,
			  value);
	else if (len >= CFG_PATH_MAX)
		cfg_wrong(l, "%s = %s has %zu bytes, %u can be taken; choose a shorter path",
			  k->name, value, len, CFG_PATH_MAX - 1);
	else
		cfg_keep_text(obj, k, value);
}

void cfg_set_region_kind(struct load *l, void *obj, const struct key *k, char *value)
{
	bool ivshmem = strcmp(value, "ivshmem") == 0;

	if (!ivshmem && strcmp(value, "nvdimm") != 0)
		cfg_wrong(l, "%s = %s is unknown; write nvdimm or ivshmem", k->name, value);
	else
		*(bool *)cfg_member(obj, k) = ivshmem;
}

static void check_size(struct load *l, unsigned i, const struct cfg_guest *g)
{
	if (g->region_ivshmem && (g->region & (g->region - 1)))
		cfg_fault(l, cfg_where(l, i, "region"),
			  "guest %s: a region of %u KiB as an ivshmem device is no power of two; "
			  "take 64M or 128M",
			  g->name, g->region >> 10);
	else if (!g->region_ivshmem && g->region % NVDIMM_UNIT)
		cfg_fault(
			l, cfg_where(l, i, "region"),
			"guest %s: a region of %u KiB as an NVDIMM is no multiple of 16M; take 64M "
			"or 80M",
			g->name, g->region >> 10);
}

void cfg_check_vm_region(struct load *l, unsigned i)
{
	const struct cfg_guest *g = &l->cfg->guests[i];

	if (g->region && !*g->region_path)
		cfg_fault(l, cfg_where(l, i, "region"),
			  "guest %s has a region and no region_path; write region_path = PATH, a "
			  "file on hugetlbfs (/dev/hugepages/%s) or tmpfs that QEMU makes",
			  g->name, g->name);
	else if (*g->region_path && !g->region)
		cfg_fault(l, cfg_where(l, i, "region_path"),
			  "guest %s has a region_path and no region; write region = SIZE, such as "
			  "64M",
			  g->name);
	else if (g->region)
		check_size(l, i, g);
}
