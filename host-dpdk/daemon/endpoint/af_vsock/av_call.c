/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections requested by programs, at home, from their beginning (av_connect.c): FILLED, ERROR,
 * and the sockets accepted at DIR/TYPE; theory in av.h. */
#include "av.h"

#include "base/clock.h"
#include "core/fds.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SOCKET_TIMEOUT_NS 5000000000ull	 /* for the program's socket, after the answer */
#define FAILED_NS	  60000000000ull /* how long an error waits for ERROR */
#define FAILED_MAX	  1024u

void av_call_put(struct av_call *c)
{
	if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) == 0) {
		av_named_end(c->named);
		free(c);
	}
}

/* ---- to the guest's end ---- */

struct note {
	struct av_call *call;
	void (*fn)(struct note *n);
	int fd;
	uint64_t bytes;
	uint32_t messages;
	bool unclaimed;
};

static void noted(struct lcore *lc, void *arg)
{
	struct note *n = arg;

	(void)lc;
	n->fn(n);
	av_call_put(n->call);
	free(n);
}

static void note_begin(struct note *n)
{
	av_conn_begin(n->call);
}

static void note_go(struct note *n)
{
	av_conn_go(n->call, n->fd, n->bytes, n->messages);
}

static void note_stop(struct note *n)
{
	av_conn_stop(n->call, n->unclaimed);
}

/* Runs @n's function on the lcore of the guest's queue. False: no memory. */
static bool post_to_guest(const struct note *n)
{
	struct av_call *c = n->call;
	struct note *copy;

	if (c->home == c->lc) {
		struct note own = *n;

		n->fn(&own);
		return true;
	}
	copy = malloc(sizeof(*copy));
	if (!copy)
		return false;
	*copy = *n;
	__atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
	if (lcore_post(c->lc, noted, copy) == 0)
		return true;
	(void)__atomic_sub_fetch(&c->refs, 1, __ATOMIC_RELAXED); /* the caller still has its own */
	free(copy);
	return false;
}

/* ---- the end of a call ---- */

/* The program's socket counts by itself from now on (fds.h), until it is closed. */
static void count_socket(struct av_call *c)
{
	if (c->fd >= 0 && !c->fd_counts)
		fds_take(1);
	c->fd_counts = c->fd >= 0;
}

void av_call_takes(struct av_call *c)
{
	if (c->space && c->fd >= 0 && !c->fd_counts)
		c->fd_counts = true;
	else
		fds_put();
}

static void drop_socket(struct av_call *c)
{
	count_socket(c);
	if (c->fd >= 0)
		av_discard(c->space, c->fd, c->label.sock_type == SOCK_STREAM, c->cred.uid);
	c->fd = -1;
}

void av_call_forget(struct av_call *c)
{
	struct av_space *s = c->space;

	drop_socket(c);
	lcore_timer_stop(c->home, &c->timer);
	LIST_REMOVE(c, link);
	if (c->state == AV_FAILED) {
		TAILQ_REMOVE(&s->failed, c, waiting);
		s->n_failed--;
		c->user->failed--;
	} else {
		s->n_calls--;
		c->user->calls--;
	}
	av_user_put(s, c->user);
	c->ask = NULL;
	c->space = NULL;
	av_call_put(c);
}

/* Ends the call at the guest as well. */
static void stop(struct av_call *c, bool unclaimed)
{
	(void)post_to_guest(&(struct note){.call = c, .fn = note_stop, .unclaimed = unclaimed});
	av_call_forget(c);
}

/* The oldest of the user who has most: nobody makes another's connection look as if it had come to
 * be, by failing more often. */
static struct av_call *one_too_many(const struct av_space *s)
{
	struct av_call *most = TAILQ_FIRST(&s->failed), *c;

	TAILQ_FOREACH(c, &s->failed, waiting)
		if (c->user->failed > most->user->failed)
			most = c;
	return most;
}

