/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Ports that programs have bound. STREAM and SEQPACKET share them, as in the kernel; those of DGRAM
 * are separate. The same port at two CIDs is two ports; one bound to VMADDR_CID_ANY is at all CIDs.
 * A port is in use as long as a socket has its label. Nobody reports when that socket is closed, so
 * it is checked when another program requests the port, and periodically, by trying to bind a
 * socket of our own to the label; for datagrams, by the inbox's `hold` socket (av_dgram.h).
 */
#include "av_dgram.h"

#include "base/clock.h"
#include "endpoint/endpoint_app.h"
#include "proto/ctrl/hello.h"

#include <errno.h>
#include <search.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CID_ANY	      UINT32_MAX
#define TRIES	      24u	    /* as in the kernel's vsock */
#define ANY_TRIES     3u	    /* ports of zvsockd's choice that others may take meanwhile */
#define SWEPT	      4u	    /* ports checked with each BIND */
#define SWEPT_OF_USER 32u	    /* those of a user who has reached a limit */
#define SWEPT_INBOXES 16u	    /* ports checked at each timer tick for datagrams */
#define SETTLED_NS    1000000000ull /* time after BIND in which a port is not checked */

socklen_t av_address(struct sockaddr_un *addr, const char *text)
{
	size_t len = strlen(text);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	memcpy(addr->sun_path + 1, text, len);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
}

/* ---- who has a port ---- */

/* Seeded: programs choose the ports, and could put them all in one bucket. */
static unsigned bucket(const struct av_space *s, uint32_t port)
{
	return (unsigned)(port * s->seed >> 32) % AV_BUCKETS;
}

static bool overlap(uint32_t a, uint32_t b)
{
	return a == b || a == CID_ANY || b == CID_ANY;
}

struct av_port *av_port_at(const struct av_space *s, int sock_type, uint32_t cid, uint32_t port)
{
	bool dgram = sock_type == SOCK_DGRAM;
	struct av_port *p;

	LIST_FOREACH(p, &s->ports[bucket(s, port)], link)
		if (p->label.local.port == port && overlap(p->label.local.cid, cid) &&
		    (p->label.sock_type == SOCK_DGRAM) == dgram)
			return p;
	return NULL;
}

/* A program that was assigned a datagram label may be suspended for a while before it binds its
 * socket. */
static bool may_still_bind(const struct av_port *p)
{
	return p->inbox && av_inbox_is_new(p->inbox) && now_ns() - p->since_ns < AV_NEW_NS &&
	       (kill(p->pid, 0) == 0 || errno != ESRCH);
}

/*
 * 0: a socket has the label, or may get it yet: the program to which the port was assigned may be
 * about to bind its socket, as long as it has not disconnected. -ENOENT: none has; -EBUSY: not
 * known, as in av_look().
 */
static int is_bound(struct av_space *s, struct av_port *p, const struct av_ask *asking,
		    const struct av_looker *l)
{
	av_turn_done(s);
	if (may_still_bind(p) || (p->asker && p->asker != asking && !av_ask_has_gone(p->asker)))
		return 0;
	return av_has_label(s, l, p);
}

static void port_free(struct av_space *s, struct av_port *p)
{
	if (p->inbox)
		av_mail_take(s); /* while the port of their sender can be found */
	pthread_mutex_lock(&s->lock);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&s->lock);
	TAILQ_REMOVE(&s->checked, p, checked);
	TAILQ_REMOVE(&p->user->bound, p, own);
	if (p->asker)
		LIST_REMOVE(p, assigned);
	s->n_ports--;
	av_inbox_end(p->inbox);
	p->user->ports--;
	av_user_put(s, p->user);
	free(p);
}

