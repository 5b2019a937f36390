/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `vhost-user:PATH` transport: the guest's driver in a process that is its own VMM. The backend
 * maps the region that this process owns as "guest memory", and frontend.h speaks to it.
 */
#include "frontend_transport.h"

#include "frontend.h"
#include "proto/vsock_device.h"
#include "transport/guest_bond.h"
#include "transport/guest_dev.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct frontend_dev {
	struct guest_dev g; /* first */
	struct frontend fe;
};

static struct frontend *frontend_of(struct guest_dev *g)
{
	return &((struct frontend_dev *)g)->fe;
}

static int link_connect(struct guest_dev *g)
{
	struct frontend *fe = frontend_of(g);
	int ret;

	fe->cancel_fd = g->stop_fd;
	ret = frontend_connect(fe);
	if (ret == 0)
		ret = frontend_negotiate(fe, g->d.nqueues);
	if (ret)
		return ret;
	g->has = (struct guest_features){.rings = vsock_rings_choose(vsock_rings, fe->features),
					 .event_idx = frontend_event_idx(fe),
					 .events = frontend_wants_events(fe),
					 .leaves_blank = frontend_may_leave_blank(fe)};
	guest_dev_set_cid(g, fe->guest_cid);
	return 0;
}

static int start_ring(struct guest_dev *g, unsigned index, const struct virtq *vq, int call_fd,
		      const struct virtq_notify *kick)
{
	struct virtq_areas areas;

	g->has.rings->layout->areas(vq, &areas);
	return frontend_start_ring(frontend_of(g), index, &areas, call_fd, kick->fd);
}

static int link_start(struct guest_dev *g)
{
	struct frontend *fe = frontend_of(g);
	int ret = frontend_set_memory(fe, g->mem.fd, g->mem.addr, g->mem.size, GUEST_GPA_BASE);

	for (unsigned i = 0; i < g->d.nqueues && ret == 0; i++) {
		const struct vsock_pair *p = &g->pair[i];

		ret = start_ring(g, vsock_vq(i, VSOCK_VQ_RX), &p->rx, p->call_fd, &p->kick_rx);
		if (ret == 0)
			ret = start_ring(g, vsock_vq(i, VSOCK_VQ_TX), &p->tx, p->call_fd,
					 &p->kick_tx);
	}
	if (ret == 0 && g->has.events)
		ret = start_ring(g, VSOCK_VQ_EVENT, &g->ev.vq, g->ev.call_fd, &g->ev.kick);
	return ret ? ret : frontend_barrier(fe);
}

static void link_disconnect(struct guest_dev *g)
{
	frontend_disconnect(frontend_of(g));
}

static int link_read_cid(struct guest_dev *g)
{
	int ret = frontend_read_cid(frontend_of(g));

	if (ret == 0)
		guest_dev_set_cid(g, frontend_of(g)->guest_cid);
	return ret;
}

static int link_fd(struct guest_dev *g)
{
	return frontend_of(g)->fd;
}

static const char *link_lost(struct guest_dev *g)
{
	char byte;
	ssize_t n = recv(frontend_of(g)->fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return NULL;
	if (n > 0)
		return "the backend sent a message that nobody asked for";
	return n == 0 ? "the backend has closed the connection" : zv_strerror(-errno);
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
	.read_cid = link_read_cid,
	.fd = link_fd,
	.lost = link_lost,
	.destroy = link_destroy,
};

static int frontend_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct frontend_dev *dev;
	int ret;

	if (strchr(rest, ','))
		return guest_bond_open(out, rest, opts, &frontend_transport_ops, "socket");
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zv_err(-ENOMEM, "no memory for the device on %s", rest);
	ret = frontend_init(&dev->fe, rest, -1);
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

const struct transport_ops frontend_transport_ops = {
	.scheme = "vhost-user",
	.role = ZV_ROLE_GUEST,
	.open = frontend_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.fd = vsock_fd,
};
