/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The unix endpoint, host to guest: the guest's listening socket belongs to the lcore of queue 0,
 * which accepts by one multishot request and deals the sockets to the guest's queues in turn; a
 * queue whose rings do not run passes them on. The dialogue with a client is in unix_client.c.
 *
 * When descriptors run out, accepting pauses: the backlog holds the others, and nobody spins.
 */
#include "core/log.h"
#include "endpoint_unix.h"
#include "passed.h"
#include "sock_claim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	     1024
#define ACCEPT_PAUSE (100u * (uint64_t)1000000)

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

/* Closes what does not count as a connection's descriptor. */
static void turn_away(struct unix_listener *l, int fd)
{
	if (unix_guest(l->guest)->passed && passed_waits(fd, true))
		guest_fds_passed(l->guest, &fd, 1);
	else
		io_close_fd(lcore_io(l->lc), fd);
}

static void deal(struct unix_listener *l, int fd)
{
	struct guest *g = l->guest;
	struct guest_queue *gq = &g->queues[l->next++ % g->n_queues];
	struct dealt *d;

	GUEST_COUNT(gq, host_accepted);
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
	guest_fd_refused(gq, -ENOMEM);
	guest_fd_put(gq);
	turn_away(l, fd);
}

/* ---- the listening socket ---- */

static void accept_more(struct lcore_timer *t)
{
	struct unix_listener *l =
		(struct unix_listener *)(void *)((char *)t - offsetof(struct unix_listener, pause));

	if (!l->accept.pending && guest_fd_room(l->guest))
		io_accept(lcore_io(l->lc), &l->accept, l->fd);
	else /* its cancellation is still under way, or all would be turned away again */
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
		turn_away(l, res);
	} else if (res >= 0 && guest_fd_get(&l->guest->queues[0])) {
		deal(l, res);
	} else if (res >= 0) {
		turn_away(l, res);
		accept_pause(l);
	} else if (res == -EMFILE || res == -ENFILE || res == -ENOBUFS || res == -ENOMEM) {
		guest_fd_refused(&l->guest->queues[0], res);
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
	unix_guest(l->guest)->passed = !passed_refuse(l->fd);
	if (unix_guest(l->guest)->passed && guest_expects_passed(l->guest) < 0) {
		errno = ENOMEM;
		return listener_fail(l, "cannot listen");
	}
	if (bind(l->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return listener_fail(l, "cannot bind the socket");
	/* Before listen(), so that nobody connects while the rights are wider than configured. */
	errno = -sock_set_rights(l->path, cfg->socket_mode ? cfg->socket_mode : (mode_t)-1,
				 cfg->socket_uid, cfg->socket_gid);
	if (errno)
		return listener_fail(l, "cannot set the socket's mode or owner");
	if (listen(l->fd, BACKLOG) < 0)
		return listener_fail(l, "cannot listen");
	return 0;
}

void unix_listener_stop(struct unix_listener *l)
{
	lcore_call(l->lc, listener_end, l);
	(void)unlink(l->path);
	if (unix_guest(l->guest)->passed) /* clients wait in it */
		guest_fds_passed(l->guest, &l->fd, 1);
	else
		close(l->fd);
	sock_unclaim(l->path, l->claim);
	free(l);
}

int unix_listener_start(struct unix_listener **out, struct guest *g)
{
	struct unix_listener *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	l->guest = g;
	l->lc = g->queues[0].lc;
	l->fd = -1;
	memcpy(l->path, unix_path(g), sizeof(l->path));
	l->claim = sock_claim(l->path);
	if (l->claim < 0) {
		ret = l->claim;
		guest_fails(g, "unix socket: %s", zv_error_text());
		free(l);
		return ret;
	}
	ret = listener_open(l, guest_cfg(g));
	if (ret < 0) {
		if (l->fd >= 0)
			close(l->fd);
		sock_unclaim(l->path, l->claim);
		free(l);
		return ret;
	}
	*out = l;
	lcore_call(l->lc, listener_begin, l);
	return 0;
}
