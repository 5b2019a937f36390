/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread of a device.
 *
 * Theory of operation
 * -------------------
 * The thread sleeps in poll() and has six reasons to wake: an event of the connection, an event in
 * the event queue, transmit buffers that the device has not used (guest_watchdog.h), a region to be
 * mapped (guest_region.h), application memory to be mapped or unmapped (app_mem.h), or the device
 * is being closed.
 *
 * When the device is lost, or no longer uses buffers, every pair is stopped and its owner woken,
 * and the thread tries to connect until it succeeds, at first often and then once a second.
 *
 * Pairs belong to their owners; the thread accesses one only between quiesce_stop() and
 * quiesce_resume(), and never waits for the device in between.
 */
#include "guest_control.h"

#include "guest_alive.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define BACKOFF_MIN_MS 10
#define BACKOFF_MAX_MS 1000

static void stop_all(struct guest_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		quiesce_stop(&dev->pair[i].tq.qs);
}

static void resume_all(struct guest_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		quiesce_resume(&dev->pair[i].tq.qs);
}

static void wake_all(struct guest_dev *dev)
{
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		vsock_pair_wake(&dev->pair[i]);
}

/* ---- up and down ---- */

int guest_bring_up(struct guest_dev *dev)
{
	int ret = dev->link->connect(dev);

	if (ret)
		goto fail;
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		vsock_pair_reset(&dev->pair[i], dev->has.rings, dev->has.event_idx);
	vsock_events_reset(&dev->ev, dev->has.rings, dev->has.event_idx);
	resume_all(dev);
	ret = dev->link->start(dev);
	if (ret == 0)
		ret = guest_watchdog_prove(dev);
	if (ret)
		goto fail;
	if (dev->has.events)
		vsock_events_start(&dev->ev);
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		dev->pair[i].rx_wipe = dev->has.returns_unwritten;
		dev->pair[i].tq.sent.on = dev->has.tables && dev->d.ops->mem_map;
		vsock_pair_start(&dev->pair[i], dev->has.events ? &dev->ev : NULL);
	}
	resume_all(dev);
	wake_all(dev);
	return 0;
fail:
	dev->link->disconnect(dev);
	dev->has.events = false;
	return ret;
}

static void go_down(struct guest_dev *dev, const char *why)
{
	zv_log_limited(&dev->log, ZV_LOG_WARN, "%s %s: %s; connections are reset, reconnecting",
		       dev->scheme, dev->name, why);
	dev->link->disconnect(dev);
	dev->has.events = false;
	guest_watchdog_forget(dev);
	guest_regions_lost(dev);
	stop_all(dev);
	own_region_lost(&dev->own);
	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		vsock_pair_stop(&dev->pair[i]);
		if (dev->gone)
			vsock_pair_let_go(&dev->pair[i]);
	}
	dev->gone = false;
	resume_all(dev);
	wake_all(dev);
}

/* ---- events ---- */

/* A broken event ring is no longer used; the pairs continue without it. */
static void give_up_events(struct guest_dev *dev)
{
	zv_log_limited(&dev->log, ZV_LOG_ERR, "%s %s: event ring broken by the device (%s)",
		       dev->scheme, dev->name, virtq_fault_name(virtq_fault(&dev->ev.vq)));
	dev->has.events = false;
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues; i++)
		dev->pair[i].ev = NULL;
	stats_add(&dev->pair[0].tq.stats.ring_broken, 1);
	resume_all(dev);
	wake_all(dev);
}

static void on_events(struct guest_dev *dev)
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
		zv_log_limited(&dev->log, ZV_LOG_INFO, "%s %s: transport reset", dev->scheme,
			       dev->name);
		if (dev->link->read_cid(dev)) {
			go_down(dev, zv_error_text());
			return;
		}
	}
	/* Since the event arrived the queues have held packets back, until vsock_events_done(). */
	stop_all(dev);
	for (unsigned i = 0; i < dev->d.nqueues && resets > 0; i++)
		vsock_pair_renew(&dev->pair[i]);
	vsock_events_done(&dev->ev);
	resume_all(dev);
	wake_all(dev);
}

/* ---- the watchdog ---- */

