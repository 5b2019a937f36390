/* SPDX-License-Identifier: BSD-3-Clause */
#include "grant.h"

#include "chan.h"
#include "chan_bell.h"
#include "socket/conn/conn.h"
#include "socket/core/peer.h"
#include "socket/core/timer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A region that the device has announced on this queue. */
struct queue_region {
	TAILQ_ENTRY(queue_region) link;
	struct ctrl_region at;
	struct region_map *map; /* NULL: not mapped yet */
};

/* One end of a channel, from GRANT to RELEASE. */
struct grant {
	TAILQ_ENTRY(grant) link; /* while it waits for its REQUEST */
	TAILQ_ENTRY(grant) held;
	struct zv_queue *q;
	struct conn_key key;
	bool own;		/* in memory that this side offers */
	struct region_map *map; /* NULL: not mapped here, the grant cannot be used */
	struct ctrl_grant of;
	struct ctrl_out *release; /* RELEASE, allocated in advance so that it can always be sent */
};

/* ---- messages to the device ---- */

static void enqueue(struct zv_queue *q, struct ctrl_out *out)
{
	STAILQ_INSERT_TAIL(&q->grants.out, out, link);
	q->grants.nout++;
}

/* Allocates a message; if there is no memory, uses the spare one. NULL: that is in use as well. */
static struct ctrl_out *out_new(struct zv_queue *q)
{
	struct ctrl_out *out = calloc(1, sizeof(*out));

	if (!out && q->grants.spare) {
		out = q->grants.spare;
		q->grants.spare = NULL;
		memset(out, 0, sizeof(*out));
	}
	return out;
}

void grants_sent(struct zv_queue *q, struct ctrl_out *out)
{
	q->grants.nout--;
	if (!q->grants.spare)
		q->grants.spare = out;
	else
		free(out);
}

/* Without memory the device gets no answer, and does not use the region. */
static void send_region_ack(struct zv_queue *q, uint64_t id, int result)
{
	struct ctrl_out *out = out_new(q);

	if (!out)
		return;
	out->m.type = CTRL_REGION_ACK;
	out->m.region_ack.id = id;
	out->m.region_ack.result = result;
	enqueue(q, out);
}

static struct ctrl_out *make_holds(const struct grant *g, uint32_t left)
{
	struct ctrl_out *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	out->m.type = CTRL_HOLDS;
	out->m.release.left = left;
	if (g) {
		out->m.release.region = g->of.region;
		out->m.release.offset = g->of.desc.offset;
		out->m.release.generation = g->of.desc.generation;
	}
	return out;
}

/* Lists all held ends, or none if memory is short: the device releases ends that a complete list
 * does not contain. */
static void send_held(struct zv_queue *q)
{
	struct ctrl_out_list list = STAILQ_HEAD_INITIALIZER(list);
	uint32_t left = q->grants.nheld;
	struct ctrl_out *out;
	const struct grant *g;

	TAILQ_FOREACH(g, &q->grants.held, held)
		if ((out = make_holds(g, --left)))
			STAILQ_INSERT_TAIL(&list, out, link);
		else
			goto none;
	if (!q->grants.nheld && (out = make_holds(NULL, 0)))
		STAILQ_INSERT_TAIL(&list, out, link);
	while ((out = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, link);
		enqueue(q, out);
	}
	return;
none:
	while ((out = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, link);
		free(out);
	}
}

static void send_offer(struct zv_queue *q)
{
	const struct transport_region_ops *ops = q->dev->ops->regions;
	struct ctrl_out *out;
	struct ctrl_offer offer;

	q->grants.offer_due = false;
	if (!ops->offer || ops->offer(q->dev->t, q->index, &offer))
		return;
	out = calloc(1, sizeof(*out));
	if (!out)
		return;
	out->m.type = CTRL_OFFER;
	out->m.offer = offer;
	enqueue(q, out);
}

/*
 * True: ends of channels in this side's region, granted by another device, are still held. This
 * device does not know of them and would reuse their memory.
 */
static bool former_device_holds(const struct zv_queue *q)
{
	return __atomic_load_n(&q->dev->held_own, __ATOMIC_ACQUIRE) != 0;
}

void grants_begin(struct zv_queue *q)
{
	uint64_t device = q->peer.hello.nonce;
	bool other = device != q->grants.device;

	/* Over kernel sockets the device released everything when the control connection ended. */
	if (q->grants.had_session && !q->dev->ops->kernel_sockets)
		send_held(q);
	q->grants.had_session = true;
	if (!q->grants.spare)
		q->grants.spare = calloc(1, sizeof(*q->grants.spare));
	q->grants.device = device;
	q->grants.begun = zv_now();
	if (other && former_device_holds(q))
		q->grants.offer_due = true;
	else
		send_offer(q);
}

bool grants_offered(const struct zv_queue *q, uint64_t *since)
{
	const struct queue_region *r;

	*since = q->grants.begun;
	if (!q->hello.conn || !(queue_caps(q) & ZV_CAP_CHANNEL) || q->grants.offer_due)
		return false;
	TAILQ_FOREACH(r, &q->grants.regions, link)
		if (r->map && r->at.gpa != CTRL_BY_FD)
			return !STAILQ_EMPTY(&q->grants.out);
	return true;
}

