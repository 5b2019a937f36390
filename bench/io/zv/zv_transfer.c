/* SPDX-License-Identifier: BSD-3-Clause */
#include "zv_transfer.h"

#include "zv_mem.h"

#include "core/live.h"
#include "measure/cpu.h"
#include "measure/pattern.h"

#include <errno.h>
#include <string.h>

#define RX_ROUNDS 4 /* batches of one connection before the queue is polled again */

void bc_set_task(struct bconn *bc, const struct wire_msg *m, bool seqpacket)
{
	bc->zero_copy = m->flags & W_ZERO_COPY;
	bc->touch = m->flags & W_TOUCH;
	bc->coalesce = m->flags & W_COALESCE;
	bc->registered = m->flags & W_REGISTERED;
	bc->has_slot = bc->no_slot = false;
	bc->seqpacket = seqpacket;
	bc->size = m->msg_size;
	bc->batch = m->batch;
	bc->salt = m->salt;
	bc->duration_ns = m->duration_ns;
	bc->seq = bc->bytes = bc->errors = bc->first_ns = bc->last_ns = 0;
	bc->off = 0;
	bc->blocked = false;
}

void bc_start_source(struct worker *w, struct bconn *bc)
{
	bc->state = BC_SOURCE;
	bc->first_ns = cpu_now_ns();
	bc->end_ticks = cpu_ticks() + cpu_ns_to_ticks(bc->duration_ns);
	w->senders[w->nsenders++] = bc;
}

static int send_zero_copy(struct bconn *bc, bool last)
{
	struct zv_buf b[BENCH_BATCH_MAX];
	int n = zv_buf_alloc(bc->zc, b, last ? 1 : bc->batch, bc->size);

	for (int i = 0; i < n; i++) {
		uint32_t len = bench_min32(b[i].capacity, bc->size - bc->off);

		if (bc->touch)
			pattern_fill(b[i].data, len, bc->salt, bc->seq, bc->off);
		b[i].len = len;
		b[i].flags = bc_advance(bc, len) && bc->seqpacket ? ZV_EOM : 0;
	}
	return n > 0 ? zv_buf_send(bc->zc, b, (unsigned)n) : n;
}

static int send_copy(struct worker *w, struct bconn *bc, bool last)
{
	for (unsigned i = 0; i < (last ? 1 : bc->batch); i++) {
		bool more = bc->coalesce && i + 1 < bc->batch && !last;
		ssize_t n;

		if (w->tx_owner != bc || w->tx_seq != bc->seq) {
			if (bc->touch)
				pattern_fill(w->txbuf, bc->size, bc->salt, bc->seq, 0);
			w->tx_owner = bc;
			w->tx_seq = bc->seq;
		}
		n = zv_send(bc->zc, w->txbuf + bc->off, bc->size - bc->off, more ? ZV_MORE : 0);
		if (n < 0)
			return i && n == -EAGAIN ? 1 : (int)n;
		bc_advance(bc, (uint32_t)n);
	}
	return 1;
}

