/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The `daemon:PATH` transport: an application of the host, attached to zvsockd.
 *
 * Theory of operation
 * -------------------
 * The application asks zvsockd's client socket for a device of its own, and gets a connected
 * vhost-user socket. From there on it is the frontend and the driver of a virtio-vsock device with
 * CID 2, like a guest without a VM (../vhost-user). So the rings, their checks and the zero-copy
 * API are those of every guest. zvsockd joins each connection of this device with one of the guest
 * at its other end; if both ends can map a region, payload goes through that.
 *
 * The client socket stays open as long as the device: it tells zvsockd that the application lives,
 * and which ports it listens on. zvsockd forgets those ports when it goes, so they are kept here
 * and announced after each attachment, when the rings run: zvsockd makes connections to a port as
 * soon as it has been told of it, and they are refused while no ring runs.
 */
#include "daemon_transport.h"

#include "client_sock.h"
#include "daemon_bells.h"
#include "proto/vhost_user.h"
#include "transport/guest_dev.h"
#include "vhost-user/frontend_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct port {
	struct port *next;
	uint32_t port;
	unsigned type; /* VSOCK_TYPE_* */
};

struct daemon_dev {
	struct frontend_dev f; /* first */
	struct client_sock client;
	struct daemon_bells bells;
	pthread_mutex_t lock; /* ports; held over a question, so that zvsockd hears of changes in
				 the order in which they are made */
	struct port *ports;
	bool announced; /* all of them, and zvsockd is to hear of changes; under the lock */
};

static struct daemon_dev *daemon_of(struct guest_dev *g)
{
	return (struct daemon_dev *)(void *)g;
}

/* ---- ports ---- */

static int announce(struct daemon_dev *dev, enum client_type what, const struct port *p)
{
	struct client_msg m;

	client_msg_init(&m, what);
	m.port = p->port;
	m.sock_type = (uint16_t)p->type;
	return client_sock_ask(&dev->client, &m, NULL, dev->f.g.stop_fd);
}

/* Connections wait in this process: @backlog is used by the socket layer. */
static int daemon_listen(struct transport_dev *d, uint32_t port, unsigned type, unsigned backlog)
{
	struct daemon_dev *dev = daemon_of((struct guest_dev *)d);
	struct port *p;
	int ret;

	(void)backlog;
	if (port == ZV_PORT_ANY)
		return zv_err(-EOPNOTSUPP, "daemon: applications share the host's ports: listen on "
					   "each one that is wanted, or bind it");
	p = malloc(sizeof(*p));
	if (!p)
		return zv_err(-ENOMEM, "no memory to listen on port %u", port);
	p->port = port;
	p->type = type;
	pthread_mutex_lock(&dev->lock);
	ret = dev->announced ? announce(dev, CLIENT_LISTEN, p) : 0;
	if (ret == -ENOTCONN || ret == -EPROTO) /* zvsockd is away: announce_all() */
		ret = 0;
	if (ret == 0) {
		p->next = dev->ports;
		dev->ports = p;
	}
	pthread_mutex_unlock(&dev->lock);
	if (ret)
		free(p);
	return ret;
}

static bool is(const struct port *p, uint32_t port, unsigned type)
{
	return p->port == port && (p->type == VSOCK_TYPE_DGRAM) == (type == VSOCK_TYPE_DGRAM);
}

static void daemon_unlisten(struct transport_dev *d, uint32_t port, unsigned type)
{
	struct daemon_dev *dev = daemon_of((struct guest_dev *)d);
	struct port **at, *p;

	pthread_mutex_lock(&dev->lock);
	for (at = &dev->ports; (p = *at) && !is(p, port, type); at = &p->next)
		;
	if (p) {
		*at = p->next;
		if (dev->announced)
			(void)announce(dev, CLIENT_UNLISTEN,
				       p); /* zvsockd is gone: so is the port */
		free(p);
	}
	pthread_mutex_unlock(&dev->lock);
}

/* Called when the rings run. A port that somebody else has taken meanwhile is retried next time. */
static void announce_all(struct daemon_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	for (const struct port *p = dev->ports; p; p = p->next)
		if (announce(dev, CLIENT_LISTEN, p))
			zv_log(ZV_LOG_ERR, "daemon %s: port %u is not listened on any more: %s",
			       dev->client.path, p->port, zv_error_text());
	dev->announced = true;
	pthread_mutex_unlock(&dev->lock);
}

static void announce_no_more(struct daemon_dev *dev)
{
	pthread_mutex_lock(&dev->lock);
	dev->announced = false;
	pthread_mutex_unlock(&dev->lock);
}

/* ---- the link ---- */

static int attach(struct daemon_dev *dev, int *fd)
{
	struct client_msg m;

	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = (uint16_t)dev->f.g.d.nqueues;
	client_msg_text(&m, program_invocation_short_name);
	return client_sock_ask(&dev->client, &m, fd, dev->f.g.stop_fd);
}

