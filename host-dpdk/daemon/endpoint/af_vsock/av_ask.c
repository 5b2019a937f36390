/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Programs that send requests at DIR/ask. Requests are read one at a time, without waiting, and
 * answered in order; a blocking CONNECT, or a SHUTDOWN for another lcore, delays the later ones
 * until it is decided. av_turn.c limits the number in a round. Idle programs stay connected.
 */
#include "av_dgram.h"

#include "core/closers.h"
#include "core/fds.h"
#include "passed.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUESTIONS_AT_ONCE 4u /* of one program, before the next program's turn */
#define LEFT_UNREAD	  4u /* taken from a rejected program; an honest one has sent 1 */
#define CHECK_MOST	  (AV_ASKS_MAX / 4) /* all of a user; only root may have more */

static struct lcore *home_of(const struct av_ask *a)
{
	return a->space->home;
}

void av_refuse(struct dropin_msg *m, int err, const char *fmt, ...)
{
	char text[DROPIN_TEXT];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	m->result = err;
	dropin_msg_text(m, text);
}

static bool send_to(int fd, const struct dropin_msg *m)
{
	return send(fd, m, sizeof(*m), MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(*m);
}

bool av_answer(struct av_ask *a, const struct dropin_msg *m)
{
	if (a->ended)
		return false;
	if (send_to(a->fd, m))
		return true;
	av_ask_end(a);
	return false;
}

/* ---- the end ---- */

static void ask_free(struct lcore_work *w)
{
	struct av_ask *a = (struct av_ask *)(void *)((char *)w - offsetof(struct av_ask, work));
	struct av_space *s = a->space;

	TAILQ_REMOVE(&s->asks, a, link);
	s->n_ended--;
	a->user->refs--;
	av_user_put(s, a->user);
	free(a);
}

/* Not earlier: a poll under way holds the socket open, and who lets go of it last closes the
 * descriptors that are queued in it. */
static void ask_over(struct av_ask *a)
{
	av_discard(a->space, a->fd, false, a->cred.uid);
	lcore_defer(home_of(a), &a->work); /* deferred: callers may still look at it */
}

/* The program's place is free at once. Its descriptor still counts for the process (fds.h) until
 * it is closed, in this round or the next. */
static void leave_place(struct av_ask *a)
{
	TAILQ_REMOVE(&a->user->programs, a, own);
	a->user->asks--;
	a->user->refs++;
	a->space->n_asks--;
	a->space->n_ended++;
	av_fd_give(a->user);
}

void av_ask_end(struct av_ask *a)
{
	if (a->ended)
		return;
	a->ended = true;
	leave_place(a);
	av_turn_leave(a);
	av_call_withdraw(a);
	av_shutdown_forget(a);
	av_ports_check_assigned(a);
	io_cancel(lcore_io(home_of(a)), &a->poll);
	if (!a->poll.pending)
		ask_over(a);
}

bool av_ask_has_gone(const struct av_ask *a)
{
	struct pollfd p = {.fd = a->fd};

	return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* ---- those that have gone, of which nothing was read yet ---- */

bool av_may_check(const struct av_space *s, struct av_user *u, enum av_check what)
{
	const uint64_t round = lcore_round(s->home);
	const bool first = u->checked[what] != round;

	u->checked[what] = round;
	return first;
}

/* The @n in @a, unless they have not gone. */
static bool end_gone(struct av_ask *const *a, unsigned n)
{
	struct pollfd p[AV_CHECK_AT_ONCE];
	bool any = false;

	for (unsigned i = 0; i < n; i++)
		p[i] = (struct pollfd){.fd = a[i]->fd};
	if (poll(p, n, 0) <= 0)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (!(p[i].revents & POLLHUP))
			continue;
		any = true;
		av_ask_end(a[i]);
	}
	return any;
}

bool av_programs_check(struct av_space *s, struct av_user *u, const struct av_ask *asking)
{
	unsigned left = u->asks < CHECK_MOST ? u->asks : CHECK_MOST, n = 0;
	struct av_ask *a[AV_CHECK_AT_ONCE];
	bool any = false;

	if (!av_may_check(s, u, AV_CHECK_PROGRAMS))
		return false;
	while (left--) {
		struct av_ask *next = TAILQ_FIRST(&u->programs);

		TAILQ_REMOVE(&u->programs, next, own);
		TAILQ_INSERT_TAIL(&u->programs, next, own);
		if (next != asking)
			a[n++] = next;
		if (n == AV_CHECK_AT_ONCE || !left) {
			any |= end_gone(a, n);
			n = 0;
		}
	}
	return any;
}

/* ---- requests ---- */

/* Descriptors of @uid may be received: none is waiting to be closed. */
static bool may_receive(const struct av_space *s, uid_t uid)
{
	return fds_passed_reads() && closers_count(s->closers, uid) == 0;
}

/* Receives a message of a program of @uid without waiting. Returns its length; 0: the program has
 * closed; -errno; -EPERM: descriptors came with it. */
static ssize_t receive(struct av_space *s, int from, uid_t uid, struct dropin_msg *m)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct passed_cmsg room;
	int fd[PASSED_MAX];
	unsigned n_fds;
	ssize_t n;

	if (s->closers && !may_receive(s, uid) && passed_peek(from, &mh, 0) < 0)
		return -errno;
	if (s->closers)
		passed_cmsg_attach(&mh, &room);
	n = recvmsg(from, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	n_fds = s->closers ? passed_take(&mh, fd) : 0;
	if (n_fds) {
		fds_take(n_fds);
		closers_put(s->closers, uid, fd, n_fds);
	}
	if (n_fds || mh.msg_flags & MSG_CTRUNC)
		return -EPERM;
	return mh.msg_flags & MSG_TRUNC ? (ssize_t)sizeof(*m) + 1 : n;
}

static void hello(struct av_ask *a, struct dropin_msg *m)
{
	pthread_mutex_lock(&a->space->lock);
	m->local.cid = av_local_cid(a->space);
	pthread_mutex_unlock(&a->space->lock);
}

/* True: *m is the answer; false: it comes later. */
static bool on_question(struct av_ask *a, struct dropin_msg *m)
{
	m->result = 0;
	m->text[0] = 0;
	switch (m->type) {
	case DROPIN_CONNECT:
		if (m->sock_type == SOCK_DGRAM) {
			av_dgram_connect(a, m);
			return true;
		}
		return av_connect(a, m);
	case DROPIN_FILLED:
		av_filled(a, m);
		return true;
	case DROPIN_ERROR:
		av_error(a, m);
		return true;
	case DROPIN_BIND:
		av_bind(a, m);
		return true;
	case DROPIN_NAMES:
		av_names(a, m);
		return true;
	case DROPIN_BOUND:
		av_bound(a, m);
		return true;
	case DROPIN_REACH:
		av_reach(a, m);
		return true;
	case DROPIN_SHUTDOWN:
		return av_shutdown(a, m);
	default:
		hello(a, m);
		return true;
	}
}

static void hostile(struct av_ask *a, const char *why)
{
	uint32_t more;

	if (log_once(&a->space->refused, &more))
		log_line(ZV_LOG_WARN, NULL,
			 "%s: a message of pid %d, uid %u was refused, and it is hung up on: %s",
			 a->space->cfg.sockets[AV_ASK], (int)a->cred.pid, (unsigned)a->cred.uid,
			 why);
	av_ask_end(a);
}

void av_ask_serve(struct av_ask *a)
{
	for (unsigned i = 0; !a->ended && !av_ask_waits(a); i++) {
		struct dropin_msg m;
		const char *why = NULL;
		ssize_t n;

		if (i == QUESTIONS_AT_ONCE || !av_turn_may(a->space)) {
			av_turn_wait(a);
			return;
		}
		n = receive(a->space, a->fd, a->cred.uid, &m);
		if (n == -EAGAIN)
			return;
		av_turn_done(a->space);
		if (n == -EINTR)
			continue;
		if (n == -EPERM)
			why = "it comes with descriptors";
		else if (n > 0)
			why = dropin_msg_refused(&m, (size_t)n);
		if (why)
			hostile(a, why);
		else if (n <= 0)
			av_ask_end(a);
		else if (on_question(a, &m))
			(void)av_answer(a, &m);
	}
}

void av_ask_decided(struct av_ask *a, struct dropin_msg *m)
{
	a->busy = NULL;
	if (av_answer(a, m) && a->unread)
		av_turn_wait(a); /* data arrived in the meantime */
}

static void ask_polled(struct io_op *op, int res, uint32_t flags)
{
	struct av_ask *a = (struct av_ask *)(void *)op; /* first */

	(void)flags;
	if (a->ended) {
		if (!op->pending)
			ask_over(a);
		return;
	}
	if ((res < 0 && res != -ECANCELED) ||
	    (res > 0 && res & (POLLHUP | POLLERR) && av_ask_waits(a))) {
		av_ask_end(a);
		return;
	}
	if (!op->pending)
		io_poll_on(lcore_io(home_of(a)), op, a->fd, POLLIN);
	a->unread = true;
	av_turn(a);
}

/* ---- the beginning ---- */

/* Whether the program may bind ports below 1024. */
static bool may_low(const struct cfg_space *c, int fd, const struct ucred *cred)
{
	gid_t gids[256];
	socklen_t len = sizeof(gids);

	if (cfg_space_low(c, cred->uid, &cred->gid, 1))
		return true;
	if (!c->n_low_groups || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) < 0)
		return false;
	return cfg_space_low(c, cred->uid, gids, (unsigned)(len / sizeof(gids[0])));
}

