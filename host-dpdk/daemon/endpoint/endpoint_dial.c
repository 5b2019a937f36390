/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tcp and vsock endpoints: ports of the guest that stand for an address of the host's network
 * (an allow-list, as Nitro's vsock-proxy has it), or for the host's own AF_VSOCK.
 *
 * Both only differ in the address. The connection is made without waiting: connect(2), a poll for
 * POLLOUT, SO_ERROR; then the guest gets its RESPONSE, and the relay begins. Names were resolved
 * when the configuration was read. The socket layer's time for an answer bounds the wait.
 *
 * AF_VSOCK goes to VMADDR_CID_LOCAL, the host's loopback (kernel module vsock_loopback).
 *
 * Both carry STREAM only. TCP has no messages. Linux' AF_VSOCK has, but not for who must not wait:
 * a send of a message that finds less room than it needs leaves its first part behind and says
 * EAGAIN, and there is no word for how much that was, so that a reader that is slow for once would
 * get messages put together from pieces. And Debian 12's kernel does not let one look at a message
 * (MSG_PEEK), without which one that the guest has no room for would have to be kept.
 */
#include "core/log.h"
#include "endpoint.h"
#include "relay/relay.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A guest's connection on its way to the host. */
struct dial {
	struct relay r; /* first. out: the poll for POLLOUT */
	uint32_t port;
};

static struct dial *dial_of_owner(struct conn_owner *o)
{
	return (struct dial *)(void *)o;
}

static void dial_freed(struct relay *r)
{
	free(r);
}

static void dial_refuse(struct dial *d, int err)
{
	struct guest_queue *gq = d->r.owner.gq;

	if (err == -ECONNRESET) /* how AF_VSOCK calls it */
		err = -ECONNREFUSED;
	if (err == -ECONNREFUSED)
		ENDPOINT_COUNT(gq, connect_refused);
	else if (err == -ETIMEDOUT)
		ENDPOINT_COUNT(gq, connect_timeout);
	else
		ENDPOINT_COUNT(gq, connect_failed);
	log_line(err == -ECONNREFUSED ? ZV_LOG_DEBUG : ZV_LOG_WARN, gq->guest->name,
		 "host side of port %u: %s", d->port, strerror(-err));
	(void)zv_conn_answer(d->r.conn, -ECONNREFUSED);
	relay_abort(&d->r);
}

static void dial_join(struct dial *d)
{
	if (zv_conn_answer(d->r.conn, 0) < 0) { /* it has given up */
		relay_abort(&d->r);
		return;
	}
	ENDPOINT_COUNT(d->r.owner.gq, guest_joined);
	relay_start(&d->r, NULL, 0);
}

static void dial_polled(struct io_op *op, int res, uint32_t flags)
{
	struct dial *d = (struct dial *)(void *)((char *)op - offsetof(struct dial, r.out));
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

/* Connects @conn to @addr. As endpoint_ops.serve, but never 0. */
static int dial(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info,
		const struct sockaddr *addr, socklen_t addr_len)
{
	unsigned flags = RELAY_LINGER0;
	struct dial *d;
	int fd;

	if (info->type != ZV_STREAM) {
		ENDPOINT_COUNT(gq, connect_refused);
		return -ECONNREFUSED;
	}
	if (!endpoint_fd_get(gq))
		return -ECONNREFUSED;
	d = calloc(1, sizeof(*d));
	fd = d ? socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
	if (fd < 0) {
		endpoint_fd_refused(gq, d ? -errno : -ENOMEM);
		endpoint_fd_put(gq);
		free(d);
		return -ECONNREFUSED;
	}
	if (addr->sa_family == AF_INET || addr->sa_family == AF_INET6) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		flags |= RELAY_TCP;
	}
	relay_init(&d->r, gq, conn, fd, flags, dial_freed);
	d->r.owner.event = dial_event;
	d->port = info->local_port;
	if (connect(fd, addr, addr_len) == 0) {
		dial_join(d);
	} else if (errno == EINPROGRESS) {
		d->r.out.done = dial_polled;
		io_poll(lcore_io(gq->lc), &d->r.out, fd, POLLOUT);
	} else {
		dial_refuse(d, -errno);
	}
	return 1;
}

/* ---- tcp ---- */

static int tcp_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	const struct cfg_tcp *t;

	if (info->local_cid != ZV_CID_HOST)
		return 0;
	t = cfg_tcp_at(guest_cfg(gq->guest), info->local_port);
	return t ? dial(gq, conn, info, (const struct sockaddr *)&t->addr, t->addr_len) : 0;
}

const struct endpoint_ops endpoint_tcp = {.name = "tcp", .serve = tcp_serve};

/* ---- vsock ---- */

/* Says at start what would else be found out by the first connection. */
static int vsock_start(struct guest *g)
{
	int fd, err;

	if (!guest_cfg(g)->n_vsock)
		return 0;
	fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0) {
		close(fd);
		return 0;
	}
	err = errno;
	guest_fails(g,
		    "vsock: no AF_VSOCK sockets here (%s): load the kernel module vsock_loopback, "
		    "or take the guest's line \"vsock\" out",
		    strerror(err));
	return -err;
}

static int vsock_serve(struct guest_queue *gq, struct zv_conn *conn,
		       const struct zv_conn_info *info)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = info->local_port};

	if (info->local_cid != ZV_CID_HOST || !cfg_vsock_at(guest_cfg(gq->guest), info->local_port))
		return 0;
	return dial(gq, conn, info, (const struct sockaddr *)&addr, sizeof(addr));
}

const struct endpoint_ops endpoint_vsock = {
	.name = "vsock", .start = vsock_start, .serve = vsock_serve};
