/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relays: payload in both directions; theory in relay.h.
 */
#include "relay_int.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define RECV_STEP 16u

static struct relay_batch *batch_of(struct io_op *op)
{
	return (struct relay_batch *)(void *)op; /* first */
}

/* ---- guest to host ---- */

void relay_from_guest_drop(struct relay *r)
{
	struct relay_batch *b = r->from_guest;

	if (b->first < b->n)
		zv_buf_release(r->f.owner.gq->q, b->buf + b->first, b->n - b->first);
	relay_batch_put(r, b);
	r->from_guest = NULL;
}

/* Receives what has arrived, for a stream about @most bytes. > 0: there may be more; 0: the guest
 * has ended; or -errno. */
static int gather(struct relay *r, struct relay_batch *b, uint32_t most)
{
	bool seq = r->flags & RELAY_SEQPACKET;

	while (b->n < RELAY_BATCH && (seq || b->bytes < most) && !b->complete) {
		unsigned want = RELAY_BATCH - b->n < RECV_STEP ? RELAY_BATCH - b->n : RECV_STEP;
		int n;

		want = seq ? 1 : want; /* not beyond the end of a message */
		n = zv_buf_recv(r->f.conn, &b->buf[b->n], want);
		if (n <= 0)
			return n;
		for (; n > 0; n--, want--, b->n++) {
			struct zv_buf *z = &b->buf[b->n];

			b->iov[b->n] = (struct iovec){z->data, z->len};
			b->bytes += z->len;
			b->complete = seq && (z->flags & ZV_EOM);
		}
		if (want)
			return -EAGAIN;
	}
	return 1;
}

/* Handles a failed or finished send. True: the batch is done and the relay continues. */
static bool send_over(struct relay *r, struct relay_batch *b, int res)
{
	if (res == -EAGAIN || res == -EINTR)
		return false;
	if (res < 0) {
		if (res == -EMSGSIZE)
			GUEST_COUNT(r->f.owner.gq, msg_too_long);
		if (res == -ENOMEM || res == -ENOBUFS)
			relay_no_memory(r);
		else if (relay_closed_unread(r, res)) /* what it had sent is still to be read */
			relay_host_shut_rd(r);
		else
			relay_host_failed(r, res);
		return false;
	}
	if ((uint32_t)res == b->bytes && (res || b->complete)) {
		relay_from_guest_drop(r);
		return true;
	}
	return false;
}

/* The kernel took only @len bytes of the batch: releases those buffers. */
static void advance(struct relay *r, struct relay_batch *b, uint32_t len)
{
	uint32_t k = b->first;

	b->bytes -= len;
	while (len >= b->iov[k].iov_len) {
		len -= (uint32_t)b->iov[k].iov_len;
		k++;
	}
	b->iov[k].iov_base = (char *)b->iov[k].iov_base + len;
	b->iov[k].iov_len -= len;
	zv_buf_release(r->f.owner.gq->q, b->buf + b->first, k - b->first);
	b->first = k;
}

static void sent(struct io_op *op, int res, uint32_t flags)
{
	struct relay_batch *b = batch_of(op);
	struct relay *r = b->r;

	(void)flags;
	if (r->flags & R_ENDING) {
		relay_end_more(r);
		return;
	}
	if (send_over(r, b, res)) {
		if (r->flags & R_FROM_GUEST_END) {
			relay_guest_eof(r);
		} else if (r->flags & R_FULL) {
			r->flags &= (uint16_t)~R_FULL;
			relay_want_events(r);
		}
	} else if (!(r->flags & R_ENDING) && r->from_guest) {
		if (r->flags &
		    R_FROM_GUEST_DONE) { /* relay_check_shut_rd() has found out meanwhile */
			relay_from_guest_drop(r);
			return;
		}
		if (res > 0)
			advance(r, b, (uint32_t)res);
		sndbuf_full(r);
		relay_poll_out(r);
	}
}

