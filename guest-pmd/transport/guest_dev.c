/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_control.h"

#include "proto/vsock/vsock_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long a close waits for the device to use transmit buffers: in total, and without progress. */
#define DRAIN_MS       200
#define DRAIN_STUCK_MS 20

/* ---- memory ---- */

/* Parts of a device: those of the event queue, followed by those of each pair. */
enum { EV_RING, EV_BUFS, PAIR0 };
enum { RX_RING, TX_RING, RX_BUFS, TX_BUFS, PAIR_PARTS };
#define PARTS(pairs) (PAIR0 + PAIR_PARTS * (pairs))
_Static_assert(PARTS(ZV_QUEUES_MAX) == GUEST_PARTS_MAX, "as many as there can be");

static size_t align_up(size_t n)
{
	return (n + VIRTQ_ALIGN - 1) & ~(size_t)(VIRTQ_ALIGN - 1);
}

/* Sets the sizes of all parts. Returns their sum; 0: too large. */
static size_t size_parts(struct guest_part *parts, const struct zv_opts *o, unsigned pairs)
{
	size_t rx, tx, total = 0;

	if (__builtin_mul_overflow(vsock_stride(o->rx_buf), (size_t)o->ring_size, &rx) ||
	    __builtin_mul_overflow(vsock_stride(o->tx_buf), (size_t)o->ring_size, &tx))
		return 0;
	parts[EV_RING].size = vsock_rings_bytes(vsock_rings, VSOCK_EVENT_RING);
	parts[EV_RING].ring = true;
	parts[EV_BUFS].size = VSOCK_EVENTS * SHM_CACHE_LINE;
	for (unsigned i = 0; i < pairs; i++) {
		struct guest_part *p = parts + PARTS(i);

		p[RX_RING].size = p[TX_RING].size = vsock_rings_bytes(vsock_rings, o->ring_size);
		p[RX_RING].ring = p[TX_RING].ring = true;
		p[RX_BUFS].size = rx;
		p[TX_BUFS].size = tx;
	}
	for (unsigned i = 0; i < PARTS(pairs); i++)
		if (__builtin_add_overflow(total, align_up(parts[i].size), &total))
			return 0;
	return total;
}

/* Allocates one region that can be shared, with the parts one after the other. 0 or -errno with
 * text. */
static int region_alloc(struct guest_dev *dev, struct guest_part *parts, const struct zv_opts *o,
			unsigned pairs, size_t total)
{
	int ret = shm_region_create(&dev->mem, "zvsock-guest", total,
				    o->flags & ZV_OPT_NO_HUGE ? SHM_NO_HUGE : 0);
	size_t off = 0;

	if (ret == -ENOMEM)
		return zv_err(ret,
			      "no memory for the device on %s: %u queues with 2 x %u buffers "
			      "take %zu MiB; use fewer queues, smaller rings or smaller buffers",
			      dev->name, pairs, o->ring_size, total >> 20);
	if (ret)
		return zv_err(ret, "cannot set up the device on %s: %s", dev->name,
			      zv_strerror(ret));
	dev->page_size = dev->mem.page_size;
	ret = dev->link->map(dev);
	for (unsigned i = 0; i < PARTS(pairs); i++) {
		parts[i].addr = (uint8_t *)dev->mem.addr + off;
		parts[i].at = iova_add(dev->iova, off);
		off += align_up(parts[i].size);
	}
	return ret;
}

static struct vsock_bufs bufs_at(const struct guest_part *part, uint32_t payload)
{
	return (struct vsock_bufs){
		.base = part->addr,
		.iova = part->at,
		.stride = vsock_stride(payload),
		.payload = payload,
	};
}

/* ---- building ---- */

static int new_eventfd(int *fd)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int new_kick(struct guest_dev *dev, unsigned vq, struct virtq_notify *kick)
{
	int fd, ret;

	if (dev->link->kick) {
		*kick = dev->link->kick(dev, vq);
		return 0;
	}
	ret = new_eventfd(&fd);
	*kick = virtq_notify_eventfd(fd);
	return ret;
}

