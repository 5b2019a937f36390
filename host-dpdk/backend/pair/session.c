/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions of a queue pair: started, paused, ended. Theory in vhost_pair.h. */
#include "vhost_pair_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define WATCH_NS 200000000u /* interval of checks of a paused pair's rings */
#define WATCHED	 4096u	    /* bytes of each part of a ring that are */

/* ---- the end of a session ---- */

static void drop_stacks(struct vhost_pair *q)
{
	while (q->nstack)
		vhost_chain_free(q, q->stack[--q->nstack]);
	while (q->nctrl)
		vhost_chain_free(q, q->ctrl[--q->nctrl]);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The queue's clock goes on. */
static void clock_on(struct vhost_pair *q)
{
	if (q->tq.paused_at)
		q->tq.paused_ns += now_ns() - q->tq.paused_at;
	q->tq.paused_at = 0;
}

/* The session is over for the socket layer; no epoch is current. The caller frees those that have
 * ended. */
static void over(struct vhost_pair *q)
{
	vhost_pair_deferred_drop(q);
	shm_store32(&q->tq.up, 0);
	q->tq.session++;
	clock_on(q);
}

void vhost_pair_break(struct vhost_pair *q, const struct vhost_ring *r)
{
	if (!q->ep)
		return;
	stats_add(&q->tq.stats.ring_broken, 1);
	stats_add(&q->tq.stats.rx_bad_chain, 1);
	drop_stacks(q);
	vhost_epoch_retire(q);
	over(q);
	vhost_epochs_leave(q);
	zv_log_limited(&q->tq.log, ZV_LOG_ERR,
		       "%s: queue %u: the guest's %s ring is broken: %s; it is down until the "
		       "driver restarts it",
		       q->name, q->index, r == &q->from_guest ? "transmit" : "receive",
		       vhost_ring_fault_text(r->broken));
}

/* Returns all chains in flight to the guest, unused. */
static void return_in_flight(struct vhost_pair *q)
{
	for (uint32_t i = 0; i < q->nchains; i++) {
		struct vhost_chain *c = &q->chains[i];

		if (c->state != CHAIN_FREE && vhost_chain_ours(q, c))
			vhost_ring_put(c->state == CHAIN_LENT ? &q->from_guest : &q->to_guest,
				       c->id, 0);
	}
	drop_stacks(q);
	for (struct vhost_epoch *ep = q->retired; ep; ep = ep->next)
		ep->returned = true;
	vhost_pair_notify(q);
}

static void unwatch(struct vhost_pair *q)
{
	if (q->watchfd >= 0)
		(void)close(q->watchfd);
	q->watchfd = -1;
	unmapper_drop(q->unmapper, q->watched);
	q->watched = NULL;
}

static void get_bases(const struct vhost_pair *q, struct vhost_pair_bases *b)
{
	b->base[VHOST_TO_GUEST] = vhost_ring_position(&q->to_guest);
	b->base[VHOST_FROM_GUEST] = vhost_ring_position(&q->from_guest);
}

/*
 * Whether @next may be mapped beside the memory that loans keep, at most @max former tables. 0;
 * -EBUSY, and counted, once until that has changed.
 */
static int check_kept(struct vhost_pair *q, unsigned max, const struct guest_mem *next)
{
	bool fits = vhost_epochs_fit(q, max, next);

	if (!fits && !q->full)
		stats_add(&q->tq.stats.loan_limit, 1);
	q->full = !fits;
	return fits ? 0 : -EBUSY;
}

/* ---- the beginning ---- */

static bool grow(void *array, uint32_t n, size_t size)
{
	void *p, **slot = array;

	p = realloc(*slot, (size_t)n * size);
	if (p)
		*slot = p;
	return p != NULL;
}

/* Makes room for the chains of both rings beside those that stale tokens still occupy. */
static int make_chains(struct vhost_pair *q, uint32_t need, uint32_t segs)
{
	uint32_t total = need;

	for (uint32_t i = 0; i < q->nchains; i++)
		total += q->chains[i].state != CHAIN_FREE;
	if (total > q->nchains) {
		if (!grow(&q->chains, total, sizeof(*q->chains)) ||
		    !grow(&q->stack, total, sizeof(*q->stack)) ||
		    !grow(&q->ctrl, total, sizeof(*q->ctrl)))
			return -ENOMEM;
		/* Backwards, so that the lowest, adjacent ones are used first. */
		for (uint32_t i = total; i-- > q->nchains;)
			vhost_chain_free(q, i);
		q->nchains = total;
	}
	if (segs > q->nseg) {
		if (!grow(&q->seg, segs, sizeof(*q->seg)))
			return -ENOMEM;
		q->nseg = segs;
	}
	return vhost_pair_deferred_reserve(q);
}

static int load_rings(struct vhost_pair *q, const struct vhost_pair_setup *s)
{
	int ret;

	ret = vhost_ring_load(&q->to_guest, &s->ring[VHOST_TO_GUEST], s->mem, s->iommu, s->features,
			      true);
	if (ret == 0)
		ret = vhost_ring_load(&q->from_guest, &s->ring[VHOST_FROM_GUEST], s->mem, s->iommu,
				      s->features, false);
	if (ret == 0)
		/* A chain of maximum length always fits, with a burst of short ones. */
		ret = make_chains(q, s->ring[VHOST_TO_GUEST].size + s->ring[VHOST_FROM_GUEST].size,
				  vhost_ring_chain_max(&q->from_guest) + 8 * VHOST_BURST);
	return ret;
}

static bool is_at(const struct vhost_ring *r, struct vhost_ring_pos pos)
{
	return vhost_ring_pos_same(vhost_ring_position(r), pos);
}

int vhost_pair_start(struct vhost_pair *q, const struct vhost_pair_setup *s)
{
	struct vhost_epoch *ep = NULL;
	int ret;

	vhost_owner_stop(&q->tq.qs);
	ret = check_kept(q, VHOST_RETIRED - 1, s->mem);
	if (ret == 0)
		ret = load_rings(q, s);
	if (ret == 0) {
		ep = vhost_epoch_new(s->mem, q->tq.session + 1);
		ret = ep ? 0 : -ENOMEM;
	}
	if (ret == 0) {
		q->ep = ep;
		q->loaded = true;
		vhost_pair_path(q, q->from_guest.layout, s->iommu != NULL);
		q->tq.inherited = !is_at(&q->to_guest, q->to_guest.layout->fresh) ||
				  !is_at(&q->from_guest, q->from_guest.layout->fresh);
		q->tq.rx_descs = q->from_guest.area.size;
		q->tq.tx_descs = q->to_guest.area.size;
		stats_add(&q->tq.stats.sessions, 1);
		q->tq.session++;
		shm_store32(&q->tq.up, 1);
	}
	quiesce_resume(&q->tq.qs);
	vhost_pair_wake(q);
	return ret;
}

/* ---- pauses ---- */

/* A checksum of the memory that a ring's driver writes; we do not write there during a pause. */
static uint64_t ring_sum(const struct vhost_ring *r, uint64_t sum)
{
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++) {
		const uint64_t len = vhost_ring_bytes(r->layout, i, r->area.size);
		const uint8_t *part = r->area.part[i];

		for (size_t at = 0; at + 2 <= len && at < WATCHED; at += 2)
			sum = (sum ^ shm_load16((const uint16_t *)(const void *)(part + at))) *
			      1099511628211u; /* FNV-1a */
	}
	return sum;
}

