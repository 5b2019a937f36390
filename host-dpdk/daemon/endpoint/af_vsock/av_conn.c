/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections requested by programs, at the guest's end: from zv_connect to the relay, on the lcore
 * of the queue; theory in av.h. Messages to home are called or posted as in av_call.c. */
#include "av.h"

#include "core/fds.h"
#include "passed.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FILLING_STEP 16384u

/* A connection being set up, and then its relay. */
struct av_conn {
	struct relay r;	      /* first */
	struct av_call *call; /* NULL: separated from it, nothing more to report */
	void (*relay_work)(struct lcore_work *w);
	uint64_t bytes; /* filler data in the program's socket still to be drained */
	uint32_t messages;
	uint8_t queues_tried;
	bool up;
	bool has_place; /* among the guest's descriptors, for the program's socket */
};

static struct av_conn *conn_of(struct conn_owner *o)
{
	return (struct av_conn *)(void *)o;
}

/* ---- to home ---- */

struct report {
	struct av_call *call;
	bool decided;
	int err;
	uint32_t port;
	bool held; /* one is counted still (fds.h), for the program's socket */
};

static void report_post(const struct report *n)
{
	if (n->held)
		av_call_takes(n->call);
	if (n->decided)
		av_call_decided(n->call, n->err);
	else
		av_call_started(n->call, n->err, n->port);
}

static void report_arrived(struct lcore *lc, void *arg)
{
	struct report *n = arg;

	(void)lc;
	report_post(n);
	av_call_put(n->call);
	free(n);
}

static void report_to_home(const struct report *n)
{
	struct av_call *c = n->call;
	struct report *copy;

	if (c->home == c->lc) {
		report_post(n);
		return;
	}
	copy = malloc(sizeof(*copy));
	if (copy) {
		*copy = *n;
		__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
		if (lcore_post(c->home, report_arrived, copy) == 0)
			return;
		av_call_put(c);
	}
	free(copy);
	if (n->held) /* no memory: the call's timers end it */
		fds_put();
}

/* Separates the connection from its call. */
static void detach_call(struct av_conn *a)
{
	struct av_call *c = a->call;

	if (!c)
		return;
	a->call = NULL;
	c->conn = NULL;
	av_call_put(c);
}

/* ---- before the relay ---- */

static void give_place_back(struct av_conn *a)
{
	if (a->has_place)
		guest_fd_put(a->r.f.owner.gq);
	a->has_place = false;
}

/* Ends it without a report to home. */
static void conn_end(struct av_conn *a)
{
	give_place_back(a);
	detach_call(a);
	relay_abort(&a->r);
}

static int as_kernel(int err)
{
	switch (err) {
	case -ECONNREFUSED: /* RST: AF_VSOCK reports it as this */
		return -ECONNRESET;
	case -ENETDOWN:
	case -EHOSTUNREACH:
		return -ENODEV;
	case -ENOSPC:
		return -ENOBUFS;
	default:
		return err;
	}
}

/* Fails with @err. @started: the local port has been reported. */
static void conn_fail(struct av_conn *a, int err, bool started)
{
	struct report n = {a->call, started, as_kernel(err), 0, false};

	if (n.err == -ENODEV && cfg_roles[guest_cfg(a->r.f.owner.gq->guest)->role].attached)
		n.err = -ECONNRESET; /* an application that is about to be removed */
	/* Whoever hears of it may connect again at once. The program's socket may be open, though:
	 * only home knows. */
	n.held = a->call && a->has_place;
	if (n.held)
		fds_take(1);
	give_place_back(a);
	if (a->call)
		report_to_home(&n);
	if (!a->up)
		GUEST_COUNT(a->r.f.owner.gq, host_refused);
	conn_end(a);
}

static void conn_abort(struct conn_owner *o)
{
	struct av_conn *a = conn_of(o);

	if (a->r.f.conn)
		conn_fail(a, -ECONNRESET, true);
	else
		conn_end(a); /* called a second time */
}

static void conn_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct av_conn *a = conn_of(o);

	if (ev->events & ZV_EV_ERR || (ev->events & ZV_EV_CONNECT && ev->err)) {
		if (a->up)
			GUEST_COUNT(o->gq, guest_resets);
		conn_fail(a, ev->err, true);
	} else if (ev->events & ZV_EV_CONNECT) {
		a->up = true;
		GUEST_COUNT(o->gq, host_joined);
		zv_set_events(a->r.f.conn, 0); /* nobody reads until the program connects */
		report_to_home(&(struct report){.call = a->call, .decided = true});
	}
}

static void conn_connect(struct av_conn *a);

static void conn_moved(struct lcore *lc, void *arg)
{
	struct av_conn *a = arg;

	(void)lc;
	flow_add(&a->r.f, a->r.f.owner.gq);
	conn_connect(a);
}

/* The queue's rings do not run: tries another queue of this lcore. False: all have been tried. */
static bool conn_move(struct av_conn *a)
{
	struct guest_queue *gq = a->r.f.owner.gq;
	struct guest *g = gq->guest;

	while (!gq->ending && ++a->queues_tried < g->n_queues) {
		struct guest_queue *to = &g->queues[(gq->index + a->queues_tried) % g->n_queues];

		if (to->lc != gq->lc)
			continue;
		conn_owner_remove(&a->r.f.owner);
		a->r.f.owner.gq = to;
		conn_moved(to->lc, a);
		return true;
	}
	return false;
}