static bool may_ask(const struct av_space *s, const struct av_user *u)
{
	return av_user_may(u, u->asks, s->n_asks, AV_ASKS_MAX);
}

/* Takes a descriptor for a program of @u that may be served. NULL: done; else why not (less than
 * DROPIN_TEXT), and *err. */
static const char *no_place(struct av_space *s, struct av_user *u, bool room, int *err)
{
	_Static_assert(AV_ASKS_MAX == 4096, "the text below says so");
	bool fd = false;

	*err = -ENOBUFS;
	if (!room)
		return "zvsockd has no descriptor left: raise its limit of open files";
	*err = -EUSERS;
	if (av_is_flooding(s, u->uid))
		return "this user has sent too many descriptors that take long to close: end its "
		       "programs";
	if (may_ask(s, u) && av_fd_take(u, AV_FDS_SHARE))
		return NULL;
	u->refs++; /* it may have nothing else */
	(void)av_programs_check(s, u, NULL);
	room = may_ask(s, u);
	if (room && !(fd = av_fd_take(u, AV_FDS_SHARE))) {
		av_ports_check(s, u, NULL);
		fd = av_fd_take(u, AV_FDS_SHARE);
	}
	u->refs--;
	if (!room)
		return "there are as many programs here as may be: 1024 of a user, 4096 in all";
	if (!fd)
		return "no more sockets for this user: end programs, or raise zvsockd's limit of "
		       "open files";
	return NULL;
}