static uint64_t rings_sum(const struct vhost_pair *q)
{
	return ring_sum(&q->from_guest, ring_sum(&q->to_guest, 14695981039346656037u));
}

/* The owner will check the rings periodically. Without a timer it does so only when it is awake. */
static void watch_rings(struct vhost_pair *q, struct guest_mem *rings)
{
	const struct timespec period = {.tv_nsec = WATCH_NS};
	const struct itimerspec t = {period, period};

	q->watched = guest_mem_get(rings);
	q->watch_sum = rings_sum(q);
	q->watch_due = now_ns() + WATCH_NS;
	q->watchfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (q->watchfd < 0 || timerfd_settime(q->watchfd, 0, &t, NULL) < 0 ||
	    vhost_pair_watch_fd(q, q->watchfd) < 0) {
		if (q->watchfd >= 0)
			(void)close(q->watchfd);
		q->watchfd = -1;
		zv_log(ZV_LOG_WARN,
		       "%s: queue %u: cannot start a timer: if the driver does not go on after "
		       "this pause, it may not be noticed",
		       q->name, q->index);
	}
}

/* Time to check. A timer must be read to be rearmed; it never fires early, so the clock, which
 * costs no system call, tells when there is something to read. */
static bool watch_due(struct vhost_pair *q)
{
	uint64_t now = now_ns(), ticks = 1;

	if (now < q->watch_due)
		return false;
	if (q->watchfd >= 0 && read(q->watchfd, &ticks, sizeof(ticks)) <= 0)
		return false;
	q->watch_due = WATCH_NS + (q->watchfd < 0 ? now : q->watch_due + (ticks - 1) * WATCH_NS);
	return true;
}

