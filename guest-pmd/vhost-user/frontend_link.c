/* SPDX-License-Identifier: BSD-3-Clause */
#include "frontend_link.h"

#include "proto/vsock/vsock_device.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

static struct frontend *frontend_of(struct guest_dev *g)
{
	return &((struct frontend_dev *)g)->fe;
}

static int negotiate(struct guest_dev *g)
{
	struct frontend *fe = frontend_of(g);
	int ret;

	fe->want_rings = g->want_rings;
	ret = frontend_negotiate(fe, g->d.nqueues);
	if (ret)
		return ret;
	g->has = (struct guest_features){.rings = vsock_rings_choose(vsock_rings, fe->features),
					 .event_idx = frontend_event_idx(fe),
					 .events = frontend_wants_events(fe),
					 .tables = frontend_takes_tables(fe),
					 .returns_unwritten = frontend_may_return_unwritten(fe)};
	guest_dev_set_cid(g, fe->guest_cid);
	return 0;
}

int frontend_link_connect(struct guest_dev *g)
{
	struct frontend *fe = frontend_of(g);
	int ret;

	fe->cancel_fd = g->stop_fd;
	ret = frontend_connect(fe);
	return ret ? ret : negotiate(g);
}

int frontend_link_adopt(struct guest_dev *g, int fd)
{
	struct frontend *fe = frontend_of(g);

	fe->cancel_fd = g->stop_fd;
	fe->fd = fd;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		return zv_err(-errno, "%s: not a socket that can be waited for: %s", g->name,
			      zv_strerror(-errno));
	return negotiate(g);
}

static int start_ring(struct guest_dev *g, unsigned index, const struct virtq *vq, int call_fd,
		      const struct virtq_notify *kick)
{
	struct virtq_areas areas;

	g->has.rings->layout->areas(vq, &areas);
	return frontend_start_ring(frontend_of(g), index, &areas, call_fd, kick->fd);
}

_Static_assert(2 + ZV_MEM_MAX <= FRONTEND_MEM_MAX, "all fit into one table");

/* All memory that the backend is to have. */
static int set_memory(struct guest_dev *g)
{
	const struct own_region *r = &g->own;
	struct frontend_mem mem[FRONTEND_MEM_MAX] = {
		{g->mem.fd, g->mem.addr, g->mem.size, GUEST_GPA_BASE, 0},
		{r->fd, r->map ? r->map->addr : NULL, r->size, r->gpa, 0},
	};
	unsigned n = r->map ? 2 : 1;

	for (const struct app_mem *m = NULL; (m = app_mem_next(g, m));)
		mem[n++] = (struct frontend_mem){m->m.fd, m->m.addr, m->m.len, app_mem_gpa(g, m),
						 m->m.offset};
	return frontend_set_memory(frontend_of(g), mem, n);
}

int frontend_link_set_memory(struct guest_dev *g)
{
	int ret = set_memory(g);

	return ret ? ret : frontend_barrier(frontend_of(g));
}

int frontend_link_start(struct guest_dev *g)
{
	struct frontend *fe = frontend_of(g);
	int ret = set_memory(g);

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

void frontend_link_disconnect(struct guest_dev *g)
{
	frontend_disconnect(frontend_of(g));
}

int frontend_link_read_cid(struct guest_dev *g)
{
	int ret = frontend_read_cid(frontend_of(g));

	if (ret == 0)
		guest_dev_set_cid(g, frontend_of(g)->guest_cid);
	return ret;
}

int frontend_link_fd(struct guest_dev *g)
{
	return frontend_of(g)->fd;
}

const char *frontend_link_lost(struct guest_dev *g)
{
	char byte;
	ssize_t n = recv(frontend_of(g)->fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return NULL;
	g->gone = n <= 0; /* nobody reads our memory any more */
	if (n > 0)
		return "the backend sent a message that nobody asked for";
	return n == 0 ? "the backend has closed the connection" : zv_strerror(-errno);
}
