/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection to tcp_out, from its first byte to the relay: greeting, request, name, address,
 * connect(2), reply. Only the bytes of these messages are read from the guest; what follows them is
 * left for the relay.
 *
 * A guest that sends anything else, or nothing for REQUEST_S, is reset and counted. From the
 * request to the reply it has DIAL_S. A name is looked up only if a rule could allow it; each guest
 * has a share of the look-ups (look_ups.h). The rules are those at the time of the request.
 */
#include "core/log.h"
#include "endpoint/host/net_connect.h"
#include "endpoint_tcp_out.h"
#include "look_ups.h"
#include "relay/relay.h"
#include "socks.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST_S  5u
#define DIAL_S	   20u
#define SECOND_NS  UINT64_C(1000000000)
#define TRIES_MAX  8u /* addresses of a name */
#define NO_METHODS 0xff

enum state { GREETING, REQUEST, RESOLVING, DIALLING, REFUSED, JOINED };

struct out {
	struct relay r; /* first. out: the poll for POLLOUT */
	struct lcore_timer timer;
	enum state state;
	bool timed_out; /* the poll has been cancelled after the time-out */
	struct look_up name;
	struct socks_request req;
	struct allow_addr addr[TRIES_MAX];
	unsigned n_addr, next;
	int err; /* of the last try */
	uint16_t len;
	uint8_t answer_len, answer_off;
	uint8_t answer[SOCKS_REPLY];
	uint8_t msg[SOCKS_MSG_MAX];
};

static struct lcore *lcore_of(const struct out *o)
{
	return o->r.f.owner.gq->lc;
}

static struct look_ups *look_ups_of(const struct out *o)
{
	const struct guest_queue *gq = o->r.f.owner.gq;

	return &tcp_out_guest(gq->guest)->look_ups[gq->index];
}

static void stop_all(struct out *o)
{
	lcore_timer_stop(lcore_of(o), &o->timer);
	look_up_end(look_ups_of(o), &o->name);
}

static void out_abort(struct conn_owner *c)
{
	struct out *o = (struct out *)(void *)c;

	stop_all(o);
	relay_abort(&o->r);
}

static void bad(struct out *o, const char *what)
{
	const struct guest_queue *gq = o->r.f.owner.gq;

	GUEST_COUNT(gq, tcp_out_bad);
	log_line(ZV_LOG_DEBUG, gq->guest->name, "tcp_out: %s: reset", what);
	out_abort(&o->r.f.owner);
}

/* ---- what we say ---- */

/* Continues to send the answer. True: all of it is sent. */
static bool flush(struct out *o)
{
	while (o->answer_off < o->answer_len) {
		ssize_t n = zv_send(o->r.f.conn, o->answer + o->answer_off,
				    (size_t)(o->answer_len - o->answer_off), 0);

		if (n == -EAGAIN) {
			flow_events(&o->r.f, ZV_EV_OUT | ZV_EV_HUP);
			return false;
		}
		if (n < 0) {
			out_abort(&o->r.f.owner);
			return false;
		}
		o->answer_off = (uint8_t)(o->answer_off + n);
	}
	return true;
}

/* After the reply. */
static void answer_sent(struct out *o)
{
	if (o->state == REFUSED) {
		stop_all(o);
		relay_close(&o->r);
	} else if (o->state == JOINED) {
		stop_all(o);
		GUEST_COUNT(o->r.f.owner.gq, guest_joined);
		relay_start(&o->r, NULL, 0);
	} else {
		flow_events(&o->r.f, ZV_EV_IN | ZV_EV_HUP);
	}
}

static void reply(struct out *o, enum socks_code code)
{
	socks_reply_write(o->answer, code);
	o->answer_len = SOCKS_REPLY;
	o->answer_off = 0;
	o->state = code == SOCKS_OK ? JOINED : REFUSED;
	lcore_timer_start(lcore_of(o), &o->timer, REQUEST_S * SECOND_NS);
	if (flush(o))
		answer_sent(o);
}

static void target_text(const struct out *o, char *buf, size_t len)
{
	char addr[INET6_ADDRSTRLEN] = "?";

	if (*o->req.name)
		(void)snprintf(addr, sizeof(addr), "name");
	else
		(void)inet_ntop(o->req.addr_len == 4 ? AF_INET : AF_INET6, o->req.addr, addr,
				sizeof(addr));
	(void)snprintf(buf, len, "%.200s:%u", *o->req.name ? o->req.name : addr, o->req.port);
}

