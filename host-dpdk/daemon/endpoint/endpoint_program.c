/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The endpoint that serves the control connections of programs in a guest whose kernel has the
 * driver (docs/protocol.md, "Programs on a stock driver"). Each is a control connection of a broker
 * (channel/broker_conn.h): the messages that a zvsock driver exchanges with the library are sent
 * here as payload, and claims (channel/claims.h) tell which connections belong to the program.
 *
 * A message is processed when it is complete, and checked by the parser that all control
 * connections use. A message that is not allowed ends the control connection, and with it all
 * connections whose channels were granted on it; nothing else of the guest is affected. Messages to
 * the program are sent whole or not at all.
 *
 * A region has one id for all programs of a session of the guest's device, and another one in the
 * next session. When a session ends, so do all control connections, and the ends granted on them
 * are released. But a program may still have payload on loan in them, of which the kernel of the
 * guest has told nobody. To programs, another id means what a restart of zvsockd means: they do not
 * map the region before all of them have returned what they hold under the former id.
 *
 * What a program can cost is limited: one of the guest's `programs`, memory for one message,
 * CLAIMS_MAX claims, and parts of the guest's region, which are charged to the guest
 * (channel/region.h). In a round, the programs of a queue may have about MSGS_ROUND messages
 * processed in their turns, at most MSGS_TURN of each, and another MSGS_ROUND before connection
 * requests are served and where one claims what another has claimed.
 */
#include "endpoint.h"

#include "channel/claims.h"
#include "channel/reach.h"
#include "core/log.h"
#include "relay/flow.h"

#include <errno.h>
#include <proto/ctrl/ctrl_msg.h>
#include <proto/ctrl/hello.h>
#include <stdlib.h>
#include <string.h>

#define MSGS_TURN     64u
#define MSGS_ROUND    1024u /* per queue */
#define HELLO_WAIT_NS UINT64_C(5000000000)

struct program {
	struct flow f;		 /* first */
	struct broker *b;	 /* NULL: no HELLO received yet */
	struct claimant claims;	 /* valid once there is a broker */
	struct lcore_timer wait; /* for HELLO */
	uint64_t nonce;
	uint64_t id_mask; /* of the ids of regions: its_id() */
	bool ack_due;
	bool must_end;	 /* a granted connection was not made: to be ended */
	bool polling;	 /* poll_msgs() is running: it must not recurse */
	bool conn_ended; /* the connection has ended */
	const char *why; /* the violation; NULL: none */
	bool logged_full, logged_taken;
	uint32_t n_in;
	uint8_t in[ZV_CTRL_MAX_LEN];
};

/* ---- the end ---- */

/* @why: the reason for a reset; NULL: an orderly end. */
static void end(struct program *p, const char *why)
{
	struct guest_queue *gq = p->f.owner.gq;

	if (why)
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "the control connection of a program of the guest is reset: %s", why);
	conn_log(&p->f.owner, p->f.conn, why ? "ended: reset by zvsockd" : "ended: by the program");
	lcore_timer_stop(gq->lc, &p->wait);
	if (p->b) {
		claims_end(gq, &p->claims);
		broker_close(p->b);
	}
	flow_close(&p->f, why != NULL);
	(void)__atomic_fetch_sub(&gq->guest->programs_ended, p->conn_ended, __ATOMIC_RELAXED);
	(void)__atomic_fetch_sub(&gq->guest->programs, 1, __ATOMIC_RELAXED);
	(void)__atomic_fetch_sub(&gq->guest->counters.programs, 1, __ATOMIC_RELAXED);
	conn_owner_remove(&p->f.owner);
	free(p);
}

static void violation(struct program *p, const char *why)
{
	GUEST_COUNT(p->f.owner.gq, program_bad_msg);
	end(p, why);
}

/* ---- messages to the program ---- */

/* Returns 0, -EAGAIN, or -EOPNOTSUPP if the connection has ended. */
static int send_wire(struct program *p, const void *wire, uint32_t len)
{
	struct zv_buf b;
	int n = zv_buf_alloc(p->f.conn, &b, 1, len);

	if (n != 1)
		return n == -EAGAIN || n == -ENOBUFS ? -EAGAIN : -EOPNOTSUPP;
	if (b.capacity < len) {
		zv_buf_cancel(p->f.conn, &b, 1);
		return -EAGAIN;
	}
	memcpy(b.data, wire, len);
	b.len = len;
	b.flags = 0;
	return zv_buf_send(p->f.conn, &b, 1) == 1 ? 0 : -EOPNOTSUPP;
}

static int send_msg(struct program *p, const struct ctrl_msg *m)
{
	uint8_t wire[CTRL_MSG_MAX];

	return p->must_end ? -EOPNOTSUPP : send_wire(p, wire, ctrl_msg_put(wire, m));
}

