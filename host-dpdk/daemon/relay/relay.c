/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relays: life cycle and ends; theory in relay.h, the data in relay_data.c.
 */
#include "core/log.h"
#include "linger.h"
#include "relay_int.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCHES_KEPT 64u

static struct relay *relay_of(struct conn_owner *o)
{
	return (struct relay *)(void *)o;
}

static struct relay *relay_of_work(struct lcore_work *w)
{
	return (struct relay *)(void *)flow_of_work(w); /* f is first */
}

static void in_polled(struct io_op *op, int res, uint32_t flags);

/* ---- the lcore's stock ---- */

struct relay_stock *relay_stock(struct relay *r)
{
	void **local = lcore_local(relay_lcore(r));

	if (!*local)
		*local = calloc(1, sizeof(struct relay_stock));
	return *local;
}

char *relay_scratch(struct relay *r)
{
	struct relay_stock *s = relay_stock(r);

	if (s && !s->msg)
		s->msg = malloc(RELAY_MSG_MAX);
	return s ? s->msg : NULL;
}

struct passed_cmsg *relay_cmsg_get(struct relay *r, uint32_t most)
{
	struct relay_stock *s = relay_stock(r);
	struct passed_cmsg *cmsg;

	if (!s)
		return NULL;
	if (s->n_cmsgs_free)
		return s->cmsgs_free[--s->n_cmsgs_free];
	if (s->n_cmsgs == RELAY_CMSGS || s->n_cmsgs >= most)
		return NULL;
	cmsg = malloc(sizeof(*cmsg));
	s->n_cmsgs += cmsg != NULL;
	return cmsg;
}

bool relay_cmsgs_busy(struct relay *r)
{
	struct relay_stock *s = relay_stock(r);

	return s && s->n_cmsgs > s->n_cmsgs_free;
}

struct relay_batch *relay_batch_get(struct relay *r)
{
	struct relay_stock *s = relay_stock(r);
	struct relay_batch *b = s ? s->free : NULL;

	if (b) {
		s->free = b->next;
		s->n_free--;
	} else {
		b = s ? malloc(sizeof(*b)) : NULL;
		if (!b)
			return NULL;
		memset(&b->msg, 0, sizeof(b->msg));
		b->op.pending = false;
	}
	b->r = r;
	b->cmsg = NULL;
	b->first = b->n = b->bytes = 0;
	b->complete = false;
	return b;
}

void relay_batch_put(struct relay *r, struct relay_batch *b)
{
	struct relay_stock *s = relay_stock(r);

	if (b->cmsg) {
		s->cmsgs_free[s->n_cmsgs_free++] = b->cmsg;
		b->msg.msg_control = NULL;
		b->msg.msg_controllen = 0;
	}
	if (s->n_free == BATCHES_KEPT) {
		free(b);
		return;
	}
	b->next = s->free;
	s->free = b;
	s->n_free++;
}

void relay_lcore_fini(struct lcore *lc)
{
	void **local = lcore_local(lc);
	struct relay_stock *s = *local;
	struct relay_batch *b;

	*local = NULL;
	if (!s)
		return;
	while ((b = s->free)) {
		s->free = b->next;
		free(b);
	}
	while (s->n_cmsgs_free)
		free(s->cmsgs_free[--s->n_cmsgs_free]);
	free(s->msg);
	free(s);
}

/* ---- the end ---- */

static void release(struct lcore_work *w)
{
	struct relay *r = relay_of_work(w);

	conn_owner_remove(&r->f.owner);
	free(r);
}

static void close_socket(struct relay *r)
{
	struct linger abort = {.l_onoff = 1};
	bool host_eof = (r->flags & (R_TO_GUEST_DONE | R_GUEST_SHUT_RD)) == R_TO_GUEST_DONE;
	struct sndbuf_promise promised = sndbuf_close(r);
	int fd = r->fd;

	lcore_charge(&r->f.owner.gq->lq);
	if (r->ended)
		r->ended(r, !(r->flags & (R_RESET | R_ABORT)));
	r->fd = -1;
	if (r->flags & RELAY_TCP && !(r->flags & R_ABORT) && !host_eof) {
		linger_start(r->f.owner.gq, fd, &promised);
		return;
	}
	sndbuf_put(r->f.owner.gq, &promised);
	if (r->passed && (!host_eof || r->flags & RELAY_SEQPACKET) &&
	    passed_waits(fd, !(r->flags & RELAY_SEQPACKET))) {
		r->left_fd = fd;
		return;
	}
	if ((r->flags & (R_ABORT | RELAY_LINGER0)) == (R_ABORT | RELAY_LINGER0))
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
	io_close_fd(lcore_io(relay_lcore(r)), fd);
	guest_fd_put(r->f.owner.gq);
}