static void close_kick(const struct virtq_notify *n)
{
	if (n->kind == VIRTQ_NOTIFY_EVENTFD)
		close_fd(n->fd);
}

static int build_pair(struct guest_dev *dev, unsigned i, const struct guest_part *part,
		      const struct zv_opts *o)
{
	struct vsock_pair_conf conf = {
		.ring_size = o->ring_size,
		.rx_ring = part[RX_RING].addr,
		.tx_ring = part[TX_RING].addr,
		.rx_bufs = bufs_at(&part[RX_BUFS], o->rx_buf),
		.tx_bufs = bufs_at(&part[TX_BUFS], o->tx_buf),
		.call_fd = -1,
		.kick_rx = virtq_notify_eventfd(-1),
		.kick_tx = virtq_notify_eventfd(-1),
	};
	int ret;

	ret = new_eventfd(&conf.call_fd);
	if (ret == 0)
		ret = new_kick(dev, vsock_vq(i, VSOCK_VQ_RX), &conf.kick_rx);
	if (ret == 0)
		ret = new_kick(dev, vsock_vq(i, VSOCK_VQ_TX), &conf.kick_tx);
	if (ret == 0)
		ret = vsock_pair_init(&dev->pair[i], &conf);
	if (ret == 0)
		dev->pair[i].watchdog.fd = dev->watchdog.fd;
	if (ret) {
		close_fd(conf.call_fd);
		close_kick(&conf.kick_rx);
		close_kick(&conf.kick_tx);
		return ret;
	}
	dev->d.nqueues = i + 1; /* so that dev_free() also frees this one */
	return 0;
}

static int build_events(struct guest_dev *dev, const struct guest_part *parts)
{
	struct virtq_notify kick = virtq_notify_eventfd(-1);
	int call, ret;

	ret = new_eventfd(&call);
	if (ret == 0)
		ret = new_kick(dev, VSOCK_VQ_EVENT, &kick);
	if (ret == 0)
		ret = vsock_events_init(&dev->ev, parts[EV_RING].addr, parts[EV_BUFS].addr,
					parts[EV_BUFS].at, call, kick);
	if (ret) {
		close_fd(call);
		close_kick(&kick);
		dev->ev.call_fd = -1;
		dev->ev.kick = virtq_notify_eventfd(-1);
	}
	return ret;
}

/* Allocates memory and builds the pairs and the event queue in it. 0 or -errno with zv_err()
 * text. */
static int build(struct guest_dev *dev, const struct zv_opts *o, unsigned pairs)
{
	struct guest_part parts[GUEST_PARTS_MAX] = {{0}};
	size_t total = size_parts(parts, o, pairs);
	int ret;

	if (!total)
		return zv_err(-ENOMEM,
			      "the device on %s: its buffers are larger than memory can be",
			      dev->name);
	ret = dev->link->alloc ? dev->link->alloc(dev, parts, PARTS(pairs))
			       : region_alloc(dev, parts, o, pairs, total);
	if (ret)
		return ret;
	dev->pair = aligned_alloc(SHM_CACHE_LINE, pairs * sizeof(*dev->pair));
	if (!dev->pair)
		ret = -ENOMEM;
	for (unsigned i = 0; i < pairs && ret == 0; i++)
		ret = build_pair(dev, i, parts + PARTS(i), o);
	if (ret == 0)
		ret = build_events(dev, parts);
	return ret ? zv_err(ret, "cannot set up the device on %s: %s", dev->name, zv_strerror(ret))
		   : 0;
}

static void dev_free(struct guest_dev *dev)
{
	struct shm_region mem = dev->mem;
	struct own_region own = dev->own;

	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		close_fd(dev->pair[i].call_fd);
		close_kick(&dev->pair[i].kick_rx);
		close_kick(&dev->pair[i].kick_tx);
		vsock_pair_fini(&dev->pair[i]);
	}
	free(dev->pair);
	vsock_events_fini(&dev->ev);
	close_fd(dev->ev.call_fd);
	close_kick(&dev->ev.kick);
	guest_watchdog_fini(dev);
	guest_regions_fini(dev);
	app_mems_fini(dev);
	close_fd(dev->stop_fd);
	dev->link->destroy(dev);
	shm_region_destroy(&mem); /* after destroy(): the device no longer uses it */
	own_region_release(&own);
}