/* The region's id in messages of the program, or the other way round. */
static uint64_t its_id(const struct program *p, uint64_t id)
{
	return id ^ p->id_mask;
}

/* A number that no other session of any guest has. Its lowest bits are 0, because programs tell ids
 * apart by the others. */
static uint64_t id_mask(const struct guest_queue *gq)
{
	struct zv_queue_stats s = {0};

	(void)zv_queue_stats(gq->q, &s, sizeof(s));
	return gq->guest->serial << 32 | (s.sessions & 0xfffffffu) << 3;
}

static int announce(struct guest_queue *gq, void *arg, const struct zv_region *r)
{
	const struct ctrl_msg m = {
		.type = CTRL_REGION,
		.region = {.id = its_id(arg, r->id), .size = r->size, .gpa = r->gpa}};

	(void)gq;
	return send_msg(arg, &m);
}

static int forget(struct guest_queue *gq, void *arg, uint64_t id)
{
	const struct ctrl_msg m = {.type = CTRL_REGION,
				   .region = {.id = its_id(arg, id), .flags = CTRL_REGION_GONE}};

	(void)gq;
	return send_msg(arg, &m);
}

static int send_grant(struct program *p, const struct zv_grant *g, struct ctrl_grant of)
{
	struct ctrl_msg m = {.type = CTRL_GRANT};

	of.region = its_id(p, g->region);
	of.role = (uint16_t)g->role;
	of.desc = g->desc;
	m.grant = of;
	return send_msg(p, &m);
}

/* The grant is sent before the connection is requested. If the request then fails, the program
 * would apply the grant to the next connection with these ports, so its control connection is
 * ended. */
static int program_connect(struct guest_queue *gq, void *arg, const struct broker_route *to,
			   const struct zv_grant *g, struct zv_conn **conn)
{
	struct program *p = arg;
	uint32_t port = to->src_port;
	int ret = zv_connect_port(gq->q, to->src_cid, &port, 0, to->port);

	if (ret == 0)
		ret = send_grant(p, g,
				 (struct ctrl_grant){.peer_cid = to->src_cid,
						     .peer_port = port,
						     .local_port = to->port,
						     .type = (uint16_t)to->type});
	if (ret)
		return ret;
	ret = zv_connect_from(gq->q, to->src_cid, port, 0, to->port, to->type, conn);
	if (ret) {
		p->must_end = true;
		flow_defer(&p->f);
	}
	return ret;
}

static int program_grant(void *arg, struct zv_conn *conn, const struct zv_grant *g)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	(void)zv_conn_info(conn, &i);
	return send_grant(arg, g,
			  (struct ctrl_grant){.peer_cid = i.local_cid,
					      .peer_port = i.local_port,
					      .local_port = i.peer_port,
					      .type = (uint16_t)i.type});
}

static int program_wake(struct zv_conn *conn)
{
	ssize_t ret = zv_send(conn, "", 1, ZV_EOM);

	return ret == -EAGAIN ? -EAGAIN : 0; /* other errors have events of their own */
}

static void poll(void *arg);
static void hear(struct claimant *who);

static const struct broker_conn_ops broker_conn_program = {
	.who = "a program of the guest",
	.bytes = true,
	.announce = announce,
	.forget = forget,
	.connect = program_connect,
	.grant = program_grant,
	.wake = program_wake,
	.poll = poll,
};

/* ---- messages from the program ---- */

static void acknowledge(struct program *p)
{
	const struct hello h = {.type = CTRL_HELLO_ACK,
				.version = ZV_CTRL_VERSION,
				.nonce = p->nonce,
				.npairs = 1,
				.caps = ZV_CAP_CHANNEL,
				.max_pkt = 65536};
	uint8_t wire[HELLO_WIRE_LEN];

	hello_put(wire, &h);
	p->ack_due = send_wire(p, wire, sizeof(wire)) == -EAGAIN; /* retried at ZV_EV_OUT */
}

/* NULL: accepted; otherwise what is wrong. */
static const char *on_hello(struct program *p, const struct hello *h)
{
	struct guest_queue *gq = p->f.owner.gq;

	if (h->type != CTRL_HELLO || h->pair != 0 || h->npairs != 1)
		return "its HELLO is not a program's: pair 0 of 1";
	if (!(h->caps & ZV_CAP_CHANNEL))
		return "its HELLO does not name CHANNEL, and it is here for nothing else";
	p->b = broker_new(gq, &broker_conn_program, p);
	if (!p->b) {
		GUEST_COUNT(gq, no_memory);
		return "no memory";
	}
	claimant_init(&p->claims, p->b, hear);
	lcore_timer_stop(gq->lc, &p->wait);
	p->nonce = h->nonce;
	p->id_mask = id_mask(gq);
	acknowledge(p);
	return NULL;
}

