/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix endpoint, guest to host: connects to PATH_<port> without waiting. A full backlog is
 * tried again until the answer timeout of the socket layer has expired. */
#include "base/clock.h"
#include "core/log.h"
#include "endpoint_unix.h"
#include "passed.h"
#include "relay/relay.h"
#include "sock_connect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOW_PORTS 1024u
/* Retries for full backlogs: interval, connections of a queue tried each time, and failures after
 * which that stops. */
#define RETRY_NS       (20u * (uint64_t)1000000)
#define RETRY_BATCH    64u
#define RETRY_FAIL_MAX 8u

/* A guest's connection on its way to PATH_<port>. */
struct unix_target {
	struct relay r; /* first */
	uint32_t port;
	bool waits; /* in the queue: the backlog is full */
	TAILQ_ENTRY(unix_target) link;
};

/* The directory does not exist any more, or another one has its path. */
static bool is_removed(int dir)
{
	struct stat st;

	return fstat(dir, &st) == 0 && st.st_nlink == 0;
}

/* -ESTALE: the directory has been removed; -EBUSY: not tried. */
static int target_connect(const struct unix_target *t)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct guest_queue *gq = t->r.f.owner.gq;
	struct unix_guest *u = unix_guest(gq->guest);
	struct cpu_stock *stock = &u->waitq[gq->index].connects;
	const struct cpu_limit limit = cpu_limit_part(&socket_names_limit, gq->guest->n_queues);
	uint64_t start;
	int ret;

	if (snprintf(path, sizeof(path), "%s_%u", unix_path(gq->guest), t->port) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	if (!cpu_stock_may(stock, &limit))
		return -EBUSY;
	start = cpu_ns();
	ret = sock_connect_in(t->r.fd, u->dir, path + u->name_at);
	if (ret == -ENOENT && is_removed(u->dir))
		ret = -ESTALE;
	cpu_stock_took(stock, &limit, cpu_ns() - start);
	return ret;
}

static const char *refusal(int err)
{
	const char *why = sock_connect_refusal(err);

	if (why)
		return why;
	if (err == -EBUSY)
		return "the kernel takes too long to find sockets of this guest's host programs, "
		       "probably because some user has made very many of them: refusing some";
	if (err == -ESTALE)
		return "the directory of the guest's sockets has been removed, and a new one there "
		       "is not theirs: restart zvsockd";
	return err == -EPROTOTYPE ? "the program there has a socket of another type"
				  : zv_strerror(err);
}

static void target_refuse(struct unix_target *t, int err)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	/* Nobody listens there with this type of socket. Not a warning, because a guest may try at
	 * any rate. */
	bool nobody = err == -ENOENT || err == -ECONNREFUSED || err == -EPROTOTYPE;

	if (nobody)
		GUEST_COUNT(gq, connect_refused);
	else if (err == -ETIMEDOUT)
		GUEST_COUNT(gq, connect_timeout);
	else
		GUEST_COUNT(gq, connect_failed);
	log_line(nobody ? ZV_LOG_DEBUG : ZV_LOG_WARN, gq->guest->name, "%s_%u: %s",
		 unix_path(gq->guest), t->port, refusal(err));
	(void)zv_conn_answer(t->r.f.conn, -ECONNREFUSED);
	relay_abort(&t->r);
}

/* True if the process at the other end of @fd may serve @port for this guest. */
static bool may_serve(struct guest_queue *gq, int fd, uint32_t port)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (port >= LOW_PORTS)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer = (struct ucred){.uid = (uid_t)-1, .gid = (gid_t)-1};
	else if (peer.uid == 0 || unix_low_ports_of(guest_cfg(gq->guest), peer.uid, peer.gid))
		return true;
	GUEST_COUNT(gq, low_port_denied);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "port %u is served by uid %u, gid %u: ports below %u are for root and who is "
		 "named by low_port_users and low_port_groups; connection refused",
		 port, peer.uid, peer.gid, LOW_PORTS);
	return false;
}

/* ---- full backlogs ---- */

static void target_step(struct unix_target *t, int err);

static struct unix_waitq *waitq_of(struct guest_queue *gq)
{
	return &unix_guest(gq->guest)->waitq[gq->index];
}

