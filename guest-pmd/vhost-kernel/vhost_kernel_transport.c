/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `vhost-kernel:cid=N` transport: the guest's driver in a process that is its own VMM, and the
 * kernel's vhost-vsock as the device. The host's side is any program with AF_VSOCK sockets.
 */
#include "vhost_kernel_transport.h"

#include "proto/vsock/vsock_device.h"
#include "transport/guest_dev.h"
#include "vhost_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct vhost_kernel_dev {
	struct guest_dev g; /* first */
	struct vhost_kernel k;
	char name[16]; /* cid=N */
};

static struct vhost_kernel *kernel_of(struct guest_dev *g)
{
	return &((struct vhost_kernel_dev *)g)->k;
}

static int link_connect(struct guest_dev *g)
{
	struct vhost_kernel *k = kernel_of(g);
	int ret = vhost_kernel_open(k);

	if (ret)
		return ret;
	g->has = (struct guest_features){.rings = vsock_rings_choose(vsock_rings, k->features),
					 .event_idx = k->features & VSOCK_FEATURE_EVENT_IDX};
	guest_dev_set_cid(g, k->cid);
	return 0;
}

static int start_ring(struct guest_dev *g, unsigned index, const struct virtq *vq, int call_fd,
		      const struct virtq_notify *kick)
{
	struct virtq_areas areas;

	g->has.rings->layout->areas(vq, &areas);
	return vhost_kernel_set_ring(kernel_of(g), index, &areas, call_fd, kick->fd);
}

static int link_start(struct guest_dev *g)
{
	const struct vsock_pair *p = &g->pair[0];
	int ret = vhost_kernel_set_memory(kernel_of(g), g->mem.addr, g->mem.size, GUEST_GPA_BASE);

	if (ret == 0)
		ret = start_ring(g, VSOCK_VQ_RX, &p->rx, p->call_fd, &p->kick_rx);
	if (ret == 0)
		ret = start_ring(g, VSOCK_VQ_TX, &p->tx, p->call_fd, &p->kick_tx);
	return ret ? ret : vhost_kernel_run(kernel_of(g));
}

static void link_disconnect(struct guest_dev *g)
{
	vhost_kernel_close(kernel_of(g));
}

static int link_fd(struct guest_dev *g)
{
	return kernel_of(g)->err_fd;
}

/* Such a device has no other events: its module stays loaded while it is open. */
static const char *link_lost(struct guest_dev *g)
{
	(void)g;
	return "the kernel finds a ring broken";
}

static void link_destroy(struct guest_dev *g)
{
	free(g);
}

static const struct guest_link_ops link_ops = {
	.map = guest_dev_map_gpa,
	.connect = link_connect,
	.start = link_start,
	.disconnect = link_disconnect,
	.fd = link_fd,
	.lost = link_lost,
	.destroy = link_destroy,
};

int vhost_kernel_parse(uint64_t *cid, const char *rest)
{
	const char *n = rest + 4;
	size_t digits;

	if (strncmp(rest, "cid=", 4) != 0)
		return zv_err(-EINVAL, "vhost-kernel: '%s': write vhost-kernel:cid=N", rest);
	digits = strspn(n, "0123456789");
	if (digits == 0 || digits > 10 || n[digits])
		return zv_err(-EINVAL,
			      "vhost-kernel: '%s' is no CID; write vhost-kernel:cid=N with N in "
			      "decimal",
			      n);
	*cid = strtoull(n, NULL, 10);
	if (!vsock_cid_is_guest(*cid))
		return zv_err(-EINVAL,
			      "vhost-kernel: CID %s cannot be a guest's; take one from 3 to "
			      "4294967294",
			      n);
	return 0;
}

static int vhost_kernel_transport_open(struct transport_dev **out, const char *rest,
				       const struct zv_opts *opts)
{
	struct vhost_kernel_dev *dev;
	uint64_t cid = 0;
	int ret = vhost_kernel_parse(&cid, rest);

	if (ret)
		return ret;
	if (opts->queues > 1)
		return zv_err(-ERANGE,
			      "vhost-kernel:%s: the kernel's device has one queue pair, not %u: "
			      "open with queues=1",
			      rest, opts->queues);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zv_err(-ENOMEM, "no memory for the device vhost-kernel:%s", rest);
	vhost_kernel_init(&dev->k, VHOST_KERNEL_PATH, cid);
	(void)snprintf(dev->name, sizeof(dev->name), "cid=%u", (unsigned)cid);
	dev->g.d.ops = &vhost_kernel_transport_ops;
	dev->g.link = &link_ops;
	dev->g.scheme = vhost_kernel_transport_ops.scheme;
	dev->g.name = dev->name;
	ret = guest_dev_open(&dev->g, opts);
	if (ret == 0)
		*out = &dev->g.d;
	return ret;
}

const struct transport_ops vhost_kernel_transport_ops = {
	.scheme = "vhost-kernel",
	.role = ZV_ROLE_GUEST,
	.open = vhost_kernel_transport_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
};
