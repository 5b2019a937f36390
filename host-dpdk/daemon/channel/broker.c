/* SPDX-License-Identifier: BSD-3-Clause */
#include "broker_conn.h"
#include "broker_int.h"
#include "core/log.h"
#include "reach.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zvsock_broker.h>

/* ---- ends ---- */

static void release(struct broker *b, struct chan_end *e)
{
	struct known *k = known_find(b, e->part->region);

	TAILQ_REMOVE(&b->ends, e, link);
	end_release(e);
	if (k && --k->ends == 0 && k->state == KNOWN_WITHDRAWN)
		known_drop(b, k);
}

static void release_all(struct broker *b)
{
	struct chan_end *e;

	while ((e = TAILQ_FIRST(&b->ends)))
		release(b, e);
}

void broker_granted(struct broker *b, struct chan_end *e)
{
	struct known *k = known_find(b, e->part->region);

	end_granted(e, b);
	e->session = b->session;
	TAILQ_INSERT_TAIL(&b->ends, e, link);
	if (k)
		k->ends++;
}

/* ---- control connections and their users ---- */

void broker_attach(struct broker *b, struct broker_user *u)
{
	u->b = b;
	TAILQ_INSERT_TAIL(&b->users, u, link);
}

void broker_detach(struct broker_user *u)
{
	if (u->b)
		TAILQ_REMOVE(&u->b->users, u, link);
	u->b = NULL;
}

int broker_connect(struct broker *b, const struct broker_route *to, const struct zv_grant *g,
		   struct zv_conn **conn)
{
	return b->over ? -EOPNOTSUPP : b->ops->connect(b->gq, b->arg, to, g, conn);
}

int broker_grant(struct broker *b, struct zv_conn *conn, const struct zv_grant *g)
{
	return b->over ? -EOPNOTSUPP : b->ops->grant(b->arg, conn, g);
}

const struct broker_conn_ops *broker_ops(const struct broker *b)
{
	return b->ops;
}

static void link_broker(struct broker *b, struct broker **at)
{
	b->self = at;
	b->next = *at;
	if (b->next)
		b->next->self = &b->next;
	*at = b;
}

static struct broker *make(struct guest_queue *gq, const struct broker_conn_ops *ops, void *arg,
			   struct broker **at)
{
	struct broker *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->gq = gq;
	b->ops = ops;
	b->arg = arg;
	TAILQ_INIT(&b->users);
	broker_regions_init(b);
	TAILQ_INIT(&b->ends);
	link_broker(b, at);
	return b;
}

struct broker *broker_new(struct guest_queue *gq, const struct broker_conn_ops *ops, void *arg)
{
	return make(gq, ops, arg, &gq->programs_brokers);
}

/* Has the driver of the queue sent HELLO in this session? If not, it may still do so, unless the
 * library no longer waits for it: an application that connects at once may be faster than HELLO. */
static enum broker_can hello_state(struct guest_queue *gq)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	/* The library may know already what it reports only when polled. */
	broker_poll(gq);
	(void)zv_dev_info(gq->guest->dev, &info);
	if (info.peer == ZV_PEER_UNKNOWN)
		return BROKER_WAIT;
	if (!(info.flags & ZV_DEV_CHANNELS))
		return BROKER_NEVER;
	/* If HELLO has not arrived on this queue, it will: it has on another, and all have the same
	 * driver. Unless its time is over: then nobody waits until it has arrived. */
	if (gq->broker && gq->broker->hello)
		return BROKER_CAN;
	return gq->no_channels ? BROKER_NEVER : BROKER_WAIT;
}

static struct broker *of_driver(struct guest_queue *gq)
{
	return gq->broker ? gq->broker : make(gq, &broker_conn_driver, gq, &gq->broker);
}

enum broker_can broker_speaks(struct broker *b)
{
	if (b->over || b->gq->ending)
		return BROKER_NEVER;
	return b == b->gq->broker ? hello_state(b->gq) : BROKER_CAN;
}

struct broker *broker_driver(struct guest_queue *gq)
{
	return gq->ending || hello_state(gq) == BROKER_NEVER ? NULL : of_driver(gq);
}

/* ---- messages of the driver ---- */

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
	__atomic_sub_fetch(&o->from->notifying, 1, __ATOMIC_RELEASE);
	free(o);
}