void relay_end_more(struct relay *r)
{
	struct io *io = lcore_io(relay_lcore(r));

	if (r->from_guest && !r->from_guest->op.pending)
		relay_from_guest_drop(r);
	if (r->to_guest || r->from_guest)
		return;
	flow_close(&r->f, r->flags & R_RESET);
	if (r->fd >= 0) {
		/* A poll under way holds the socket open. */
		io_cancel(io, &r->to_guest_poll);
		io_cancel(io, &r->from_guest_poll);
		close_socket(r);
	}
	if (r->to_guest_poll.pending || r->from_guest_poll.pending)
		return;
	if (r->left_fd >= 0) {
		guest_fd_discard(r->f.owner.gq->guest, r->left_fd);
		r->left_fd = -1;
	}
	r->f.work.run = release; /* not now: callers may access the relay once more */
	flow_defer(&r->f);
}

/* For the log. A relay that ends before it has started was refused, which is logged elsewhere. */
static void log_end(const struct relay *r, const char *what)
{
	if (r->to_guest_poll.done == in_polled)
		conn_log(&r->f.owner, r->f.conn, what);
}

static const char *reason(const struct relay *r, unsigned how)
{
	if (how & R_RESET)
		return "ended: reset by zvsockd";
	if (how & R_ABORT)
		return "ended: reset by the peer";
	if (r->flags & R_HOST_HUP)
		return "ended: the program has closed";
	return r->flags & R_GUEST_HUP ? "ended: the peer has closed" : "ended: by both sides";
}

static void end(struct relay *r, unsigned how, const char *why)
{
	if (r->flags & R_ENDING)
		return;
	log_end(r, why);
	r->flags |= (uint16_t)(R_ENDING | how);
	relay_end_more(r);
}

void relay_end(struct relay *r, unsigned how)
{
	end(r, how, reason(r, how));
}

void relay_abort(struct relay *r)
{
	if (r->flags & R_ENDING)
		relay_end_more(r);
	else
		relay_end(r, R_RESET | R_ABORT);
}

void relay_close(struct relay *r)
{
	relay_end(r, 0);
}

void relay_host_failed(struct relay *r, int err)
{
	if (err == -EPIPE) {
		relay_host_shut_rd(r);
		return;
	}
	GUEST_COUNT(r->f.owner.gq, host_resets);
	end(r, R_RESET | R_ABORT,
	    err == -ECONNRESET ? "ended: reset by the program"
			       : "ended: the program's socket failed");
}

