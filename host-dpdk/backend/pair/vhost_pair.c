/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs: made and freed; notification. */
#include "vhost_pair_priv.h"

#include "fd_closer.h"
#include "sigbus.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- making and freeing ---- */

/* Adds @fd to the queue's epoll set, edge-triggered: a kick makes vhost_pair_fd() readable until
 * the next epoll_wait, and nobody has to read @fd, which would cost a system call per kick. */
int vhost_pair_watch_fd(struct vhost_pair *q, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(q->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int vhost_pair_init(struct vhost_pair *q, unsigned index, const char *name)
{
	int ret;

	memset(q, 0, sizeof(*q));
	q->tq.ops = &q->ops;
	q->tq.faults = &sigbus_faults;
	q->ops.rx_rest = vhost_pair_rx_rest;
	q->ops.rx_intact = vhost_pair_rx_intact;
	vhost_pair_path(q, vhost_ring_layout_of(0), false);
	q->index = index;
	q->name = q->tq.name = name;
	q->retired_max = UINT64_MAX;
	q->maps_max = UINT32_MAX;
	q->saved_max = VHOST_SAVED_MAX;
	q->sweep_max = UINT32_MAX;
	q->work = VHOST_WORK;
	q->wakes = &q->own_wakes;
	for (int i = 0; i < 2; i++)
		q->call[i].fd = q->kickfd[i] = -1;
	q->wakefd = q->watchfd = -1;
	q->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (q->epfd < 0)
		return -errno;
	q->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = q->wakefd < 0 ? -errno : vhost_pair_watch_fd(q, q->wakefd);
	if (ret < 0)
		vhost_pair_fini(q);
	return ret;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* A kick or call descriptor, whose last close may take long: each waiter of the file is removed. */
static void drop(struct vhost_pair *q, int fd)
{
	if (fd >= 0 && q->closer)
		fd_closer_put(q->closer, fd);
	else if (fd >= 0)
		(void)close(fd);
}

void vhost_pair_fini(struct vhost_pair *q)
{
	for (int i = 0; i < 2; i++) {
		drop(q, vhost_call_end(&q->call[i]));
		drop(q, q->kickfd[i]);
		q->kickfd[i] = -1;
	}
	close_fd(&q->wakefd);
	close_fd(&q->epfd);
	while (q->retired) {
		struct vhost_epoch *ep = q->retired;

		q->retired = ep->next;
		vhost_epoch_free(ep);
	}
	unmapper_put(q->unmapper);
	q->unmapper = NULL;
	vhost_pair_saved_fini(q);
	vhost_ring_fini(&q->from_guest);
	vhost_ring_fini(&q->to_guest);
	free(q->chains);
	free(q->stack);
	free(q->ctrl);
	free(q->seg);
	free(q->deferred);
	q->chains = NULL;
	q->stack = q->ctrl = NULL;
	q->seg = NULL;
	q->deferred = NULL;
}

/* ---- notification ---- */

void vhost_pair_wake(struct vhost_pair *q)
{
	uint64_t one = 1;

	(void)!write(q->wakefd, &one, sizeof(one));
}

int vhost_pair_set_call(struct vhost_pair *q, enum vhost_direction ring, int fd)
{
	struct vhost_call own, former;
	int ret = vhost_call_dup(fd, q->wakes, &own);

	vhost_owner_stop(&q->tq.qs);
	former = q->call[ring]; /* the owner writes what its calls cost */
	q->call[ring] = own;
	/* Repeats the notification for what was published while there was no call descriptor. */
	if (q->loaded && !vhost_call_send(&q->call[ring]) && vhost_call_blocks(&q->call[ring]))
		__atomic_store_n(&q->blocked, true, __ATOMIC_RELAXED);
	q->calls_owed |= q->call[ring].owed;
	quiesce_resume(&q->tq.qs);
	drop(q, vhost_call_end(&former));
	return ret;
}

int vhost_pair_set_kick(struct vhost_pair *q, enum vhost_direction ring, int fd)
{
	int own, ret = vhost_event_dup(fd, &own);

	if (q->kickfd[ring] >= 0)
		(void)epoll_ctl(q->epfd, EPOLL_CTL_DEL, q->kickfd[ring], NULL);
	drop(q, q->kickfd[ring]);
	if (own >= 0 && (ret = vhost_pair_watch_fd(q, own)) < 0)
		close_fd(&own);
	q->kickfd[ring] = own;
	/* A kick on the former descriptor that the owner had not seen yet is lost with it. */
	if (q->loaded)
		vhost_pair_wake(q);
	return ret;
}

static void call_guest(struct vhost_pair *q, enum vhost_direction ring)
{
	struct vhost_call *c = &q->call[ring];

	if (vhost_call_send(c)) {
		stats_add(&q->tq.stats.kicks, 1);
	} else if (vhost_call_blocks(c)) {
		__atomic_store_n(&q->blocked, true, __ATOMIC_RELAXED);
		(void)vhost_ring_break(&q->from_guest, VHOST_RING_CALL); /* rx_burst() sees it */
	} else if (c->owed && !q->calls_owed) {
		q->calls_owed = true;
		zv_log_limited(&q->tq.log, ZV_LOG_WARN,
			       "%s: queue %u: calls to the guest take too long, and are put off: "
			       "its VMM has made the descriptor for them slow, or this machine has "
			       "too little CPU time",
			       q->name, q->index);
	}
}

/* Those that were put off. */
static __attribute__((noinline, cold)) void call_late(struct vhost_pair *q)
{
	for (unsigned ring = 0; ring < 2; ring++)
		if (q->call[ring].owed)
			call_guest(q, ring);
	q->calls_owed = q->call[0].owed || q->call[1].owed;
}

/*
 * Released chains of from_guest are published in groups: a publish takes a cache line away from the
 * driver and costs a barrier, and a driver with many chains does not miss a few. A quarter of the
 * most chains that it ever had in the ring is published at once, so a driver with one chain at a
 * time waits for nothing. An owner that finds the ring empty for a while, or goes to sleep,
 * publishes the rest: chains stay unpublished only if the application stops calling.
 */
VHOST_INLINE bool release_due(const struct vhost_pair *q)
{
	return q->released && (q->released >= VHOST_RELEASED ||
			       4 * q->released >= q->from_guest.max_pending || q->armed);
}

VHOST_INLINE void notify(struct vhost_pair *q, const struct vhost_ring_verbs *v)
{
	/* First the ring that somebody waits for: the other may miss on a cache line of the
	 * driver. */
	bool to = v->publish(&q->to_guest);
	bool from = release_due(q) && v->publish(&q->from_guest);

	if (__builtin_expect(q->calls_owed, 0))
		call_late(q);
	if (!from && !to)
		return;
	if (from)
		q->released = 0;
	shm_mb(); /* barrier pair [C], one for both rings */
	if (from && v->want_call(&q->from_guest))
		call_guest(q, VHOST_FROM_GUEST);
	if (to && v->want_call(&q->to_guest))
		call_guest(q, VHOST_TO_GUEST);
}

void vhost_pair_notify(struct vhost_pair *q)
{
	q->released = VHOST_RELEASED;
	notify(q, q->from_guest.layout->verbs);
}

VHOST_INLINE void publish(struct vhost_pair *q, const struct vhost_ring_verbs *v)
{
	if (!q->ep)
		return;
	if (__builtin_expect(q->ndeferred, 0) && !vhost_pair_deferred_send(q) && !q->ep)
		return;
	notify(q, v);
}

/* True when there is work, so that the owner must not sleep. */
VHOST_INLINE bool work_now(struct vhost_pair *q, unsigned room, const struct vhost_ring_verbs *v,
			   const bool iommu)
{
	struct vhost_ring *from = &q->from_guest, *to = &q->to_guest;
	uint16_t offered = v->offered(to);

	if (vhost_ready(from, v, iommu) || vhost_ready_now(from, v, iommu) || from->broken)
		return true;
	if (q->ndeferred)
		return vhost_ready(to, v, iommu) || vhost_ready_now(to, v, iommu) || to->broken;
	if (!room)
		return false;
	/* Any change counts: the owner may be waiting for a buffer for a control packet. */
	return q->ops.tx_ready(&q->tq) >= room || to->broken || v->offered(to) != offered;
}

VHOST_INLINE int arm(struct vhost_pair *q, unsigned room, const struct vhost_ring_verbs *v,
		     const bool iommu)
{
	uint32_t have, want;

	q->armed = 1;
	if (!q->ep)
		return 0;
	if (q->released)
		notify(q, v); /* at once, as the owner is armed */
	if (q->calls_owed)    /* soon */
		return 1;
	if (q->ndeferred)
		room = 1;
	if (work_now(q, room, v, iommu))
		return 1;
	v->arm(&q->from_guest, 0);
	if (room) {
		have = q->nstack + vhost_ready(&q->to_guest, v, iommu);
		want = vhost_pair_ctrl_reserve(q) + room - 1;
		/* With none at all any buffer helps, for control packets at least. */
		v->arm(&q->to_guest, have && want > have ? want - have : 0);
	}
	shm_mb(); /* barrier pair [C] */
	if (!work_now(q, room, v, iommu))
		return 0;
	v->disarm(&q->from_guest);
	v->disarm(&q->to_guest);
	return 1;
}

static void disarm(struct transport_queue *tq, bool rung)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct epoll_event ev[4];

	if (!q->armed)
		return;
	q->armed = 0;
	if (q->ep) {
		vhost_ring_disarm(&q->from_guest);
		vhost_ring_disarm(&q->to_guest);
	}
	if (rung)
		(void)epoll_wait(q->epfd, ev, 4, 0);
}

int vhost_pair_fd(struct transport_queue *tq)
{
	return vhost_pair_of(tq)->epfd;
}

/* ---- instances ---- */

#define INSTANCE(instance, layout, iommu)                                                          \
	static void publish_##instance(struct transport_queue *tq)                                 \
	{                                                                                          \
		publish(vhost_pair_of(tq), &vhost_##layout##_verbs);                               \
	}                                                                                          \
	static int arm_##instance(struct transport_queue *tq, unsigned room)                       \
	{                                                                                          \
		return arm(vhost_pair_of(tq), room, &vhost_##layout##_verbs, iommu);               \
	}
VHOST_PATHS(INSTANCE)

void vhost_notify_path(struct transport_queue_ops *ops, const struct vhost_ring_layout *l,
		       bool iommu)
{
	ops->disarm = disarm;
#define CHOOSE(instance, layout, with_iommu)                                                       \
	if (l == &vhost_ring_##layout && iommu == (with_iommu)) {                                  \
		ops->publish = publish_##instance;                                                 \
		ops->arm = arm_##instance;                                                         \
	}
	VHOST_PATHS(CHOOSE)
}
