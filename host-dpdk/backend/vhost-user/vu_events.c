/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: what rings are kicked by, and their drivers called by. */
#include "vu_device.h"

#include <errno.h>
#include <time.h>

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static bool some_block(const struct vu_dev *d)
{
	bool some = vhost_call_blocks(&d->evt_call);

	for (unsigned i = 0; i < d->nqueues && !some; i++)
		some = vhost_call_blocks(&d->queues[i]->call[0]) ||
		       vhost_call_blocks(&d->queues[i]->call[1]);
	return some;
}

void vu_note_blocked(struct vu_dev *d)
{
	if (some_block(d))
		__atomic_store_n(&d->uncalled, now_ns() + VU_UNCALLED_NS, __ATOMIC_RELAXED);
}

/*
 * May @fd be called on? Whoever has made calls block would do it again with the next
 * descriptor, and each time hold up all guests of the thread until it is seen. To be asked before a
 * descriptor that may block goes.
 */
static bool may_call(struct vu_dev *d, int fd)
{
	vu_note_blocked(d);
	return fd < 0 || now_ns() >= d->uncalled;
}

static int set_event_call(struct vu_dev *d, int fd)
{
	struct vhost_call own;
	int ret;

	if (!may_call(d, fd))
		return -EACCES;
	ret = vhost_call_dup(fd, &d->wakes, &own);
	vu_drop_fd(d, vhost_call_end(&d->evt_call));
	d->evt_call = own;
	return ret;
}

static int set_pair_call(struct vu_dev *d, unsigned pair, enum vhost_direction ring, int fd)
{
	if (!may_call(d, fd))
		return -EACCES;
	return vhost_pair_set_call(d->queues[pair], ring, fd);
}

static int event_taken(struct vu_dev *d, unsigned vq, const char *what, const char *refusal,
		       int ret)
{
	if (ret < 0)
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: ring %u: cannot use its %s descriptor: %s", d->path, vq, what,
			       ret == -EINVAL || ret == -EACCES ? refusal : zv_strerror(ret));
	return ret;
}

/*
 * Kicks and calls: the pair takes a duplicate, so that its own never blocks. The event ring is
 * never looked at because of a kick: the device has something to say there or has not.
 */
int vu_set_kick(struct vu_dev *d, unsigned vq, int fd)
{
	enum vhost_direction ring;
	unsigned pair;

	if (!vu_vq_pair(vq, &pair, &ring))
		return 0;
	return event_taken(d, vq, "kick", "it is no eventfd",
			   vhost_pair_set_kick(d->queues[pair], ring, fd));
}

int vu_set_call(struct vu_dev *d, unsigned vq, int fd)
{
	const char *not_callable = "it is neither an eventfd nor a connected stream socket";
	enum vhost_direction ring;
	unsigned pair;
	int ret = vu_vq_pair(vq, &pair, &ring) ? set_pair_call(d, pair, ring, fd)
					       : set_event_call(d, fd);

	if (ret == -EACCES)
		not_callable = "an earlier one was made to block less than a minute ago";
	return event_taken(d, vq, "call", not_callable, ret);
}

void vu_drop_events(struct vu_dev *d)
{
	(void)set_event_call(d, -1);
	for (unsigned i = 0; i < d->nqueues; i++) {
		for (unsigned k = 0; k < 2; k++) {
			(void)set_pair_call(d, i, k, -1);
			(void)vhost_pair_set_kick(d->queues[i], k, -1);
		}
	}
}
