/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker.h"

#include "core/clock.h"
#include "core/log.h"
#include "reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_broker.h>

enum known_state {
	KNOWN_TELL,	/* to be announced when there is room */
	KNOWN_TOLD,	/* the driver has not answered */
	KNOWN_MAPPED,	/* it has it */
	KNOWN_DECLINED, /* it cannot have it */
	KNOWN_FORGET,	/* it is to be told that it is gone, when there is room */
	KNOWN_GONE,	/* it does not have it, but still holds ends in it */
};

/* A region that the queue's driver knows. */
struct known {
	struct region *region;
	enum known_state state;
	uint64_t told_ns;
	uint32_t ends; /* of broker.ends that are in it */
	TAILQ_ENTRY(known) link;
};

struct broker {
	struct guest_queue *gq;
	bool hello;	/* a driver has spoken */
	bool offered;	/* ... and offered memory, in this session */
	uint64_t nonce; /* of the last one */
	TAILQ_HEAD(, known) known;
	unsigned n_known;
	TAILQ_HEAD(wait_list, broker_wait) waits;
	TAILQ_HEAD(, chan_end) ends;
	struct lcore_timer retry;
	unsigned telling; /* other queues that have not yet heard of the driver; atomic */
};

/* ---- ends ---- */

static struct known *find(const struct broker *b, const struct region *r)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (k->region == r)
			return k;
	return NULL;
}

static struct known *find_id(const struct broker *b, uint64_t id)
{
	struct known *k;

	TAILQ_FOREACH(k, &b->known, link)
		if (region_id(k->region) == id)
			return k;
	return NULL;
}

static void drop(struct broker *b, struct known *k)
{
	TAILQ_REMOVE(&b->known, k, link);
	b->n_known--;
	region_put(k->region);
	free(k);
}

static void release(struct broker *b, struct chan_end *e)
{
	struct known *k = find(b, e->part->region);

	TAILQ_REMOVE(&b->ends, e, link);
	end_release(e);
	if (k && --k->ends == 0 && k->state == KNOWN_GONE)
		drop(b, k);
}

static void release_all(struct broker *b)
{
	struct chan_end *e;

	while ((e = TAILQ_FIRST(&b->ends)))
		release(b, e);
}

void broker_granted(struct guest_queue *gq, struct chan_end *e)
{
	struct known *k = find(gq->broker, e->part->region);

	end_granted(e, gq);
	TAILQ_INSERT_TAIL(&gq->broker->ends, e, link);
	if (k)
		k->ends++;
}

/* ---- waiting ---- */

void broker_wait(struct guest_queue *gq, struct broker_wait *w, struct region *r)
{
	w->region = r;
	TAILQ_INSERT_TAIL(&gq->broker->waits, w, link);
}

void broker_wait_end(struct guest_queue *gq, struct broker_wait *w)
{
	if (!w->region)
		return;
	w->region = NULL;
	TAILQ_REMOVE(&gq->broker->waits, w, link);
}

/* Those who wait for @r, or (NULL) all, look again; each may wait anew. */
static void look_again(struct broker *b, const struct region *r)
{
	struct wait_list now = TAILQ_HEAD_INITIALIZER(now);
	struct broker_wait *w;

	TAILQ_CONCAT(&now, &b->waits, link);
	while ((w = TAILQ_FIRST(&now))) {
		TAILQ_REMOVE(&now, w, link);
		if (r && w->region != r) {
			TAILQ_INSERT_TAIL(&b->waits, w, link);
			continue;
		}
		w->region = NULL;
		w->look(w);
	}
}

/* ---- telling a driver of regions ---- */

static void retry_later(struct broker *b)
{
	lcore_timer_start(b->gq->lc, &b->retry, BROKER_RETRY_NS);
}

static void tell(struct broker *b, struct known *k)
{
	const struct zv_region r = {.id = region_id(k->region),
				    .size = region_size(k->region),
				    .gpa = reach_address(b->gq->guest, k->region)};
	const struct region_user u = region_user(b->gq->guest);
	/* Before it is announced: the driver asks for the descriptor on another socket. */
	int ret = region_admit(k->region, &u);

	if (ret == 0)
		ret = zv_region_announce(b->gq->q, &r);
	if (ret == -EAGAIN) {
		k->state = KNOWN_TELL;
		retry_later(b);
		return;
	}
	k->state = ret ? KNOWN_DECLINED : KNOWN_TOLD;
	k->told_ns = now_ns();
}