/* A service sends zeros, and no server counts its messages. */
static bool __attribute__((noinline)) all_zeros(const unsigned char *p, uint32_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/* A batch. 1 sent, 0 finished, -EAGAIN no room, -errno. */
static int bc_send(struct worker *w, struct bconn *bc)
{
	bool last = cpu_ticks() >= bc->end_ticks;
	uint64_t before;
	int rc;

	if (last && bc->announce && !bc->final) {
		bc->final = bc->seq + 1; /* this one */
		__atomic_store_n(bc->announce, bc->final, __ATOMIC_RELEASE);
	}
	if (last && bc->off == 0 && bc->seq >= bc->final) {
		bc->last_ns = cpu_now_ns();
		bc->state = BC_DRAIN;
		mem_drop(w, bc);
		rc = bc->announce ? 0 : zv_shutdown(bc->zc, 1);
		return rc < 0 ? side_fail(w->side, rc, "zv_shutdown") : 0;
	}
	before = bc->bytes;
	rc = bc->registered  ? mem_send(w, bc, last)
	     : bc->zero_copy ? send_zero_copy(bc, last)
			     : send_copy(w, bc, last);
	live_sent(bc->bytes - before);
	if (rc > 0 || rc == -EAGAIN)
		return rc;
	return side_fail(w->side, rc < 0 ? rc : -EIO, bc->zero_copy ? "zv_buf_send" : "zv_send");
}

int worker_run_senders(struct worker *w)
{
	int sent = 0;

	for (unsigned i = 0; i < w->nsenders;) {
		struct bconn *bc = w->senders[i];
		int rc;

		if (bc->no_slot) {
			mem_reap(w);
			bc->blocked &= !mem_has_slot(w);
		}
		rc = bc->blocked ? -EAGAIN : bc_send(w, bc);

		if (rc > 0) {
			sent = 1;
		} else if (rc == -EAGAIN) {
			bc->blocked = true;
		} else {
			w->senders[i] = w->senders[--w->nsenders];
			if (rc < 0)
				return rc;
			continue;
		}
		i++;
	}
	return sent;
}

/* Checks @len received bytes, whatever parts of messages they are. */
static inline void bc_check(struct bconn *bc, const unsigned char *p, uint32_t len, uint32_t flags)
{
	while (len) {
		uint32_t n = bench_min32(len, bc->size - bc->off);

		if (bc->touch && !(__builtin_expect(bc->zeros, 0)
					   ? all_zeros(p, n)
					   : pattern_check(p, n, bc->salt, bc->seq, bc->off)))
			bc->errors++;
		bc_advance(bc, n);
		p += n;
		len -= n;
	}
	/* A service's messages are as long as it likes. */
	if (bc->seqpacket && !bc->zeros && ((flags & ZV_EOM) != 0) != (bc->off == 0))
		bc->errors++;
}

static inline int bc_take(struct worker *w, struct bconn *bc)
{
	/* Batches of one: the program looks at the queue after each message. */
	unsigned rounds = bc->batch > 1 ? RX_ROUNDS : 1;

	/* One call of zv_recv takes one message of a SEQPACKET, and all there is of a stream. */
	if (bc->seqpacket && !bc->zero_copy)
		rounds *= bc->batch;
	for (unsigned round = 0; round < rounds; round++) {
		struct zv_buf b[BENCH_BATCH_MAX];
		uint32_t flags = 0;
		ssize_t n;

		if (bc->zero_copy)
			n = zv_buf_recv(bc->zc, b, bc->batch);
		else
			n = zv_recv(bc->zc, w->rxbuf, w->buf_len, &flags);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 ? 1 : (int)n;
		if (!bc->zero_copy) {
			bc->errors += (flags & ZV_TRUNC) != 0;
			bc_check(bc, w->rxbuf, (uint32_t)n, flags);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			bc_check(bc, b[i].data, b[i].len, b[i].flags);
		zv_buf_release(zv_conn_queue(bc->zc), b, (unsigned)n);
		if (n < (ssize_t)bc->batch)
			break;
	}
	return 0;
}

int bc_receive(struct worker *w, struct bconn *bc)
{
	uint64_t before = bc->bytes;
	int rc = bc_take(w, bc);

	live_received(bc->bytes - before);
	return rc;
}

int bc_data_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	char c;
	ssize_t n;

	if (events & ZV_EV_OUT)
		bc->blocked = false;
	if (bc->state == BC_SINK && (events & (ZV_EV_IN | ZV_EV_HUP | ZV_EV_ERR))) {
		int rc;

		if (!bc->first_ns)
			bc->first_ns = cpu_now_ns();
		rc = bc_receive(w, bc);
		if (rc < 0)
			return side_fail(w->side, rc, "receive");
		if (rc > 0 && bc->zeros)
			return side_fail_own(w->side, -ECONNRESET, "the service ended the stream");
		if (bc->zeros)
			rc = cpu_ticks() >= bc->end_ticks;
		if (rc > 0) {
			bc->last_ns = cpu_now_ns();
			bc->errors += bc->off != 0 && !bc->zeros;
			bc->state = BC_DONE;
		}
		return rc;
	}
	if (bc->state == BC_DRAIN && (events & (ZV_EV_IN | ZV_EV_HUP | ZV_EV_ERR))) {
		/* The receiver closes when it has everything; how it says so does not matter. */
		n = zv_recv(bc->zc, &c, 1, NULL);
		if (n == -EAGAIN)
			return 0;
		bc->errors += n > 0;
		bc->last_ns = cpu_now_ns();
		bc->state = BC_DONE;
		return 1;
	}
	if (bc->state == BC_SOURCE && (events & ZV_EV_ERR))
		return side_fail_own(w->side, -ECONNRESET, "the receiver closed the connection");
	return 0;
}

void bc_start_zeros(struct bconn *bc)
{
	bc->state = BC_SINK;
	bc->zeros = true;
	bc->end_ticks = cpu_ticks() + cpu_ns_to_ticks(bc->duration_ns);
}

/* ---- roles of the server ---- */

static int sink_start(struct worker *w, struct bconn *bc)
{
	(void)w;
	bc->state = BC_SINK;
	return 0;
}

static int source_start(struct worker *w, struct bconn *bc)
{
	(void)w;
	bc->state = BC_GO;
	return 0;
}

static void transfer_end(struct worker *w, struct bconn *bc, int rc)
{
	bc->errors += rc < 0;
	run_add(w->side, bc);
}

const struct zv_role role_sink = {
	.name = "sink", .start = sink_start, .event = bc_data_event, .end = transfer_end};
const struct zv_role role_source = {.name = "source",
				    .start = source_start,
				    .go = bc_start_source,
				    .event = bc_data_event,
				    .end = transfer_end};

/* ---- the client ---- */

int worker_until_done(struct worker *w, worker_event_fn event, unsigned n_conns, const char *late)
{
	uint64_t limit = w->side->o->duration_ns + BENCH_GRACE_NS / 2;
	uint64_t deadline = cpu_ticks() + cpu_ns_to_ticks(limit);
	struct zv_event ev[BENCH_EVENTS];
	unsigned done = 0;

	while (done < n_conns) {
		int sent = worker_run_senders(w), n;

		if (sent < 0)
			return sent;
		n = worker_wait(w, ev, BENCH_EVENTS, sent ? 0 : 20000000u);
		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (proc_interrupted)
			return -EINTR;
		if (cpu_ticks() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT, late);
		for (int i = 0; i < n; i++) {
			int rc = ev[i].user ? event(w, ev[i].user, ev[i].events) : 0;

			if (rc < 0)
				return rc;
			done += rc > 0;
		}
	}
	return 0;
}

static int transfer_event(struct worker *w, void *user, uint32_t events)
{
	struct bconn *bc = user;

	return bc->state == BC_DONE ? 0 : bc_data_event(w, bc, events);
}

int client_transfer(struct worker *w, struct bconn *bcs, unsigned n, struct side_stats *st, int rc)
{
	if (rc == 0)
		rc = worker_until_done(w, transfer_event, n, "the transfer does not end");
	for (unsigned i = 0; i < n; i++) {
		struct bconn *bc = &bcs[i];

		if (bc->zc)
			zv_conn_close(bc->zc);
		st->msgs[bc->qi] += bc->seq;
		st->bytes += bc->bytes;
		st->errors += bc->errors;
		if (!st->first_ns || bc->first_ns < st->first_ns)
			st->first_ns = bc->first_ns;
		if (bc->last_ns > st->last_ns)
			st->last_ns = bc->last_ns;
	}
	w->nsenders = 0;
	return rc;
}
