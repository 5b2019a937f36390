/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests about datagram sockets: BOUND, REACH and CONNECT; theory in av_dgram.h. */
#include "av_dgram.h"

#include "endpoint/endpoint_app.h"

#include <errno.h>
#include <sys/socket.h>

/* The user of @a has as many descriptors as he may. A port may be freed, any if no socket is bound
 * to it. */
static void make_room(struct av_ask *a)
{
	(void)av_programs_check(a->space, a->user, a);
	av_ports_check(a->space, a->user, a);
}

void av_bound(struct av_ask *a, struct dropin_msg *m)
{
	struct dropin_label l;
	struct av_port *p = av_port_named(a->space, m->label, &l);
	int err;

	if (!p || !p->inbox || p->pid != a->cred.pid || p->uid != a->cred.uid) {
		av_refuse(m, -EINVAL,
			  "the label is not that of a datagram socket which this program binds");
		return;
	}
	err = av_inbox_hold(p->inbox);
	if (err == -EMFILE) {
		make_room(a);
		p = av_port_named(a->space, m->label, &l);
		err = p ? av_inbox_hold(p->inbox) : -ENOENT;
	}
	if (err < 0 && err != -EBUSY) /* else the next datagram or check of the port connects it */
		av_refuse(m, err == -EMFILE ? -ENOBUFS : -EINVAL,
			  "zvsockd cannot reach the socket that was bound: %s", zv_strerror(err));
}

/* 0: datagrams may be sent to @to; -errno. */
static int reach(struct av_space *s, const struct dropin_addr *to)
{
	struct zv_dev_info dev = {.size = sizeof(dev)};
	const struct av_guest *g;

	if (av_is_local(s, to->cid))
		return 0;
	pthread_mutex_lock(&s->lock);
	g = av_guest_find(s, to->cid);
	if (g)
		(void)zv_dev_info(g->guest->dev, &dev);
	pthread_mutex_unlock(&s->lock);
	if (!g || !dev.queues_up)
		return -ENODEV;
	if (dev.flags & ZV_DEV_DGRAM)
		return 0;
	return dev.peer == ZV_PEER_UNKNOWN ? -EAGAIN : -EOPNOTSUPP;
}

static void refuse(struct dropin_msg *m, int err)
{
	av_refuse(m, err, "CID %u, port %u: %s", m->remote.cid, m->remote.port,
		  err == -ENODEV       ? "there is no such guest, or it is not running"
		  : err == -EOPNOTSUPP ? "the guest has no datagrams: its driver is not zvsock's"
		  : err == -EAGAIN     ? "the guest has not said yet what it can do"
				       : zv_strerror(err));
}

/* A passed socket may be used by another user's program, which has no say in what its owner may. */
static void admit_again(struct av_ask *a, struct av_port *p)
{
	if (p && p->inbox && p->uid == a->cred.uid)
		av_dgram_admit(a, p);
}

void av_dgram_admit(struct av_ask *a, struct av_port *p)
{
	p->may_app = a->space->cfg.apps && app_ports_admit_program(a->fd, &a->cred);
	if (a->space->cfg.apps) /* it has looked at the permissions of a path */
		av_turn_done(a->space);
}

void av_reach(struct av_ask *a, struct dropin_msg *m)
{
	int err = reach(a->space, &m->remote);
	struct dropin_label l;

	if (err == 0 && m->label[0] && av_is_local(a->space, m->remote.cid))
		admit_again(a, av_port_named(a->space, m->label, &l));
	if (err < 0)
		refuse(m, err);
}

void av_dgram_connect(struct av_ask *a, struct dropin_msg *m)
{
	struct av_space *s = a->space;
	struct dropin_label l;
	struct av_port *p;
	uint32_t local;
	int err;

	if (!m->label[0]) {
		av_refuse(m, -EINVAL, "a datagram socket is bound first");
		return;
	}
	p = av_port_of(a, m);
	if (!p)
		return;
	err = reach(s, &m->remote);
	if (av_is_local(s, m->remote.cid)) {
		local = m->remote.cid;
		p->to_cid = local;
		admit_again(a, p);
	} else {
		pthread_mutex_lock(&s->lock);
		local = av_local_cid(s);
		pthread_mutex_unlock(&s->lock);
	}
	if (err == 0)
		err = av_inbox_connect(p->inbox, local, &m->remote, m->where);
	if (err == -EMFILE) {
		make_room(a);
		p = av_port_named(s, m->label, &l);
		err = p ? av_inbox_connect(p->inbox, local, &m->remote, m->where) : -ENOENT;
	}
	if (err < 0) {
		refuse(m, err == -EMFILE ? -ENOBUFS : err);
		return;
	}
	m->local = (struct dropin_addr){local, p->label.local.port};
}