void relay_passed(struct relay *r, const int *fd, unsigned n)
{
	struct guest_queue *gq = r->f.owner.gq;
	struct ucred who = {.pid = -1, .uid = (uid_t)-1};
	socklen_t len = sizeof(who);

	guest_fds_passed(gq->guest, fd, n);
	GUEST_COUNT(gq, fds_passed);
	(void)getsockopt(r->cred_fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
	log_line(ZV_LOG_WARN, gq->guest->name,
		 "pid %d, uid %d has sent descriptors beside its data (SCM_RIGHTS), which no guest "
		 "can get: connection reset",
		 (int)who.pid, (int)who.uid);
}

void relay_no_memory(struct relay *r)
{
	GUEST_COUNT(r->f.owner.gq, no_memory);
	end(r, R_RESET | R_ABORT, "ended: out of memory");
}

/* ---- half-close ---- */

void relay_host_eof(struct relay *r)
{
	r->flags |= R_TO_GUEST_DONE;
	if (r->flags & (R_HOST_HUP | R_FROM_GUEST_DONE)) {
		relay_end(r, 0);
		return;
	}
	log_end(r, "half-closed by the program");
	(void)zv_shutdown(r->f.conn, 1);
	relay_poll_hup(r);
}

void relay_guest_eof(struct relay *r)
{
	r->flags |= R_FROM_GUEST_DONE;
	if (r->flags & (R_TO_GUEST_DONE | R_GUEST_HUP)) {
		relay_end(r, 0);
		return;
	}
	if (r->from_guest_poll.pending) /* the OK of a hybrid socket, which goes first */
		io_submit(lcore_io(relay_lcore(r)));
	log_end(r, "half-closed by the peer");
	(void)shutdown(r->fd, SHUT_WR);
	relay_want_events(r);
}

void relay_guest_shut_rd(struct relay *r)
{
	if (!(r->flags & R_GUEST_SHUT_RD)) {
		r->flags |= R_TO_GUEST_DONE | R_GUEST_SHUT_RD;
		r->early_len = 0;
		if (r->flags & R_FROM_GUEST_DONE) {
			relay_end(r, 0);
			return;
		}
		log_end(r, "the peer receives no more");
		if (!(r->flags & RELAY_TCP))
			(void)shutdown(r->fd, SHUT_RD);
		relay_want_events(r);
	}
	relay_discard(r);
}

void relay_host_shut_rd(struct relay *r)
{
	if (r->from_guest && !r->from_guest->op.pending)
		relay_from_guest_drop(r);
	r->flags |= R_FROM_GUEST_DONE;
	if (r->flags & R_TO_GUEST_DONE) {
		relay_end(r, 0);
		return;
	}
	log_end(r, "the program receives no more");
	(void)zv_shutdown(r->f.conn, 0);
	relay_want_events(r);
}

/* ---- events ---- */

void relay_want_events(struct relay *r)
{
	uint32_t ev = 0;

	if (r->flags & R_FROM_GUEST_DONE)
		ev |= ZV_EV_HUP;
	else if (!(r->flags & R_FULL))
		ev |= ZV_EV_IN | ZV_EV_HUP;
	/* Once nothing more is sent, no call can return -EPIPE, and ZV_EV_OUT would be reported
	 * forever. */
	if (!(r->flags & R_TO_GUEST_DONE))
		ev |= ZV_EV_OUT | ZV_EV_EPIPE;
	flow_events(&r->f, ev);
}

void relay_poll_in(struct relay *r)
{
	r->flags &= (uint16_t)~R_IN_READY;
	if (!r->to_guest_poll.pending)
		io_poll(lcore_io(relay_lcore(r)), &r->to_guest_poll, r->fd, POLLIN);
}

void relay_poll_hup(struct relay *r)
{
	/* A poll in progress is for POLLIN and completes at once: it returns here. */
	if (r->to_guest_poll.pending || r->flags & R_HUP_ONLY)
		return;
	r->flags |= R_HUP_ONLY;
	io_poll_on(lcore_io(relay_lcore(r)), &r->to_guest_poll, r->fd, 0);
}

void relay_wait_out(struct relay *r)
{
	r->flags |= R_WAIT_OUT;
}

/* The state of a socket has changed, and nothing more can be read from it. */
static void host_changed(struct relay *r, int res)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (res & POLLERR && getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err &&
	    !relay_closed_unread(r, -err))
		relay_host_failed(r, -err);
	else if (res & (POLLERR | POLLHUP))
		relay_end(r, 0);
}

static void in_polled(struct io_op *op, int res, uint32_t flags)
{
	struct relay *r = (struct relay *)((char *)op - offsetof(struct relay, to_guest_poll));
	const struct lcore_queue *lq = &r->f.owner.gq->lq;
	struct mem_account *was;

	(void)flags;
	if (r->flags & R_ENDING) {
		relay_end_more(r);
		return;
	}
	if (res < 0) {
		relay_host_failed(r, res);
		return;
	}
	if (r->flags & R_HUP_ONLY) {
		host_changed(r, res);
		return;
	}
	if (res & POLLHUP)
		r->flags |= R_HOST_HUP;
	if (r->flags & R_TO_GUEST_DONE && res & POLLHUP) {
		relay_end(r, 0);
		return;
	}
	if ((r->flags & (R_TO_GUEST_DONE | R_GUEST_SHUT_RD)) == R_TO_GUEST_DONE) {
		relay_poll_hup(r);
		return;
	}
	r->flags |= R_IN_READY;
	was = lcore_for(lq);
	relay_to_guest(r);
	lcore_for_over(lq, was);
}

