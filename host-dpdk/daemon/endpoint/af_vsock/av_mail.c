/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams that programs send to DIR/dgram, and datagrams between home and guests; theory in
 * av_dgram.h. */
#include "av_dgram.h"

#include "base/clock.h"
#include "endpoint/endpoint_app.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Datagrams of all programs together that are read at DIR/dgram in a round, and what is moved
 * beside that, of which an attempt counts as well. */
#define READS_UNCONNECTED 16u
#define MOVES		  64u
#define FINAL_READS	  64u /* datagrams read before ports are freed, per round and sweep */
#define SWEEP_NS	  1000000000ull

/* ---- between home and a guest ---- */

/* A datagram on its way to another lcore. */
struct av_posted {
	STAILQ_ENTRY(av_posted) link; /* at home */
	struct dgram_in_transit *of;
	uint8_t *own; /* of its sender's, if several share @of */
	struct av_space *space;
	struct guest_queue *gq;
	struct zv_dgram_addr addr;
	uint32_t len;
	uint8_t data[];
};

static void count(struct guest_queue *gq, bool carried)
{
	if (carried)
		GUEST_COUNT(gq, af_vsock_dgrams);
	else
		GUEST_COUNT(gq, af_vsock_dgrams_lost);
}

static bool may_post(const struct av_posted *p)
{
	const unsigned n = __atomic_load_n(&p->of->n, __ATOMIC_RELAXED);

	if (!p->own)
		return n < DGRAM_IN_TRANSIT_MAX;
	return n < DGRAM_SHARED_MAX &&
	       __atomic_load_n(p->own, __ATOMIC_RELAXED) < DGRAM_SHARED_MAX - n;
}

static void posted_begin(const struct av_posted *p)
{
	__atomic_add_fetch(&p->of->n, 1, __ATOMIC_RELAXED);
	if (p->own)
		__atomic_add_fetch(p->own, 1, __ATOMIC_RELAXED);
}

static void posted_end(struct av_posted *p)
{
	if (p->own)
		__atomic_sub_fetch(p->own, 1, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&p->of->n, 1, __ATOMIC_RELEASE);
	free(p);
}

/* False: too many are in transit, or there is no memory. */
static bool post(struct lcore *to, void (*fn)(struct lcore *lc, void *arg),
		 const struct av_posted *p, const void *data)
{
	struct av_posted *copy = NULL;

	if (may_post(p))
		copy = malloc(sizeof(*copy) + p->len);
	if (!copy)
		return false;
	*copy = *p;
	memcpy(copy->data, data, p->len);
	posted_begin(copy);
	if (lcore_post(to, fn, copy) == 0)
		return true;
	posted_end(copy);
	return false;
}

/* From @sender, to whom @to leads. */
static void share(struct av_posted *p, struct dgram_shared *to, uint64_t sender)
{
	p->of = &to->all;
	p->own = &to->of[av_sender_group(p->space, sender, DGRAM_SHARED_SENDERS)];
}

static void send_to_guest(const struct av_posted *p, const void *data)
{
	count(p->gq, zv_dgram_send(p->gq->q, &p->addr, data, p->len, 0) >= 0);
}

static void came_to_guest(struct lcore *lc, void *arg)
{
	struct av_posted *p = arg;

	(void)lc;
	send_to_guest(p, p->data);
	posted_end(p);
}

/* The same ports always use the same queue, so order is kept. */
static struct guest_queue *queue_for(struct guest *g, uint32_t a, uint32_t b)
{
	struct zv_dev_info dev = {.size = sizeof(dev)};
	unsigned up;

	(void)zv_dev_info(g->dev, &dev);
	up = dev.queues_up && dev.queues_up < g->n_queues ? dev.queues_up : g->n_queues;
	return &g->queues[(a ^ b) % up];
}