static void on_claim(struct program *p, const struct ctrl_claim *c)
{
	struct guest_queue *gq = p->f.owner.gq;
	int ret = claim_on_msg(gq, &p->claims, c);
	bool *logged = ret == -ENOSPC ? &p->logged_full : &p->logged_taken;

	if (ret == 0)
		return;
	GUEST_COUNT(gq, claim_ignored);
	if (!*logged)
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "a program's claim of port %u is ignored (%s): that connection has no "
			 "channel",
			 c->port,
			 ret == -ENOSPC	      ? "it has 1024 claims"
			 : ret == -EADDRINUSE ? "another program has made it"
					      : "no memory");
	*logged = true;
}

static const char *on_message(struct program *p, const struct ctrl_msg *m)
{
	struct zv_broker_msg to = {0};

	switch (m->type) {
	case CTRL_CLAIM:
		on_claim(p, &m->claim);
		return NULL;
	case CTRL_OFFER:
		to.what = ZV_BROKER_OFFER;
		to.gpa = m->offer.gpa;
		to.size = m->offer.size;
		break;
	case CTRL_REGION_ACK:
		to.what = ZV_BROKER_REGION;
		to.id = its_id(p, m->region_ack.id);
		to.result = m->region_ack.result;
		break;
	case CTRL_RELEASE:
		to.what = ZV_BROKER_RELEASE;
		to.id = its_id(p, m->release.region);
		to.offset = m->release.offset;
		to.generation = m->release.generation;
		break;
	default:
		return "a message that only zvsockd sends";
	}
	broker_on_msg(p->b, &to);
	return NULL;
}

/* Processes the message at @at. Returns its length; 0: it is not complete; -1: not allowed, see
 * *why. */
static int take(struct program *p, uint32_t at, const char **why)
{
	struct ctrl_msg m;
	struct hello h;
	int n = p->b ? ctrl_msg_get(&m, p->in + at, p->n_in - at)
		     : hello_get(&h, p->in + at, p->n_in - at);

	*why = NULL;
	if (n > 0)
		*why = p->b ? on_message(p, &m) : on_hello(p, &h);
	else if (n < 0)
		*why = n == -EPROTONOSUPPORT ? "a message of another version"
					     : "a malformed message";
	return *why ? -1 : n;
}

/* Receives as much as fits. 0: nothing to receive now; 1: there may be more; -1: the connection has
 * ended. */
static int receive(struct program *p)
{
	uint32_t room = (uint32_t)sizeof(p->in) - p->n_in;
	ssize_t n;

	if (!room) /* the previous turn's limit left the buffer full */
		return 1;
	n = zv_recv(p->f.conn, p->in + p->n_in, room, NULL);
	if (n > 0)
		p->n_in += (uint32_t)n;
	return n > 0 ? 1 : n == -EAGAIN ? 0 : -1;
}

/* Processes up to @most messages and returns their number; if that is @most, there may be more.
 * Ends no control connection, because a caller may be handling events of another connection. */
static unsigned take_all(struct program *p, unsigned most)
{
	unsigned msgs = 0;
	int got = 1;

	while (got > 0 && msgs < most && !p->must_end && !p->why) {
		uint32_t at = 0;
		int n = 0;

		/* The buffer holds the longest message, so a full buffer begins with a complete
		 * one. */
		got = receive(p);
		while (msgs < most && (n = take(p, at, &p->why)) > 0) {
			at += (uint32_t)n;
			msgs++;
		}
		p->n_in -= at;
		memmove(p->in, p->in + at, p->n_in);
	}
	p->conn_ended = p->claims.ended = got < 0;
	(void)__atomic_fetch_add(&p->f.owner.gq->guest->programs_ended, p->conn_ended,
				 __ATOMIC_RELAXED);
	return msgs;
}

static unsigned poll_msgs(struct program *p, unsigned most)
{
	unsigned msgs;

	/* Called while a message is processed, or to be ended. */
	if (p->polling || p->why || p->conn_ended)
		return 0;
	p->polling = true;
	msgs = take_all(p, most);
	if (msgs == most || p->why || p->conn_ended)
		flow_defer(&p->f);
	p->polling = false;
	return msgs;
}

/* The queue, with its counters of this round: they are reset when a new round begins. */
static struct guest_queue *of_round(struct program *p)
{
	struct guest_queue *gq = p->f.owner.gq;
	uint64_t round = lcore_round(gq->lc);

	if (gq->program_msgs_round != round) {
		gq->program_msgs_round = round;
		gq->program_msgs = gq->claims_gone = 0;
	}
	return gq;
}

/*
 * broker_conn_ops.poll. A connection request may be reported before a claim that the program has
 * sent earlier, so the pending messages of all programs are processed before a request is served.
 * There can be dozens of requests in a round, and each polls all programs; hence the limit for a
 * round.
 */