/* Another driver has sent HELLO: the former one is gone with all its queues, and this one may have
 * fewer, so the other queues release what the former driver held. A queue that is not notified here
 * does so at its own HELLO, or when the device ends. */
static void notify_other_queues(const struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = gq->broker;
	struct guest *g = gq->guest;

	if (__atomic_load_n(&b->notifying, __ATOMIC_ACQUIRE))
		return; /* repeated HELLOs must not fill a mailbox */
	for (unsigned i = 0; i < g->n_queues; i++) {
		struct other_driver *o;

		if (&g->queues[i] == gq)
			continue;
		o = malloc(sizeof(*o));
		if (!o)
			return;
		*o = (struct other_driver){b, &g->queues[i], nonce};
		__atomic_add_fetch(&b->notifying, 1, __ATOMIC_RELAXED);
		if (lcore_post(o->gq->lc, other_driver, o)) {
			__atomic_sub_fetch(&b->notifying, 1, __ATOMIC_RELAXED);
			free(o);
		}
	}
}

static void on_hello(struct guest_queue *gq, uint64_t nonce)
{
	struct broker *b = of_driver(gq);
	struct region *r;

	gq->no_channels = false;
	if (!b)
		return;
	if (b->hello && b->nonce != nonce) {
		release_all(b);
		if (!gq->ending)
			notify_other_queues(gq, nonce);
	}
	reach_driver(gq->guest, nonce);
	b->hello = true;
	b->offered = b->listed = false;
	b->session++;
	b->nonce = nonce;
	known_begin(b);
	r = reach_is_app(gq->guest) ? reach_own() : NULL;
	if (r)
		(void)known_make(b, r);
	region_put(r);
	broker_wake_waiters(b);
}

/* The driver is gone for good: the ends that it held are released. Its memory is no longer lent,
 * except where others still hold ends in it. */
static void on_gone(struct guest_queue *gq)
{
	struct broker *b = gq->broker;

	gq->no_channels = false;
	reach_driver_gone(gq->guest, b && b->hello ? b->nonce : 0); /* 0: offered by programs */
	if (!b)
		return;
	release_all(b);
	known_begin(b);
	b->hello = false;
}

/* Whoever connects from now on does not wait for the driver's HELLO. */
static void on_none(struct guest_queue *gq)
{
	gq->no_channels = true;
	if (gq->broker)
		broker_wake_waiters(gq->broker);
}

/* Only one offer is accepted per session of a queue, so that a driver cannot have memory mapped as
 * often as it likes. */
static void on_offer(struct broker *b, const struct zv_broker_msg *m)
{
	struct guest_queue *gq = b->gq;
	struct region *r;

	if (b->offered || reach_is_app(gq->guest) || gq->ending)
		return;
	b->offered = true;
	r = b->ops->fetches ? reach_offered(gq, b->nonce, m->gpa, m->size)
			    : reach_offered_by_program(gq, m->gpa, m->size);
	if (!r)
		return;
	(void)known_make(b, r);
	region_put(r);
}

static void on_region(struct broker *b, const struct zv_broker_msg *m)
{
	struct known *k = known_find_id(b, m->id);

	if (k && k->state >= KNOWN_TO_WITHDRAW) /* sent before it received the withdrawal */
		return;
	if (!k || k->state != KNOWN_ANNOUNCED || m->result > 0) {
		GUEST_COUNT(b->gq, channel_bad_msg);
		return;
	}
	k->state = m->result ? KNOWN_DECLINED : KNOWN_MAPPED;
	if (m->result)
		log_line(ZV_LOG_WARN, b->gq->guest->name,
			 "%s cannot map the region for channels (%s): its connections are "
			 "relayed",
			 b->ops->who, zv_strerror(m->result));
	broker_wake_waiters(b);
}

static void on_release(struct broker *b, const struct zv_broker_msg *m)
{
	const struct known *k = known_find_id(b, m->id);
	struct chan_end *e = k ? end_find(k->region, b, m->offset, m->generation) : NULL;

	if (e)
		release(b, e);
	else
		GUEST_COUNT(b->gq, channel_bad_msg);
}

/*
 * The driver lists an end that it holds from a former session. When it has listed all, the others
 * are released: the grant or the RELEASE was lost with the session. Listed ends are moved to the
 * tail, so that the driver cannot have the same end visited again and again.
 */