void vhost_pair_idle(struct vhost_pair *q)
{
	if (!q->watched || !q->tq.up || !watch_due(q) || rings_sum(q) == q->watch_sum)
		return;
	over(q);
	vhost_epochs_leave(q);
	zv_log_limited(&q->tq.log, ZV_LOG_INFO,
		       "%s: queue %u: the guest's driver no longer uses the rings that were "
		       "stopped: connections are reset",
		       q->name, q->index);
}

bool vhost_pair_pause(struct vhost_pair *q, struct guest_mem *rings, struct vhost_pair_bases *b)
{
	struct vhost_epoch *ended;
	bool good, fits;

	if (!q->loaded || q->paused)
		return false;
	vhost_owner_stop(&q->tq.qs);
	if (!q->ep) { /* broken: there is no session to go on */
		quiesce_resume(&q->tq.qs);
		return vhost_pair_stop(q, b);
	}
	good = vhost_pair_deferred_reserve(q) == 0;
	vhost_epoch_retire(q);
	fits = check_kept(q, VHOST_RETIRED, rings) == 0; /* which the pause keeps too */
	good = vhost_pair_revoke(q, &q->from_guest, rings) && good;
	return_in_flight(q);
	ended = vhost_epochs_ended(q);
	if (good && !fits) {
		good = false;
		zv_log_limited(&q->tq.log, ZV_LOG_ERR,
			       "%s: queue %u cannot go on after this pause: buffers in use keep "
			       "too many former memory tables mapped; connections are reset",
			       q->name, q->index);
	}
	if (good) {
		q->tq.paused_at = now_ns();
		watch_rings(q, rings);
	} else {
		over(q);
	}
	q->paused = true;
	get_bases(q, b);
	quiesce_resume(&q->tq.qs);
	vhost_epochs_free(ended);
	vhost_pair_wake(q);
	return true;
}

/* A paused session is about to end, and its rings are as they were left: they run once more, in the
 * map that still exists, so that what the guest had sent can be received. */
static void run_out(struct vhost_pair *q)
{
	if (q->ep || !q->tq.up || !q->watched || rings_sum(q) != q->watch_sum)
		return;
	q->ep = vhost_epoch_new(q->watched, q->tq.session);
	q->from_guest.mem = q->to_guest.mem = q->watched;
	q->from_guest.hint = q->to_guest.hint = 0;
}

bool vhost_pair_stop(struct vhost_pair *q, struct vhost_pair_bases *b)
{
	struct vhost_epoch *ended;
	bool ran;

	if (!q->loaded)
		return false;
	vhost_owner_stop(&q->tq.qs);
	run_out(q);
	vhost_pair_rx_save(q);
	ran = q->ep != NULL;
	if (ran)
		vhost_epoch_retire(q);
	(void)vhost_pair_revoke(q, &q->from_guest, NULL);
	if (ran)
		return_in_flight(q);
	if (q->tq.up)
		over(q);
	ended = vhost_epochs_ended(q);
	unwatch(q);
	q->loaded = q->paused = false;
	get_bases(q, b);
	quiesce_resume(&q->tq.qs);
	vhost_epochs_free(ended);
	vhost_pair_wake(q);
	return true;
}

void vhost_pair_driver_gone(struct vhost_pair *q)
{
	vhost_owner_stop(&q->tq.qs);
	q->tq.gone++;
	q->tq.session++; /* the owner looks */
	quiesce_resume(&q->tq.qs);
	vhost_pair_wake(q);
}

/* True: some memory of a ring is missing in @now, or is at another guest address. */
static bool ring_moved(const struct vhost_pair *q, const struct vhost_ring *r,
		       const struct guest_mem *now)
{
	for (unsigned i = 0; i < VHOST_RING_PARTS; i++)
		if (guest_mem_gone(q->watched, now, r->area.part[i],
				   vhost_ring_bytes(r->layout, i, r->area.size)))
			return true;
	return false;
}