static void out_polled(struct io_op *op, int res, uint32_t flags)
{
	struct relay *r = (struct relay *)((char *)op - offsetof(struct relay, from_guest_poll));
	const struct lcore_queue *lq = &r->f.owner.gq->lq;
	struct mem_account *was;

	(void)flags;
	if (r->flags & R_ENDING)
		relay_end_more(r);
	else if (!(r->flags & R_FULL)) /* a multishot poll that is not needed any more */
		io_cancel(lcore_io(relay_lcore(r)), op);
	else if (res < 0 && res != -ECANCELED)
		relay_host_failed(r, res);
	else if (res > 0 && res & (POLLOUT | POLLERR | POLLHUP)) {
		r->out_ready = true;
		was = lcore_for(lq);
		relay_from_guest_resume(r);
		lcore_for_over(lq, was);
	} else if (!op->pending)
		io_poll_on(lcore_io(relay_lcore(r)), op, r->fd, POLLOUT);
}

void relay_poll_out(struct relay *r)
{
	struct io *io = lcore_io(relay_lcore(r));

	r->flags |= R_FULL;
	r->out_ready = false;
	relay_want_events(r);
	r->from_guest_poll.done = out_polled;
	if (r->from_guest_poll.pending)
		return;
	/* Once the host has half-closed, a one-shot poll completes at once, with room or not,
	 * because io_uring always polls for POLLRDHUP too. */
	if (r->flags & R_TO_GUEST_DONE)
		io_poll_on(io, &r->from_guest_poll, r->fd, POLLOUT);
	else
		io_poll(io, &r->from_guest_poll, r->fd, POLLOUT);
}

static void work(struct lcore_work *w)
{
	struct relay *r = relay_of_work(w);

	if (!(r->flags & R_ENDING)) {
		relay_from_guest_resume(r);
		relay_from_guest(r);
	}
	if (!(r->flags & R_ENDING))
		relay_to_guest(r);
}

static void conn_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct relay *r = relay_of(o);

	if (r->flags & R_ENDING)
		return; /* a request is under way; the connection is closed when it is over */
	if (ev->events & ZV_EV_ERR) {
		GUEST_COUNT(o->gq, guest_resets);
		relay_end(r, R_ABORT);
		return;
	}
	if (ev->events & ZV_EV_HUP) {
		r->flags |= R_GUEST_HUP;
		if (r->flags & R_FROM_GUEST_DONE) { /* all that the guest has sent is out */
			relay_end(r, 0);
			return;
		}
	}
	if (ev->events & ZV_EV_EPIPE && !(r->flags & R_TO_GUEST_DONE)) {
		relay_guest_shut_rd(r);
		if (r->flags & R_ENDING)
			return;
	}
	if (ev->events & ZV_EV_OUT)
		r->flags &= (uint16_t)~R_WAIT_OUT;
	flow_defer(&r->f);
}

static void owner_abort(struct conn_owner *o)
{
	relay_abort(relay_of(o));
}

/* ---- the beginning ---- */

void relay_init(struct relay *r, struct guest_queue *gq, struct zv_conn *conn,
		const struct conn_kind *kind, int fd, unsigned flags)
{
	lcore_charge(&gq->lq);
	flow_init(&r->f, gq, conn, kind, work);
	r->f.owner.event = conn_event;
	r->f.owner.abort = owner_abort;
	r->fd = r->cred_fd = fd;
	r->flags = (uint16_t)flags;
	r->to_guest_bufs = 1;
	r->left_fd = -1;
}

void relay_expect_passed(struct relay *r)
{
	r->passed = true;
	passed_expect(r->fd);
}

void relay_is_af_vsock(struct relay *r)
{
	r->af_vsock = true;
}

void relay_start(struct relay *r, const char *early, uint32_t early_len)
{
	r->early = early;
	r->early_len = early_len;
	r->to_guest_poll.done = in_polled;
	r->f.owner.event = conn_event;
	r->f.owner.abort = owner_abort;
	log_end(r, "opened");
	sndbuf_open(r);
	relay_want_events(r);
	if (early_len) {
		r->flags |= R_IN_READY;
		flow_defer(&r->f);
	} else {
		relay_poll_in(r);
	}
}
