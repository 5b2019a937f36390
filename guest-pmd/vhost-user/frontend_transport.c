/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `vhost-user:PATH` transport: the guest's driver in a process that is its own VMM. The backend
 * maps the region that this process owns as "guest memory"; frontend.h implements the protocol.
 */
#include "frontend_transport.h"

#include "frontend_link.h"
#include "transport/guest_bond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void link_destroy(struct guest_dev *g)
{
	free(g);
}

static const struct guest_link_ops link_ops = {
	.map = guest_dev_map_gpa,
	.connect = frontend_link_connect,
	.start = frontend_link_start,
	.set_memory = frontend_link_set_memory,
	.disconnect = frontend_link_disconnect,
	.read_cid = frontend_link_read_cid,
	.fd = frontend_link_fd,
	.lost = frontend_link_lost,
	.destroy = link_destroy,
};

static int open_one(struct transport_dev **out, const char *path, const char *region,
		    const struct zv_opts *opts)
{
	struct frontend_dev *dev = calloc(1, sizeof(*dev));
	int ret;

	if (!dev)
		return zv_err(-ENOMEM, "no memory for the device on %s", path);
	ret = frontend_init(&dev->fe, path, -1);
	if (ret == 0)
		ret = own_region_make(&dev->g.own, frontend_transport_ops.scheme, region,
				      GUEST_GPA_REGION, opts);
	if (ret) {
		free(dev);
		return ret;
	}
	dev->g.d.ops = &frontend_transport_ops;
	dev->g.link = &link_ops;
	dev->g.scheme = frontend_transport_ops.scheme;
	dev->g.name = dev->fe.path;
	ret = guest_dev_open(&dev->g, opts);
	if (ret)
		return ret;
	*out = &dev->g.d;
	return 0;
}

static int open_several(struct transport_dev **out, const char *paths, const char *region,
			const struct zv_opts *opts)
{
	if (region && strcmp(region, "none") != 0)
		return zv_err(
			-EINVAL,
			"vhost-user:%s: region=%s with several sockets, each of which is told "
			"of memory by itself; open one socket with several queues",
			paths, region);
	return guest_bond_open(out, paths, opts, &frontend_transport_ops, "socket");
}

static int frontend_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	const char *region;
	char *paths;
	int ret = own_region_option(frontend_transport_ops.scheme, rest, &paths, &region);

	if (ret)
		return ret;
	ret = strchr(paths, ',') ? open_several(out, paths, region, opts)
				 : open_one(out, paths, region, opts);
	free(paths);
	return ret;
}

const struct transport_ops frontend_transport_ops = {
	.scheme = "vhost-user",
	.role = ZV_ROLE_GUEST,
	.open = frontend_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
	.mem_map = app_mem_map,
	.mem_unmap = app_mem_unmap,
	.regions = &own_region_ops,
};