static void on_watchdog(struct guest_dev *dev)
{
	int stuck = guest_watchdog_check(dev);
	char why[96];

	if (stuck < 0)
		return;
	if (dev->watchdog.died)
		(void)snprintf(why, sizeof(why),
			       "queue %d: the device's backend has died and takes no packets",
			       stuck);
	else
		(void)snprintf(why, sizeof(why),
			       "queue %d: the device has taken no packet for %llu ms", stuck,
			       (unsigned long long)(dev->watchdog.timeout_ns / 1000000));
	guest_watchdog_suspect(dev);
	go_down(dev, why);
}

/* ---- the thread ---- */

static void on_link(struct guest_dev *dev)
{
	const char *why = dev->link->lost(dev);

	if (why)
		go_down(dev, why);
}

/* Tries once to reconnect; returns how long to wait before the next attempt. */
static int reconnect(struct guest_dev *dev, int backoff)
{
	bool silent = dev->watchdog.trial_ns, first = silent && backoff == BACKOFF_MIN_MS;
	int ret = guest_bring_up(dev);

	if (ret == 0) {
		zv_log_limited(&dev->log, ZV_LOG_INFO, "%s %s: connected again, CID %llu",
			       dev->scheme, dev->name, (unsigned long long)dev->guest_cid);
		return BACKOFF_MIN_MS;
	}
	if (ret != -ECANCELED)
		zv_log(first ? ZV_LOG_WARN : ZV_LOG_DEBUG, "%s %s: %s%s", dev->scheme, dev->name,
		       zv_error_text(), first ? "; trying again until it does" : "");
	return backoff * 2 < BACKOFF_MAX_MS ? backoff * 2 : BACKOFF_MAX_MS;
}

struct start {
	struct guest_dev *dev;
	sem_t done;
};

static void *control_main(void *arg)
{
	struct start *start = arg;
	struct guest_dev *dev = start->dev;
	int backoff = BACKOFF_MIN_MS;
	struct guest_alive alive;

	guest_alive_begin(&alive);
	guest_alive_update(&alive, &dev->own, dev->guest_cid);
	(void)sem_post(&start->done); /* *start is gone */
	for (;;) {
		int fd = dev->link->fd(dev), n;
		/* poll() ignores negative descriptors. */
		struct pollfd p[6] = {
			{.fd = dev->stop_fd, .events = POLLIN},
			{.fd = fd, .events = POLLIN},
			{.fd = dev->has.events ? dev->ev.call_fd : -1, .events = POLLIN},
			{.fd = dev->watchdog.fd, .events = POLLIN},
			{.fd = dev->regions.fd, .events = POLLIN},
			{.fd = dev->app.fd, .events = POLLIN}};

		guest_alive_update(&alive, &dev->own, dev->guest_cid);
		guest_watchdog_host(dev, guest_alive_host(&alive));
		n = poll(p, 6, fd < 0 ? backoff : guest_watchdog_wait(dev));
		if (n > 0 && p[0].revents) {
			guest_alive_end(&alive);
			return NULL;
		}
		if (n > 0 && p[2].revents)
			on_events(dev);
		if (n > 0 && p[1].revents && dev->link->fd(dev) >= 0)
			on_link(dev);
		if (n > 0 && p[3].revents)
			guest_watchdog_start(dev);
		if (n > 0 && p[4].revents && guest_regions_serve(dev))
			wake_all(dev);
		if (n > 0 && p[5].revents && !app_mems_serve(dev))
			go_down(dev, zv_error_text());
		if (dev->link->fd(dev) >= 0)
			on_watchdog(dev);
		else if (n == 0)
			backoff = reconnect(dev, backoff);
	}
}

int guest_control_start(struct guest_dev *dev)
{
	struct start start = {.dev = dev};
	sigset_t all, old;
	int err;

	(void)sem_init(&start.done, 0, 0);
	/* Signals are for the application's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&dev->thread, NULL, control_main, &start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return zv_err(-err, "cannot start the control thread for %s: %s", dev->name,
			      zv_strerror(-err));
	dev->thread_runs = true;
	/*
	 * A process that is killed before the thread has had a CPU dies unnoticed by a VM that
	 * lives on. No channel is made before zv_open() returns.
	 */
	while (sem_wait(&start.done) < 0)
		; /* EINTR */
	(void)sem_destroy(&start.done);
	(void)pthread_setname_np(dev->thread, "zvsock-ctl");
	return 0;
}

void guest_control_stop(struct guest_dev *dev)
{
	if (!dev->thread_runs)
		return;
	eventfd_signal(dev->stop_fd);
	pthread_join(dev->thread, NULL);
	dev->thread_runs = false;
}