/* Checks the next few ports and frees those that are no longer bound. */
static void sweep(struct av_space *s, const struct av_ask *asking)
{
	unsigned n = s->n_ports < SWEPT ? s->n_ports : SWEPT;

	while (n--) {
		struct av_port *p = TAILQ_FIRST(&s->checked);
		const struct av_looker l = av_looker(s, AV_LOOK_SELF, p->uid);

		if (is_bound(s, p, asking, &l) == -ENOENT) {
			port_free(s, p);
			continue;
		}
		TAILQ_REMOVE(&s->checked, p, checked);
		TAILQ_INSERT_TAIL(&s->checked, p, checked);
	}
}

void av_ports_check(struct av_space *s, struct av_user *u, const struct av_ask *asking)
{
	const struct av_looker l = av_looker(s, AV_LOOK_SELF, u->uid);
	unsigned n = u->ports < SWEPT_OF_USER ? u->ports : SWEPT_OF_USER;
	struct av_port *p;

	if (!av_may_check(s, u, AV_CHECK_PORTS))
		return;
	while (n-- && (p = TAILQ_FIRST(&u->bound))) {
		TAILQ_REMOVE(&u->bound, p, own);
		TAILQ_INSERT_TAIL(&u->bound, p, own);
		if (is_bound(s, p, asking, &l) == -ENOENT)
			port_free(s, p);
	}
}

void av_port_sweep_inboxes(struct av_space *s)
{
	unsigned n = s->n_ports < SWEPT_INBOXES ? s->n_ports : SWEPT_INBOXES;

	while (n--) {
		struct av_port *p = TAILQ_FIRST(&s->checked);
		const struct av_looker l = av_looker(s, AV_LOOK_SELF, p->uid);

		TAILQ_REMOVE(&s->checked, p, checked);
		TAILQ_INSERT_TAIL(&s->checked, p, checked);
		if (p->inbox && now_ns() - p->since_ns > SETTLED_NS && !may_still_bind(p) &&
		    av_has_label(s, &l, p) == -ENOENT)
			port_free(s, p);
	}
}

static bool is_reserved(uint32_t port)
{
	return port == ZV_CTRL_PORT || port == ZV_PROC_PORT;
}

/* 0: the port is neither reserved nor bound: entries that are no longer bound are freed.
 * -EADDRINUSE; -EBUSY: it was bound, and whether it still is is not known, as in av_look(). */
static int taken(struct av_space *s, const struct av_ask *asking, int sock_type,
		 const struct dropin_addr *addr)
{
	const struct av_looker l = av_looker(s, AV_LOOK_USER, asking->cred.uid);
	struct av_port *p;
	int ret;

	if (is_reserved(addr->port))
		return -EADDRINUSE;
	while ((p = av_port_at(s, sock_type, addr->cid, addr->port))) {
		ret = is_bound(s, p, asking, &l);
		if (ret != -ENOENT)
			return ret == 0 ? -EADDRINUSE : ret;
		port_free(s, p);
	}
	return 0;
}

/* ---- other endpoints that serve a port ---- */

struct served {
	uint32_t port;
	bool dgram;
	const char *by;
	char guest[CFG_NAME_MAX];
};

static void look(const struct guest *g, struct served *s)
{
	const char *by = s->by ? NULL : endpoints_port(g, s->port, s->dgram);

	if (!by)
		return;
	s->by = by;
	memcpy(s->guest, g->name, sizeof(s->guest));
}

static void visit(const void *node, VISIT which, void *arg)
{
	if (which == preorder || which == leaf)
		look((*(struct av_guest *const *)node)->guest, arg);
}

/* True: for some guest of the space another endpoint serves the port, so that a program would wait
 * in vain. */
static bool served(struct av_space *s, int sock_type, const struct dropin_addr *addr,
		   struct served *by)
{
	*by = (struct served){.port = addr->port, .dgram = sock_type == SOCK_DGRAM};
	if (s->cfg.apps && app_port_listened(addr->port, by->dgram, NULL)) {
		by->by = "app_port";
		return true;
	}
	if (addr->cid == ZV_CID_LOCAL)
		return false;
	pthread_mutex_lock(&s->lock);
	twalk_r(s->guests, visit, by);
	for (const struct av_guest *g = s->devices; g; g = g->more)
		look(g->guest, by);
	pthread_mutex_unlock(&s->lock);
	return by->by;
}

