/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix endpoint: hybrid vsock as Firecracker and vhost-device-vsock speak it.
 *
 * Theory of operation
 * -------------------
 * Host to guest: the guest's listening socket belongs to the lcore of queue 0, which accepts by one
 * multishot request and deals the sockets to the guest's queues in turn; a queue whose rings do not
 * run passes them on. What is said there is in unix_client.c.
 *
 * Guest to host: the connection to PATH_<port> is made without waiting. A full backlog is tried
 * again until the socket layer's own time for an answer is over.
 *
 * When descriptors run out, accepting pauses: the backlog holds the others, and nobody spins.
 */
#include "core/log.h"
#include "endpoint.h"
#include "relay/relay.h"
#include "sock_claim.h"
#include "unix_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	     1024
#define ACCEPT_PAUSE (100u * (uint64_t)1000000)
/* The first wait, doubled so often at most: a guest may have thousands of these. */
#define BACKLOG_RETRY	(20u * (uint64_t)1000000)
#define BACKLOG_DOUBLED 4u

struct unix_listener {
	struct io_op accept;
	struct lcore_timer pause;
	struct guest *guest;
	struct lcore *lc;
	unsigned next; /* queue that gets the next client */
	int fd, claim;
	bool stopping;
	char path[CFG_PATH_MAX];
};

/* ---- host to guest ---- */

/* A client on its way to another lcore. */
struct dealt {
	struct guest_queue *gq;
	int fd;
};

static void client_dealt(struct lcore *lc, void *arg)
{
	struct dealt *d = arg;

	(void)lc;
	unix_client_begin(d->gq, d->fd);
	free(d);
}

static void deal(struct unix_listener *l, int fd)
{
	struct guest *g = l->guest;
	struct guest_queue *gq = &g->queues[l->next++ % g->n_queues];
	struct dealt *d;

	ENDPOINT_COUNT(gq, host_accepted);
	if (gq->lc == l->lc) {
		unix_client_begin(gq, fd);
		return;
	}
	d = malloc(sizeof(*d));
	if (d) {
		*d = (struct dealt){gq, fd};
		if (lcore_post(gq->lc, client_dealt, d) == 0)
			return;
		free(d);
	}
	endpoint_fd_refused(gq, -ENOMEM);
	endpoint_fd_put(gq);
	io_close_fd(lcore_io(l->lc), fd);
}

/* ---- the listening socket ---- */

static void accept_more(struct lcore_timer *t)
{
	struct unix_listener *l =
		(struct unix_listener *)(void *)((char *)t - offsetof(struct unix_listener, pause));

	if (!l->accept.pending)
		io_accept(lcore_io(l->lc), &l->accept, l->fd);
	else /* its cancellation is still under way */
		lcore_timer_start(l->lc, t, ACCEPT_PAUSE);
}

static void accept_pause(struct unix_listener *l)
{
	io_cancel(lcore_io(l->lc), &l->accept);
	lcore_timer_start(l->lc, &l->pause, ACCEPT_PAUSE);
}

static void accepted(struct io_op *op, int res, uint32_t flags)
{
	struct unix_listener *l = (struct unix_listener *)(void *)op; /* first */
	struct io *io = lcore_io(l->lc);

	(void)flags;
	if (res >= 0 && l->stopping) {
		io_close_fd(io, res);
	} else if (res >= 0 && endpoint_fd_get(&l->guest->queues[0])) {
		deal(l, res);
	} else if (res >= 0) {
		io_close_fd(io, res);
		accept_pause(l);
	} else if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM) {
		endpoint_fd_refused(&l->guest->queues[0], res);
		accept_pause(l);
	} else if (res == -EINVAL && !io->accept_once) {
		io->accept_once = true;
	} else if (res < 0 && res != -ECONNABORTED && res != -EINTR && res != -ECANCELED) {
		log_line(ZV_LOG_WARN, l->guest->name, "%s: cannot accept: %s", l->path,
			 zv_strerror(res));
		accept_pause(l);
	}
	if (!op->pending && !l->stopping && !l->pause.running)
		io_accept(io, op, l->fd);
}

