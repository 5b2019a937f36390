/* SPDX-License-Identifier: BSD-3-Clause */
/* See dial.h. */
#include "dial.h"

#include "core/log.h"
#include "net_connect.h"
#include "relay/relay.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* A guest's connection on its way to the host. */
struct dial {
	struct relay r; /* first. out: the poll for POLLOUT */
	uint32_t port;
};

static struct dial *dial_of_owner(struct conn_owner *o)
{
	return (struct dial *)(void *)o;
}

static void dial_refuse(struct dial *d, int err)
{
	struct guest_queue *gq = d->r.f.owner.gq;

	if (err == -ECONNRESET) /* AF_VSOCK's error for it */
		err = -ECONNREFUSED;
	if (err == -ECONNREFUSED)
		GUEST_COUNT(gq, connect_refused);
	else if (err == -ETIMEDOUT)
		GUEST_COUNT(gq, connect_timeout);
	else
		GUEST_COUNT(gq, connect_failed);
	log_line(err == -ECONNREFUSED ? ZV_LOG_DEBUG : ZV_LOG_WARN, gq->guest->name,
		 "our side of port %u: %s", d->port, strerror(-err));
	(void)zv_conn_answer(d->r.f.conn, -ECONNREFUSED);
	relay_abort(&d->r);
}

static void dial_join(struct dial *d)
{
	if (zv_conn_answer(d->r.f.conn, 0) < 0) { /* it has given up */
		relay_abort(&d->r);
		return;
	}
	GUEST_COUNT(d->r.f.owner.gq, guest_joined);
	relay_start(&d->r, NULL, 0);
}

static void dial_polled(struct io_op *op, int res, uint32_t flags)
{
	struct dial *d =
		(struct dial *)(void *)((char *)op - offsetof(struct dial, r.from_guest_poll));
	socklen_t len = sizeof(int);
	int err = 0;

	(void)flags;
	if (d->r.fd < 0) { /* ended meanwhile */
		relay_abort(&d->r);
		return;
	}
	if (res >= 0 && getsockopt(d->r.fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (res < 0)
		err = -res;
	if (err)
		dial_refuse(d, -err);
	else
		dial_join(d);
}

/* Before the relay has begun. */
static void dial_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct dial *d = dial_of_owner(o);

	if (!(ev->events & ZV_EV_ERR) || d->r.fd < 0)
		return;
	if (ev->err == -ETIMEDOUT)
		dial_refuse(d, ev->err);
	else
		relay_abort(&d->r);
}

int dial(struct guest_queue *gq, struct zv_conn *conn, const struct conn_kind *kind,
	 const struct zv_conn_info *info, const struct sockaddr *addr, socklen_t addr_len)
{
	unsigned flags = RELAY_LINGER0;
	struct dial *d;
	int fd, ret;

	if (info->type != ZV_STREAM) {
		GUEST_COUNT(gq, connect_refused);
		return -ECONNREFUSED;
	}
	if (!guest_fd_get(gq))
		return -ECONNREFUSED;
	d = calloc(1, sizeof(*d));
	fd = d ? socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	if (fd < 0) {
		guest_fd_refused(gq, d ? -errno : -ENOMEM);
		guest_fd_put(gq);
		free(d);
		return -ECONNREFUSED;
	}
	if (addr->sa_family == AF_INET || addr->sa_family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		flags |= RELAY_TCP;
	}
	relay_init(&d->r, gq, conn, kind, fd, flags);
	d->r.f.owner.event = dial_event;
	d->port = info->local_port;
	ret = net_connect(gq, fd, addr, addr_len);
	if (ret == 0) {
		dial_join(d);
	} else if (ret == -EINPROGRESS) {
		d->r.from_guest_poll.done = dial_polled;
		io_poll(lcore_io(gq->lc), &d->r.from_guest_poll, fd, POLLOUT);
	} else {
		dial_refuse(d, ret);
	}
	return 1;
}