/* The same; if true, *m is the refusal and names the endpoint. */
static bool is_served(struct av_space *s, int sock_type, const struct dropin_addr *addr,
		      struct dropin_msg *m)
{
	struct served by;

	if (!served(s, sock_type, addr, &by))
		return false;
	if (!*by.guest) {
		av_refuse(m, -EADDRINUSE, "an application of zvsockd listens on port %u",
			  addr->port);
		return true;
	}
	av_refuse(m, -EADDRINUSE, "zvsockd serves port %u of %s itself, by endpoint %s", addr->port,
		  by.guest, by.by);
	return true;
}

/* ---- BIND ---- */

/* Does not look whether sockets still have the labels of bound ports: there are other ports, and
 * sweep() frees those that are no longer bound. */
static bool choose(struct av_ask *a, int sock_type, struct dropin_addr *addr)
{
	struct av_space *s = a->space;
	struct served by;

	if (!s->last_port)
		s->last_port = AV_LOW_PORTS + (uint32_t)(av_random(s) % (1u << 30));
	for (unsigned i = 0; i < TRIES; i++) {
		if (s->last_port == ZV_PORT_ANY || s->last_port < AV_LOW_PORTS)
			s->last_port = AV_LOW_PORTS;
		addr->port = s->last_port++;
		if (!is_reserved(addr->port) && !av_port_at(s, sock_type, addr->cid, addr->port) &&
		    !served(s, sock_type, addr, &by))
			return true;
	}
	return false;
}

uint32_t av_port_choose(struct av_ask *a, uint32_t cid)
{
	struct dropin_addr addr = {.cid = cid};

	(void)choose(a, SOCK_STREAM, &addr); /* none is free: returns a used one */
	return addr.port;
}

/* True: a program may bind @addr; otherwise *m says why not. */
static bool may(const struct av_ask *a, const struct dropin_addr *addr, struct dropin_msg *m)
{
	struct av_space *s = a->space;
	uint32_t own;
	bool guests;

	pthread_mutex_lock(&s->lock);
	own = av_local_cid(s);
	guests = s->guests;
	pthread_mutex_unlock(&s->lock);
	if (addr->cid != CID_ANY && addr->cid != ZV_CID_LOCAL && addr->cid != own &&
	    !(guests && addr->cid == ZV_CID_HOST))
		av_refuse(m, -EADDRNOTAVAIL, "CID %u is not of this machine, which has CID %u",
			  addr->cid, own);
	else if (addr->port < AV_LOW_PORTS && !a->low)
		av_refuse(m, -EACCES,
			  "port %u: those below %u are for root and who is named by "
			  "af_vsock_low_ports",
			  addr->port, AV_LOW_PORTS);
	return m->result == 0;
}

static bool connectible(struct dropin_msg *m)
{
	if (m->sock_type == SOCK_STREAM || m->sock_type == SOCK_SEQPACKET ||
	    m->sock_type == SOCK_DGRAM)
		return true;
	av_refuse(m, -EOPNOTSUPP, "sockets of type %u cannot be had", m->sock_type);
	return false;
}

void av_ports_check_assigned(struct av_ask *a)
{
	struct av_space *s = a->space;
	struct av_port *p;

	pthread_mutex_lock(&s->lock);
	while ((p = LIST_FIRST(&a->assigned))) {
		LIST_REMOVE(p, assigned);
		p->asker = NULL;
	}
	pthread_mutex_unlock(&s->lock);
}