static void listener_begin(struct lcore *lc, void *arg)
{
	struct unix_listener *l = arg;

	l->accept.done = accepted;
	l->pause.expired = accept_more;
	io_accept(lcore_io(lc), &l->accept, l->fd);
}

static void listener_end(struct lcore *lc, void *arg)
{
	struct unix_listener *l = arg;

	l->stopping = true;
	lcore_timer_stop(lc, &l->pause);
	lcore_cancel(lc, &l->accept);
}

static int listener_fail(const struct unix_listener *l, const char *what)
{
	int err = errno;

	guest_fails(l->guest, "%s: %s: %s", l->path, what, strerror(err));
	return -err;
}

/* Binds and listens; the claim is held. */
static int listener_open(struct unix_listener *l, const struct cfg_guest *cfg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	memcpy(sa.sun_path, l->path, sizeof(l->path));
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return listener_fail(l, "cannot make a socket");
	if (bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return listener_fail(l, "cannot bind the socket");
	/* Before listen(): nobody gets in with rights that are not meant. */
	errno = -sock_set_rights(l->path, cfg->socket_mode ? cfg->socket_mode : (mode_t)-1,
				 cfg->socket_uid, cfg->socket_gid);
	if (errno)
		return listener_fail(l, "cannot set the socket's mode or owner");
	if (listen(l->fd, BACKLOG) < 0)
		return listener_fail(l, "cannot listen");
	return 0;
}

static void unix_stop(struct guest *g)
{
	struct unix_listener *l = g->ep->listener;

	if (!l)
		return;
	g->ep->listener = NULL;
	lcore_call(l->lc, listener_end, l);
	(void)unlink(l->path);
	close(l->fd);
	sock_unclaim(l->path, l->claim);
	free(l);
}

static int unix_start(struct guest *g)
{
	const struct cfg_guest *cfg = guest_cfg(g);
	struct unix_listener *l;
	int ret;

	if (!cfg->unix_path[0])
		return 0;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->guest = g;
	l->lc = g->queues[0].lc;
	l->fd = -1;
	memcpy(l->path, cfg->unix_path, sizeof(l->path));
	l->claim = sock_claim(l->path);
	if (l->claim < 0) {
		ret = l->claim;
		guest_fails(g, "unix socket: %s", zv_error_text());
		free(l);
		return ret;
	}
	ret = listener_open(l, cfg);
	if (ret < 0) {
		if (l->fd >= 0)
			close(l->fd);
		sock_unclaim(l->path, l->claim);
		free(l);
		return ret;
	}
	g->ep->listener = l;
	lcore_call(l->lc, listener_begin, l);
	return 0;
}

/* ---- guest to host ---- */

/* A guest's connection on its way to PATH_<port>. */
struct target {
	struct relay r;		  /* first */
	struct lcore_timer retry; /* the backlog is full */
	unsigned waits;		  /* so far, no more than BACKLOG_DOUBLED */
	uint32_t port;
};

static void target_freed(struct relay *r)
{
	free(r);
}

/* A socket that stands there itself: neither a link to one nor a second name of one elsewhere. */
static int check_target(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return st.st_nlink == 1 ? 0 : -EMLINK;
}

/*
 * Who may create files beside the hybrid socket could plant a link to a socket that only zvsockd
 * may connect to (root's, another guest's, the control socket). So the name is looked up once, what
 * it leads to is checked, and the connection goes to that.
 */
static int target_connect(const struct target *t)
{
	const struct cfg_guest *cfg = guest_cfg(t->r.owner.gq->guest);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, ret;

	if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s_%u", cfg->unix_path, t->port) >=
	    (int)sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = open(sa.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = check_target(fd);
	if (ret == 0) {
		(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", fd);
		if (connect(t->r.fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
			ret = -errno;
	}
	(void)close(fd);
	return ret;
}

static const char *refusal(int err)
{
	switch (err) {
	case -EPROTOTYPE:
		return "the program there has a socket of another type";
	case -ELOOP:
		return "it is a symbolic link, and links are not followed: bind the socket there";
	case -EMLINK:
		return "it has a second name elsewhere: bind a socket of its own there";
	case -ENOTSOCK:
		return "it is no socket";
	default:
		return zv_strerror(err);
	}
}

static void target_refuse(struct target *t, int err)
{
	struct guest_queue *gq = t->r.owner.gq;
	/* Nobody there, for this type of socket: a guest may try that as often as it likes. */
	bool nobody = err == -ENOENT || err == -ECONNREFUSED || err == -EPROTOTYPE;

	if (nobody)
		ENDPOINT_COUNT(gq, connect_refused);
	else if (err == -ETIMEDOUT)
		ENDPOINT_COUNT(gq, connect_timeout);
	else
		ENDPOINT_COUNT(gq, connect_failed);
	log_line(nobody ? ZV_LOG_DEBUG : ZV_LOG_WARN, gq->guest->name, "%s_%u: %s",
		 guest_cfg(gq->guest)->unix_path, t->port, refusal(err));
	(void)zv_conn_answer(t->r.conn, -ECONNREFUSED);
	relay_abort(&t->r);
}

/* Goes on with the result of connect(2). */
static void target_step(struct target *t, int err)
{
	struct guest_queue *gq = t->r.owner.gq;

	if (err == -EAGAIN || err == -EINTR) {
		lcore_timer_start(gq->lc, &t->retry, BACKLOG_RETRY << t->waits);
		t->waits += t->waits < BACKLOG_DOUBLED;
		return;
	}
	if (err < 0) {
		target_refuse(t, err);
		return;
	}
	if (!endpoint_may_serve(gq, t->r.fd, t->port)) {
		(void)zv_conn_answer(t->r.conn, -ECONNREFUSED);
		relay_abort(&t->r);
		return;
	}
	if (zv_conn_answer(t->r.conn, 0) < 0) { /* it has given up */
		relay_abort(&t->r);
		return;
	}
	ENDPOINT_COUNT(gq, guest_joined);
	relay_start(&t->r, NULL, 0);
}

static void target_again(struct lcore_timer *timer)
{
	struct target *t =
		(struct target *)(void *)((char *)timer - offsetof(struct target, retry));

	target_step(t, target_connect(t));
}

static void target_abort(struct conn_owner *o)
{
	struct target *t = (struct target *)(void *)o;

	lcore_timer_stop(o->gq->lc, &t->retry);
	relay_abort(&t->r);
}

/* While the backlog is full: nobody has answered in time, or the guest has given up. */
static void target_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct target *t = (struct target *)(void *)o;

	if (!(ev->events & ZV_EV_ERR))
		return;
	lcore_timer_stop(o->gq->lc, &t->retry);
	if (ev->err == -ETIMEDOUT)
		target_refuse(t, ev->err);
	else
		relay_abort(&t->r);
}

static int unix_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	bool seq = info->type == ZV_SEQPACKET;
	struct target *t;
	int fd;

	if (!guest_cfg(gq->guest)->unix_path[0] || info->local_cid != ZV_CID_HOST)
		return 0;
	if (!endpoint_fd_get(gq))
		return -ECONNREFUSED;
	t = calloc(1, sizeof(*t));
	fd = t ? socket(AF_UNIX,
			(seq ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
	       : -1;
	if (fd < 0) {
		endpoint_fd_refused(gq, t ? -errno : -ENOMEM);
		endpoint_fd_put(gq);
		free(t);
		return -ECONNREFUSED;
	}
	relay_init(&t->r, gq, conn, fd, seq ? RELAY_SEQPACKET : 0, target_freed);
	t->r.owner.event = target_event;
	t->r.owner.abort = target_abort;
	t->retry.expired = target_again;
	t->port = info->local_port;
	target_step(t, target_connect(t));
	return 1;
}

const struct endpoint_ops endpoint_unix = {
	.name = "unix",
	.start = unix_start,
	.stop = unix_stop,
	.serve = unix_serve,
};
