/* SPDX-License-Identifier: BSD-3-Clause */
#include "ksock_region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define LOCKS	((off_t)1 << 61) /* the first byte; there are 2^61 of them */
#define LOOK_NS 100000000ull	 /* between two looks for locks of others */

/* The region, and a lock. */
struct locked_map {
	struct region_map map; /* first */
	struct region_map *of;
	int lock_fd;
};

static void locked_map_free(struct region_map *m)
{
	struct locked_map *l = (struct locked_map *)(void *)m;

	(void)close(l->lock_fd);
	region_map_put(l->of);
	free(l);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- locks ---- */

/* One of @n bytes is locked through another descriptor; @n 0: all to the end. */
static bool locked(int fd, off_t start, off_t n)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = n};

	return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* A descriptor that has locked byte @at of @file. -EAGAIN: another byte is locked; another -errno:
 * the file cannot be locked. */
static int lock(int file, off_t at)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
	char path[32];
	int fd, ret = 0;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK); /* a lock belongs to one open(2) */
	if (fd < 0)
		return -errno;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0)
		ret = errno == EAGAIN ? -EACCES : -errno; /* locked for writing: not by us */
	else if ((at > LOCKS && locked(fd, LOCKS, at - LOCKS)) || locked(fd, at + 1, 0))
		ret = -EAGAIN;
	if (ret == 0)
		return fd;
	(void)close(fd);
	return ret;
}

/* The queue will be woken for the next look, or is polled anyway: without a timer, only then. */
static void look_later(struct ksock_queue *q, uint64_t now)
{
	/* Each expiry is an event of its own (EPOLLET), so nobody needs to read the timer. */
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = KSOCK_WAKE_TAG};
	struct itimerspec at;

	q->look_ns = now + LOOK_NS;
	at = (struct itimerspec){.it_value = {.tv_sec = (time_t)(q->look_ns / 1000000000u),
					      .tv_nsec = (long)(q->look_ns % 1000000000u)}};
	if (q->look_fd < 0) {
		q->look_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (q->look_fd >= 0 && epoll_ctl(q->epfd, EPOLL_CTL_ADD, q->look_fd, &ev) < 0) {
			(void)close(q->look_fd);
			q->look_fd = -1;
		}
	}
	if (q->look_fd >= 0)
		(void)timerfd_settime(q->look_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

/* ---- the map ---- */

static int map_locked(struct own_region *own, unsigned queue, const struct ctrl_region *at,
		      int lock_fd, struct region_map **out)
{
	struct locked_map *l = calloc(1, sizeof(*l));
	int ret = l ? own_region_map_part(own, "vsock", "", queue, at, &l->of) : -ENOMEM;

	if (ret) {
		free(l);
		(void)close(lock_fd);
		return ret;
	}
	l->map = (struct region_map){
		.addr = l->of->addr, .size = l->of->size, .refs = 1, .free = locked_map_free};
	l->lock_fd = lock_fd;
	*out = &l->map;
	return 0;
}

int ksock_region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *at,
		     struct region_map **out)
{
	struct ksock_dev *dev = (struct ksock_dev *)(void *)d;
	struct ksock_queue *q = &dev->q[queue];
	int file = own_region_file(&dev->own), fd;
	uint64_t now = now_ns();

	if (file < 0)
		return own_region_map_part(&dev->own, "vsock", "", queue, at, out);
	if (q->waits_for == at->id && now < q->look_ns)
		return -EINPROGRESS;
	fd = lock(file, LOCKS + (off_t)(at->id >> 3));
	if (fd >= 0) {
		q->waits_for = 0;
		return map_locked(&dev->own, queue, at, fd, out);
	}
	if (fd != -EAGAIN) {
		zv_log_limited(&q->tq.log, ZV_LOG_WARN,
			       "vsock: queue %u: the file of the region cannot be locked (%s): "
			       "buffers that are held over a restart of zvsockd may be overwritten",
			       queue, zv_strerror(fd));
		return own_region_map_part(&dev->own, "vsock", "", queue, at, out);
	}
	if (q->waits_for != at->id)
		zv_log_limited(&q->tq.log, ZV_LOG_INFO,
			       "vsock: queue %u: no channels until programs have released the "
			       "buffers that they hold from before zvsockd was restarted",
			       queue);
	q->waits_for = at->id;
	look_later(q, now);
	return -EINPROGRESS;
}
