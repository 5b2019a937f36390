/* SPDX-License-Identifier: BSD-3-Clause */
/* See acceptor.h. */
#include "acceptor.h"

#include "core/log.h"
#include "passed.h"
#include "sock_claim.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	     1024
#define ACCEPT_PAUSE (100u * (uint64_t)1000000)

struct acceptor {
	struct io_op accept; /* first */
	struct lcore_timer pause;
	struct guest *guest;
	struct lcore *lc;
	accepted_fn *begin;
	uint32_t port;
	unsigned next; /* queue for the next program */
	int fd, claim; /* claim: of a Unix socket, -1: none */
	bool passed, tcp, stopping;
	bool bound;		 /* the socket file was created here */
	char name[CFG_PATH_MAX]; /* a path, or an address as text */
};

/* ---- what has been accepted ---- */

static void dealt(struct lcore *lc, void *arg)
{
	struct accepted *d = arg;

	(void)lc;
	d->begin(d);
	free(d);
}

/* Closes @fd, which does not count as a connection's descriptor. */
static void let_go(struct guest *g, struct lcore *lc, int fd, bool passed)
{
	if (passed && passed_waits(fd, true))
		guest_fds_passed(g, &fd, 1);
	else
		io_close_fd(lcore_io(lc), fd);
}

void accepted_drop(const struct accepted *a)
{
	guest_fd_refused(a->gq, -ENOMEM);
	guest_fd_put(a->gq);
	let_go(a->gq->guest, a->gq->lc, a->fd, a->passed);
}

static void turn_away(struct acceptor *l, int fd)
{
	let_go(l->guest, l->lc, fd, l->passed);
}

static void deal(struct acceptor *l, int fd)
{
	struct guest *g = l->guest;
	struct guest_queue *gq = &g->queues[l->next++ % g->n_queues];
	const struct accepted now = {gq, l->begin, fd, l->port, l->tcp, l->passed};
	struct accepted *later;

	GUEST_COUNT(gq, host_accepted);
	if (l->tcp)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (gq->lc == l->lc) {
		l->begin(&now);
		return;
	}
	later = malloc(sizeof(*later));
	if (later) {
		*later = now;
		if (lcore_post(gq->lc, dealt, later) == 0)
			return;
		free(later);
	}
	guest_fd_refused(gq, -ENOMEM);
	guest_fd_put(gq);
	turn_away(l, fd);
}

/* ---- the listening socket ---- */

static void accept_more(struct lcore_timer *t)
{
	struct acceptor *l =
		(struct acceptor *)(void *)((char *)t - offsetof(struct acceptor, pause));

	if (!l->accept.pending && guest_fd_available(l->guest))
		io_accept(lcore_io(l->lc), &l->accept, l->fd);
	else /* its cancellation is still pending, or all would be turned away again */
		lcore_timer_start(l->lc, t, ACCEPT_PAUSE);
}

static void accept_pause(struct acceptor *l)
{
	io_cancel(lcore_io(l->lc), &l->accept);
	lcore_timer_start(l->lc, &l->pause, ACCEPT_PAUSE);
}

static void accepted(struct io_op *op, int res, uint32_t flags)
{
	struct acceptor *l = (struct acceptor *)(void *)op; /* first */

	(void)flags;
	if (res >= 0 && l->stopping) {
		turn_away(l, res);
	} else if (res >= 0 && guest_fd_get(&l->guest->queues[0])) {
		deal(l, res);
	} else if (res >= 0) {
		turn_away(l, res);
		accept_pause(l);
	} else if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM) {
		guest_fd_refused(&l->guest->queues[0], res);
		accept_pause(l);
	} else if (res < 0 && res != -ECONNABORTED && res != -EINTR && res != -ECANCELED) {
		log_line(ZV_LOG_WARN, l->guest->name, "%s: cannot accept: %s", l->name,
			 zv_strerror(res));
		accept_pause(l);
	}
	if (!op->pending && !l->stopping && !l->pause.running)
		io_accept(lcore_io(l->lc), op, l->fd);
}

static void listener_begin(struct lcore *lc, void *arg)
{
	struct acceptor *l = arg;

	l->accept.done = accepted;
	l->pause.expired = accept_more;
	io_accept(lcore_io(lc), &l->accept, l->fd);
}

