/* SPDX-License-Identifier: BSD-3-Clause */
/* The regions known at the other end of a control connection, and the waiters for its answers. */
#include "base/clock.h"
#include "broker_int.h"
#include "core/log.h"
#include "reach.h"

#include <errno.h>
#include <stdlib.h>

static uint32_t timeout_ms = 1000; /* atomic */

uint64_t broker_timeout_ns(void)
{
	return __atomic_load_n(&timeout_ms, __ATOMIC_RELAXED) * UINT64_C(1000000);
}

void broker_set_timeout(uint32_t ms)
{
	__atomic_store_n(&timeout_ms, ms, __ATOMIC_RELAXED);
}

/* ---- waiting ---- */

/* The list that @w is in: `waits` has the waiters since the last change, `due` the earlier ones. */
static struct wait_list *list_of(struct broker *b, const struct broker_wait *w)
{
	return w->changes == b->changes ? &b->waits : &b->due;
}

void broker_wait(struct broker *b, struct broker_wait *w, struct region *r)
{
	w->region = r;
	w->changes = b->changes;
	TAILQ_INSERT_TAIL(&b->waits, w, link);
}

void broker_wait_end(struct broker *b, struct broker_wait *w)
{
	if (!w->region)
		return;
	w->region = NULL;
	TAILQ_REMOVE(list_of(b, w), w, link);
}

static void all_are_due(struct broker *b)
{
	b->changes++;
	TAILQ_CONCAT(&b->due, &b->waits, link);
}

/* Calls the first waiters that are due, up to *@most, and subtracts them from it. */
static void wake_due(struct broker *b, unsigned *most)
{
	struct broker_wait *w;

	for (; *most && (w = TAILQ_FIRST(&b->due)); --*most) {
		TAILQ_REMOVE(&b->due, w, link);
		w->region = NULL;
		w->wake_up(w);
	}
}

static void waiters_work(struct lcore_work *w)
{
	struct broker *b =
		(struct broker *)(void *)((char *)w - offsetof(struct broker, waiters_work));

	unsigned most = BROKER_WAITERS_ROUND;

	wake_due(b, &most);
	if (!TAILQ_EMPTY(&b->due))
		lcore_defer(b->gq->lc, &b->waiters_work);
}

void broker_wake_waiters(struct broker *b)
{
	all_are_due(b);
	if (!TAILQ_EMPTY(&b->due))
		lcore_defer(b->gq->lc, &b->waiters_work);
}

bool broker_wake_some(struct broker *b, unsigned *most)
{
	all_are_due(b);
	wake_due(b, most);
	return !TAILQ_EMPTY(&b->due) || !TAILQ_EMPTY(&b->waits);
}

/* ---- known regions ---- */

struct known *known_find(const struct broker *b, const struct region *r)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (k->region == r) /* dropped ones are off the list: NOLINT(*-unix.Malloc) */
			return k;
	return NULL;
}

struct known *known_find_id(const struct broker *b, uint64_t id)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (region_id(k->region) == id)
			return k;
	return NULL;
}

void known_drop(struct broker *b, struct known *k)
{
	TAILQ_REMOVE(&b->known, k, link);
	b->n_known--;
	region_put(k->region);
	free(k);
}

/* ---- announcing and withdrawing regions ---- */

static void retry_later(struct broker *b)
{
	lcore_timer_start(b->gq->lc, &b->retry, BROKER_RETRY_NS);
}

static void announce_pending(struct broker *b, struct known *k)
{
	struct zv_region r = {.id = region_id(k->region), .size = region_size(k->region)};
	const struct region_user u = region_user(b->gq->guest);
	int ret = reach_address(b->gq->guest, k->region, &r.gpa);

	/* Before the announcement, because the driver fetches the descriptor on another socket. */
	if (ret == 0 && b->ops->fetches)
		ret = region_admit(k->region, &u);
	if (ret == 0)
		ret = b->ops->announce(b->gq, b->arg, &r);
	if (ret == -EAGAIN) {
		k->state = KNOWN_TO_ANNOUNCE;
		retry_later(b);
		return;
	}
	k->state = ret ? KNOWN_DECLINED : KNOWN_ANNOUNCED;
	k->announced_ns = now_ns();
}

