/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The app endpoints: host applications attached to zvsockd (apps.h), each with a device of its own
 * on which it has CID 2.
 *
 * Theory of operation
 * -------------------
 * A directory holds the ports that applications listen on and the guests that they can reach, under
 * one lock, which is held for a look-up. A guest's connection to a host port that no key of its
 * configuration serves goes to the application that listens there (endpoint_app_port). An
 * application's connection goes to the guest with the requested CID or, for CID 1 or 2, to the
 * application that listens on the port (endpoint_app_guest). In both directions the connection ends
 * here, and a splice joins it with a second one on the other device, so neither side sees the
 * other's memory.
 *
 * Datagrams go the same ways, from ring to ring (sibling_dgram.h); their ports are separate, and an
 * application's own port is what it has bound.
 *
 * A guest sees CID 2 and a port chosen by zvsockd, because applications choose the ports
 * of their connections without knowing of each other.
 *
 * AF_VSOCK programs of this machine that share a drop-in directory with applications reach these
 * too (app_port_call, app_port_datagram); the other way is af_vsock/av_serve.c and, for datagrams,
 * af_vsock/av_mail.c. Neither gives anybody access that it
 * would not have otherwise: the program's user must be one who may attach an application, and the
 * application's one who may use the drop-in directory.
 *
 * A device that leaves the directory is marked as gone first; what was posted to its lcores before
 * that runs before its queues end.
 */
#include "endpoint_app.h"

#include "core/cred.h"
#include "core/log.h"
#include "endpoint.h"
#include "relay/splice_ask.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* A port on which an application listens. */
struct listened {
	uint32_t port;
	unsigned type; /* enum zv_type; APP_DGRAM: that of datagrams, which is another port */
	int client;    /* the application's socket, which it closes when it ends */
	struct guest *app;
	struct listened *next; /* of the same application */
};

/* State of a guest, or of an application. */
struct app_part {
	uint64_t cid; /* a guest's */
	struct guest *guest;
	bool listed; /* a guest that is in the directory */
	struct splice_asks asks;
	struct dgram_in_transit in_transit; /* datagrams in transit from it */
	struct dgram_shared from_programs;
	struct listened *ports; /* an application's; under the lock, as is */
	unsigned n_ports;
};

static struct {
	pthread_mutex_t lock;
	struct cfg_apps cfg;
	void *ports;  /* tree of struct listened, by port, for connections and for datagrams */
	void *guests; /* tree of struct app_part, by CID */
} dir = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct app_part *part_of(const struct guest *g)
{
	return g->part[ENDPOINT_app_port];
}

static const struct cfg_role_info *role_of(const struct guest *g)
{
	return &cfg_roles[guest_cfg(g)->role];
}

static bool is_app(const struct guest *g)
{
	return role_of(g)->attached;
}

static bool is_dgram(const struct listened *l)
{
	return l->type == APP_DGRAM;
}

static int by_port(const void *a, const void *b)
{
	const struct listened *x = a, *y = b;

	if (is_dgram(x) != is_dgram(y))
		return is_dgram(x) - is_dgram(y);
	return x->port < y->port ? -1 : x->port > y->port;
}

static int by_cid(const void *a, const void *b)
{
	uint64_t x = ((const struct app_part *)a)->cid, y = ((const struct app_part *)b)->cid;

	return x < y ? -1 : x > y;
}

/* Under the lock. NULL: no application listens there. */
static struct listened *port_find(uint32_t port, unsigned type)
{
	const struct listened key = {.port = port, .type = type};
	struct listened *const *found = tfind(&key, &dir.ports, by_port);

	return found ? *found : NULL;
}

/* Under the lock. NULL: there is no such guest. */
static struct guest *guest_find(uint64_t cid)
{
	const struct app_part key = {.cid = cid};
	struct app_part *const *found = tfind(&key, &dir.guests, by_cid);

	return found ? (*found)->guest : NULL;
}

/* ---- ports ---- */

/* Under the lock. */
static void port_drop(struct listened **at)
{
	struct listened *l = *at;

	*at = l->next;
	part_of(l->app)->n_ports--;
	(void)tdelete(l, &dir.ports, by_port);
	free(l);
}

