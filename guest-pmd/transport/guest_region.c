/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_region.h"

#include "guest_dev.h"
#include "sigbus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { REQUESTED, BEING_MAPPED, MAPPED, FAILED };

struct guest_region {
	struct region_map map; /* first; the list has one reference */
	struct guest_region *next;
	struct ctrl_region at;
	struct shm_region mem; /* MAPPED */
	int watch;	       /* MAPPED: see api/sigbus.h; < 0: not protected */
	int state;
	int err;	 /* FAILED */
	uint32_t queues; /* a bit for each that has asked for it and not forgotten it */
};
_Static_assert(ZV_QUEUES_MAX <= 32, "a bit for each");

int guest_regions_init(struct guest_dev *dev)
{
	pthread_mutex_init(&dev->regions.lock, NULL);
	dev->regions.fd = -1;
	if (!dev->link->region)
		return 0;
	dev->regions.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return dev->regions.fd < 0 ? -errno : 0;
}

static void region_free(struct region_map *m)
{
	struct guest_region *r = (struct guest_region *)(void *)m;

	if (r->state == MAPPED) {
		sigbus_unwatch(r->watch);
		shm_region_destroy(&r->mem);
	}
	free(r);
}

void guest_regions_lost(struct guest_dev *dev)
{
	struct guest_region *r, *next;

	pthread_mutex_lock(&dev->regions.lock);
	r = dev->regions.list;
	dev->regions.list = NULL;
	pthread_mutex_unlock(&dev->regions.lock);
	for (; r; r = next) {
		next = r->next;
		region_map_put(&r->map);
	}
}

void guest_regions_fini(struct guest_dev *dev)
{
	guest_regions_lost(dev);
	if (dev->regions.fd >= 0)
		close(dev->regions.fd);
	pthread_mutex_destroy(&dev->regions.lock);
}

/* ---- the control thread ---- */

/* The next region to map, with a reference; NULL: none. */
static struct guest_region *next_requested(struct guest_dev *dev)
{
	struct guest_region *r;

	pthread_mutex_lock(&dev->regions.lock);
	for (r = dev->regions.list; r && r->state != REQUESTED; r = r->next)
		;
	if (r) {
		r->state = BEING_MAPPED;
		(void)region_map_hold(&r->map);
	}
	pthread_mutex_unlock(&dev->regions.lock);
	return r;
}

bool guest_regions_serve(struct guest_dev *dev)
{
	struct guest_region *r;
	uint64_t count;
	bool any = false;

	if (read(dev->regions.fd, &count, sizeof(count)) < 0)
		return false;
	while ((r = next_requested(dev))) {
		int ret = dev->link->region(dev, &r->at, &r->mem);

		if (ret)
			zv_log_limited(
				&dev->log, ZV_LOG_WARN,
				"%s %s: a region of shared memory (%llu MiB) cannot be used: %s; "
				"payload goes through the device",
				dev->scheme, dev->name, (unsigned long long)(r->at.size >> 20),
				zv_error_text());
		else
			r->watch = sigbus_watch(r->mem.map, r->mem.map_size, &r->map.truncated);
		pthread_mutex_lock(&dev->regions.lock);
		r->map.addr = ret ? NULL : r->mem.addr;
		r->map.size = ret ? 0 : r->at.size;
		r->err = ret;
		r->state = ret ? FAILED : MAPPED;
		pthread_mutex_unlock(&dev->regions.lock);
		region_map_put(&r->map);
		any = true;
	}
	if (dev->link->serve)
		dev->link->serve(dev);
	return any;
}

/* ---- a queue's owner ---- */

/* The pointer to the region's entry, or to the end of the list. Under the lock. */
static struct guest_region **region_at(struct guest_dev *dev, uint64_t id)
{
	struct guest_region **at = &dev->regions.list;

	while (*at && (*at)->at.id != id)
		at = &(*at)->next;
	return at;
}

static int ask(struct guest_dev *dev, struct guest_region **at, unsigned queue,
	       const struct ctrl_region *r)
{
	struct guest_region *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->map.refs = 1;
	n->map.free = region_free;
	n->at = *r;
	n->queues = 1u << queue;
	*at = n;
	eventfd_signal(dev->regions.fd);
	return -EINPROGRESS;
}

int guest_region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
		     struct region_map **out)
{
	struct guest_dev *dev = (struct guest_dev *)d;
	struct guest_region **at, *found;
	int ret;

	pthread_mutex_lock(&dev->regions.lock);
	at = region_at(dev, r->id);
	found = *at;
	if (found)
		found->queues |= 1u << queue;
	if (!found) {
		ret = ask(dev, at, queue, r);
	} else if (found->state == MAPPED) {
		*out = region_map_hold(&found->map);
		ret = 0;
	} else {
		ret = found->state == FAILED ? found->err : -EINPROGRESS;
	}
	pthread_mutex_unlock(&dev->regions.lock);
	return ret;
}

void guest_region_forget(struct transport_dev *d, unsigned queue, uint64_t id)
{
	struct guest_dev *dev = (struct guest_dev *)d;
	struct guest_region **at, *found;

	pthread_mutex_lock(&dev->regions.lock);
	at = region_at(dev, id);
	found = *at;
	if (found)
		found->queues &= ~(1u << queue);
	if (found && found->queues)
		found = NULL; /* other queues use it, or have just asked for it */
	if (found)
		*at = found->next;
	pthread_mutex_unlock(&dev->regions.lock);
	if (found)
		region_map_put(&found->map);
}

const struct transport_region_ops guest_region_ops = {
	.map = guest_region_map,
	.forget = guest_region_forget,
};
