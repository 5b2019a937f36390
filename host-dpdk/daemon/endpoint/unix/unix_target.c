/* SPDX-License-Identifier: BSD-3-Clause */
/* The unix endpoint, guest to host: connects to PATH_<port> without waiting. A full backlog is
 * tried again until the answer timeout of the socket layer has expired. */
#include "base/clock.h"
#include "base/thread_time.h"
#include "core/log.h"
#include "endpoint_unix.h"
#include "passed.h"
#include "relay/relay.h"
#include "sock_connect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#define LOW_PORTS 1024u
/* Retries for full backlogs: interval, connections of a queue tried each time, and failures after
 * which that stops. */
#define RETRY_NS       (20u * (uint64_t)1000000)
#define RETRY_BATCH    64u
#define RETRY_FAIL_MAX 8u

/* A connect(2) that has made its lcore wait for so long, and how many times as long none is made
 * there. */
#define WAIT_NS	  ((uint64_t)1000000)
#define WAIT_REST 100u

/* A guest's connection on its way to PATH_<port>. */
struct unix_target {
	struct relay r; /* first */
	uint32_t port;
	bool waits;		/* in the queue: the backlog is full */
	bool has_waited;	/* it has been there */
	struct unix_look *look; /* another thread connects; NULL: no */
	TAILQ_ENTRY(unix_target) link;
};

static void looked(void *arg, int err);

/* Others may have set it. */
static void look_until(struct unix_guest *u, uint64_t until)
{
	uint64_t was = __atomic_load_n(&u->look_ns, __ATOMIC_RELAXED);

	while (was < until && !__atomic_compare_exchange_n(&u->look_ns, &was, until, true,
							   __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

/* On this lcore, if the name is in the kernel's cache. Even then somebody may have made the kernel
 * wait, for the journal of a disk: then the guest's other thread connects for some time, so that
 * lcores wait in at most 1 % of the time. */
static int connect_here(const struct unix_target *t, struct unix_guest *u, const char *name)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	struct cpu_stock *stock = &u->waitq[gq->index].connects;
	const struct cpu_limit limit = cpu_limit_part(&socket_names_limit, gq->guest->n_queues);
	uint64_t start, cpu_start, waits, end;
	int ret;

	if (!cpu_stock_may(stock, &limit))
		return -EBUSY;
	waits = thread_waits();
	start = now_ns();
	cpu_start = cpu_ns();
	ret = unix_connect_error(u->dir, sock_connect_cached(t->r.fd, u->dir, name));
	cpu_stock_took(stock, &limit, cpu_ns() - cpu_start);
	end = now_ns();
	if (end - start >= WAIT_NS && thread_waits() != waits)
		look_until(u, end + WAIT_REST * (end - start));
	return ret;
}

/* -ESTALE: the directory has been removed; -EBUSY: not tried; -EINPROGRESS: looked() follows. */
static int target_connect(struct unix_target *t)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct guest_queue *gq = t->r.f.owner.gq;
	struct unix_guest *u = unix_guest(gq->guest);
	struct unix_look_for what = {gq->lc, t->r.fd, path + u->name_at, looked, t};
	int ret;

	if (snprintf(path, sizeof(path), "%s_%u", unix_path(gq->guest), t->port) >=
	    (int)sizeof(path))
		return -ENAMETOOLONG;
	if (now_ns() >= __atomic_load_n(&u->look_ns, __ATOMIC_RELAXED)) {
		ret = connect_here(t, u, what.name);
		if (ret != -EINPROGRESS)
			return ret;
	}
	t->look = unix_look(u->looker, &what);
	return t->look ? -EINPROGRESS : -ENOMEM;
}

static const char *refusal(int err)
{
	const char *why = sock_connect_refusal(err);

	if (why)
		return why;
	if (err == -EBUSY)
		return "the kernel takes too long to find sockets of this guest's host programs, "
		       "probably because some user has made very many of them: refusing some";
	if (err == -EINPROGRESS)
		return "the kernel has not found its socket within connect_timeout_ms: other "
		       "programs have the directory locked, or its disk is slow";
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
	else if (err == -ETIMEDOUT || err == -EINPROGRESS)
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
	unsigned failed = 0;			     /* or not known yet */

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
		if (backlog_full(err) && !first_failed)
			first_failed = t;
		failed += backlog_full(err) || err == -EINPROGRESS;
		target_step(t, err); /* may free it */
	}
	t = TAILQ_FIRST(&l->waiting);
	if (t && !l->retry.running)
		lcore_timer_start(t->r.f.owner.gq->lc, &l->retry, failed ? RETRY_NS : 1);
}

static void enter_waitq(struct unix_target *t)
{
	struct guest_queue *gq = t->r.f.owner.gq;
	struct unix_waitq *l = waitq_of(gq);

	t->waits = t->has_waited = true;
	TAILQ_INSERT_TAIL(&l->waiting, t, link);
	l->retry.expired = retry_first;
	if (!l->retry.running)
		lcore_timer_start(gq->lc, &l->retry, RETRY_NS);
}

/* Continues with the result of connect(2). */
static void target_step(struct unix_target *t, int err)
{
	struct guest_queue *gq = t->r.f.owner.gq;

	if (err == -EINPROGRESS)
		return;
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

/* The other thread has tried. */
static void looked(void *arg, int err)
{
	struct unix_target *t = arg;

	t->look = NULL;
	target_step(t, err == -EBUSY && t->has_waited ? -EAGAIN : err);
}

/* It is not tried any more. */
static void give_up(struct unix_target *t)
{
	leave_waitq(t);
	if (t->look)
		unix_look_cancel(t->look);
	t->look = NULL;
}

static void target_abort(struct conn_owner *o)
{
	struct unix_target *t = (struct unix_target *)(void *)o;

	give_up(t);
	relay_abort(&t->r);
}

/* While it waits: the guest's connect has timed out, or the guest has given up. */
static void target_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct unix_target *t = (struct unix_target *)(void *)o;
	int err;

	if (!(ev->events & ZV_EV_ERR))
		return;
	err = t->look && ev->err == -ETIMEDOUT ? -EINPROGRESS : ev->err;
	give_up(t);
	if (ev->err == -ETIMEDOUT)
		target_refuse(t, err);
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