static void leave_waitq(struct unix_target *t)
{
	struct guest_queue *gq = t->r.f.owner.gq;

	if (!t->waits)
		return;
	t->waits = false;
	TAILQ_REMOVE(&waitq_of(gq)->waiting, t, link);
	if (TAILQ_EMPTY(&waitq_of(gq)->waiting))
		lcore_timer_stop(gq->lc, &waitq_of(gq)->retry);
}

static bool backlog_full(int err)
{
	return err == -EAGAIN || err == -EINTR;
}

/* Tries each of the first in the queue once. Those that fail go to its end. */
static void retry_first(struct lcore_timer *timer)
{
	struct unix_waitq *l =
		(struct unix_waitq *)(void *)((char *)timer - offsetof(struct unix_waitq, retry));
	struct unix_target *t, *first_failed = NULL; /* which stays in the queue */
	unsigned failed = 0;

	for (unsigned i = 0; i < RETRY_BATCH && failed < RETRY_FAIL_MAX; i++) {
		int err;

		t = TAILQ_FIRST(&l->waiting);
		if (!t || t == first_failed)
			break;
		leave_waitq(t);
		lcore_charge(&t->r.f.owner.gq->lq);
		err = target_connect(t);
		if (err == -EBUSY) /* not tried: it waits on, up to the answer timeout */
			err = -EAGAIN;
		if (backlog_full(err) && !failed++)
			first_failed = t;
		target_step(t, err); /* may free it */
	}
	t = TAILQ_FIRST(&l->waiting);
	if (t && !failed) /* else the timer is running */
		lcore_timer_start(t->r.f.owner.gq->lc, &l->retry, 1);
}

static void enter_waitq(struct unix_target *t)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	struct unix_waitq *l = waitq_of(gq);

	t->waits = true;
	TAILQ_INSERT_TAIL(&l->waiting, t, link);
	l->retry.expired = retry_first;
	if (!l->retry.running)
		lcore_timer_start(gq->lc, &l->retry, RETRY_NS);
}

/* Continues with the result of connect(2). */
static void target_step(struct unix_target *t, int err)
{
	struct guest_queue *gq = t->r.f.owner.gq;

	if (backlog_full(err)) {
		enter_waitq(t);
		return;
	}
	if (err < 0) {
		target_refuse(t, err);
		return;
	}
	if (!may_serve(gq, t->r.fd, t->port)) {
		(void)zv_conn_answer(t->r.f.conn, -ECONNREFUSED);
		relay_abort(&t->r);
		return;
	}
	if (zv_conn_answer(t->r.f.conn, 0) < 0) { /* it has given up */
		relay_abort(&t->r);
		return;
	}
	GUEST_COUNT(gq, guest_joined);
	relay_start(&t->r, NULL, 0);
}

static void target_abort(struct conn_owner *o)
{
	struct unix_target *t = (struct unix_target *)(void *)o;

	leave_waitq(t);
	relay_abort(&t->r);
}

/* While the backlog is full: the guest's connect has timed out, or the guest has given up. */
static void target_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct unix_target *t = (struct unix_target *)(void *)o;

	if (!(ev->events & ZV_EV_ERR))
		return;
	leave_waitq(t);
	if (ev->err == -ETIMEDOUT)
		target_refuse(t, ev->err);
	else
		relay_abort(&t->r);
}

int unix_target_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	bool seq = info->type == ZV_SEQPACKET;
	struct unix_target *t;
	int fd;

	if (!*unix_path(gq->guest))
		return 0;
	if (!guest_fd_get(gq))
		return -ECONNREFUSED;
	t = calloc(1, sizeof(*t));
	fd = t ? socket(AF_UNIX,
			(seq ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
	       : -1;
	if (fd < 0) {
		guest_fd_refused(gq, t ? -errno : -ENOMEM);
		guest_fd_put(gq);
		free(t);
		return -ECONNREFUSED;
	}
	relay_init(&t->r, gq, conn, &endpoint_unix.kind, fd, seq ? RELAY_SEQPACKET : 0);
	if (unix_guest(gq->guest)->passed)
		relay_expect_passed(&t->r);
	else
		(void)passed_refuse(fd);
	t->r.f.owner.event = target_event;
	t->r.f.owner.abort = target_abort;
	t->port = info->local_port;
	target_step(t, target_connect(t));
	return 1;
}