/*
 * The kernel accesses the guest's memory when a request is submitted. If the lcore looks (lcore.h),
 * such a request is submitted alone: those before it first, and then that one.
 */
static struct io_uring_sqe *sqe_for(struct relay *r, struct relay_batch *b)
{
	struct io *io = lcore_io(relay_lcore(r));

	if (__builtin_expect(lcore_looks(relay_lcore(r)), 0))
		io_submit(io);
	return io_sqe(io, &b->op);
}

static void submit_alone(struct relay *r)
{
	const struct lcore_queue *lq = &r->f.owner.gq->lq;
	struct mem_account *was;

	if (__builtin_expect(!lcore_looks(relay_lcore(r)), 1))
		return;
	was = lcore_for(lq);
	io_submit(lcore_io(relay_lcore(r)));
	lcore_for_over(lq, was);
}

static void send_batch(struct relay *r, struct relay_batch *b)
{
	struct io_uring_sqe *sqe;
	unsigned n = b->n - b->first;

	if (r->flags & RELAY_SEQPACKET && !sndbuf_fits(r, b->bytes)) {
		r->flags |= R_FULL;
		r->out_ready = false;
		relay_want_events(r);
		return;
	}
	sqe = sqe_for(r, b);
	b->op.done = sent;
	if (n == 1) {
		io_uring_prep_send(sqe, r->fd, b->iov[b->first].iov_base, b->iov[b->first].iov_len,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		b->msg.msg_iov = b->iov + b->first;
		b->msg.msg_iovlen = n;
		io_uring_prep_sendmsg(sqe, r->fd, &b->msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	submit_alone(r);
}

/* Adds what has arrived since to the rest that a full socket left: a rest sent alone would fill
 * only part of the room there is now, and wake the host program for little. */
static void top_up(struct relay *r, struct relay_batch *b, uint32_t most)
{
	uint32_t n = b->n - b->first;

	memmove(b->iov, b->iov + b->first, n * sizeof(b->iov[0]));
	memmove(b->buf, b->buf + b->first, n * sizeof(b->buf[0]));
	b->first = 0;
	b->n = n;
	if (gather(r, b, most) == 0)
		r->flags |= R_FROM_GUEST_END;
}

void relay_from_guest_resume(struct relay *r)
{
	struct relay_batch *b = r->from_guest;
	uint32_t most;

	if (!r->out_ready || !b || b->op.pending)
		return;
	most = flow_may(&r->f);
	if (!most)
		return;
	r->out_ready = false;
	if (!(r->flags & (RELAY_SEQPACKET | R_FROM_GUEST_END | R_FROM_GUEST_DONE)))
		top_up(r, b, most);
	(void)flow_moved(&r->f, b->bytes);
	send_batch(r, b);
}

void relay_from_guest(struct relay *r)
{
	struct relay_batch *b = r->from_guest;
	uint32_t most, before;
	int ret;

	if (r->flags & (R_FROM_GUEST_END | R_FROM_GUEST_DONE | R_FULL))
		return;
	if (b && b->op.pending)
		return;
	most = flow_may(&r->f);
	if (!most)
		return;
	if (!b) /* otherwise: the beginning of a message */
		b = r->from_guest = relay_batch_get(r);
	if (!b) {
		relay_no_memory(r);
		return;
	}
	before = b->bytes;
	ret = gather(r, b, most);
	if (b->bytes != before)
		(void)flow_moved(&r->f, b->bytes - before);
	if (ret == 0)
		r->flags |= R_FROM_GUEST_END;
	if (r->flags & RELAY_SEQPACKET && !b->complete) {
		if (b->n == RELAY_BATCH) {
			GUEST_COUNT(r->f.owner.gq, msg_too_long);
			relay_end(r, R_RESET | R_ABORT);
			return;
		}
		if (b->n && ret)
			return; /* the rest will come */
		relay_from_guest_drop(r);
		b = NULL;
	} else if (b->n) {
		send_batch(r, b);
	} else {
		relay_from_guest_drop(r);
		b = NULL;
	}
	if (ret == 0 && !b)
		relay_guest_eof(r);
}

/* send(2) first checks whether the other end receives, and accesses the data last: from an address
 * where nothing can be, it sends nothing and says -EPIPE or -EFAULT. */
void relay_check_shut_rd(struct relay *r)
{
	int err;

	if (r->flags & (R_ENDING | R_FROM_GUEST_DONE))
		return;
	do
		err = send(r->fd, NULL, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
	while (err == -EINTR);
	if (relay_closed_unread(r, err))
		relay_host_shut_rd(r);
	else if (err != -EFAULT && err != -EAGAIN)
		relay_host_failed(r, err);
}

/* ---- host to guest ---- */

/* Estimates the buffers for the next read: as this one, which used @used of @n. */
static void learn(struct relay *r, unsigned used, unsigned n, bool full)
{
	if (full)
		r->to_guest_bufs = (uint8_t)(n * 2 < RELAY_BATCH ? n * 2 : RELAY_BATCH);
	else if (used <= r->to_guest_bufs / 2)
		r->to_guest_bufs = (uint8_t)(used ? used : 1);
}

/* A read is charged by its size, known only when it completes; until then the maximum is
 * charged. */
static void charge_read(struct relay *r, struct relay_batch *b)
{
	b->charged = work_of(b->bytes / WORK_BYTES);
	r->f.owner.gq->left -= b->charged;
}

static void to_guest_over(struct relay *r)
{
	r->f.owner.gq->left += r->to_guest->charged;
	relay_batch_put(r, r->to_guest);
	r->to_guest = NULL;
}

/* @len bytes have been read into the batch's buffers. */
static int forward(struct relay *r, struct relay_batch *b, uint32_t len)
{
	uint32_t left = len;
	unsigned used = 0;

	for (; left; used++) {
		struct zv_buf *z = &b->buf[used];

		z->len = left < z->capacity ? left : z->capacity;
		left -= z->len;
	}
	if (used < b->n)
		zv_buf_cancel(r->f.conn, b->buf + used, b->n - used);
	learn(r, used, b->n, len == b->bytes);
	(void)flow_moved(&r->f, len);
	return zv_buf_send(r->f.conn, b->buf, used);
}

/* Checks for descriptors received with @res bytes. Returns @res, or -EPERM. */
static int take_passed(struct relay *r, struct relay_batch *b, int res)
{
	int fd[PASSED_MAX];
	unsigned n = passed_take(&b->msg, fd);

	if (!n && !(b->msg.msg_flags & MSG_CTRUNC))
		return res;
	relay_passed(r, fd, n);
	return -EPERM;
}

static void received(struct io_op *op, int res, uint32_t flags)
{
	struct relay_batch *b = batch_of(op);
	struct relay *r = b->r;
	int ret = 0;

	(void)flags;
	if (b->cmsg && res > 0)
		res = take_passed(r, b, res);
	if (res > 0 && !(r->flags & R_ENDING))
		ret = forward(r, b, (uint32_t)res);
	else
		zv_buf_cancel(r->f.conn, b->buf, b->n);
	to_guest_over(r);
	if (r->flags & R_ENDING)
		relay_end_more(r);
	else if (ret == -EPIPE ||
		 r->flags & R_GUEST_SHUT_RD) /* it may have shut down receiving meanwhile */
		relay_guest_shut_rd(r);
	else if (res == 0)
		relay_host_eof(r);
	else if (res < 0 && res != -EAGAIN && res != -EINTR && !relay_closed_unread(r, res))
		relay_host_failed(r, res);
	else if (r->flags & R_HOST_HUP) /* nothing more to poll for: on to the end of file */
		flow_defer(&r->f);
}

/* Sends bytes that were read before the relay began. True: all of them have been sent to the
 * guest. */
static bool send_early(struct relay *r)
{
	while (r->early_len) {
		ssize_t n = zv_send(r->f.conn, r->early, r->early_len, 0);

		if (n == -EAGAIN)
			relay_wait_out(r);
		else if (n == -EPIPE)
			relay_guest_shut_rd(r);
		if (n < 0)
			return false; /* any other error: ZV_EV_ERR follows */
		(void)flow_moved(&r->f, (uint32_t)n);
		r->early += n;
		r->early_len -= (uint32_t)n;
	}
	return true;
}

/* Reserves buffers of the guest for @bytes. Returns their number, or 0: not now, or never. */
static unsigned reserve(struct relay *r, struct relay_batch *b, uint32_t bytes)
{
	uint32_t cap = r->to_guest_bufs > 1 ? flow_buffer(&r->f) : FLOW_ANY_BUFFER;
	uint32_t most = bytes / cap ? bytes / cap : 1;
	int n = flow_alloc(&r->f, b->buf, r->to_guest_bufs < most ? r->to_guest_bufs : most, cap);

	if (n == -EAGAIN)
		relay_wait_out(r);
	else if (n == -ENOBUFS) /* others hold them, at most until the end of this round */
		flow_defer(&r->f);
	if (n < 0)
		return n == -EPIPE ? (relay_guest_shut_rd(r), 0) : 0;
	b->n = (uint32_t)n;
	for (int i = 0; i < n; i++) {
		b->iov[i] = (struct iovec){b->buf[i].data, b->buf[i].capacity};
		b->bytes += b->buf[i].capacity;
	}
	return b->n;
}

/* Starts the read of a batch. */
static void receive(struct relay *r, struct relay_batch *b)
{
	struct io_uring_sqe *sqe = sqe_for(r, b);

	if (b->n == 1 && !b->cmsg) {
		io_uring_prep_recv(sqe, r->fd, b->buf[0].data, b->buf[0].capacity, MSG_DONTWAIT);
	} else {
		b->msg.msg_iov = b->iov;
		b->msg.msg_iovlen = b->n;
		if (b->cmsg)
			passed_cmsg_attach(&b->msg, b->cmsg);
		io_uring_prep_recvmsg(sqe, r->fd, &b->msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	}
	submit_alone(r);
}

/* The same at once, looking first. */
static void receive_safely(struct relay *r, struct relay_batch *b)
{
	int n;

	b->msg.msg_iov = b->iov;
	b->msg.msg_iovlen = b->n;
	n = (int)passed_read(r->fd, &b->msg);
	if (n < 0)
		n = -errno;
	if (n == -EPERM)
		relay_passed(r, NULL, 0);
	received(&b->op, n, 0);
}

void relay_to_guest(struct relay *r)
{
	uint32_t most, reads = r->passed ? guest_passed_reads(r->f.owner.gq->guest) : 0;
	struct passed_cmsg *cmsg = NULL;
	struct relay_batch *b;

	if (!(r->flags & R_IN_READY) || r->to_guest)
		return;
	if (r->flags & R_GUEST_SHUT_RD) {
		relay_discard(r);
		return;
	}
	if (r->flags & (R_TO_GUEST_DONE | R_WAIT_OUT))
		return;
	most = flow_may(&r->f);
	if (!most || (r->early_len && !send_early(r)))
		return;
	if (r->flags & RELAY_SEQPACKET) {
		relay_to_guest_seq(r, most);
		return;
	}
	cmsg = reads ? relay_cmsg_get(r, reads) : NULL;
	if (reads && !cmsg && relay_cmsgs_busy(r)) {
		flow_defer(&r->f); /* behind others' reads */
		return;
	}
	b = relay_batch_get(r);
	if (!b) {
		relay_no_memory(r);
		return;
	}
	b->cmsg = cmsg;
	if (!reserve(r, b, most)) {
		relay_batch_put(r, b);
		return;
	}
	r->to_guest = b;
	charge_read(r, b);
	b->op.done = received;
	if (!r->passed || cmsg)
		receive(r, b);
	if (!(r->flags & R_HOST_HUP))
		relay_poll_in(r);
	if (r->passed && !cmsg)
		receive_safely(r, b);
}
