/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Configuration values of the memory that a VM shares with its host. QEMU creates the file and
 * gives it to the VM, except for VIRTIO shared memory; zvsockctl qemu-args prints how. See
 * config_int.h.
 */
#include "config_int.h"

#include <string.h>

#define NVDIMM_UNIT (16u << 20) /* Linux takes no other sizes as a dax device */
#define VIRTIO_UNIT (2u << 20)	/* it is made of hugepages */

const char *const cfg_region_kinds[] = {
	[CFG_NVDIMM] = "nvdimm", [CFG_IVSHMEM] = "ivshmem", [CFG_VIRTIO] = "virtio"};

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
	uint32_t kind = 0;

	while (kind < CFG_REGION_KINDS && strcmp(value, cfg_region_kinds[kind]) != 0)
		kind++;
	if (kind == CFG_REGION_KINDS)
		cfg_wrong(l, "%s = %s is unknown; write nvdimm, ivshmem or virtio", k->name, value);
	else
		*(uint32_t *)cfg_member(obj, k) = kind;
}

static void check_size(struct load *l, unsigned i, const struct cfg_guest *g)
{
	if (g->region_kind == CFG_VIRTIO && g->region % VIRTIO_UNIT)
		cfg_fault(l, cfg_where(l, i, "region"),
			  "guest %s: a region of %u KiB as VIRTIO shared memory is no multiple of "
			  "2M; take 64M",
			  g->name, g->region >> 10);
	else if (g->region_kind == CFG_IVSHMEM && (g->region & (g->region - 1)))
		cfg_fault(l, cfg_where(l, i, "region"),
			  "guest %s: a region of %u KiB as an ivshmem device is no power of two; "
			  "take 64M or 128M",
			  g->name, g->region >> 10);
	else if (g->region_kind == CFG_NVDIMM && g->region % NVDIMM_UNIT)
		cfg_fault(
			l, cfg_where(l, i, "region"),
			"guest %s: a region of %u KiB as an NVDIMM is no multiple of 16M; take 64M "
			"or 80M",
			g->name, g->region >> 10);
}

void cfg_check_vm_region(struct load *l, unsigned i)
{
	const struct cfg_guest *g = &l->cfg->guests[i];

	if (g->region_kind == CFG_VIRTIO && *g->region_path)
		cfg_fault(l, cfg_where(l, i, "region_path"),
			  "guest %s has region_kind = virtio and a region_path; take that away: "
			  "zvsockd makes this memory itself, and it has no file",
			  g->name);
	else if (g->region_kind == CFG_VIRTIO && !g->region)
		cfg_fault(l, cfg_where(l, i, "region_kind"),
			  "guest %s has a region_kind and no region; write region = SIZE, such as "
			  "64M",
			  g->name);
	else if (g->region && !*g->region_path && g->region_kind != CFG_VIRTIO)
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
