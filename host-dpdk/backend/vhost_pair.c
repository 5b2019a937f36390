/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs: made and freed; notification. Sessions are in session.c, receiving in
 * from_guest.c, sending in to_guest.c. */
#include "vhost_pair.h"

#include "fd_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- making and freeing ---- */

/*
 * Adds @fd to the queue's epoll set, edge-triggered: a kick makes vhost_pair_fd() readable until
 * the next epoll_wait, and nobody ever has to read the eventfd, which might be no eventfd at all
 * and block.
 */
int vhost_pair_watch_fd(struct vhost_pair *q, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(q->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static const struct transport_queue_ops queue_ops = {
	.rx_burst = vhost_pair_rx_burst,
	.rx_rest = vhost_pair_rx_rest,
	.rx_release = vhost_pair_rx_release,
	.tx_reserve = vhost_pair_tx_reserve,
	.tx_commit = vhost_pair_tx_commit,
	.tx_cancel = vhost_pair_tx_cancel,
	.publish = vhost_pair_publish,
	.tx_max = vhost_pair_tx_max,
	.tx_ready = vhost_pair_tx_ready,
	.arm = vhost_pair_arm,
	.disarm = vhost_pair_disarm,
};

int vhost_pair_init(struct vhost_pair *q, unsigned index, const char *name)
{
	int ret;

	memset(q, 0, sizeof(*q));
	q->tq.ops = &queue_ops;
	q->index = index;
	q->name = q->tq.name = name;
	q->retired_max = UINT64_MAX;
	for (int i = 0; i < 2; i++)
		q->callfd[i] = q->kickfd[i] = -1;
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

void vhost_pair_fini(struct vhost_pair *q)
{
	for (int i = 0; i < 2; i++) {
		close_fd(&q->callfd[i]);
		close_fd(&q->kickfd[i]);
	}
	close_fd(&q->wakefd);
	close_fd(&q->epfd);
	while (q->retired) {
		struct vhost_epoch *ep = q->retired;

		q->retired = ep->next;
		guest_mem_put(ep->mem);
		free(ep);
	}
	vhost_pair_kept_fini(q);
	free(q->rec);
	free(q->stack);
	free(q->ctrl);
	free(q->seg);
	free(q->late);
	q->rec = NULL;
	q->stack = q->ctrl = NULL;
	q->seg = NULL;
	q->late = NULL;
}

/* ---- notification ---- */

void vhost_pair_wake(struct vhost_pair *q)
{
	uint64_t one = 1;

	(void)!write(q->wakefd, &one, sizeof(one));
}

/*
 * What a frontend gives as an eventfd may be anything. A write to a pipe or socket that nobody
 * reads would raise SIGPIPE; to poll a file of the frontend's own file system, or an epoll set
 * whose lock somebody holds, may take as long as the frontend likes.
 */
static int dup_fd(int fd, int *out)
{
	*out = -1;
	if (fd < 0)
		return 0;
	if (!fd_is_eventfd(fd))
		return -EINVAL;
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

int vhost_pair_dup_call(int fd, int *out)
{
	int ret = dup_fd(fd, out), flags;

	if (*out < 0)
		return ret;
	/* A full eventfd must not stop the queue's owner. */
	flags = fcntl(*out, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(*out, F_SETFL, flags | O_NONBLOCK);
	return 0;
}

int vhost_pair_set_call(struct vhost_pair *q, enum vhost_direction ring, int fd)
{
	uint64_t one = 1;
	int own, ret = vhost_pair_dup_call(fd, &own);

	quiesce_stop(&q->tq.qs);
	close_fd(&q->callfd[ring]);
	q->callfd[ring] = own;
	/* What was published while nobody listened: say it once more. */
	if (own >= 0 && q->loaded)
		(void)!write(own, &one, sizeof(one));
	quiesce_resume(&q->tq.qs);
	return ret;
}

int vhost_pair_set_kick(struct vhost_pair *q, enum vhost_direction ring, int fd)
{
	int own, ret = dup_fd(fd, &own);

	if (q->kickfd[ring] >= 0)
		(void)epoll_ctl(q->epfd, EPOLL_CTL_DEL, q->kickfd[ring], NULL);
	close_fd(&q->kickfd[ring]);
	if (own >= 0 && (ret = vhost_pair_watch_fd(q, own)) < 0)
		close_fd(&own);
	q->kickfd[ring] = own;
	/* A kick on the former descriptor that the owner has not seen yet went with it. */
	if (q->loaded)
		vhost_pair_wake(q);
	return ret;
}

static void call_guest(struct vhost_pair *q, enum vhost_direction ring)
{
	uint64_t one = 1;

	if (q->callfd[ring] < 0)
		return;
	(void)!write(q->callfd[ring], &one, sizeof(one));
	stats_add(&q->tq.stats.kicks, 1);
}

void vhost_pair_tell(struct vhost_pair *q)
{
	bool tx = vhost_ring_publish(&q->from_guest), rx = vhost_ring_publish(&q->to_guest);

	if (!tx && !rx)
		return;
	shm_mb(); /* barrier pair [C], one for both rings */
	if (tx && vhost_ring_want_call(&q->from_guest))
		call_guest(q, VHOST_FROM_GUEST);
	if (rx && vhost_ring_want_call(&q->to_guest))
		call_guest(q, VHOST_TO_GUEST);
}

void vhost_pair_publish(struct transport_queue *tq)
{
	struct vhost_pair *q = vhost_pair_of(tq);

	if (!q->ep)
		return;
	if (__builtin_expect(q->nlate, 0) && !vhost_pair_late_send(q) && !q->ep)
		return;
	vhost_pair_tell(q);
}

/* True when there is work, so that the owner must not sleep. */
static bool work_now(struct vhost_pair *q, unsigned room)
{
	uint16_t shadow = q->to_guest.shadow;

	if (vhost_ring_pending(&q->from_guest) || vhost_ring_refresh(&q->from_guest) ||
	    q->from_guest.broken)
		return true;
	if (q->nlate)
		return vhost_ring_pending(&q->to_guest) || vhost_ring_refresh(&q->to_guest) ||
		       q->to_guest.broken;
	if (!room)
		return false;
	/* Any change counts: the owner may be waiting for a buffer for a control packet. */
	return vhost_pair_tx_ready(&q->tq) >= room || q->to_guest.broken ||
	       q->to_guest.shadow != shadow;
}

int vhost_pair_arm(struct transport_queue *tq, unsigned room)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	uint32_t have, want;

	q->armed = 1;
	if (!q->ep)
		return 0;
	if (q->nlate)
		room = 1;
	if (work_now(q, room))
		return 1;
	vhost_ring_notify_on(&q->from_guest, q->from_guest.last_avail);
	if (room) {
		have = q->nstack + vhost_ring_pending(&q->to_guest);
		want = vhost_pair_keep(q) + room - 1;
		/* With none at all any buffer helps, for control packets at least. */
		want = have && want > have ? want - have : 0;
		vhost_ring_notify_on(&q->to_guest, (uint16_t)(q->to_guest.shadow + want));
	}
	shm_mb(); /* barrier pair [C] */
	if (!work_now(q, room))
		return 0;
	vhost_ring_notify_off(&q->from_guest);
	vhost_ring_notify_off(&q->to_guest);
	return 1;
}

void vhost_pair_disarm(struct transport_queue *tq)
{
	struct vhost_pair *q = vhost_pair_of(tq);
	struct epoll_event ev[4];

	if (!q->armed)
		return;
	q->armed = 0;
	if (q->ep) {
		vhost_ring_notify_off(&q->from_guest);
		vhost_ring_notify_off(&q->to_guest);
	}
	(void)epoll_wait(q->epfd, ev, 4, 0);
}

int vhost_pair_fd(struct transport_queue *tq)
{
	return vhost_pair_of(tq)->epfd;
}