static struct av_port *port_new(struct av_space *s, struct av_user *u, pid_t pid,
				const struct dropin_label *l, uint64_t key)
{
	struct av_port *p = calloc(1, sizeof(*p));

	if (p && l->sock_type == SOCK_DGRAM)
		p->inbox = av_inbox_new(s, p, key);
	if (!p || (l->sock_type == SOCK_DGRAM && !p->inbox)) {
		free(p);
		return NULL;
	}
	p->label = *l;
	dropin_label_write(l, p->text);
	p->uid = u->uid;
	p->pid = pid;
	p->user = u;
	p->since_ns = now_ns();
	u->ports++;
	s->n_ports++;
	TAILQ_INSERT_TAIL(&s->checked, p, checked);
	TAILQ_INSERT_TAIL(&u->bound, p, own);
	pthread_mutex_lock(&s->lock);
	LIST_INSERT_HEAD(&s->ports[bucket(s, l->local.port)], p, link);
	pthread_mutex_unlock(&s->lock);
	return p;
}

static bool may_have_port(const struct av_ask *a)
{
	return av_user_may(a->user, a->user->ports, a->space->n_ports, AV_PORTS_MAX);
}

/* Assigns the port of @l, which is free, to @a. NULL: *m says why not. */
static struct av_port *assign_port(struct av_ask *a, const struct dropin_label *l,
				   struct dropin_msg *m)
{
	struct av_port *p = NULL;

	if (!may_have_port(a))
		av_ports_check(a->space, a->user, a);
	if (!may_have_port(a))
		av_refuse(m, -ENOBUFS, "programs of uid %u, or all, have as many ports as they may",
			  (unsigned)a->cred.uid);
	else if (!(p = port_new(a->space, a->user, a->cred.pid, l, av_random(a->space))))
		av_refuse(m, -ENOMEM, "zvsockd has no memory left");
	else
		av_ports_save(a->space, p);
	if (!p)
		return NULL;
	pthread_mutex_lock(&a->space->lock);
	p->asker = a;
	pthread_mutex_unlock(&a->space->lock);
	LIST_INSERT_HEAD(&a->assigned, p, assigned);
	if (p->inbox)
		av_inbox_label_assigned(p->inbox);
	return p;
}

void av_port_restore(struct av_space *s, const struct dropin_label *l, uid_t uid, pid_t pid,
		     uint64_t key)
{
	const struct av_looker self = av_looker(s, AV_LOOK_SELF, uid);
	struct av_user *u;
	struct av_port *p;

	if (l->view != 'P' || l->connected ||
	    av_port_at(s, l->sock_type, l->local.cid, l->local.port) || !(u = av_user(s, uid)))
		return;
	p = av_user_may(u, u->ports, s->n_ports, AV_PORTS_MAX) ? port_new(s, u, pid, l, key) : NULL;
	if (!p)
		av_user_put(s, u);
	/* That of an inbox is checked at home, by the timer. */
	else if (!p->inbox && av_has_label(s, &self, p) == -ENOENT)
		port_free(s, p);
}

/* Assigns the port of @l to @a. NULL: *m says why not. */
static struct av_port *bind_at(struct av_ask *a, struct dropin_label *l, struct dropin_msg *m)
{
	struct av_space *s = a->space;
	struct av_port *p;
	int ret = m->local.port != ZV_PORT_ANY ? taken(s, a, l->sock_type, &l->local) : 0;

	if (ret < 0) {
		av_refuse(m, -EADDRINUSE,
			  ret == -EBUSY ? "port %u was bound, and looking for its socket takes the "
					  "kernel too long: try again later"
					: "port %u is bound already: zvsockctl ss shows by whom",
			  l->local.port);
		return NULL;
	}
	if (m->local.port != ZV_PORT_ANY && is_served(s, l->sock_type, &l->local, m))
		return NULL;
	l->token[0] = av_random(s);
	l->token[1] = av_random(s);
	p = assign_port(a, l, m);
	/* Again: an application may have begun to listen before the port was in the table. */
	if (p && is_served(s, l->sock_type, &l->local, m)) {
		port_free(s, p);
		return NULL;
	}
	return p;
}

