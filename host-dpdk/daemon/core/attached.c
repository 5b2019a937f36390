/* SPDX-License-Identifier: BSD-3-Clause */
#include "attached.h"

#include "log.h"

const char *attached_hint(const struct guest *g, const struct zv_dev_info *info, uint64_t now)
{
	if (!info->attached_ns || info->queues_up || info->flags & ZV_DEV_RAN ||
	    cfg_roles[g->cfg->role].attached || now < info->attached_ns + ATTACHED_HINT_NS)
		return NULL;
	return "a VMM is attached, but has started no queue so far. The guest may still be "
	       "booting. "
	       "If it is not: share the VM's memory (QEMU: share=on and -machine "
	       "memory-backend=ID), load the guest's driver (modprobe "
	       "vmw_vsock_virtio_transport), and give the VM a vsock device on this socket: "
	       "docs/qemu.md, \"When it does not work\"";
}

void attached_check(struct guest *g, uint64_t now)
{
	struct zv_dev_info info = {.size = sizeof(info)};
	const char *hint;

	(void)zv_dev_info(g->dev, &info);
	hint = attached_hint(g, &info, now);
	if (!hint || g->hinted_ns == info.attached_ns)
		return;
	g->hinted_ns = info.attached_ns;
	log_line(ZV_LOG_WARN, g->name, "%s", hint);
}
