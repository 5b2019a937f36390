/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory is part of a BAR of the device, so it belongs to the device's own driver, which has
 * mapped it (vm_region_env.own). Its physical address is that of the BAR.
 */
#include "region_virtio.h"

#include "transport.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME "virtio"

static bool virtio_named(const char *name)
{
	return strcmp(name, NAME) == 0;
}

static int virtio_find(const struct vm_region_env *p, char name[][VM_REGION_NAME], unsigned max)
{
	if (!p->own || !max)
		return 0;
	(void)snprintf(name[0], VM_REGION_NAME, NAME);
	return 1;
}

static int virtio_map(struct vm_region *r, const struct vm_region_env *p)
{
	if (!p->own)
		return zv_err(
			-ENODEV,
			"region=" NAME ": the vsock device has no shared memory; it takes "
			"region_kind = virtio in zvsockd's configuration, and QEMU 11 or later "
			"with the device that \"zvsockctl qemu-args\" prints");
	r->addr = p->own->addr;
	r->size = p->own->size;
	r->gpa = p->own->gpa;
	r->page_size = VM_REGION_PAGE_MIN;
	return vm_region_check(r);
}

/* It goes with the device. */
static void virtio_unmap(struct vm_region *r)
{
	(void)r;
}

const struct vm_region_kind vm_region_virtio = {
	.name = NAME,
	.deferred = true,
	.named = virtio_named,
	.find = virtio_find,
	.map = virtio_map,
	.unmap = virtio_unmap,
};