static int link_connect(struct guest_dev *g)
{
	struct daemon_dev *dev = daemon_of(g);
	int ret = client_unix_connect(&dev->client, g->stop_fd), fd;

	if (ret == 0)
		ret = attach(dev, &fd);
	if (ret)
		return ret;
	return frontend_link_adopt(g, fd);
}

static int link_start(struct guest_dev *g)
{
	int ret = frontend_link_start(g);

	if (ret == 0)
		announce_all(daemon_of(g));
	return ret;
}

static void link_disconnect(struct guest_dev *g)
{
	announce_no_more(daemon_of(g));
	frontend_link_disconnect(g);
	daemon_bells_lost(&daemon_of(g)->bells);
	client_sock_close(&daemon_of(g)->client);
}

static void link_destroy(struct guest_dev *g)
{
	struct daemon_dev *dev = daemon_of(g);
	struct port *p;

	daemon_bells_fini(&dev->bells);
	client_sock_fini(&dev->client);
	while ((p = dev->ports)) {
		dev->ports = p->next;
		free(p);
	}
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}

/* A region whose descriptor zvsockd gives to those that it has told the id. */
static int link_region(struct guest_dev *g, const struct ctrl_region *r, struct shm_region *out)
{
	struct client_msg m;
	int ret, fd;

	if (r->gpa != CTRL_BY_FD)
		return zv_err(-ENXIO, "zvsockd says a guest-physical address for it, and an "
				      "application has none");
	client_msg_init(&m, CLIENT_REGION);
	m.region = r->id;
	ret = client_sock_ask(&daemon_of(g)->client, &m, &fd, g->stop_fd);
	if (ret)
		return ret;
	ret = shm_region_open_at(out, fd, m.offset, r->size);
	close(fd);
	if (ret)
		return zv_err(ret, "its file cannot be mapped: %s", zv_strerror(ret));
	daemon_bells_attach(&daemon_of(g)->bells, &daemon_of(g)->client, g->d.nqueues, g->stop_fd);
	return 0;
}

static void link_serve(struct guest_dev *g)
{
	daemon_bells_serve(&daemon_of(g)->bells, &daemon_of(g)->client, g->stop_fd);
}

/* ---- regions, and bells ---- */

static struct bell_map *own_bells(struct transport_dev *d, unsigned queue)
{
	return daemon_bells_own(&daemon_of((struct guest_dev *)d)->bells, queue);
}

static int ringer(struct transport_dev *d, uint32_t id, struct bell_map **out)
{
	struct guest_dev *g = (struct guest_dev *)d;

	return daemon_bells_ringer(&daemon_of(g)->bells, id, g->regions.fd, out);
}

static const struct transport_region_ops daemon_region_ops = {
	.map = guest_region_map,
	.forget = guest_region_forget,
	.bells = own_bells,
	.ringer = ringer,
};

static const struct guest_link_ops link_ops = {
	.map = guest_dev_map_gpa,
	.connect = link_connect,
	.start = link_start,
	.disconnect = link_disconnect,
	.read_cid = frontend_link_read_cid,
	.fd = frontend_link_fd,
	.lost = frontend_link_lost,
	.region = link_region,
	.serve = link_serve,
	.destroy = link_destroy,
};

static int daemon_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	const uint32_t most = vu_app_ring_max(opts->queues ? opts->queues : 1);
	struct daemon_dev *dev;
	int ret;

	if (opts->ring_size > most)
		return zv_err(
			-ERANGE,
			"daemon:%s: ring_size %u with %u queues: zvsockd takes %u descriptors "
			"of all rings of an application; choose %u or less",
			rest, opts->ring_size, opts->queues, VU_APP_DESCRIPTORS, most);
	dev = calloc(1, sizeof(*dev));
	if (!dev)
		return zv_err(-ENOMEM, "no memory for the device on %s", rest);
	pthread_mutex_init(&dev->lock, NULL);
	daemon_bells_init(&dev->bells);
	ret = client_sock_init(&dev->client, rest);
	if (ret == 0)
		ret = frontend_init(&dev->f.fe, rest, -1);
	if (ret) {
		link_destroy(&dev->f.g);
		return ret;
	}
	dev->f.fe.host_app = true;
	dev->f.g.d.ops = &daemon_transport_ops;
	dev->f.g.link = &link_ops;
	dev->f.g.scheme = daemon_transport_ops.scheme;
	dev->f.g.name = dev->client.path;
	ret = guest_dev_open(&dev->f.g, opts);
	if (ret == 0)
		*out = &dev->f.g.d;
	return ret;
}

const struct transport_ops daemon_transport_ops = {
	.scheme = "daemon",
	.hello_timeout_ns = 10000000000u,
	.role = ZV_ROLE_GUEST,
	.open = daemon_open,
	.close = guest_dev_close,
	.guest_cid = guest_dev_cid,
	.page_size = guest_dev_page_size,
	.queue = guest_dev_queue,
	.listen = daemon_listen,
	.unlisten = daemon_unlisten,
	.fd = vsock_fd,
	.regions = &daemon_region_ops,
};