static void to_guest(struct av_space *s, const struct av_port *from, const struct dropin_addr *to,
		     const void *data, uint32_t len)
{
	const uint32_t local_port = from->label.local.port;
	struct av_posted p = {.space = s, .len = len};
	struct av_guest *g;
	bool here = false;

	pthread_mutex_lock(&s->lock);
	g = av_guest_find(s, to->cid);
	if (g) {
		p.gq = queue_for(g->guest, local_port, to->port);
		share(&p, &g->to, av_sender_user(from->uid));
		p.addr = (struct zv_dgram_addr){
			.peer_cid = cfg_roles[guest_cfg(g->guest)->role].peer_cid ? to->cid : 0,
			.local_port = local_port,
			.peer_port = to->port};
		here = p.gq->lc == s->home;
		/* Under the lock, so that it arrives before the guest is removed. */
		if (len > ZV_DGRAM_MAX || (!here && !post(p.gq->lc, came_to_guest, &p, data))) {
			count(p.gq, false);
			here = false;
		}
	}
	pthread_mutex_unlock(&s->lock);
	if (!g) /* there is no such guest, so the lcore counts it */
		lcore_dgram_lost(s->home);
	if (here) /* [H] is this lcore: the queue is not removed before we return */
		send_to_guest(&p, data);
}

struct for_app {
	struct av_space *space;
	const struct av_port *port; /* of the sender */
	struct av_posted *p;
	const void *data;
	bool here;
};

static void drop_refused(const struct for_app *f, struct guest *app)
{
	struct av_space *s = f->space;
	uint32_t more;

	GUEST_COUNT(&app->queues[0], app_not_admitted);
	if (log_once(&s->not_admitted, &more))
		log_line(ZV_LOG_INFO, app->name,
			 "%s: a datagram of uid %u to port %u is dropped: only users who may "
			 "attach an application reach one",
			 s->cfg.sockets[AV_DGRAM], (unsigned)f->port->uid, f->p->addr.peer_port);
}

static void send_to_app(void *arg, struct guest *app, struct dgram_shared *in_transit)
{
	struct for_app *f = arg;
	struct av_posted *p = f->p;

	if (!f->port->may_app) {
		drop_refused(f, app);
		return;
	}
	p->gq = queue_for(app, p->addr.local_port, p->addr.peer_port);
	share(p, in_transit, av_sender_user(f->port->uid));
	f->here = p->len <= ZV_DGRAM_MAX && p->gq->lc == f->space->home;
	if (!f->here && (p->len > ZV_DGRAM_MAX || !post(p->gq->lc, came_to_guest, p, f->data)))
		count(p->gq, false);
}

/* From the program of @p to @port of an application, which sees CID 2. False: none has the port. */
static bool to_app(struct av_space *s, const struct av_port *p, uint32_t port, const void *data,
		   uint32_t len)
{
	struct av_posted d = {
		.space = s,
		.len = len,
		.addr = {.local_port = p->label.local.port, .peer_port = port},
	};
	struct for_app f = {.space = s, .port = p, .p = &d, .data = data};

	if (!app_port_datagram(port, send_to_app, &f))
		return false;
	if (f.here) /* [H] is this lcore: the queue is not removed before we return */
		send_to_guest(&d, data);
	return true;
}

/* Delivers to the program that has bound @p (NULL: none has) at @at. */
static void to_port(struct av_space *s, const struct av_port *p, const struct dropin_addr *at,
		    const struct av_from *from, const void *data, uint32_t len)
{
	bool carried = p && av_inbox_put(p->inbox, at->cid, from, data, len);
	uint32_t before;

	if (from->queue)
		count(from->queue, carried);
	else if (!carried)
		lcore_dgram_lost(s->home);
	if (!from->queue && !carried &&
	    log_once(&s->lost, &before)) /* no guest's counter includes it */
		log_line(ZV_LOG_INFO, NULL,
			 "%s: a datagram from port %u to port %u of this machine is lost: nobody "
			 "has that port, or there is no room; %u others since the last such line",
			 s->cfg.dir, from->addr.port, at->port, before);
}

/* An application knows programs by CID 2; the program gets the CID by which it knows applications,
 * so that the answer to what it has sent comes from where it has sent it. */
static void from_app(const struct av_posted *d, const void *data)
{
	struct dropin_addr at = {(uint32_t)d->addr.local_cid, d->addr.local_port};
	const struct av_port *p = av_port_at(d->space, SOCK_DGRAM, at.cid, at.port);

	if (!p && at.cid == ZV_CID_HOST) {
		at.cid = ZV_CID_LOCAL;
		p = av_port_at(d->space, SOCK_DGRAM, at.cid, at.port);
	}
	if (p && p->to_cid)
		at.cid = p->to_cid;
	if (!av_is_local(d->space, at.cid)) /* CID 2 in a guest: its host would get the answers */
		at.cid = ZV_CID_LOCAL;
	to_port(d->space, p, &at,
		&(struct av_from){
			{at.cid, d->addr.peer_port}, av_guest(d->gq->guest)->sender, d->gq},
		data, d->len);
}

