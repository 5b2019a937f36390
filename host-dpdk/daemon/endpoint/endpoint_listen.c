/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The listen endpoint: "listen = /run/x.sock:80" or "listen = 127.0.0.1:8080:80". Sockets of this
 * machine that stand for one port of the guest, for programs that do not know vsock: each
 * connection is joined with a new connection to that port. No protocol precedes the data, in either
 * direction.
 *
 * A reload adds and removes listeners of a running guest: the part has no same(). A connection
 * survives the removal of its listener.
 */
#include "endpoint_listen.h"

#include "acceptor.h"
#include "call_guest.h"
#include "core/log.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define FDS_UNIX 2u /* socket, lock file */

/* An active listener. Main thread. */
struct listening {
	struct listening *next;
	struct acceptor *a;
	struct listen_at at;
};

/* State of a guest. */
struct listen_guest {
	struct listening *first;
	struct log_once refused; /* refusals of programs */
};

/* ---- configuration ---- */

#define USAGE                                                                                      \
	"write PATH:PORT or ADDRESS:TCPPORT:PORT, for example /run/web.http:80, "                  \
	"127.0.0.1:8080:80 or [::1]:8080:80"

/* Parses "ADDRESS:TCPPORT" with a numeric address. False: invalid. */
static bool parse_address(struct listen_at *a)
{
	static const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					      .ai_socktype = SOCK_STREAM};
	char host[CFG_PATH_MAX], *colon = strrchr(a->at, ':'), *end;
	struct addrinfo *found;
	uint64_t port;
	size_t len;

	if (!colon || cfg_number(colon + 1, 1, UINT16_MAX, &port) < 0)
		return false;
	len = (size_t)(colon - a->at);
	memcpy(host, a->at, len);
	host[len] = 0;
	end = host + len - 1;
	if (*host == '[' && len > 2 && *end == ']') {
		*end = 0;
		memmove(host, host + 1, len - 1);
	} else if (strchr(host, ':')) {
		return false; /* IPv6 without brackets: the start of the port would be ambiguous */
	}
	if (getaddrinfo(host, colon + 1, &hints, &found))
		return false;
	memcpy(&a->addr, found->ai_addr, found->ai_addrlen);
	a->addr_len = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static void add_listen(struct load *l, void *values, const struct key *k, char *value)
{
	struct listen_values *v = values;
	char *colon = strrchr(value, ':');
	struct listen_at a = {.port = 0}, *added;
	int len;

	if (!colon || colon == value || (size_t)(colon - value) >= sizeof(a.at)) {
		cfg_wrong(l, "listen: \"%s\" is no address and port; " USAGE, value);
		return;
	}
	memcpy(a.at, value, (size_t)(colon - value));
	if (!cfg_port(l, k, colon + 1, &a.port))
		return;
	len = snprintf(a.text, sizeof(a.text), "%s:%u", a.at, a.port);
	if (len < 0 || (size_t)len >= sizeof(a.text))
		return; /* there is room for all that at[] and a port can have */
	if (*a.at == '/' && !cfg_take_path(l, k, a.at, false))
		return;
	if (*a.at != '/' && !parse_address(&a)) {
		cfg_wrong(l, "listen: \"%s\" is no path and no address in digits; " USAGE, a.at);
		return;
	}
	if (a.addr_len && !cfg_take_address(l, k, a.at))
		return;
	added = cfg_add(l, &v->at, sizeof(a));
	if (added)
		*added = a;
}

static const struct key listen_keys[] = {
	{"listen", add_listen, .list = true},
	{0},
};

static const struct listen_at *listen_at(const struct listen_values *v, unsigned i)
{
	return (const struct listen_at *)v->at.v + i;
}

static void listen_release(void *values)
{
	free(((struct listen_values *)values)->at.v);
}

static void listen_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
			 void **scratch, FILE *to)
{
	const struct listen_values *v = values;

	(void)c;
	(void)scratch;
	for (unsigned i = 0; i < v->at.n; i++)
		(void)fprintf(to, "  listen      %s: %s, leads to port %u of the %s\n",
			      listen_at(v, i)->at,
			      listen_at(v, i)->addr_len ? "TCP" : "Unix socket",
			      listen_at(v, i)->port, cfg_roles[g->role].peer);
}

static const char *listen_socket(const void *values, unsigned i)
{
	const struct listen_values *v = values;

	for (unsigned k = 0; k < v->at.n; k++)
		if (!listen_at(v, k)->addr_len && i-- == 0)
			return listen_at(v, k)->at;
	return NULL;
}

static unsigned listen_fds(const void *values)
{
	const struct listen_values *v = values;
	unsigned n = 0;

	for (unsigned i = 0; i < v->at.n; i++)
		n += listen_at(v, i)->addr_len ? 1 : FDS_UNIX;
	return n;
}

static const char *listen_name(const void *values, unsigned i)
{
	const struct listen_values *v = values;

	return i < v->at.n ? listen_at(v, i)->text : NULL;
}

/* ---- programs ---- */

static struct listen_guest *listen_guest(const struct guest *g)
{
	return g->part[ENDPOINT_listen];
}

