/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread of a vhost-user device.
 *
 * Theory of operation
 * -------------------
 * The thread sleeps in poll() and has three reasons to wake: the backend has gone (or sends what
 * nobody asked for), the event queue has something, or the device is being closed.
 *
 * When the backend has gone, every pair is stopped and its owner woken, and the thread tries to
 * reconnect until it succeeds, at first quickly and then once a second. A new backend gets the same
 * memory (buffers may still be on loan) and freshly initialised rings.
 *
 * Pairs belong to their owners; the thread touches one only between quiesce_stop() and
 * quiesce_resume(), and never waits for the backend in between.
 */
#include "proto/vsock_device.h"
#include "vu_priv.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 1000

static void stop_all(struct vu_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		quiesce_stop(&dev->pair[i].tq.qs);
}

static void resume_all(struct vu_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		quiesce_resume(&dev->pair[i].tq.qs);
}

static void wake_all(struct vu_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		vsock_pair_wake(&dev->pair[i]);
}

/* ---- up and down ---- */

static int hand_over_rings(struct vu_dev *dev)
{
	int ret = 0;

	for (unsigned i = 0; i < dev->d.nqueues && ret == 0; i++) {
		struct vsock_pair *p = &dev->pair[i];

		ret = frontend_start_ring(&dev->fe, vsock_vq(i, VSOCK_VQ_RX), &p->rx, p->call_fd,
					  p->kick_rx);
		if (ret == 0)
			ret = frontend_start_ring(&dev->fe, vsock_vq(i, VSOCK_VQ_TX), &p->tx,
						  p->call_fd, p->kick_tx);
		if (i == 0 && ret == 0 && dev->ev_used)
			ret = frontend_start_ring(&dev->fe, VSOCK_VQ_EVENT, &dev->ev.vq,
						  dev->ev.call_fd, dev->ev.kick_fd);
	}
	return ret ? ret : frontend_barrier(&dev->fe);
}

int vu_bring_up(struct vu_dev *dev)
{
	struct frontend *fe = &dev->fe;
	bool event_idx;
	int ret;

	ret = frontend_connect(fe);
	if (ret == 0)
		ret = frontend_negotiate(fe, dev->d.nqueues);
	if (ret)
		goto fail;
	event_idx = frontend_event_idx(fe);
	dev->ev_used = frontend_wants_events(fe);
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		vsock_pair_reset(&dev->pair[i], event_idx);
	vsock_events_reset(&dev->ev, event_idx);
	resume_all(dev);
	ret = frontend_set_memory(fe, dev->mem.fd, dev->mem.addr, dev->mem.size, VU_GPA_BASE);
	if (ret == 0)
		ret = hand_over_rings(dev);
	if (ret)
		goto fail;
	if (dev->ev_used)
		vsock_events_start(&dev->ev);
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		dev->pair[i].rx_wipe = frontend_may_leave_blank(fe);
		vsock_pair_start(&dev->pair[i], dev->ev_used ? &dev->ev : NULL);
	}
	resume_all(dev);
	wake_all(dev);
	return 0;
fail:
	frontend_disconnect(fe);
	return ret;
}

static void go_down(struct vu_dev *dev, const char *why)
{
	zv_log(ZV_LOG_WARN, "vhost-user %s: %s; connections are reset, reconnecting", dev->fe.path,
	       why);
	frontend_disconnect(&dev->fe);
	dev->ev_used = false;
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		vsock_pair_stop(&dev->pair[i]);
	resume_all(dev);
	wake_all(dev);
}

/* ---- events ---- */

/* A broken event ring is given up; the pairs go on without it. */
static void give_up_events(struct vu_dev *dev)
{
	zv_log(ZV_LOG_ERR, "vhost-user %s: event ring broken by the backend (%s)", dev->fe.path,
	       virtq_fault_name(dev->ev.vq.fault));
	dev->ev_used = false;
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		dev->pair[i].ev = NULL;
	stats_add(&dev->pair[0].tq.stats.ring_broken, 1);
	resume_all(dev);
	wake_all(dev);
}

static void on_events(struct vu_dev *dev)
{
	uint64_t count;
	int resets;

	if (read(dev->ev.call_fd, &count, sizeof(count)) < 0)
		return;
	resets = vsock_events_take(&dev->ev);
	if (resets < 0) {
		give_up_events(dev);
		return;
	}
	if (resets > 0) {
		zv_log(ZV_LOG_INFO, "vhost-user %s: transport reset", dev->fe.path);
		if (frontend_read_cid(&dev->fe)) {
			go_down(dev, zv_error_text());
			return;
		}
	}
	/* Queues have held packets back since the event arrived, and wait to be told to go on. */
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues && resets > 0; i++)
		vsock_pair_renew(&dev->pair[i]);
	vsock_events_done(&dev->ev);
	resume_all(dev);
	wake_all(dev);
}

/* ---- the thread ---- */

static void on_socket(struct vu_dev *dev)
{
	char byte;
	ssize_t n = recv(dev->fe.fd, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		go_down(dev, "the backend sent a message that nobody asked for");
	else
		go_down(dev,
			n == 0 ? "the backend has closed the connection" : zv_strerror(-errno));
}

/* One try to reconnect; returns how long to wait before the next. */
static int reconnect(struct vu_dev *dev, int backoff)
{
	int ret = vu_bring_up(dev);

	if (ret == 0) {
		zv_log(ZV_LOG_INFO, "vhost-user %s: connected again, CID %llu", dev->fe.path,
		       (unsigned long long)dev->fe.guest_cid);
		return BACKOFF_MIN_MS;
	}
	if (ret != -ECANCELED)
		zv_log(ZV_LOG_DEBUG, "vhost-user %s: %s", dev->fe.path, zv_error_text());
	return backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
}

static void *control_main(void *arg)
{
	struct vu_dev *dev = arg;
	int backoff = BACKOFF_MIN_MS;

	for (;;) {
		/* poll() ignores negative descriptors. */
		struct pollfd p[3] = {
			{.fd = dev->stop_fd, .events = POLLIN},
			{.fd = dev->fe.fd, .events = POLLIN},
			{.fd = dev->ev_used ? dev->ev.call_fd : -1, .events = POLLIN}};
		int n = poll(p, 3, dev->fe.fd < 0 ? backoff : -1);

		if (n > 0 && p[0].revents)
			return NULL;
		if (n > 0 && p[2].revents)
			on_events(dev);
		if (n > 0 && p[1].revents && dev->fe.fd >= 0)
			on_socket(dev);
		if (n == 0)
			backoff = reconnect(dev, backoff);
	}
}

int vu_control_start(struct vu_dev *dev)
{
	sigset_t all, old;
	int err;

	/* Signals are the application's business and go to its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&dev->thread, NULL, control_main, dev);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return zv_err(-err, "cannot start the control thread for %s: %s", dev->fe.path,
			      zv_strerror(-err));
	dev->thread_runs = true;
	(void)pthread_setname_np(dev->thread, "zvsock-ctl");
	return 0;
}

void vu_control_stop(struct vu_dev *dev)
{
	if (!dev->thread_runs)
		return;
	vsock_kick(dev->stop_fd);
	pthread_join(dev->thread, NULL);
	dev->thread_runs = false;
}