void av_bind(struct av_ask *a, struct dropin_msg *m)
{
	struct dropin_label l = {.view = 'P', .sock_type = m->sock_type, .local = m->local};
	const bool any = l.local.port == ZV_PORT_ANY;
	const struct dropin_msg asked = *m;
	struct av_port *p = NULL;

	sweep(a->space, a);
	if (!connectible(m) || !may(a, &l.local, m))
		return;
	for (unsigned left = any ? ANY_TRIES : 1; left && !p; left--) {
		*m = asked;
		if (any && !choose(a, l.sock_type, &l.local)) {
			av_refuse(m, -EADDRNOTAVAIL, "no port is free");
			return;
		}
		p = bind_at(a, &l, m);
		if (!p && m->result != -EADDRINUSE)
			return;
	}
	if (!p)
		return;
	if (p->inbox)
		av_dgram_admit(a, p);
	m->local = l.local;
	m->bytes = p->inbox ? av_inbox_key(p->inbox) : 0;
	memcpy(m->label, p->text, sizeof(m->label));
}

/* ---- lookup ---- */

struct av_port *av_port_named(const struct av_space *s, const char *text, struct dropin_label *l)
{
	struct av_port *p = NULL;

	if (!dropin_label_read(l, text, strlen(text)) || l->view != 'P' || l->connected)
		return NULL;
	LIST_FOREACH(p, &s->ports[bucket(s, l->local.port)], link)
		if (strcmp(p->text, text) == 0)
			break;
	return p;
}

/* 0: the port of @l is not in use, and a socket has the label @l; -EBUSY: not known, as in
 * av_look(); -errno. */
static int has_socket(const struct av_ask *a, const struct dropin_label *l)
{
	const struct av_looker who = av_looker(a->space, AV_LOOK_USER, a->cred.uid);
	int ret = taken(a->space, a, l->sock_type, &l->local);
	char text[DROPIN_LABEL];

	if (ret < 0)
		return ret;
	av_turn_done(a->space);
	dropin_label_write(l, text);
	return av_look(a->space, &who, text, l->sock_type);
}

struct av_port *av_port_of(struct av_ask *a, struct dropin_msg *m)
{
	struct dropin_label l;
	struct av_port *p = av_port_named(a->space, m->label, &l);
	int ret;

	if (p && p->label.sock_type == m->sock_type && (p->uid == a->cred.uid || a->cred.uid == 0))
		return p;
	/* The port may have been bound before zvsockd was restarted: assigns it to the program,
	 * which thus gets no more than BIND would give it. */
	if (p || l.view != 'P' || l.connected || l.sock_type != m->sock_type ||
	    l.local.port == ZV_PORT_ANY || l.sock_type == SOCK_DGRAM)
		ret = -EINVAL;
	else
		ret = has_socket(a, &l);
	if (ret == -EBUSY) {
		av_refuse(m, -ENOBUFS,
			  "looking for the socket of port %u takes the kernel too long: try again "
			  "later",
			  l.local.port);
		return NULL;
	}
	if (ret < 0) {
		av_refuse(m, -EINVAL,
			  "the label is not that of a socket that this program has bound");
		return NULL;
	}
	if (!may(a, &l.local, m) || is_served(a->space, l.sock_type, &l.local, m))
		return NULL;
	return assign_port(a, &l, m);
}

void av_names(struct av_ask *a, struct dropin_msg *m)
{
	struct dropin_label l;
	const struct av_port *p = av_port_named(a->space, m->label, &l);

	if (!p) {
		av_refuse(m, -ENOENT, "no socket of that label is known");
		return;
	}
	m->bytes = p->uid;
	if (!p->connected) {
		av_refuse(m, -ENOTCONN, "no connection of such a socket is known");
		return;
	}
	m->local = p->from;
	m->remote = p->to;
}

void av_ports_end(struct av_space *s)
{
	struct av_port *p;

	for (unsigned i = 0; i < AV_BUCKETS; i++)
		while ((p = LIST_FIRST(&s->ports[i])))
			port_free(s, p);
}