static void listener_end(struct lcore *lc, void *arg)
{
	struct acceptor *l = arg;

	l->stopping = true;
	lcore_timer_stop(lc, &l->pause);
	lcore_cancel(lc, &l->accept);
}

/* ---- start and end ---- */

static int acceptor_fail(const struct acceptor *l, const char *what)
{
	int err = errno;

	guest_fails(l->guest, "%s: %s: %s", l->name, what, strerror(err));
	return -err;
}

/* Binds and listens; the claim is held. */
static int open_unix(struct acceptor *l, const struct cfg_guest *cfg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int ret;

	memcpy(sa.sun_path, l->name, sizeof(l->name));
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return acceptor_fail(l, "cannot make a socket");
	l->passed = !passed_refuse(l->fd);
	if (l->passed && guest_expects_passed(l->guest) < 0) {
		errno = ENOMEM;
		return acceptor_fail(l, "cannot listen");
	}
	if (bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return acceptor_fail(l, "cannot bind the socket");
	l->bound = true;
	/* Before listen(), so that nobody connects while the rights are wider than configured. */
	ret = sock_set_rights(l->name, cfg->socket_mode ? cfg->socket_mode : (mode_t)-1,
			      cfg->socket_uid, cfg->socket_gid);
	if (ret < 0) {
		guest_fails(l->guest, "%s: cannot set the socket's mode or owner: %s", l->name,
			    sock_rights_error(ret));
		return ret;
	}
	if (listen(l->fd, BACKLOG) < 0)
		return acceptor_fail(l, "cannot listen");
	return 0;
}

static int open_tcp(struct acceptor *l, const struct sockaddr *addr, socklen_t len)
{
	int one = 1;

	l->tcp = true;
	l->fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return acceptor_fail(l, "cannot make a socket");
	/* Connections of a zvsockd that has ended do not block the address, and "[::]" means IPv6
	 * only. */
	(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (addr->sa_family == AF_INET6)
		(void)setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(l->fd, addr, len) < 0)
		return acceptor_fail(l, errno == EADDRINUSE
						? "somebody else listens there, stop its owner or "
						  "choose another port"
						: "cannot bind the socket");
	if (listen(l->fd, BACKLOG) < 0)
		return acceptor_fail(l, "cannot listen");
	return 0;
}

static struct acceptor *acceptor_new(struct guest *g, const char *name, accepted_fn *begin,
				     uint32_t port)
{
	struct acceptor *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->guest = g;
	l->lc = g->queues[0].lc;
	l->begin = begin;
	l->port = port;
	l->fd = l->claim = -1;
	(void)snprintf(l->name, sizeof(l->name), "%s", name);
	return l;
}

static void acceptor_free(struct acceptor *l)
{
	if (l->bound)
		(void)unlink(l->name);
	if (l->fd >= 0)
		close(l->fd);
	if (l->claim >= 0)
		sock_unclaim(l->name, l->claim);
	free(l);
}

int acceptor_start_unix(struct acceptor **out, struct guest *g, const char *path,
			accepted_fn *begin, uint32_t port)
{
	struct acceptor *l = acceptor_new(g, path, begin, port);
	int ret;

	if (!l)
		return -ENOMEM;
	l->claim = ret = sock_claim(l->name);
	if (ret < 0)
		guest_fails(g, "unix socket: %s", zv_error_text());
	else
		ret = open_unix(l, guest_cfg(g));
	if (ret < 0) {
		acceptor_free(l);
		return ret;
	}
	*out = l;
	lcore_call(l->lc, listener_begin, l);
	return 0;
}

int acceptor_start_tcp(struct acceptor **out, struct guest *g, const char *name,
		       const struct sockaddr *addr, socklen_t len, accepted_fn *begin,
		       uint32_t port)
{
	struct acceptor *l = acceptor_new(g, name, begin, port);
	int ret = l ? open_tcp(l, addr, len) : -ENOMEM;

	if (ret < 0) {
		if (l)
			acceptor_free(l);
		return ret;
	}
	*out = l;
	lcore_call(l->lc, listener_begin, l);
	return 0;
}

bool acceptor_passed(const struct acceptor *l)
{
	return l->passed;
}

void acceptor_stop(struct acceptor *l)
{
	lcore_call(l->lc, listener_end, l);
	if (l->passed) { /* programs wait in it */
		guest_fds_passed(l->guest, &l->fd, 1);
		l->fd = -1;
	}
	acceptor_free(l);
}