/* The call has failed with @err, which the program will request with ERROR. */
static void fail(struct av_call *c, int err)
{
	struct av_space *s = c->space;

	count_socket(c);
	c->err = err;
	c->state = AV_FAILED;
	s->n_calls--;
	c->user->calls--;
	c->user->failed++;
	TAILQ_INSERT_TAIL(&s->failed, c, waiting);
	s->n_failed++;
	if (c->filled)
		drop_socket(c); /* closed unread, so that the program's end gets an error */
	lcore_timer_start(c->home, &c->timer, FAILED_NS);
	if (s->n_failed > FAILED_MAX)
		av_call_forget(one_too_many(s));
}

static void expired(struct lcore_timer *t)
{
	struct av_call *c = (struct av_call *)(void *)((char *)t - offsetof(struct av_call, timer));
	struct av_ask *a = c->ask;
	struct dropin_msg m;

	if (c->state == AV_FAILED) {
		av_call_forget(c);
	} else if (!c->nonblock && c->state != AV_UP) { /* the timeout that the program has set */
		dropin_msg_init(&m, DROPIN_CONNECT);
		av_refuse(&m, -ETIMEDOUT, "no answer within %u ms", c->timeout_ms);
		stop(c, false);
		if (a)
			av_ask_decided(a, &m);
	} else if (c->nonblock && c->filled) {
		(void)post_to_guest(&(struct note){.call = c, .fn = note_stop});
		fail(c, -ETIMEDOUT);
	} else {
		log_line(ZV_LOG_DEBUG, NULL,
			 "%s: pid %d, uid %u has asked for a connection to CID %u, port %u, and "
			 "does not come for it: reset",
			 c->space->cfg.dir, (int)c->cred.pid, (unsigned)c->cred.uid,
			 c->label.remote.cid, c->label.remote.port);
		stop(c, true);
	}
}

void av_call_withdraw(struct av_ask *a)
{
	struct av_call *c = a->busy;

	a->busy = NULL;
	if (!c)
		return;
	c->ask = NULL;
	stop(c, false);
}

/* The @n in @c, unless their sockets are still open. */
static void stop_closed(struct av_call *const *c, unsigned n)
{
	struct pollfd p[AV_CHECK_AT_ONCE];

	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = c[i]->fd};
	if (poll(p, n, 0) <= 0)
		return;
	for (unsigned i = 0; i < n; i++)
		if (p[i].revents & POLLHUP)
			stop(c[i], false);
}

void av_calls_check(struct av_space *s, struct av_user *u)
{
	struct av_call *c, *next, *found[AV_CHECK_AT_ONCE];
	unsigned n = 0;

	if (!av_may_check(s, u, AV_CHECK_CALLS))
		return;
	for (unsigned i = 0; i < AV_BUCKETS; i++) {
		for (c = LIST_FIRST(&s->calls[i]); c; c = next) {
			next = LIST_NEXT(c, link);
			if (c->user != u || c->fd < 0 || c->state == AV_FAILED)
				continue;
			found[n++] = c;
			if (n == AV_CHECK_AT_ONCE) {
				stop_closed(found, n);
				n = 0;
			}
		}
	}
	stop_closed(found, n);
}

void av_calls_end(struct av_space *s)
{
	struct av_call *c;

	for (unsigned i = 0; i < AV_BUCKETS; i++)
		while ((c = LIST_FIRST(&s->calls[i]))) {
			if (c->state == AV_FAILED)
				av_call_forget(c);
			else
				stop(c, false);
		}
}

/* ---- progress ---- */

/* Starts the relay if both ends are there. */
static void go_if_ready(struct av_call *c)
{
	struct note n = {c, note_go, c->fd, c->bytes, c->messages, false};

	if (c->state != AV_UP || c->fd < 0 || (c->nonblock && !c->filled))
		return;
	if (post_to_guest(&n))
		c->fd = -1;
	av_call_forget(c);
}

static void answer_names(const struct av_call *c, struct dropin_msg *m)
{
	m->local = c->label.local;
	m->remote = c->label.remote;
	memcpy(m->label, c->text, sizeof(m->label));
}