static void on_holds(struct broker *b, const struct zv_broker_msg *m)
{
	const struct known *k = known_find_id(b, m->id);
	struct chan_end *e = k ? end_find(k->region, b, m->offset, m->generation) : NULL;

	if (b->listed) {
		GUEST_COUNT(b->gq, channel_bad_msg);
		return;
	}
	if (e) { /* NULL: granted by a former zvsockd */
		e->session = b->session;
		TAILQ_REMOVE(&b->ends, e, link);
		TAILQ_INSERT_TAIL(&b->ends, e, link);
	}
	if (m->left)
		return;
	b->listed = true;
	while ((e = TAILQ_FIRST(&b->ends)) && e->session != b->session)
		release(b, e);
}

void broker_on_msg(struct broker *b, const struct zv_broker_msg *m)
{
	if (m->what == ZV_BROKER_OFFER)
		on_offer(b, m);
	else if (m->what == ZV_BROKER_REGION)
		on_region(b, m);
	else if (m->what == ZV_BROKER_RELEASE)
		on_release(b, m);
	else if (m->what == ZV_BROKER_HOLDS)
		on_holds(b, m);
}

void broker_poll_programs(struct guest_queue *gq)
{
	for (struct broker *b = gq->programs_brokers; b; b = b->next)
		b->ops->poll(b->arg);
}

/* Processes a limited number of messages; the library reports the rest again. */
void broker_poll(struct guest_queue *gq)
{
	struct zv_broker_msg m;

	if (gq->polling) /* called by a waiter that one of these messages has woken */
		return;
	gq->polling = true;
	for (unsigned n = 0; n < BROKER_MSGS_ROUND && zv_broker_recv(gq->q, &m) == 1; n++) {
		if (m.what == ZV_BROKER_HELLO)
			on_hello(gq, m.nonce);
		else if (m.what == ZV_BROKER_GONE)
			on_gone(gq);
		else if (m.what == ZV_BROKER_NONE)
			on_none(gq);
		else if (gq->broker) /* there was no memory for a broker at HELLO */
			broker_on_msg(gq->broker, &m);
	}
	gq->polling = false;
}

/* ---- the end of a control connection, and of the queue ---- */

static void unlink_broker(struct broker *b)
{
	*b->self = b->next;
	if (b->next)
		b->next->self = b->self;
}

/* Notifies waiters and users and releases ends, in this order, up to @most together. True: none
 * remain. */
static bool close_some(struct broker *b, unsigned most)
{
	struct broker_user *user;
	struct chan_end *e;

	if (broker_wake_some(b, &most))
		return false;
	for (; most && (user = TAILQ_FIRST(&b->users)); most--) {
		broker_detach(user);
		user->closed(user);
	}
	for (; most && (e = TAILQ_FIRST(&b->ends)); most--)
		release(b, e);
	return most != 0;
}

static void close_done(struct broker *b)
{
	broker_regions_fini(b);
	unlink_broker(b);
	free(b);
}

static void close_more(struct lcore_work *w)
{
	struct broker *b =
		(struct broker *)(void *)((char *)w - offsetof(struct broker, waiters_work));

	if (close_some(b, BROKER_CLOSE_ROUND))
		close_done(b);
	else
		lcore_defer(b->gq->lc, &b->waiters_work);
}

/* From now on nothing is received or sent on the control connection: what `arg` refers to may be
 * gone. */
static void close_begin(struct broker *b)
{
	b->over = true;
	b->arg = NULL;
	lcore_timer_stop(b->gq->lc, &b->retry);
	unlink_broker(b);
	link_broker(b, &b->gq->closing_brokers);
}

void broker_close(struct broker *b)
{
	close_begin(b);
	b->waiters_work.run = close_more;
	close_more(&b->waiters_work);
}

bool broker_abort(struct guest_queue *gq)
{
	unsigned most = BROKER_WAITERS_ROUND;

	return gq->broker && broker_wake_some(gq->broker, &most);
}

void broker_end(struct guest_queue *gq)
{
	struct broker *b;

	if (gq->broker)
		close_begin(gq->broker);
	while ((b = gq->closing_brokers)) {
		/* close_done() takes it off the list: NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		while (!close_some(b, BROKER_CLOSE_ROUND))
			;
		close_done(b);
	}
}