/* ---- regions ---- */

static struct queue_region *region_find(const struct zv_queue *q, uint64_t id)
{
	struct queue_region *r;

	TAILQ_FOREACH(r, &q->grants.regions, link)
		if (r->at.id == id)
			return r;
	return NULL;
}

/* The transport forgets it too, or it would keep state for each region that a device makes up. */
static void region_free(struct zv_queue *q, struct queue_region *r)
{
	q->dev->ops->regions->forget(q->dev->t, q->index, r->at.id);
	TAILQ_REMOVE(&q->grants.regions, r, link);
	q->grants.nregions--;
	if (r->map)
		region_map_put(r->map);
	else
		q->grants.mapping--;
	free(r);
}

/* Opens this side's page of bells. Without one this side is woken by packets. */
static void open_bells(struct zv_queue *q)
{
	const struct transport_region_ops *ops = q->dev->ops->regions;
	struct bell_map *m = ops->bells && !q->chans.bells ? ops->bells(q->dev->t, q->index) : NULL;

	if (m)
		(void)chan_bells_open(q, m);
}

/* Requests the mapping of @r, and reports to the device when it is mapped or refused. */
static void try_map(struct zv_queue *q, struct queue_region *r)
{
	int ret = q->dev->ops->regions->map(q->dev->t, q->index, &r->at, &r->map);

	if (ret == -EINPROGRESS)
		return;
	if (!ret)
		open_bells(q); /* before the acknowledgement, which allows grants in the region */
	send_region_ack(q, r->at.id, ret);
	if (ret) {
		r->map = NULL;
		region_free(q, r);
		return;
	}
	q->grants.mapping--;
}

void grants_check(struct zv_queue *q)
{
	struct queue_region *r, *next;

	for (r = TAILQ_FIRST(&q->grants.regions); r; r = next) {
		next = TAILQ_NEXT(r, link);
		if (!r->map)
			try_map(q, r);
	}
}

static bool on_region(struct zv_queue *q, const struct ctrl_region *at)
{
	struct queue_region *r = region_find(q, at->id);

	if (at->flags & CTRL_REGION_GONE) {
		if (r)
			region_free(q, r);
		return true;
	}
	if (r)
		return false;
	r = q->grants.nregions < GRANT_REGIONS_MAX ? calloc(1, sizeof(*r)) : NULL;
	if (!r) {
		send_region_ack(q, at->id, -ENOMEM);
		return true;
	}
	r->at = *at;
	TAILQ_INSERT_TAIL(&q->grants.regions, r, link);
	q->grants.nregions++;
	q->grants.mapping++;
	try_map(q, r);
	return true;
}

/* ---- grants ---- */

static void send_release(struct zv_queue *q, struct ctrl_out *out, const struct ctrl_grant *of)
{
	out->m.type = CTRL_RELEASE;
	out->m.release.region = of->region;
	out->m.release.offset = of->desc.offset;
	out->m.release.generation = of->desc.generation;
	enqueue(q, out);
}

/* The end is no longer used, or never was. */
static void released(void *arg)
{
	struct grant *g = arg;
	struct zv_queue *q = g->q;

	if (g->map)
		region_map_put(g->map);
	send_release(q, g->release, &g->of);
	TAILQ_REMOVE(&q->grants.held, g, held);
	q->grants.nheld--;
	if (g->own)
		(void)__atomic_sub_fetch(&q->dev->held_own, 1, __ATOMIC_ACQ_REL);
	if (q->grants.offer_due && !former_device_holds(q))
		send_offer(q);
	free(g);
}

void grant_give_up(struct grant *g)
{
	released(g);
}

int grant_use(struct grant *g, struct zv_conn *c)
{
	struct chan_opts o = {
		.desc = &g->of.desc,
		.role = (enum shm_role)g->of.role,
		.bell = g->of.bells.bell,
		.ring_page = g->of.bells.ring_page,
		.ring_bell = g->of.bells.ring_bell,
		.gone = released,
		.gone_arg = g,
	};
	int ret = -ENXIO;

	if (g->map) {
		o.region = g->map->addr;
		o.size = g->map->size;
		o.truncated = &g->map->truncated;
		ret = chan_attach(c, &o);
	}
	if (ret) {
		zv_log_limited(&c->q->tq->log, ZV_LOG_WARN,
			       "%s: queue %u: the channel that was granted for port %u cannot be "
			       "used (%s): connection reset",
			       queue_device_name(c->q), c->q->index, c->node.key.peer_port,
			       g->map ? zv_strerror(ret) : "its region is not mapped");
		grant_give_up(g);
	}
	return ret;
}

struct grant *grant_take(struct zv_queue *q, const struct conn_key *key, unsigned type)
{
	struct grant *g;

	/* Over kernel sockets the device releases everything when the control connection ends. */
	if (q->dev->ops->kernel_sockets && !q->hello.conn)
		grants_end(q);
	TAILQ_FOREACH(g, &q->grants.pending, link) {
		if (g->key.peer_port != key->peer_port || g->key.local_port != key->local_port ||
		    g->key.cid != key->cid || g->of.type != type)
			continue;
		TAILQ_REMOVE(&q->grants.pending, g, link);
		q->grants.npending--;
		return g;
	}
	return NULL;
}