static void poll(void *arg)
{
	struct program *p = arg;
	struct guest_queue *gq = of_round(p);

	if (gq->program_msgs + MSGS_TURN <= MSGS_ROUND)
		gq->program_msgs += poll_msgs(p, MSGS_TURN);
}

/* Because of a claim of another one. What it says leads to no other that is heard: they could be
 * very many. */
static void hear(struct claimant *who)
{
	struct program *p =
		(struct program *)(void *)((char *)who - offsetof(struct program, claims));
	struct guest_queue *gq = p->f.owner.gq;

	if (gq->hearing)
		return;
	gq->hearing = true;
	poll(p);
	gq->hearing = false;
}

/* The program's turn: it gets an equal part of MSGS_ROUND, at most MSGS_TURN. */
static void poll_in_turn(struct program *p)
{
	unsigned all = __atomic_load_n(&p->f.owner.gq->guest->programs, __ATOMIC_RELAXED);
	unsigned most = all ? MSGS_ROUND / all : MSGS_TURN;

	(void)poll_msgs(p, most > MSGS_TURN ? MSGS_TURN : most ? most : 1);
}

static bool is_over(const struct program *p)
{
	return p->why || p->must_end || p->conn_ended;
}

/* Ending a program removes its claims: in a round CLAIMS_MAX of them and those of one more program
 * at most, not those of all programs of a guest. */
static bool may_end(struct program *p)
{
	struct guest_queue *gq = of_round(p);

	if (gq->claims_gone >= CLAIMS_MAX)
		return false;
	gq->claims_gone += p->b ? p->claims.n : 0;
	return true;
}

static void work(struct lcore_work *w)
{
	struct program *p = (struct program *)(void *)flow_of_work(w); /* f is first */

	if (p->ack_due)
		acknowledge(p);
	poll_in_turn(p);
	if (is_over(p) && !may_end(p))
		flow_defer(&p->f);
	else if (p->why)
		violation(p, p->why);
	else if (p->must_end)
		end(p, "it was told of a connection for which there was no memory then");
	else if (p->conn_ended)
		end(p, NULL);
}

/* ---- a control connection ---- */

static void program_event(struct conn_owner *o, const struct zv_event *ev)
{
	(void)ev; /* zv_recv() finds an error later, in work(), when no events are being handled */
	flow_defer((struct flow *)(void *)o);
}

static void program_abort(struct conn_owner *o)
{
	end((struct program *)(void *)o, NULL);
}

static void waited(struct lcore_timer *t)
{
	struct program *p = (struct program *)(void *)((char *)t - offsetof(struct program, wait));

	violation(p, "it has said no HELLO in 5 s");
}

/* Why the program may not have a control connection; NULL: it may. */
static const char *refused(const struct guest_queue *gq, const struct zv_conn_info *info)
{
	if (info->type != ZV_STREAM)
		return "its socket is no stream";
	if (info->peer_port >= ZV_CTRL_SRC_LIMIT)
		return "it comes from a port of 1024 or above, which any program can bind";
	if (!guest_has_program_place(gq->guest))
		return "there are as many as the key programs allows";
	return NULL;
}

static int serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	const char *why;
	struct program *p;

	if (info->local_port != ZV_PROC_PORT || reach_is_app(gq->guest) ||
	    !cfg_roles[guest_cfg(gq->guest)->role].own_cid)
		return 0;
	why = refused(gq, info);
	if (why) {
		GUEST_COUNT(gq, program_refused);
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "a program of the guest gets no channels: %s", why);
		return -ECONNREFUSED;
	}
	p = calloc(1, sizeof(*p));
	if (!p) {
		GUEST_COUNT(gq, no_memory);
		return -ENOMEM;
	}
	(void)__atomic_fetch_add(&gq->guest->programs, 1, __ATOMIC_RELAXED);
	GUEST_COUNT(gq, programs);
	p->f.owner.event = program_event;
	p->f.owner.abort = program_abort;
	p->wait.expired = waited;
	flow_init(&p->f, gq, conn, &endpoint_program.kind, work);
	lcore_timer_start(gq->lc, &p->wait, HELLO_WAIT_NS);
	if (zv_conn_answer(conn, 0) == 0)
		GUEST_COUNT(gq, guest_joined);
	conn_log(&p->f.owner, conn, "opened");
	flow_defer(&p->f);
	return 1;
}

static void describe(const struct guest *g, const struct zv_conn_info *info, char *buf, size_t len)
{
	(void)g;
	(void)info;
	(void)snprintf(buf, len, "channels of a program");
}

const struct endpoint_ops endpoint_program = {
	.name = "program",
	.kind = CONN_KIND(endpoint_program.kind, describe),
	.serve = serve,
};