static void forget(struct broker *b, struct known *k)
{
	const struct region_user u = region_user(b->gq->guest);
	int ret = k->state == KNOWN_DECLINED ? 0 : zv_region_forget(b->gq->q, region_id(k->region));

	region_expel(k->region, &u);
	k->state = ret == -EAGAIN ? KNOWN_FORGET : KNOWN_GONE;
	if (ret == -EAGAIN)
		retry_later(b);
	else if (!k->ends)
		drop(b, k);
}

static void retry(struct lcore_timer *t)
{
	struct broker *b = (struct broker *)(void *)((char *)t - offsetof(struct broker, retry));
	struct known *k, *next;

	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (k->state == KNOWN_TELL)
			tell(b, k);
		else if (k->state == KNOWN_FORGET)
			forget(b, k);
	}
}

/* Announces @r, unless that has been done. NULL: it is retired, no memory, or too many are known.
 */
static struct known *make_known(struct broker *b, struct region *r)
{
	struct known *k = find(b, r);

	if (k && k->state != KNOWN_GONE && k->state != KNOWN_FORGET)
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
	tell(b, k);
	return k;
}

static struct broker *broker_new(struct guest_queue *gq)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->gq = gq;
	b->retry.expired = retry;
	TAILQ_INIT(&b->known);
	TAILQ_INIT(&b->waits);
	TAILQ_INIT(&b->ends);
	gq->broker = b;
	return b;
}

/*
 * Has the driver of the queue said HELLO in this session? Until it has, or the library has given it
 * up, it may be under way: an application that connects at once is faster.
 */
static enum broker_can said_hello(struct guest_queue *gq)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	/* The library may know by now what it reports by its next poll only. */
	broker_news(gq);
	(void)zv_dev_info(gq->guest->dev, &info);
	if (info.peer == ZV_PEER_UNKNOWN)
		return BROKER_WAIT;
	if (info.peer != ZV_PEER_ZVSOCK || !__atomic_load_n(&gq->guest->channels, __ATOMIC_RELAXED))
		return BROKER_NEVER;
	/* On another queue it has: of a device with several it is the same driver. */
	return gq->broker && gq->broker->hello ? BROKER_CAN : BROKER_WAIT;
}

enum broker_can broker_can(struct guest_queue *gq, struct region *r)
{
	enum broker_can can = gq->ending ? BROKER_NEVER : said_hello(gq);
	const struct known *k;

	if (can != BROKER_NEVER && !gq->broker && !broker_new(gq))
		return BROKER_NEVER;
	if (can != BROKER_CAN)
		return can;
	k = make_known(gq->broker, r);
	if (!k || k->state == KNOWN_DECLINED)
		return BROKER_DECLINED;
	if (k->state == KNOWN_MAPPED)
		return BROKER_CAN;
	return k->state == KNOWN_TOLD && now_ns() - k->told_ns > BROKER_PATIENCE_NS
		       ? BROKER_DECLINED
		       : BROKER_WAIT;
}

void broker_regions_changed(struct guest_queue *gq)
{
	struct broker *b = gq->broker;
	struct region *r = reach_own();
	struct known *k, *next;

	for (k = b ? TAILQ_FIRST(&b->known) : NULL; k; k = next) {
		next = TAILQ_NEXT(k, link);
		if (region_retired(k->region) && k->state < KNOWN_FORGET)
			forget(b, k);
	}
	if (b && b->hello && r && reach_is_app(gq->guest) && !gq->ending)
		(void)make_known(b, r);
	region_put(r);
}

/* ---- what the driver says ---- */

struct other_driver {
	struct broker *from; /* outlives this: queues_end() in guests.c */
	struct guest_queue *gq;
	uint64_t nonce;
};

static void other_driver(struct lcore *lc, void *arg)
{
	struct other_driver *o = arg;
	struct broker *b = o->gq->broker;

	(void)lc;
	if (b && b->hello && b->nonce != o->nonce)
		release_all(b);
	__atomic_sub_fetch(&o->from->telling, 1, __ATOMIC_RELEASE);
	free(o);
}

/*
 * The driver before this one is gone with all queues, of which this one may have fewer. Queues that
 * are not told hear it from their own HELLO, or end with the device.
 */