static struct grant *grant_new(struct zv_queue *q, const struct ctrl_grant *of)
{
	const struct queue_region *r = region_find(q, of->region);
	struct grant *g = calloc(1, sizeof(*g));

	if (g)
		g->release = calloc(1, sizeof(*g->release));
	if (!g || !g->release) {
		free(g);
		return NULL;
	}
	g->q = q;
	g->of = *of;
	g->key = (struct conn_key){of->peer_cid, of->peer_port, of->local_port};
	if (r && r->map)
		g->map = region_map_hold(r->map);
	g->own = r && r->at.gpa != CTRL_BY_FD;
	if (g->own)
		(void)__atomic_add_fetch(&q->dev->held_own, 1, __ATOMIC_RELAXED);
	TAILQ_INSERT_TAIL(&q->grants.held, g, held);
	q->grants.nheld++;
	return g;
}

/*
 * Without memory for a grant its connection is refused at once: if it was requested by this side,
 * it is aborted; if the device is about to request it, it will have neither grant nor credit
 * (rx.c). RELEASE tells the device; without memory for that, it learns in the next session that the
 * end is not held. Over kernel sockets the message is refused, and the end of the control
 * connection releases what was granted.
 */
static bool no_memory(struct zv_queue *q, const struct ctrl_grant *of, const struct conn_key *key)
{
	struct ctrl_out *out;
	struct zv_conn *c;

	if (q->dev->ops->kernel_sockets)
		return false;
	out = out_new(q);
	if (out)
		send_release(q, out, of);
	c = (struct zv_conn *)conn_table_find(&q->conns, key);
	if (c && c->state == VC_CONNECTING && c->type == of->type && !(c->flags & CF_INTERNAL))
		conn_abort(c, -ENOMEM);
	return true;
}

static bool on_grant(struct zv_queue *q, const struct ctrl_grant *of)
{
	const struct conn_key key = {of->peer_cid, of->peer_port, of->local_port};
	struct grant *g = grant_new(q, of);
	struct zv_conn *c;

	if (!g)
		return no_memory(q, of, &key);
	c = (struct zv_conn *)conn_table_find(&q->conns, &key);
	if (c) {
		/* Aborted already, or a connection that cannot have a channel. */
		if (c->state != VC_CONNECTING || c->type != of->type || c->flags & CF_INTERNAL)
			grant_give_up(g);
		else if (grant_use(g, c))
			conn_abort(c, -ECONNRESET);
		return true;
	}
	if (q->grants.npending >= GRANT_PENDING_MAX) {
		grant_give_up(g);
		return false;
	}
	TAILQ_INSERT_TAIL(&q->grants.pending, g, link);
	q->grants.npending++;
	return true;
}

bool grant_message(struct zv_queue *q, const struct ctrl_msg *m)
{
	/* Each message causes an answer sooner or later, which waits in this list. */
	if (q->grants.nout >= GRANT_OUT_MAX)
		return false;
	switch (m->type) {
	case CTRL_REGION:
		return on_region(q, &m->region);
	case CTRL_GRANT:
		return on_grant(q, &m->grant);
	default:
		return false;
	}
}

/* ---- the end ---- */

/*
 * Only RELEASE messages are valid in the next session of the same device; none is on the next
 * control connection of a program.
 */
static void drop_messages(struct zv_queue *q)
{
	struct ctrl_out_list keep = STAILQ_HEAD_INITIALIZER(keep);
	struct ctrl_out *out;

	while ((out = STAILQ_FIRST(&q->grants.out))) {
		STAILQ_REMOVE_HEAD(&q->grants.out, link);
		if (out->m.type == CTRL_RELEASE && !q->dev->ops->kernel_sockets) {
			STAILQ_INSERT_TAIL(&keep, out, link);
		} else {
			q->grants.nout--;
			free(out);
		}
	}
	STAILQ_CONCAT(&q->grants.out, &keep);
}

void grants_end(struct zv_queue *q)
{
	struct queue_region *r;
	struct grant *g;

	drop_messages(q);
	chan_bells_close(q);
	if (q->grants.offer_due)
		q->grants.device = 0; /* so the next session waits again before it offers */
	q->grants.offer_due = false;
	while ((g = TAILQ_FIRST(&q->grants.pending))) {
		TAILQ_REMOVE(&q->grants.pending, g, link);
		grant_give_up(g);
	}
	q->grants.npending = 0;
	while ((r = TAILQ_FIRST(&q->grants.regions)))
		region_free(q, r); /* takes it off the list: NOLINT(clang-analyzer-unix.Malloc) */
}

void grants_fini(struct zv_queue *q)
{
	struct ctrl_out *out;

	grants_end(q);
	while ((out = STAILQ_FIRST(&q->grants.out))) {
		STAILQ_REMOVE_HEAD(&q->grants.out, link);
		free(out);
	}
	free(q->grants.spare);
}
