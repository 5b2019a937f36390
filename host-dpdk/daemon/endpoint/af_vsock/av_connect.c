/* SPDX-License-Identifier: BSD-3-Clause */
/* CONNECT of programs, at home: to a guest, or to this machine, where an application or another
 * program listens; theory in av.h. */
#include "av.h"

#include "endpoint/endpoint_app.h"
#include "proto/ctrl/hello.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static bool connectible(struct dropin_msg *m)
{
	if (m->sock_type != SOCK_STREAM && m->sock_type != SOCK_SEQPACKET)
		av_refuse(m, -EOPNOTSUPP, "sockets of type %u cannot be connected", m->sock_type);
	else if (!m->label[0] && m->local.port != ZV_PORT_ANY)
		av_refuse(m, -EINVAL, "a local port takes BIND");
	else if (m->remote.port == ZV_PORT_ANY || m->remote.port == ZV_CTRL_PORT ||
		 m->remote.port == ZV_PROC_PORT)
		av_refuse(m, -ECONNRESET, "nobody listens on port %u", m->remote.port);
	return m->result == 0;
}

/* A request, and the call that it becomes. */
struct request {
	struct av_ask *ask;
	struct dropin_msg *m;
	const struct av_port *bound; /* NULL: the socket has no port yet */
	struct av_call *call;
};

/* The call has begun, or not: @ret. True: *m is the answer, false: it comes later. */
static bool begun(struct request *r, int ret)
{
	if (ret < 0) {
		if (r->call)
			av_call_forget(r->call);
		av_refuse(r->m, ret, "zvsockd has no memory left");
		return true;
	}
	r->ask->busy = r->call; /* nonblocking: only until its local port is known */
	if (r->call->lc == r->call->home)
		av_conn_begin(r->call);
	return false;
}

/* ---- this machine ---- */

static bool begin_app(void *arg, struct guest *app)
{
	struct request *r = arg;

	r->call = av_call_new(r->ask, r->m, r->bound);
	return r->call &&
	       av_call_begin(r->call, app, (unsigned)av_random(r->ask->space), r->m->remote.cid);
}

/* Connects to the application that listens there. -ECONNREFUSED: none does. Otherwise as
 * app_port_call(). */
static int connect_app(struct request *r)
{
	const struct dropin_msg *m = r->m;
	enum zv_type type = m->sock_type == SOCK_STREAM ? ZV_STREAM : ZV_SEQPACKET;
	int ret;

	if (!r->ask->space->cfg.apps)
		return -ECONNREFUSED;
	ret = app_port_call(m->remote.port, type, r->ask->fd, &r->ask->cred, begin_app, r);
	if (ret != -ECONNREFUSED) /* it has looked at the permissions of a path */
		av_turn_done(r->ask->space);
	return ret;
}

/* Connects to the program that listens there. */
static void connect_program(struct request *r)
{
	struct av_ask *a = r->ask;
	struct dropin_msg *m = r->m;
	const struct av_port *to =
		av_port_at(a->space, m->sock_type, m->remote.cid, m->remote.port);
	struct dropin_label l = {
		.view = 'P', .connected = true, .sock_type = m->sock_type, .remote = m->remote};

	if (!to || to->label.sock_type != m->sock_type) {
		av_refuse(m, -ECONNRESET, "no program of this machine listens on port %u",
			  m->remote.port);
		return;
	}
	m->flags = DROPIN_LOCAL;
	memcpy(m->where, to->text, sizeof(m->where));
	m->bytes = to->uid;
	l.local.cid = m->remote.cid;
	if (r->bound) {
		m->local = (struct dropin_addr){m->remote.cid, r->bound->label.local.port};
		return; /* the label remains that of the bound port */
	}
	l.local.port = av_port_choose(a, m->remote.cid);
	l.token[0] = av_random(a->space);
	l.token[1] = av_random(a->space);
	dropin_label_write(&l, m->label);
	m->local = l.local;
}

/* Applications come first: a program may have bound the port and have closed its socket since. */
static bool connect_local(struct request *r)
{
	int ret = connect_app(r);

	if (ret == -ECONNREFUSED) {
		connect_program(r);
		return true;
	}
	if (ret != -EACCES)
		return begun(r, ret);
	av_refuse(r->m, -ECONNRESET,
		  "an application of zvsockd listens on port %u, and only users who may attach "
		  "one reach it: applications_mode, applications_owner, application_users, "
		  "application_groups",
		  r->m->remote.port);
	return true;
}

/* ---- a guest ---- */

static bool connect_guest(struct request *r)
{
	struct av_space *s = r->ask->space;
	struct av_guest *g;
	int ret = 0;

	pthread_mutex_lock(&s->lock); /* until the call has begun, the guest is not removed */
	g = av_guest_find(s, r->m->remote.cid);
	r->call = g ? av_call_new(r->ask, r->m, r->bound) : NULL;
	if (!r->call ||
	    !av_call_begin(r->call, g->guest, g->next++,
			   g->device ? (uint32_t)guest_cid(g->guest) : (uint32_t)ZV_CID_HOST))
		ret = -ENOMEM;
	pthread_mutex_unlock(&s->lock);
	if (g)
		return begun(r, ret);
	av_refuse(r->m, -ENODEV,
		  "there is no guest with CID %u: zvsock-run --check lists those that are",
		  r->m->remote.cid);
	return true;
}

bool av_is_local(struct av_space *s, uint32_t cid)
{
	uint32_t own;

	pthread_mutex_lock(&s->lock);
	own = av_local_cid(s);
	pthread_mutex_unlock(&s->lock);
	return cid == ZV_CID_LOCAL || (cid == own && cid != UINT32_MAX);
}

static bool may_call(const struct av_ask *a)
{
	return av_user_may(a->user, a->user->calls, a->space->n_calls, AV_CALLS_MAX);
}

bool av_connect(struct av_ask *a, struct dropin_msg *m)
{
	struct request r = {.ask = a, .m = m};
	struct av_space *s = a->space;

	if (!connectible(m) || (m->label[0] && !(r.bound = av_port_of(a, m))))
		return true;
	if (!may_call(a)) {
		(void)av_programs_check(s, a->user, a);
		av_calls_check(s, a->user);
	}
	if (!may_call(a)) {
		av_refuse(m, -ENOBUFS,
			  "programs of uid %u, or all, have as many connections "
			  "on their way as they may",
			  (unsigned)a->cred.uid);
		return true;
	}
	return av_is_local(s, m->remote.cid) ? connect_local(&r) : connect_guest(&r);
}

bool av_connect_again(struct av_call *c)
{
	struct av_ask *a = c->ask;
	struct dropin_msg m;

	if (!a || !av_programs_check(c->space, c->user, a))
		return false;
	dropin_msg_init(&m, DROPIN_CONNECT);
	m.sock_type = c->label.sock_type;
	m.flags = c->nonblock ? DROPIN_NONBLOCK : 0;
	m.timeout_ms = c->timeout_ms;
	m.local.port = ZV_PORT_ANY;
	m.remote = c->label.remote;
	if (c->bound)
		memcpy(m.label, c->text, sizeof(m.label));
	a->busy = NULL;
	av_call_forget(c);
	if (av_connect(a, &m))
		av_ask_decided(a, &m);
	return true;
}
