/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_watchdog.h"

#include "guest_dev.h"
#include "proto/ctrl/alive.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define MS	    1000000ull
#define TRIAL_FIRST (1000 * MS)
#define TRIAL_STEP  (10) /* ms between two checks whether the buffer has been used */
#define DIED_NS	    (25 * MS)
#define WORD_MS	    1000u /* between two reads of the host's word */

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 * MS + (uint64_t)t.tv_nsec;
}

static uint64_t every_ns(const struct guest_watchdog *w)
{
	uint64_t ns = w->timeout_ns / VSOCK_WATCHDOG_CHECKS;

	return w->died && ns > DIED_NS ? DIED_NS : ns;
}

int guest_watchdog_init(struct guest_dev *dev, uint64_t timeout_ns)
{
	struct guest_watchdog *w = &dev->watchdog;

	*w = (struct guest_watchdog){.fd = -1, .timeout_ns = timeout_ns};
	if (!dev->link->silent)
		return 0;
	dev->d.end = END_SILENT;
	if (timeout_ns == UINT64_MAX)
		return 0;
	dev->d.end = END_MISSED;
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return w->fd < 0 ? -errno : 0;
}

void guest_watchdog_fini(struct guest_dev *dev)
{
	if (dev->watchdog.fd >= 0)
		(void)close(dev->watchdog.fd);
	dev->watchdog.fd = -1;
}

void guest_watchdog_forget(struct guest_dev *dev)
{
	dev->watchdog.due_ns = 0;
	dev->watchdog.died = false;
}

/* A RST of no connection: nobody answers it or counts it as an error. */
static struct vsock_hdr probe(struct guest_dev *dev)
{
	return (struct vsock_hdr){.src_cid = guest_dev_cid(&dev->d),
				  .dst_cid = VSOCK_CID_HOST,
				  .type = VSOCK_TYPE_STREAM,
				  .op = VSOCK_OP_RST};
}

/* ---- checks ---- */

int guest_watchdog_wait(const struct guest_dev *dev)
{
	uint64_t due = dev->watchdog.due_ns, now = due ? now_ns() : 0, ms;

	if (!due)
		return -1;
	ms = due > now ? (due - now + MS - 1) / MS : 0;
	return ms < WORD_MS ? (int)ms : (int)WORD_MS;
}

/* Checks all pairs. @counts: as for vsock_watchdog_check(). Returns the index of a stuck one, or
 * -1. */
static int check(struct guest_dev *dev, bool counts)
{
	struct guest_watchdog *w = &dev->watchdog;
	struct vsock_hdr hdr = probe(dev);
	int stuck = -1;
	bool idle_at = true;

	for (unsigned i = 0; i < dev->d.nqueues; i++) {
		struct vsock_pair *p = &dev->pair[i];
		enum vsock_watchdog_state s = VSOCK_WATCHDOG_IDLE;
		bool broken = false;

		quiesce_stop(&p->tq.qs);
		if (p->tq.up && p->watchdog.on) {
			s = vsock_watchdog_check(p, &hdr, counts,
						 w->died ? VSOCK_WATCHDOG_DIED
							 : VSOCK_WATCHDOG_CHECKS);
			broken = !p->tq.up;
		}
		quiesce_resume(&p->tq.qs);
		if (broken) /* its owner must see that its session is over */
			vsock_pair_wake(p);
		idle_at &= s == VSOCK_WATCHDOG_IDLE;
		if (s == VSOCK_WATCHDOG_STUCK)
			stuck = (int)i;
	}
	w->last_ns = now_ns();
	w->due_ns = idle_at ? 0 : w->last_ns + every_ns(w);
	return stuck;
}

void guest_watchdog_start(struct guest_dev *dev)
{
	uint64_t count;

	if (read(dev->watchdog.fd, &count, sizeof(count)) < 0)
		return;
	/* If a check is due already, it includes this pair. */
	if (!dev->watchdog.due_ns)
		(void)check(dev, false);
}

int guest_watchdog_check(struct guest_dev *dev)
{
	const struct guest_watchdog *w = &dev->watchdog;
	uint64_t now;

	if (!w->due_ns)
		return -1;
	now = now_ns();
	return now < w->due_ns ? -1 : check(dev, w->died || now - w->last_ns <= 2 * every_ns(w));
}

void guest_watchdog_host(struct guest_dev *dev, uint32_t word)
{
	struct guest_watchdog *w = &dev->watchdog;
	bool died = word == ALIVE_DIED && own_region_announced(&dev->own);
	uint64_t due;

	if (died && !w->died) {
		due = now_ns() + DIED_NS;
		if (w->due_ns > due)
			w->due_ns = due;
	}
	w->died = died;
}

/* ---- a suspect device ---- */

void guest_watchdog_suspect(struct guest_dev *dev)
{
	struct guest_watchdog *w = &dev->watchdog;

	w->trial_ns = w->timeout_ns < TRIAL_FIRST ? w->timeout_ns : TRIAL_FIRST;
}

/* 1: the buffer has been used; 0: not in time; -errno: -EPROTO, -ECANCELED. */
static int await(struct guest_dev *dev, struct vsock_pair *p, uint64_t ns)
{
	struct pollfd stop = {.fd = dev->stop_fd, .events = POLLIN};
	uint64_t end = now_ns() + ns;
	int taken;

	do {
		if (poll(&stop, 1, TRIAL_STEP) > 0)
			return -ECANCELED;
		quiesce_stop(&p->tq.qs);
		taken = vsock_probe_taken(p);
		quiesce_resume(&p->tq.qs);
	} while (taken == 0 && now_ns() < end);
	return taken;
}

int guest_watchdog_prove(struct guest_dev *dev)
{
	struct guest_watchdog *w = &dev->watchdog;
	struct vsock_pair *p = &dev->pair[0];
	struct vsock_hdr hdr = probe(dev);
	bool sent;
	int taken;

	if (!w->trial_ns)
		return 0;
	quiesce_stop(&p->tq.qs);
	sent = vsock_probe(p, &hdr);
	quiesce_resume(&p->tq.qs);
	taken = sent ? await(dev, p, w->trial_ns) : 1; /* no buffer: nothing can be tested */
	if (taken == 1) {
		w->trial_ns = 0;
		return 0;
	}
	w->trial_ns = w->trial_ns + w->trial_ns / 4;
	if (w->trial_ns > w->timeout_ns)
		w->trial_ns = w->timeout_ns;
	if (taken < 0)
		return zv_err(taken, "the device %s",
			      taken == -ECANCELED ? "is being closed" : "breaks its ring");
	return zv_err(-ETIMEDOUT, "the device takes no packets; its backend may not run");
}