static bool has_ended(const struct listened *l)
{
	struct pollfd p = {.fd = l->client};

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* Under the lock: as port_find(), but a port of an application that has ended is free, whether the
 * main thread has noticed its end or not. */
static struct listened *port_in_use(uint32_t port, unsigned type)
{
	struct listened *l = port_find(port, type), **at;

	if (!l || !has_ended(l))
		return l;
	for (at = &part_of(l->app)->ports; *at != l; at = &(*at)->next)
		;
	port_drop(at);
	return NULL;
}

int app_port_take(struct guest *app, int client, uint32_t port, unsigned type)
{
	struct listened *l = calloc(1, sizeof(*l)), *const * found;
	struct app_part *p = part_of(app);
	int ret = 0;

	if (!l)
		return -ENOMEM;
	*l = (struct listened){.port = port, .type = type, .client = client, .app = app};
	pthread_mutex_lock(&dir.lock);
	(void)port_in_use(port, type);
	found = p->n_ports < APP_PORTS_MAX ? tsearch(l, &dir.ports, by_port) : NULL;
	if (!found) {
		ret = p->n_ports < APP_PORTS_MAX ? -ENOMEM : -ENOSPC;
	} else if (*found != l) {
		ret = (*found)->app == app ? -EALREADY : -EADDRINUSE;
	} else {
		l->next = p->ports;
		p->ports = l;
		p->n_ports++;
	}
	pthread_mutex_unlock(&dir.lock);
	if (ret)
		free(l);
	return ret;
}

int app_port_release(struct guest *app, uint32_t port, unsigned type)
{
	const struct listened key = {.port = port, .type = type};
	struct listened **at;
	int ret = -ENOENT;

	pthread_mutex_lock(&dir.lock);
	for (at = &part_of(app)->ports; *at && by_port(*at, &key) != 0; at = &(*at)->next)
		;
	if (*at) {
		port_drop(at);
		ret = 0;
	}
	pthread_mutex_unlock(&dir.lock);
	return ret;
}

const char *app_port_of(const struct guest *app, unsigned n, uint32_t *port)
{
	const struct listened *l;
	const char *type = NULL;

	pthread_mutex_lock(&dir.lock);
	for (l = part_of(app)->ports; l && n; l = l->next)
		n--;
	if (l) {
		*port = l->port;
		type = is_dgram(l) ? "dgram" : l->type == ZV_STREAM ? "stream" : "seqpacket";
	}
	pthread_mutex_unlock(&dir.lock);
	return type;
}

const struct guest *app_port_owner(uint32_t port, unsigned type)
{
	const struct listened *l;
	const struct guest *owner;

	pthread_mutex_lock(&dir.lock);
	l = port_find(port, type);
	owner = l ? l->app : NULL;
	pthread_mutex_unlock(&dir.lock);
	return owner;
}

bool app_port_listened(uint32_t port, bool dgram, const struct guest *except)
{
	const struct listened *l;
	bool is;

	pthread_mutex_lock(&dir.lock);
	l = port_in_use(port, dgram ? APP_DGRAM : ZV_STREAM);
	is = l && l->app != except;
	pthread_mutex_unlock(&dir.lock);
	return is;
}

void app_ports_admit(const struct cfg_apps *c)
{
	pthread_mutex_lock(&dir.lock);
	dir.cfg = *c;
	pthread_mutex_unlock(&dir.lock);
}

bool app_ports_admit_program(int fd, const struct ucred *cred)
{
	struct cfg_apps c;

	pthread_mutex_lock(&dir.lock);
	c = dir.cfg;
	pthread_mutex_unlock(&dir.lock);
	return cred_admitted(&c, fd, cred) && cred_may_connect(c.path, fd, cred);
}

int app_port_call(uint32_t port, unsigned type, int fd, const struct ucred *cred,
		  bool (*fn)(void *arg, struct guest *app), void *arg)
{
	bool may = app_port_listened(port, type == APP_DGRAM, NULL) &&
		   app_ports_admit_program(fd, cred);
	const struct listened *l;
	int ret = -ECONNREFUSED;

	pthread_mutex_lock(&dir.lock);
	l = port_find(port, type);
	if (l && l->type == type && may)
		ret = fn(arg, l->app) ? 0 : -ENOMEM;
	else if (l && l->type == type)
		ret = -EACCES;
	if (ret == -EACCES)
		GUEST_COUNT(&l->app->queues[0], app_not_admitted);
	pthread_mutex_unlock(&dir.lock);
	return ret;
}

/* ---- start and end ---- */

static int app_start(struct guest *g)
{
	struct app_part *p = calloc(1, sizeof(*p));
	bool whole = true;

	if (!p)
		return -ENOMEM;
	g->part[ENDPOINT_app_port] = p;
	p->guest = g;
	if (is_app(g) || !role_of(g)->host_ports)
		return 0;
	p->cid = guest_cfg(g)->cid;
	pthread_mutex_lock(&dir.lock);
	whole = tsearch(p, &dir.guests, by_cid);
	pthread_mutex_unlock(&dir.lock);
	p->listed = whole;
	return whole ? 0 : -ENOMEM;
}

/* It can no longer be found; its own lcores may still be looking for others. */
static void app_stop(struct guest *g)
{
	struct app_part *p = part_of(g);

	if (!p)
		return;
	pthread_mutex_lock(&dir.lock);
	if (p->listed)
		(void)tdelete(p, &dir.guests, by_cid);
	p->listed = false;
	while (p->ports)
		port_drop(&p->ports);
	pthread_mutex_unlock(&dir.lock);
}

static void app_free(struct guest *g)
{
	struct app_part *p = part_of(g);

	if (p) {
		splice_asks_end(&p->asks);
		dgram_in_transit_end(&p->in_transit);
		dgram_in_transit_end(&p->from_programs.all);
	}
	free(p);
	g->part[ENDPOINT_app_port] = NULL;
}

/* ---- connections ---- */

/* Handles a request after splice_ask() has returned @ret. */
static int asked(struct guest_queue *gq, int ret)
{
	if (ret == -EAGAIN) {
		GUEST_COUNT(gq, connect_failed);
		log_line(ZV_LOG_WARN, gq->guest->name,
			 "%u requests to others wait for an answer already: refusing more",
			 SPLICE_ASKS_MAX);
		return -ECONNREFUSED;
	}
	if (ret < 0)
		GUEST_COUNT(gq, no_memory);
	return ret;
}

static int serve_port(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	const struct listened *l;
	int ret = 0;

	if (!role_of(gq->guest)->host_ports)
		return 0;
	pthread_mutex_lock(&dir.lock);
	l = port_find(info->local_port, info->type);
	if (l && l->type == info->type)
		ret = splice_ask(&part_of(gq->guest)->asks, gq, conn, &endpoint_app_port.kind, info,
				 l->app);
	pthread_mutex_unlock(&dir.lock);
	return asked(gq, ret);
}

static int serve_guest(struct guest_queue *gq, struct zv_conn *conn,
		       const struct zv_conn_info *info)
{
	struct guest *to;
	int ret = -ENOENT;

	if (!is_app(gq->guest))
		return 0;
	pthread_mutex_lock(&dir.lock);
	to = guest_find(info->local_cid);
	if (to)
		ret = splice_ask(&part_of(gq->guest)->asks, gq, conn, &endpoint_app_guest.kind,
				 info, to);
	pthread_mutex_unlock(&dir.lock);
	if (ret != -ENOENT)
		return asked(gq, ret);
	GUEST_COUNT(gq, no_endpoint);
	log_line(ZV_LOG_DEBUG, gq->guest->name, "there is no guest with CID %llu",
		 (unsigned long long)info->local_cid);
	return -ECONNREFUSED;
}

/* ---- datagrams ---- */

static bool with_port(struct guest *g, const struct zv_dgram_addr *to,
		      void (*fn)(void *arg, struct guest *to), void *arg)
{
	const struct listened *l;

	(void)g;
	pthread_mutex_lock(&dir.lock);
	l = port_find(to->local_port, APP_DGRAM);
	if (l)
		fn(arg, l->app);
	pthread_mutex_unlock(&dir.lock);
	return l;
}

static bool with_guest(struct guest *g, const struct zv_dgram_addr *to,
		       void (*fn)(void *arg, struct guest *to), void *arg)
{
	struct guest *there;

	(void)g;
	pthread_mutex_lock(&dir.lock);
	there = guest_find(to->local_cid);
	if (there)
		fn(arg, there);
	pthread_mutex_unlock(&dir.lock);
	return there;
}

bool app_port_datagram(uint32_t port,
		       void (*fn)(void *arg, struct guest *app, struct dgram_shared *in_transit),
		       void *arg)
{
	const struct listened *l;

	pthread_mutex_lock(&dir.lock);
	l = port_find(port, APP_DGRAM);
	if (l)
		fn(arg, l->app, &part_of(l->app)->from_programs);
	pthread_mutex_unlock(&dir.lock);
	return l;
}

/* Its driver checks that as well, but who wrote the driver? */
bool app_may_send(const struct guest *app, uint32_t port)
{
	const struct listened *l;
	bool may;

	pthread_mutex_lock(&dir.lock);
	l = port_find(port, APP_DGRAM);
	may = l && l->app == app;
	pthread_mutex_unlock(&dir.lock);
	return may;
}

static bool may_send(const struct guest *g, uint32_t port)
{
	return !is_app(g) || app_may_send(g, port);
}

static bool datagram_to_port(struct guest_queue *gq, const struct zv_dgram_addr *from,
			     const void *data, uint32_t len)
{
	return role_of(gq->guest)->host_ports && may_send(gq->guest, from->peer_port) &&
	       sibling_dgram(gq, &part_of(gq->guest)->in_transit, from, data, len, with_port);
}

static bool datagram_to_guest(struct guest_queue *gq, const struct zv_dgram_addr *from,
			      const void *data, uint32_t len)
{
	if (!is_app(gq->guest))
		return false;
	return may_send(gq->guest, from->peer_port) &&
	       sibling_dgram(gq, &part_of(gq->guest)->in_transit, from, data, len, with_guest);
}

/* Of a guest: guests.c. */
static bool has_datagrams(const struct cfg_guest *c)
{
	return cfg_roles[c->role].attached;
}

/* "application:NAME" or "guest:NAME", of the other end; while the lock is held nobody is freed. */
static void describe(const struct guest *g, const struct zv_conn_info *info, char *buf, size_t len)
{
	bool local = info->local_cid == ZV_CID_HOST || info->local_cid == ZV_CID_LOCAL;
	const struct listened *l;
	const struct guest *other;

	pthread_mutex_lock(&dir.lock);
	other = is_app(g) && !local ? guest_find(info->local_cid) : NULL;
	l = info->flags & ZV_CONN_INCOMING && local ? port_find(info->local_port, info->type)
						    : NULL;
	if (other)
		(void)snprintf(buf, len, "guest:%s", other->name);
	else if (l)
		(void)snprintf(buf, len, "application:%s", l->app->name);
	else
		(void)snprintf(buf, len, "application");
	pthread_mutex_unlock(&dir.lock);
}

static bool has_port(const struct guest *g, uint32_t port, bool dgram)
{
	bool has;

	if (!role_of(g)->host_ports)
		return false;
	pthread_mutex_lock(&dir.lock);
	has = port_in_use(port, dgram ? APP_DGRAM : ZV_STREAM);
	pthread_mutex_unlock(&dir.lock);
	return has;
}

const struct endpoint_ops endpoint_app_port = {
	.name = "app_port",
	.kind = CONN_KIND(endpoint_app_port.kind, describe),
	.start = app_start,
	.stop = app_stop,
	.free = app_free,
	.has_port = has_port,
	.serve = serve_port,
	.has_datagrams = has_datagrams,
	.datagram = datagram_to_port,
};

/* The other direction; its state is app_port's. */
const struct endpoint_ops endpoint_app_guest = {
	.name = "app_guest",
	.kind = CONN_KIND(endpoint_app_guest.kind, describe),
	.others = true,
	.serve = serve_guest,
	.datagram = datagram_to_guest,
};