static void refuse(struct out *o, enum socks_code code, const char *why)
{
	const struct guest_queue *gq = o->r.f.owner.gq;
	char to[256];

	if (code == SOCKS_DENIED)
		GUEST_COUNT(gq, tcp_out_denied);
	else if (code == SOCKS_REFUSED)
		GUEST_COUNT(gq, connect_refused);
	else if (code == SOCKS_TTL_EXPIRED)
		GUEST_COUNT(gq, connect_timeout);
	else
		GUEST_COUNT(gq, connect_failed);
	target_text(o, to, sizeof(to));
	log_line(code == SOCKS_DENIED ? ZV_LOG_INFO : ZV_LOG_DEBUG, gq->guest->name,
		 "tcp_out: %s: %s", to, why);
	reply(o, code);
}

/* ---- connect(2) ---- */

static void dial_next(struct out *o);

/* The current attempt has failed, and its poll has ended. */
static void try_failed(struct out *o, int err)
{
	io_close_fd(lcore_io(lcore_of(o)), o->r.fd);
	guest_fd_put(o->r.f.owner.gq);
	o->r.fd = -1;
	o->err = err;
	dial_next(o);
}

static void dial_polled(struct io_op *op, int res, uint32_t flags)
{
	struct out *o =
		(struct out *)(void *)((char *)op - offsetof(struct out, r.from_guest_poll));
	socklen_t len = sizeof(int);
	int err = 0;

	(void)flags;
	if (o->r.fd < 0) { /* ended meanwhile */
		relay_abort(&o->r);
		return;
	}
	if (res >= 0 && getsockopt(o->r.fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (res < 0)
		err = -res;
	if (o->timed_out) {
		o->next = o->n_addr;
		err = ETIMEDOUT;
	}
	if (err)
		try_failed(o, err);
	else
		reply(o, SOCKS_OK);
}

/* No socket can be created for the family of the next address. */
static void no_socket(struct out *o, int err)
{
	struct guest_queue *gq = o->r.f.owner.gq;

	if (err != EAFNOSUPPORT) {
		guest_fd_refused(gq, -err);
		o->next = o->n_addr;
	}
	guest_fd_put(gq);
	o->err = err;
	dial_next(o);
}

static void dial_next(struct out *o)
{
	struct guest_queue *gq = o->r.f.owner.gq;
	struct sockaddr_storage ss;
	socklen_t len;
	int ret;

	if (o->next == o->n_addr) {
		refuse(o, socks_code_of(o->err), strerror(o->err));
		return;
	}
	if (!guest_fd_get(gq)) {
		refuse(o, SOCKS_FAILURE, "no descriptor left");
		return;
	}
	lcore_charge(&gq->lq);
	len = allow_sockaddr(&o->addr[o->next++], o->req.port, &ss);
	o->r.fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (o->r.fd < 0) {
		no_socket(o, errno);
		return;
	}
	(void)setsockopt(o->r.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	ret = net_connect(gq, o->r.fd, (const struct sockaddr *)&ss, len);
	if (ret < 0 && ret != -EINPROGRESS) {
		try_failed(o, -ret);
		return;
	}
	o->r.from_guest_poll.done = dial_polled;
	io_poll(lcore_io(gq->lc), &o->r.from_guest_poll, o->r.fd, POLLOUT);
}

static void dial(struct out *o)
{
	o->state = DIALLING;
	o->err = EHOSTUNREACH;
	dial_next(o);
}

/* ---- the address ---- */

static void resolved(struct look_up *u, const struct addrinfo *found, int err)
{
	struct out *o = (struct out *)(void *)((char *)u - offsetof(struct out, name));
	const struct tcp_out_values *v = tcp_out_values(guest_cfg(o->r.f.owner.gq->guest));
	const struct allow_rule *rules = v->rules.v;
	bool named = allow_name(rules, v->rules.n, o->req.name, o->req.port);

	for (const struct addrinfo *a = found; a && o->n_addr < TRIES_MAX; a = a->ai_next) {
		struct allow_addr addr;

		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		addr = allow_addr_of(a->ai_addr);
		if (named ? allow_resolved(rules, v->rules.n, &addr, o->req.port)
			  : allow_address(rules, v->rules.n, &addr, o->req.port))
			o->addr[o->n_addr++] = addr;
	}
	if (err)
		refuse(o, SOCKS_FAILURE, "no memory to look up the name");
	else if (!found)
		refuse(o, SOCKS_HOST_UNREACHABLE, "the name has no address");
	else if (!o->n_addr)
		refuse(o, SOCKS_DENIED, "no rule of tcp_allow has an address of it");
	else
		dial(o);
}

static void begin_name(struct out *o, const struct tcp_out_values *v)
{
	const struct allow_rule *rules = v->rules.v;

	if (!allow_name(rules, v->rules.n, o->req.name, o->req.port) &&
	    !allow_some(rules, v->rules.n, o->req.port)) {
		refuse(o, SOCKS_DENIED, "no rule of tcp_allow has it");
		return;
	}
	o->state = RESOLVING;
	o->name.name = o->req.name;
	o->name.over = resolved;
	look_up_begin(look_ups_of(o), &o->name);
}

static void begin_request(struct out *o)
{
	const struct tcp_out_values *v = tcp_out_values(guest_cfg(o->r.f.owner.gq->guest));
	enum socks_code code = socks_request_read(&o->req, o->msg);
	uint8_t b[16];

	flow_events(&o->r.f, ZV_EV_HUP);
	lcore_timer_start(lcore_of(o), &o->timer, DIAL_S * SECOND_NS);
	if (code) {
		refuse(o, code, "not a request that is served");
		return;
	}
	/* A name that is a numeric address is treated as an address. */
	if (*o->req.name && inet_pton(AF_INET, o->req.name, b) == 1)
		o->addr[0] = allow_addr_make(b, 4);
	else if (*o->req.name && inet_pton(AF_INET6, o->req.name, b) == 1)
		o->addr[0] = allow_addr_make(b, 16);
	else if (*o->req.name) {
		begin_name(o, v);
		return;
	} else
		o->addr[0] = allow_addr_make(o->req.addr, o->req.addr_len);
	o->n_addr = 1;
	if (allow_address(v->rules.v, v->rules.n, &o->addr[0], o->req.port))
		dial(o);
	else
		refuse(o, SOCKS_DENIED, "no rule of tcp_allow has it");
}

/* ---- what the guest says ---- */

static void greeted(struct out *o)
{
	bool fits = socks_greeting_fits(o->msg);

	o->len = 0;
	o->answer[0] = 5;
	o->answer[1] = fits ? 0 : NO_METHODS;
	o->answer_len = 2;
	o->answer_off = 0;
	o->state = fits ? REQUEST : REFUSED;
	if (!fits)
		GUEST_COUNT(o->r.f.owner.gq, tcp_out_bad);
	if (flush(o))
		answer_sent(o);
}

static void read_more(struct out *o)
{
	while (o->state == GREETING || o->state == REQUEST) {
		int more = o->state == GREETING ? socks_greeting_more(o->msg, o->len)
						: socks_request_more(o->msg, o->len);
		ssize_t n;

		if (o->answer_off < o->answer_len)
			return; /* our reply to the greeting first */
		if (more < 0) {
			bad(o, "what came is no SOCKS5");
			return;
		}
		if (more == 0 && o->state == GREETING) {
			greeted(o);
			continue;
		}
		if (more == 0) {
			begin_request(o);
			return;
		}
		n = zv_recv(o->r.f.conn, o->msg + o->len, (size_t)more, NULL);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			bad(o, "the guest has ended in the middle of a request");
			return;
		}
		o->len = (uint16_t)(o->len + n);
	}
}

static void out_event(struct conn_owner *c, const struct zv_event *ev)
{
	struct out *o = (struct out *)(void *)c;

	if (ev->events & (ZV_EV_ERR | ZV_EV_HUP) && !(ev->events & ZV_EV_IN)) {
		if (o->state == GREETING || o->state == REQUEST)
			GUEST_COUNT(c->gq, tcp_out_bad);
		out_abort(c);
		return;
	}
	if (ev->events & ZV_EV_OUT && o->answer_off < o->answer_len && flush(o))
		answer_sent(o);
	if (ev->events & ZV_EV_IN)
		read_more(o);
}

static void expired(struct lcore_timer *t)
{
	struct out *o = (struct out *)(void *)((char *)t - offsetof(struct out, timer));

	if (o->state == GREETING || o->state == REQUEST) {
		bad(o, "no whole request in time");
	} else if (o->state == RESOLVING) {
		stop_all(o);
		refuse(o, SOCKS_TTL_EXPIRED, "no name server has answered in time");
	} else if (o->state == DIALLING) {
		o->timed_out = true;
		io_cancel(lcore_io(lcore_of(o)), &o->r.from_guest_poll);
	} else { /* the guest takes no reply */
		out_abort(&o->r.f.owner);
	}
}

int tcp_out_begin(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	struct out *o;

	if (info->type != ZV_STREAM) {
		GUEST_COUNT(gq, connect_refused);
		return -ECONNREFUSED;
	}
	o = calloc(1, sizeof(*o));
	if (!o) {
		GUEST_COUNT(gq, no_memory);
		return -ENOMEM;
	}
	relay_init(&o->r, gq, conn, &endpoint_tcp_out.kind, -1, RELAY_LINGER0 | RELAY_TCP);
	o->r.f.owner.event = out_event;
	o->r.f.owner.abort = out_abort;
	o->timer.expired = expired;
	if (zv_conn_answer(conn, 0) < 0) { /* it has given up */
		relay_abort(&o->r);
		return 1;
	}
	lcore_timer_start(gq->lc, &o->timer, REQUEST_S * SECOND_NS);
	flow_events(&o->r.f, ZV_EV_IN | ZV_EV_HUP);
	return 1;
}