int vhost_pair_resume(struct vhost_pair *q, const struct vhost_pair_setup *s,
		      const struct guest_mem *rings)
{
	struct vhost_epoch *ep = NULL;
	struct vhost_pair_bases b;
	int ret = -ESTALE;

	vhost_owner_stop(&q->tq.qs);
	get_bases(q, &b);
	if (q->tq.up && q->watched && !ring_moved(q, &q->to_guest, rings) &&
	    !ring_moved(q, &q->from_guest, rings))
		ret = check_kept(q, VHOST_RETIRED - 1, s->mem);
	if (ret == 0)
		ret = load_rings(q, s);
	if (ret == 0 && (!is_at(&q->to_guest, b.base[VHOST_TO_GUEST]) ||
			 !is_at(&q->from_guest, b.base[VHOST_FROM_GUEST])))
		ret = -ESTALE; /* the driver has begun anew */
	if (ret == 0 && !(ep = vhost_epoch_new(s->mem, q->tq.session)))
		ret = -ENOMEM;
	unwatch(q); /* after an error too: the rings may be another driver's */
	if (ret == 0) {
		vhost_pair_path(q, q->from_guest.layout, s->iommu != NULL);
		q->ep = ep;
		q->paused = false;
		clock_on(q);
	}
	quiesce_resume(&q->tq.qs);
	vhost_pair_wake(q);
	return ret;
}

/* ---- a live change of the memory table ---- */

/* True: some memory behind a token is missing in @now. */
static bool chain_gone(const struct vhost_chain *c, const struct guest_mem *now)
{
	const struct guest_mem *m = c->ep->mem;

	if (c->state == CHAIN_LENT)
		return guest_mem_gone(m, now, c->hdr, (uintptr_t)c->data - (uintptr_t)c->hdr);
	return guest_mem_gone(m, now, c->data, c->cap) ||
	       (c->hdr && guest_mem_gone(m, now, c->hdr, VSOCK_HDR_LEN));
}

/* Makes @ep the current epoch of the same session. 0; -EBUSY: the session cannot go on in it. */
static int epoch_change(struct vhost_pair *q, struct vhost_epoch *ep)
{
	int ret = 0;

	vhost_epoch_retire(q);
	q->ep = ep;
	for (uint32_t i = 0; i < q->nchains && q->ep; i++) {
		struct vhost_chain *c = &q->chains[i];

		/* Only we refer to the chains on the stacks: move them along. */
		if (c->state == CHAIN_CANCELLED) {
			if (vhost_chain_move(q, c)) {
				c->ep = ep;
			} else {
				(void)vhost_ring_break(&q->to_guest, VHOST_RING_BAD_ADDR);
				vhost_pair_break(q, &q->to_guest);
			}
		} else if (vhost_chain_out(c) && c->ep != ep && vhost_chain_ours(q, c) &&
			   chain_gone(c, ep->mem)) {
			ret = -EBUSY;
		}
	}
	return ret;
}

int vhost_pair_switch_mem(struct vhost_pair *q, const struct vhost_pair_setup *s)
{
	struct vhost_epoch *ep = NULL, *ended;
	struct vhost_ring from, to, old;
	int ret = 0;

	if (!q->loaded || q->paused)
		return 0;
	vhost_owner_stop(&q->tq.qs);
	old = from = q->from_guest;
	to = q->to_guest;
	if (vhost_ring_layout_of(s->features) != from.layout || /* parts of other lengths */
	    vhost_ring_move(&to, &s->ring[VHOST_TO_GUEST], s->mem) < 0 ||
	    vhost_ring_move(&from, &s->ring[VHOST_FROM_GUEST], s->mem) < 0)
		ret = -EINVAL;
	else if (q->ep)
		ret = check_kept(q, VHOST_RETIRED, s->mem);
	if (ret == 0 && q->ep && !(ep = vhost_epoch_new(s->mem, q->ep->session)))
		ret = -ENOMEM;
	if (ret == 0) {
		q->to_guest = to;
		q->from_guest = from;
	}
	if (ep)
		ret = epoch_change(q, ep);
	vhost_epochs_strip(q);
	if (!q->ep || ret == -EBUSY) /* no session goes on with what is out */
		(void)vhost_pair_revoke(q, &old, NULL);
	ended = vhost_epochs_ended(q);
	quiesce_resume(&q->tq.qs);
	vhost_epochs_free(ended);
	vhost_pair_wake(q);
	return ret;
}