static void tell_other_queues(const struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = gq->broker;
	struct guest *g = gq->guest;

	if (__atomic_load_n(&b->telling, __ATOMIC_ACQUIRE))
		return; /* who says HELLO again and again fills no mailbox */
	for (unsigned i = 0; i < g->n_queues; i++) {
		struct other_driver *o;

		if (&g->queues[i] == gq)
			continue;
		o = malloc(sizeof(*o));
		if (!o)
			return;
		*o = (struct other_driver){b, &g->queues[i], nonce};
		__atomic_add_fetch(&b->telling, 1, __ATOMIC_RELAXED);
		if (lcore_post(o->gq->lc, other_driver, o)) {
			__atomic_sub_fetch(&b->telling, 1, __ATOMIC_RELAXED);
			free(o);
		}
	}
}

static void on_hello(struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = gq->broker ? gq->broker : broker_new(gq);
	struct known *k, *next;
	struct region *r;

	if (!b)
		return;
	if (b->hello && b->nonce != nonce) {
		release_all(b);
		if (!gq->ending)
			tell_other_queues(gq, nonce);
	}
	reach_driver(gq->guest, nonce);
	b->hello = true;
	b->offered = false;
	b->nonce = nonce;
	__atomic_store_n(&gq->guest->channels, true, __ATOMIC_RELAXED);
	/* What was announced in the session before is forgotten. */
	for (k = TAILQ_FIRST(&b->known); k; k = next) {
		next = TAILQ_NEXT(k, link);
		k->state = KNOWN_GONE;
		if (!k->ends)
			drop(b, k);
	}
	r = reach_is_app(gq->guest) ? reach_own() : NULL;
	if (r)
		(void)make_known(b, r);
	region_put(r);
	look_again(b, NULL);
}

/* Once in a session of a queue: a driver does not choose how often something is mapped. */
static void on_offer(struct guest_queue *gq, const struct zv_broker_msg *m)
{
	struct broker *b = gq->broker;
	struct region *r;

	if (b->offered || reach_is_app(gq->guest) || gq->ending)
		return;
	b->offered = true;
	r = reach_offered(gq, b->nonce, m->gpa, m->size);
	if (!r)
		return;
	(void)make_known(b, r);
	region_put(r);
}

static void on_region(struct guest_queue *gq, const struct zv_broker_msg *m)
{
	struct broker *b = gq->broker;
	struct known *k = find_id(b, m->id);

	if (k && k->state >= KNOWN_FORGET) /* it did not know that yet */
		return;
	if (!k || k->state != KNOWN_TOLD || m->result > 0) {
		GUEST_COUNT(gq, channel_bad_msg);
		return;
	}
	k->state = m->result ? KNOWN_DECLINED : KNOWN_MAPPED;
	if (m->result)
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "its driver cannot map the region for channels (%s): its connections are "
			 "relayed",
			 zv_strerror(m->result));
	look_again(b, k->region);
}

static void on_release(struct guest_queue *gq, const struct zv_broker_msg *m)
{
	const struct known *k = find_id(gq->broker, m->id);
	struct chan_end *e = k ? end_find(k->region, gq, m->offset, m->generation) : NULL;

	if (e)
		release(gq->broker, e);
	else
		GUEST_COUNT(gq, channel_bad_msg);
}

/* What is left is reported again. */
void broker_news(struct guest_queue *gq)
{
	struct zv_broker_msg m;

	if (gq->hearing) /* somebody who waited for this asks */
		return;
	gq->hearing = true;
	for (unsigned n = 0; n < BROKER_NEWS_ROUND && zv_broker_recv(gq->q, &m) == 1; n++) {
		if (m.what == ZV_BROKER_HELLO)
			on_hello(gq, m.nonce);
		else if (!gq->broker)
			continue; /* no memory for it when it said HELLO */
		else if (m.what == ZV_BROKER_OFFER)
			on_offer(gq, &m);
		else if (m.what == ZV_BROKER_REGION)
			on_region(gq, &m);
		else if (m.what == ZV_BROKER_RELEASE)
			on_release(gq, &m);
	}
	gq->hearing = false;
}

/* ---- the end of the queue ---- */

void broker_abort(struct guest_queue *gq)
{
	if (gq->broker)
		look_again(gq->broker, NULL);
}

void broker_end(struct guest_queue *gq)
{
	const struct region_user u = region_user(gq->guest);
	struct broker *b = gq->broker;
	struct known *k;

	if (!b)
		return;
	release_all(b);
	while ((k = TAILQ_FIRST(&b->known))) {
		region_expel(k->region, &u);
		drop(b, k);
	}
	lcore_timer_stop(gq->lc, &b->retry);
	gq->broker = NULL;
	free(b);
}