static void forget(struct broker *b, struct known *k)
{
	const struct region_user u = region_user(b->gq->guest);
	int ret = k->state == KNOWN_DECLINED ? 0
					     : b->ops->forget(b->gq, b->arg, region_id(k->region));

	if (b->ops->fetches)
		region_expel(k->region, &u);
	k->state = ret == -EAGAIN ? KNOWN_TO_WITHDRAW : KNOWN_WITHDRAWN;
	if (ret == -EAGAIN)
		retry_later(b);
	else if (!k->ends)
		known_drop(b, k);
}

static void retry(struct lcore_timer *t)
{
	struct broker *b = (struct broker *)(void *)((char *)t - offsetof(struct broker, retry));
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->state == KNOWN_TO_ANNOUNCE)
			announce_pending(b, k);
		else if (k->state == KNOWN_TO_WITHDRAW)
			forget(b, k);
	}
}

struct known *known_make(struct broker *b, struct region *r)
{
	struct known *k = known_find(b, r);

	if (k && k->state != KNOWN_WITHDRAWN && k->state != KNOWN_TO_WITHDRAW)
		return k;
	if (region_retired(r))
		return NULL;
	if (!k) {
		k = b->n_known < BROKER_REGIONS_MAX ? calloc(1, sizeof(*k)) : NULL;
		if (!k)
			return NULL;
		k->region = region_get(r);
		TAILQ_INSERT_TAIL(&b->known, k, link);
		b->n_known++;
	}
	announce_pending(b, k);
	return k;
}

/* It has been announced, and there was no answer in time. */
static bool too_late(struct broker *b, struct known *k)
{
	if (k->state != KNOWN_ANNOUNCED || now_ns() - k->announced_ns <= broker_timeout_ns())
		return false;
	if (!k->logged)
		log_line(ZV_LOG_WARN, b->gq->guest->name,
			 "%s has not mapped the region for channels within %llu ms: its "
			 "connections are relayed until it has (channel_timeout_ms in [daemon])",
			 b->ops->who, (unsigned long long)(broker_timeout_ns() / 1000000));
	k->logged = true;
	return true;
}

enum broker_can broker_can(struct broker *b, struct region *r)
{
	enum broker_can can = broker_speaks(b);
	struct known *k;

	if (can != BROKER_CAN)
		return can;
	k = known_make(b, r);
	if (!k || k->state == KNOWN_DECLINED)
		return BROKER_DECLINED;
	if (k->state == KNOWN_MAPPED)
		return BROKER_CAN;
	return too_late(b, k) ? BROKER_DECLINED : BROKER_WAIT;
}

static void forget_retired(struct broker *b)
{
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (region_retired(k->region) && k->state < KNOWN_TO_WITHDRAW)
			forget(b, k);
	}
}

void broker_regions_changed(struct guest_queue *gq)
{
	struct broker *b = gq->broker, *l;
	struct region *r = reach_own();

	if (b)
		forget_retired(b);
	for (l = gq->programs_brokers; l; l = l->next)
		forget_retired(l);
	if (b && b->hello && r && reach_is_app(gq->guest) && !gq->ending)
		(void)known_make(b, r);
	region_put(r);
}

/* ---- the beginning, and the end ---- */

void known_begin(struct broker *b)
{
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		k->state = KNOWN_WITHDRAWN;
		if (!k->ends)
			known_drop(b, k);
	}
}

void broker_regions_init(struct broker *b)
{
	TAILQ_INIT(&b->known);
	TAILQ_INIT(&b->waits);
	TAILQ_INIT(&b->due);
	b->retry.expired = retry;
	b->waiters_work.run = waiters_work;
}

void broker_regions_fini(struct broker *b)
{
	const struct region_user u = region_user(b->gq->guest);
	struct known *k;

	while ((k = TAILQ_FIRST(&b->known))) {
		if (b->ops->fetches) /* known_drop(): off the list; NOLINTNEXTLINE(*-unix.Malloc) */
			region_expel(k->region, &u);
		known_drop(b, k); /* NOLINT(clang-analyzer-unix.Malloc) */
	}
	lcore_timer_stop(b->gq->lc, &b->retry);
	lcore_defer_cancel(b->gq->lc, &b->waiters_work);
}