static void from_guest(const struct av_posted *d, const void *data)
{
	const struct dropin_addr at = {(uint32_t)d->addr.local_cid, d->addr.local_port};
	const struct av_guest *g = av_guest(d->gq->guest);
	const struct av_from from = {
		{(uint32_t)d->addr.peer_cid, d->addr.peer_port}, g->sender, d->gq};

	if (g->app)
		from_app(d, data);
	else
		to_port(d->space, av_port_at(d->space, SOCK_DGRAM, at.cid, at.port), &at, &from,
			data, d->len);
}

static bool move_came(struct av_move *v)
{
	struct av_guest *g =
		(struct av_guest *)(void *)((char *)v - offsetof(struct av_guest, came_in));
	struct av_posted *p = STAILQ_FIRST(&g->came);
	bool more;

	STAILQ_REMOVE_HEAD(&g->came, link);
	more = !STAILQ_EMPTY(&g->came);
	from_guest(p, p->data);
	posted_end(p); /* after the last one the guest may be freed */
	return more;
}

void av_mail_from(struct av_guest *g)
{
	g->sender = av_sender_guest(g->guest);
	STAILQ_INIT(&g->came);
	g->came_in.run = move_came;
	av_mover_init(&g->mover);
}

static void came_home(struct lcore *lc, void *arg)
{
	struct av_posted *p = arg;
	struct av_guest *g = av_guest(p->gq->guest);

	(void)lc;
	STAILQ_INSERT_TAIL(&g->came, p, link);
	av_move_wait(p->space->mail, &g->mover, &g->came_in);
}

bool av_datagram(struct guest_queue *gq, const struct zv_dgram_addr *from, const void *data,
		 uint32_t len)
{
	struct av_guest *g = av_guest(gq->guest);
	struct av_posted p = {.gq = gq, .addr = *from, .len = len};

	if (!g || (g->app && !app_may_send(gq->guest, from->peer_port)))
		return false;
	p.space = g->space;
	p.of = &g->from;
	if (gq->lc == g->space->home)
		from_guest(&p, data);
	else if (!post(g->space->home, came_home, &p, data))
		count(gq, false);
	return true;
}

/* ---- from programs ---- */

void av_route(struct av_space *s, struct av_port *p, const struct dropin_addr *to, const void *data,
	      uint32_t len)
{
	const struct av_from from = {{to->cid, p->label.local.port}, av_sender_user(p->uid), NULL};

	if (!av_is_local(s, to->cid)) {
		to_guest(s, p, to, data, len);
		return;
	}
	p->to_cid = to->cid;
	if (!s->cfg.apps || !to_app(s, p, to->port, data, len))
		to_port(s, av_port_at(s, SOCK_DGRAM, to->cid, to->port), to, &from, data, len);
}

/* The port that sent the datagram; NULL: none. The label is only used to find the port and proves
 * nothing, because anybody can bind it in another network namespace; the key is the proof. */
static struct av_port *sender(struct av_space *s, const struct av_sender *from, uint64_t key)
{
	struct dropin_label l;
	struct av_port *p = *from->text ? av_port_named(s, from->text, &l) : NULL;

	return p && p->inbox && av_inbox_key(p->inbox) == key ? p : NULL;
}

/* Receives a datagram from DIR/dgram. False: there is none left. */
static bool mail_read(struct av_mail *m)
{
	static _Thread_local struct {
		struct dropin_dgram head;
		uint8_t data[DROPIN_DGRAM_MAX + 1];
	} in;
	struct av_space *s = m->space;
	struct av_sender from = {.uid = (uid_t)-1};
	struct av_port *p = NULL;
	uint32_t more;
	ssize_t n;

	if (!av_receive_may(m))
		return false;
	n = av_receive(s, s->listener[AV_DGRAM].fd, &in, sizeof(in), &from);
	if (n < 0 && n != -EPERM)
		return false;
	if (n >= 0 && dropin_dgram_ok(&in.head, (size_t)n))
		p = sender(s, &from, in.head.key);
	if (p)
		av_route(s, p, &in.head.to, in.data, (uint32_t)((size_t)n - sizeof(in.head)));
	else if (log_once(&s->not_admitted, &more))
		log_line(ZV_LOG_INFO, NULL,
			 "%s: a datagram of uid %u that no program with a port has sent, or which "
			 "is none: dropped",
			 s->cfg.sockets[AV_DGRAM], (unsigned)from.uid);
	return true;
}