/* "listen:" and the addresses that lead to @port; none if the last reload has removed them. */
static void describe_port(const struct guest *g, uint32_t port, char *buf, size_t len)
{
	const struct listen_values *v = listen_values(guest_cfg(g));
	size_t used = (size_t)snprintf(buf, len, "listen:");
	const char *comma = "";

	for (unsigned i = 0; i < v->at.n && used < len; i++)
		if (listen_at(v, i)->port == port) {
			used += (size_t)snprintf(buf + used, len - used, "%s%s", comma,
						 listen_at(v, i)->at);
			comma = ",";
		}
}

static void listen_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			    size_t len)
{
	describe_port(g, info->peer_port, buf, len);
}

static void joined(struct call_guest *t)
{
	relay_start(&t->r, NULL, 0);
}

static void refused(struct call_guest *t, const char *why)
{
	const struct guest *g = t->r.f.owner.gq->guest;
	char where[200], what[256];

	describe_port(g, t->port, where, sizeof(where));
	(void)snprintf(what, sizeof(what), "%s, port %u", where, t->port);
	call_guest_log(t, &listen_guest(g)->refused, what, why);
}

static const struct call_guest_ops ops = {.joined = joined, .refused = refused};

static void begin(const struct accepted *a)
{
	struct call_guest *t = calloc(1, sizeof(*t));

	if (!t) {
		accepted_drop(a);
		return;
	}
	relay_init(&t->r, a->gq, NULL, &endpoint_listen.kind, a->fd,
		   a->tcp ? RELAY_LINGER0 | RELAY_TCP : 0);
	if (a->passed)
		relay_expect_passed(&t->r);
	t->ops = &ops;
	t->port = a->port;
	call_guest(t);
}

/* ---- start and end ---- */

static int add_one(struct guest *g, const struct listen_at *at)
{
	struct listening *n = calloc(1, sizeof(*n));
	int ret;

	if (!n)
		return -ENOMEM;
	n->at = *at;
	if (at->addr_len)
		ret = acceptor_start_tcp(&n->a, g, at->at, (const struct sockaddr *)&at->addr,
					 at->addr_len, begin, at->port);
	else
		ret = acceptor_start_unix(&n->a, g, at->at, begin, at->port);
	if (ret < 0) {
		free(n);
		return ret;
	}
	n->next = listen_guest(g)->first;
	listen_guest(g)->first = n;
	return 0;
}

static int listen_start(struct guest *g)
{
	const struct listen_values *v = listen_values(guest_cfg(g));
	int ret = 0;

	g->part[ENDPOINT_listen] = calloc(1, sizeof(struct listen_guest));
	if (!listen_guest(g))
		return -ENOMEM;
	for (unsigned i = 0; i < v->at.n && ret == 0; i++)
		ret = add_one(g, listen_at(v, i));
	return ret;
}

static const struct listening *find(const struct listen_guest *lg, const struct listen_at *at)
{
	const struct listening *n = lg->first;

	while (n && strcmp(n->at.text, at->text) != 0)
		n = n->next;
	return n;
}

static bool configured(const struct listen_values *v, const struct listening *n)
{
	for (unsigned i = 0; i < v->at.n; i++)
		if (strcmp(listen_at(v, i)->text, n->at.text) == 0)
			return true;
	return false;
}

/* Stops the listeners that are not in @v; NULL: all. */
static void end_others(struct listen_guest *lg, const struct listen_values *v)
{
	struct listening **p = &lg->first, *n;

	while ((n = *p)) {
		if (v && configured(v, n)) {
			p = &n->next;
			continue;
		}
		*p = n->next;
		acceptor_stop(n->a);
		free(n);
	}
}

static void listen_stop(struct guest *g)
{
	if (listen_guest(g))
		end_others(listen_guest(g), NULL);
}

static void listen_free(struct guest *g)
{
	free(listen_guest(g));
	g->part[ENDPOINT_listen] = NULL;
}

static void listen_trim(struct guest *g)
{
	if (listen_guest(g))
		end_others(listen_guest(g), listen_values(guest_cfg(g)));
}

static void listen_extend(struct guest *g)
{
	const struct listen_values *v = listen_values(guest_cfg(g));
	struct listen_guest *lg = listen_guest(g);
	char why[GUEST_WHY_MAX];

	for (unsigned i = 0; lg && i < v->at.n; i++) {
		int ret;

		if (find(lg, listen_at(v, i)))
			continue;
		*why = 0;
		g->why = why;
		ret = add_one(g, listen_at(v, i));
		g->why = NULL;
		if (ret < 0)
			log_line(ZV_LOG_ERR, g->name,
				 "listen = %s does not work: %s; tried again at a reload",
				 listen_at(v, i)->text, *why ? why : zv_strerror(ret));
	}
}

/* ---- the endpoint ---- */

const struct endpoint_ops endpoint_listen = {
	.name = "listen",
	.cfg = {.keys = listen_keys,
		.size = sizeof(struct listen_values),
		.release = listen_release,
		.print = listen_print,
		.socket = listen_socket,
		.fds = listen_fds,
		.names = "listen",
		.name = listen_name},
	.kind = CONN_KIND(endpoint_listen.kind, listen_describe),
	.start = listen_start,
	.stop = listen_stop,
	.trim = listen_trim,
	.extend = listen_extend,
	.free = listen_free,
};