/* The socket gets an answer before any request. */
static void turn_away(struct av_space *s, int fd, const struct ucred *cred, int err,
		      const char *why)
{
	struct dropin_msg m;
	uint32_t more;

	dropin_msg_init(&m, DROPIN_HELLO);
	av_refuse(&m, err, "zvsockd: %s", why);
	(void)send_to(fd, &m);
	if (log_once(&s->refused, &more))
		log_line(ZV_LOG_WARN, NULL, "%s: pid %d, uid %u was refused: %s",
			 s->cfg.sockets[AV_ASK], (int)cred->pid, (unsigned)cred->uid, why);
	/* If a socket is closed with an unread request in it, the peer loses the answer. */
	(void)shutdown(fd, SHUT_RD);
	for (unsigned i = 0; i < LEFT_UNREAD && receive(s, fd, cred->uid, &m) > 0; i++)
		;
	av_discard(s, fd, false, cred->uid);
}

void av_ask_begin(struct av_space *s, int fd, bool room)
{
	struct av_ask *a = calloc(1, sizeof(*a));
	socklen_t len = sizeof(struct ucred);
	struct ucred cred = {.uid = CLOSERS_NOBODY};
	const char *why = "zvsockd has no memory left";
	int err = -ENOMEM;

	if (a && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		a->user = av_user(s, cred.uid);
	if (a && a->user)
		why = no_place(s, a->user, room, &err);
	if (why) {
		turn_away(s, fd, &cred, err, why);
		if (a && a->user)
			av_user_put(s, a->user);
		free(a);
		return;
	}
	a->space = s;
	a->cred = cred;
	a->fd = fd;
	a->low = may_low(&s->cfg, fd, &cred);
	a->poll.done = ask_polled;
	a->work.run = ask_free;
	TAILQ_INSERT_TAIL(&s->asks, a, link);
	TAILQ_INSERT_TAIL(&a->user->programs, a, own);
	s->n_asks++;
	a->user->asks++;
	av_turn(a);    /* a program sends a request as soon as it has connected */
	if (!a->ended) /* polled at once if there is more */
		io_poll_on(lcore_io(s->home), &a->poll, fd, POLLIN);
}