static void answer_connect(struct av_call *c, int err)
{
	struct av_ask *a = c->ask;
	struct dropin_msg m;

	c->ask = NULL;
	dropin_msg_init(&m, DROPIN_CONNECT);
	if (err) {
		av_refuse(&m, err, "CID %u, port %u: %s", c->label.remote.cid, c->label.remote.port,
			  err == -ECONNRESET  ? "nobody listens there"
			  : err == -ENODEV    ? "the guest is not running"
			  : err == -ENOBUFS   ? "the guest's connections have all descriptors or "
						"ports that they may"
			  : err == -ETIMEDOUT ? "no answer within the time for it"
					      : zv_strerror(err));
		av_call_forget(c);
	} else {
		answer_names(c, &m);
		lcore_timer_start(c->home, &c->timer, SOCKET_TIMEOUT_NS);
	}
	if (a)
		av_ask_decided(a, &m);
}

static struct av_port *port_of(const struct av_call *c)
{
	struct av_port *p =
		av_port_at(c->space, c->label.sock_type, c->label.local.cid, c->label.local.port);

	return p && strcmp(p->text, c->text) == 0 ? p : NULL;
}

/* The local address of the connection is known. */
static void name(struct av_call *c, uint32_t local_port)
{
	if (c->bound) {
		struct av_port *p = port_of(c);

		c->label.local.port = local_port;
		if (p) {
			p->connected = true;
			p->from = (struct dropin_addr){c->local_cid, local_port};
			p->to = c->label.remote;
		}
		return;
	}
	c->label.local = (struct dropin_addr){c->local_cid, local_port};
	dropin_label_write(&c->label, c->text);
}

void av_call_started(struct av_call *c, int err, uint32_t local_port)
{
	if (!c->space)
		return;
	if (err == -ENOBUFS && av_connect_again(c))
		return;
	if (err) {
		answer_connect(c, err);
		return;
	}
	name(c, local_port);
	c->state = AV_WAITING;
	if (c->nonblock)
		answer_connect(c, 0);
	else if (c->timeout_ms)
		lcore_timer_start(c->home, &c->timer, c->timeout_ms * 1000000ull);
}

void av_call_decided(struct av_call *c, int err)
{
	if (!c->space || c->state == AV_FAILED)
		return;
	if (c->nonblock && err) {
		fail(c, err);
	} else if (c->state == AV_UP || (err && !c->nonblock)) {
		/* Reset before the program connected to take it, or refused. */
		if (c->state == AV_UP)
			av_call_forget(c);
		else
			answer_connect(c, err);
	} else {
		c->state = AV_UP;
		if (c->nonblock)
			go_if_ready(c);
		else
			answer_connect(c, 0);
	}
}

/* ---- FILLED and ERROR ---- */

static struct av_call *call_find(const struct av_space *s, const char *text,
				 const struct dropin_label *l)
{
	struct av_call *c;

	LIST_FOREACH(c, &s->calls[l->token[0] % AV_BUCKETS], link)
		if (strcmp(c->text, text) == 0)
			return c;
	return NULL;
}

/* The nonblocking call with the label in *m, of the user of @a; NULL: none. */
static struct av_call *call_of(const struct av_ask *a, const struct dropin_msg *m)
{
	struct dropin_label l;
	struct av_call *c;

	if (!dropin_label_read(&l, m->label, strlen(m->label)))
		return NULL;
	c = call_find(a->space, m->label, &l);
	return c && c->cred.uid == a->cred.uid && c->nonblock ? c : NULL;
}

void av_filled(struct av_ask *a, struct dropin_msg *m)
{
	struct av_call *c = call_of(a, m);

	if (!c || c->filled) {
		av_refuse(m, -ENOENT, "no connection of that label is being made");
		return;
	}
	c->filled = true;
	c->bytes = m->bytes;
	c->messages = m->messages;
	if (c->state == AV_FAILED)
		drop_socket(c);
	else if (c->state == AV_UP)
		go_if_ready(c);
	else if (c->timeout_ms)
		lcore_timer_start(c->home, &c->timer, c->timeout_ms * 1000000ull);
	else
		lcore_timer_stop(c->home, &c->timer); /* the socket layer's own timeout applies */
}

void av_error(struct av_ask *a, struct dropin_msg *m)
{
	const struct av_call *c = call_of(a, m);

	/* Nothing is stored about a connection that was established: no error. */
	m->error = !c ? 0 : c->state == AV_FAILED ? -c->err : EINPROGRESS;
}