void av_mail_take(struct av_space *s)
{
	while (s->mail->final_reads && mail_read(s->mail))
		s->mail->final_reads--;
}

/* One at least, another after @n if there are no more than @most, and time is left. */
static bool may_move(unsigned n, unsigned most, uint64_t start)
{
	return !n || (n < most && now_ns() - start < AV_TURN_NS);
}

static void mail_turn(struct lcore_work *w)
{
	struct av_mail *m = (struct av_mail *)(void *)((char *)w - offsetof(struct av_mail, turn));
	uint64_t start = now_ns();

	m->final_reads = FINAL_READS;
	for (unsigned i = 0;
	     m->unread && !m->pause.running && may_move(i, READS_UNCONNECTED, start); i++)
		m->unread = mail_read(m);
	start = now_ns();
	for (unsigned i = 0; may_move(i, MOVES, start) && av_move_next(m); i++)
		;
	if ((m->unread && !m->pause.running) || !TAILQ_EMPTY(&m->movers))
		lcore_defer(m->space->home, w);
}

static void mail_polled(struct io_op *op, int res, uint32_t flags)
{
	struct av_mail *m = (struct av_mail *)(void *)op; /* first */

	(void)flags;
	(void)res;
	if (m->ended)
		return;
	if (!op->pending)
		io_poll_on(lcore_io(m->space->home), op, m->space->listener[AV_DGRAM].fd, POLLIN);
	m->unread = true;
	lcore_defer(m->space->home, &m->turn);
}

/* ---- the datagram state of a space ---- */

void av_mail_count_inbox(struct av_mail *m, bool there)
{
	m->n_inboxes += there ? 1u : -1u;
	if (there && m->begun && !m->sweep.running)
		lcore_timer_start(m->space->home, &m->sweep, SWEEP_NS);
}

static void sweep(struct lcore_timer *t)
{
	struct av_mail *m = (struct av_mail *)(void *)((char *)t - offsetof(struct av_mail, sweep));

	m->final_reads = FINAL_READS;
	av_port_sweep_inboxes(m->space);
	if (m->n_inboxes)
		lcore_timer_start(m->space->home, t, SWEEP_NS);
}

static void pause_over(struct lcore_timer *t)
{
	struct av_mail *m = (struct av_mail *)(void *)((char *)t - offsetof(struct av_mail, pause));

	m->unread = true;
	lcore_defer(m->space->home, &m->turn);
}

struct av_mail *av_mail_new(struct av_space *s)
{
	struct av_mail *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->space = s;
	m->final_reads = FINAL_READS;
	m->poll.done = mail_polled;
	m->turn.run = mail_turn;
	TAILQ_INIT(&m->movers);
	av_store_init(m);
	m->sweep.expired = sweep;
	m->pause.expired = pause_over;
	return m;
}

void av_mail_free(struct av_mail *m)
{
	if (!m)
		return;
	av_store_end(m);
	free(m);
}

void av_mail_begin(struct av_space *s)
{
	struct av_mail *m = s->mail;

	m->begun = true;
	io_poll_on(lcore_io(s->home), &m->poll, s->listener[AV_DGRAM].fd, POLLIN);
	if (m->n_inboxes)
		lcore_timer_start(s->home, &m->sweep, SWEEP_NS);
}

void av_mail_end(struct av_space *s)
{
	struct av_mail *m = s->mail;

	m->ended = true;
	lcore_timer_stop(s->home, &m->sweep);
	lcore_timer_stop(s->home, &m->pause);
	lcore_defer_cancel(s->home, &m->turn);
	lcore_cancel(s->home, &m->poll);
	lcore_drain(s->home, &m->n_inboxes);
}