/* ---- opening and closing ---- */

int guest_dev_open(struct guest_dev *dev, const struct zv_opts *opts)
{
	unsigned pairs = opts->queues ? opts->queues : 1;
	int ret;

	dev->mem.fd = dev->stop_fd = dev->ev.call_fd = -1;
	dev->ev.kick = virtq_notify_eventfd(-1);
	dev->want_rings = vsock_rings_features(vsock_rings, opts->flags);
	quiesce_init();
	ret = guest_regions_init(dev);
	if (ret == 0)
		ret = app_mems_init(dev);
	if (ret == 0)
		ret = guest_watchdog_init(dev, opts->tx_timeout_ns);
	if (ret == 0)
		ret = new_eventfd(&dev->stop_fd);
	if (ret)
		zv_err(ret, "cannot set up the device on %s: %s", dev->name, zv_strerror(ret));
	else
		ret = build(dev, opts, pairs);
	if (ret)
		goto fail;
	ret = guest_bring_up(dev);
	if (ret == 0)
		ret = guest_control_start(dev);
	if (ret == 0)
		return 0;
	dev->link->disconnect(dev);
fail:
	dev_free(dev);
	return ret;
}

/*
 * Data of connections that are already closed may still be in the rings, and the device drops the
 * rings with the connection. So a working device gets a moment to receive it.
 */
static void drain(struct guest_dev *dev)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	unsigned left = 0, before = 0, stuck = 0;

	for (unsigned t = 0; t < DRAIN_MS && stuck < DRAIN_STUCK_MS; t++) {
		left = 0;
		for (unsigned i = 0; i < dev->d.nqueues; i++) {
			if (!quiesce_enter(&dev->pair[i].tq.qs))
				continue;
			left += vsock_pair_unsent(&dev->pair[i]);
			quiesce_leave(&dev->pair[i].tq.qs);
		}
		if (left == 0)
			return;
		stuck = left == before ? stuck + 1 : 0;
		before = left;
		nanosleep(&ms, NULL);
	}
	zv_log(ZV_LOG_WARN, "%s %s: closing with %u packets that the device did not take",
	       dev->scheme, dev->name, left);
}

/*
 * A device also stops its rings when its VM is paused, and a VMM may report no more than that. A
 * stopped ring that is suddenly empty shows the device that nobody will continue. This is not done
 * if the end of a connection shows it: the device may not have seen that end yet, and would
 * consider the ring broken.
 */
static void wipe_rings(struct guest_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		struct vsock_pair *p = &dev->pair[i];

		p->layout->reset(&p->rx, false);
		p->layout->reset(&p->tx, false);
	}
}

void guest_dev_close(struct transport_dev *d)
{
	struct guest_dev *dev = (struct guest_dev *)d;

	drain(dev);
	guest_control_stop(dev);
	dev->link->disconnect(dev);
	if (dev->link->silent)
		wipe_rings(dev);
	dev_free(dev);
}

/* ---- for transports ---- */

int guest_dev_map_gpa(struct guest_dev *d)
{
	d->iova = iova_of_gpa(GUEST_GPA_BASE);
	return 0;
}

/* ---- the other functions of struct transport_ops ---- */

uint64_t guest_dev_cid(struct transport_dev *d)
{
	return __atomic_load_n(&((struct guest_dev *)d)->guest_cid, __ATOMIC_ACQUIRE);
}

uint64_t guest_dev_page_size(struct transport_dev *d)
{
	return ((struct guest_dev *)d)->page_size;
}

struct transport_queue *guest_dev_queue(struct transport_dev *d, unsigned i)
{
	return i < d->nqueues ? &((struct guest_dev *)d)->pair[i].tq : NULL;
}