static void conn_connect(struct av_conn *a)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	struct guest_queue *gq = a->r.f.owner.gq;
	const struct av_call *c = a->call;
	const struct dropin_addr *to = &c->label.remote;
	enum zv_type type = c->label.sock_type == SOCK_STREAM ? ZV_STREAM : ZV_SEQPACKET;
	/* Through a device that we drive others may be reached; ours lead to one peer only. */
	uint64_t cid = cfg_roles[guest_cfg(gq->guest)->role].client ? to->cid : 0;
	int ret;

	if (c->local_port == ZV_PORT_ANY)
		ret = zv_connect(gq->q, cid, to->port, type, &a->r.f.conn);
	else
		ret = zv_connect_from(gq->q, 0, c->local_port, cid, to->port, type, &a->r.f.conn);
	if (ret < 0) {
		a->r.f.conn = NULL;
		if (ret != -ENETDOWN || !conn_move(a))
			conn_fail(a, ret, false);
		return;
	}
	zv_set_user(a->r.f.conn, &a->r.f.owner);
	(void)zv_conn_info(a->r.f.conn, &info);
	report_to_home(&(struct report){.call = a->call, .port = info.local_port});
}

void av_conn_begin(struct av_call *c)
{
	bool seq = c->label.sock_type == SOCK_SEQPACKET;
	struct av_conn *a;

	GUEST_COUNT(c->gq, host_accepted);
	if (!guest_fd_get(c->gq)) {
		GUEST_COUNT(c->gq, host_refused);
		report_to_home(&(struct report){.call = c, .err = -ENOBUFS});
		return;
	}
	a = calloc(1, sizeof(*a));
	if (!a) {
		guest_fd_put(c->gq);
		GUEST_COUNT(c->gq, no_memory);
		report_to_home(&(struct report){.call = c, .err = -ENOMEM});
		return;
	}
	relay_init(&a->r, c->gq, NULL, &endpoint_af_vsock.kind, -1, seq ? RELAY_SEQPACKET : 0);
	relay_is_af_vsock(&a->r);
	a->r.f.owner.event = conn_event;
	a->r.f.owner.abort = conn_abort;
	a->has_place = true;
	a->call = c;
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	c->conn = a;
	conn_connect(a);
}

void av_conn_stop(struct av_call *c, bool unclaimed)
{
	if (!c->conn)
		return;
	if (unclaimed)
		GUEST_COUNT(c->conn->r.f.owner.gq, af_vsock_unclaimed);
	conn_end(c->conn);
}

/* ---- the relay ---- */

/* Drains the filler data from the program's socket, then starts the relay. The amount per turn is
 * limited as that of payload is, because a guest may accept a thousand connections at once. */
static void filling_read(struct lcore_work *w)
{
	struct av_conn *a = (struct av_conn *)(void *)flow_of_work(w); /* r.f is first */
	bool seq = a->r.flags & RELAY_SEQPACKET;
	struct flow *f = &a->r.f;
	uint32_t may = flow_may(f), done = 0;
	char buf[FILLING_STEP];

	if (!may)
		return;
	while (seq ? a->messages : a->bytes) {
		size_t most = a->bytes < sizeof(buf) && !seq ? a->bytes : sizeof(buf);
		ssize_t n;

		if (done >= may || !work_may(f->owner.gq)) {
			flow_wait(f);
			return;
		}
		n = relay_recv(&a->r, buf, most);
		if (n == -EINTR)
			continue;
		if (n <= 0) { /* less than announced, or descriptors; no filler message is empty */
			relay_abort(&a->r);
			return;
		}
		a->bytes -= seq ? 0 : (uint64_t)n;
		a->messages -= seq;
		done += flow_moved(f, (uint32_t)n);
	}
	f->work.run = a->relay_work;
	relay_start(&a->r, NULL, 0);
	av_named_started(&a->r);
}

static void filling_abort(struct conn_owner *o)
{
	relay_abort(&conn_of(o)->r);
}

static void filling_event(struct conn_owner *o, const struct zv_event *ev)
{
	if (!(ev->events & ZV_EV_ERR))
		return;
	GUEST_COUNT(o->gq, guest_resets);
	filling_abort(o);
}

void av_conn_go(struct av_call *c, int fd, uint64_t bytes, uint32_t messages)
{
	struct av_conn *a = c->conn;

	if (!a) {
		/* Nothing has been read from the socket, so descriptors that the program has sent
		 * may be queued in it. What was counted for it is given back by now. */
		fds_take(1);
		(void)shutdown(fd, SHUT_RDWR);
		av_discard_late(c->lc, fd, c->label.sock_type == SOCK_STREAM, c->cred.uid);
		return;
	}
	a->has_place = false; /* the socket has it from now on */
	av_named_give(c->named, &a->r);
	c->named = NULL;
	detach_call(a);
	a->r.fd = fd;
	if (a->r.f.owner.gq->guest->closer)
		relay_expect_passed(&a->r);
	a->bytes = bytes;
	a->messages = messages;
	a->relay_work = a->r.f.work.run;
	a->r.f.work.run = filling_read;
	a->r.f.owner.event = filling_event;
	a->r.f.owner.abort = filling_abort;
	filling_read(&a->r.f.work);
}