/* ---- the beginning ---- */

struct av_call *av_call_new(struct av_ask *a, const struct dropin_msg *m,
			    const struct av_port *bound)
{
	struct av_space *s = a->space;
	struct av_call *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->home = s->home;
	c->space = s;
	c->user = a->user;
	c->ask = a;
	c->cred = a->cred;
	c->nonblock = m->flags & DROPIN_NONBLOCK;
	c->timeout_ms = m->timeout_ms;
	c->fd = -1;
	c->timer.expired = expired;
	c->local_port = ZV_PORT_ANY;
	c->label.view = 'P';
	c->label.connected = true;
	c->label.sock_type = m->sock_type;
	if (bound) {
		c->bound = true;
		c->label = bound->label;
		c->local_port = bound->label.local.port;
		memcpy(c->text, bound->text, sizeof(c->text));
	} else {
		c->label.token[0] = av_random(s);
		c->label.token[1] = av_random(s);
	}
	c->label.remote = m->remote;
	LIST_INSERT_HEAD(&s->calls[c->label.token[0] % AV_BUCKETS], c, link);
	s->n_calls++;
	c->user->calls++;
	return c;
}

bool av_call_begin(struct av_call *c, struct guest *g, unsigned turn, uint32_t local_cid)
{
	struct zv_dev_info dev = {.size = sizeof(dev)};
	unsigned up;

	(void)zv_dev_info(g->dev, &dev);
	up = dev.queues_up && dev.queues_up < g->n_queues ? dev.queues_up : g->n_queues;
	c->gq = &g->queues[(c->bound ? c->local_port ^ c->label.remote.port : turn) % up];
	c->lc = c->gq->lc;
	c->named = av_named_new(c->space, &c->label, c->lc);
	if (!c->named)
		return false;
	c->local_cid = local_cid;
	return c->lc == c->home || post_to_guest(&(struct note){.call = c, .fn = note_begin});
}

/* ---- DIR/TYPE ---- */

/* The call that waits for the socket @fd, of the same process and user; NULL: none. */
static struct av_call *caller(struct av_space *s, int fd, enum av_socket what)
{
	int type = what == AV_STREAM ? SOCK_STREAM : SOCK_SEQPACKET;
	struct sockaddr_un sa = {0};
	socklen_t len = sizeof(sa), cred_len = sizeof(struct ucred);
	size_t skip = offsetof(struct sockaddr_un, sun_path) + 1;
	struct dropin_label l;
	struct av_call *c;
	struct ucred cred;
	char text[DROPIN_LABEL] = "";

	if (getpeername(fd, (struct sockaddr *)&sa, &len) < 0 || len <= skip ||
	    len - skip >= sizeof(text) || sa.sun_path[0])
		return NULL;
	memcpy(text, sa.sun_path + 1, len - skip);
	if (!dropin_label_read(&l, text, len - skip) || l.sock_type != type)
		return NULL;
	c = call_find(s, text, &l);
	if (!c || c->fd >= 0 || c->state == AV_STARTING || (c->state == AV_WAITING && !c->nonblock))
		return NULL;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) < 0 ||
	    cred.pid != c->cred.pid || cred.uid != c->cred.uid)
		return NULL;
	return c;
}

void av_socket_arrived(struct av_space *s, int fd, enum av_socket what)
{
	struct av_call *c = caller(s, fd, what);
	uint32_t more;

	if (!c) {
		if (log_once(&s->not_admitted, &more))
			log_line(ZV_LOG_INFO, NULL,
				 "%s: a socket that no connection of its process waits for: closed",
				 s->cfg.sockets[what]);
		av_discard(s, fd, what == AV_STREAM, av_peer_of(fd));
		return;
	}
	c->fd = fd;
	c->fd_counts = c->state == AV_FAILED;
	if (!c->fd_counts)
		fds_put(); /* it has the place that was taken before CONNECT was answered */
	if (c->state == AV_FAILED && c->filled)
		drop_socket(c);
	else
		go_if_ready(c);
}
