/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fairness: what connections of one queue get beside each other.
 *
 * alone, holds, reserves  many connections transfer; beside them none, or one more that receives
 *                         and never releases, or one that reserves buffers and never sends them
 * active                  five times as many transfer: the slowest against the mean
 * ping, ping-bulk         one small message goes to and fro, alone or beside one bulk stream
 *
 * Rates are taken in the middle half of the run, when all have begun and none has ended, at the end
 * of the connection that the client has: what it has sent (g2h) or received (h2g). The pings are
 * driven from the same loop as the bulk stream; both programs handle one message of that, 16 KiB
 * written or verified in full, between two looks at the queue, so most of what a ping waits for is
 * their work. --no-touch shows what is left without it.
 */
#include "io/zv_side.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FAIR_BULK 16384u /* a message of the bulk stream */

struct fair {
	struct worker *w;
	const struct bench_cell *c;
	struct bconn *bcs; /* those that are measured, or the bulk stream */
	uint64_t *at;	   /* bytes of each at `from` */
	unsigned n, done;
	struct bconn side; /* the hog, or the pings */
	uint64_t from, to; /* ticks between which is measured */
	bool measuring, measured;
	struct fair_result res;
	/* pings */
	unsigned char ping[BENCH_SOCK_RX_LEN];
	uint64_t sent_at;
	uint32_t unsent;
	bool waiting;
	struct hist rtt;
};

/* ---- one that takes and never gives back; used by both sides ---- */

int hog_start(struct worker *w, struct bconn *bc, bool reserves)
{
	bc->hog = calloc(1, sizeof(*bc->hog));
	if (!bc->hog)
		return side_fail_own(w->side, -ENOMEM, "buffers to hold");
	bc->hog->reserves = reserves;
	bc->state = BC_HOG;
	hog_grab(bc);
	return 0;
}

void hog_grab(struct bconn *bc)
{
	struct hog *h = bc->hog;
	int n = 1;

	while (n > 0 && h->n < BENCH_HOG_BUFS) {
		n = h->reserves ? zv_buf_alloc(bc->zc, h->b + h->n, BENCH_HOG_BUFS - h->n, bc->size)
				: zv_buf_recv(bc->zc, h->b + h->n, BENCH_HOG_BUFS - h->n);
		h->n += n > 0 ? (unsigned)n : 0;
	}
	if (h->n == BENCH_HOG_BUFS)
		zv_set_events(bc->zc, ZV_EV_HUP);
}

void hog_end(struct bconn *bc)
{
	if (bc->hog && bc->hog->reserves)
		zv_buf_cancel(bc->zc, bc->hog->b, bc->hog->n);
	else if (bc->hog)
		zv_buf_release(zv_conn_queue(bc->zc), bc->hog->b, bc->hog->n);
	free(bc->hog);
	bc->hog = NULL;
}

/* ---- opening ---- */

/* Connection number @i, for which the server shall be @kind. */
static int fair_open(struct fair *f, struct bconn *bc, unsigned i, enum wire_kind kind,
		     uint32_t size)
{
	struct worker *w = f->w;
	bool seq = w->side->o->seqpacket;
	struct wire_msg m, ack;
	int rc = conn_open(w, w->q[0], seq ? BENCH_PORT_SEQ : BENCH_PORT_STREAM,
			   seq ? ZV_SEQPACKET : ZV_STREAM, &bc->zc);

	if (rc < 0)
		return rc;
	zv_set_user(bc->zc, bc);
	bc->qi = w->qi[0];
	wire_init(&m, kind, w->side->o, f->c, i);
	m.msg_size = size;
	m.duration_ns = BENCH_FAIR_TIMES * w->side->o->duration_ns;
	if (f->c->scene == SCENE_PING || f->c->scene == SCENE_PING_BULK)
		m.batch = 1;
	if (kind == W_ECHO)
		m.flags &= (uint8_t)~W_ZERO_COPY;
	bc_set_task(bc, &m, seq);
	rc = conn_send_all(w, bc->zc, &m, sizeof(m));
	if (rc == 0)
		rc = conn_recv_all(w, bc->zc, &ack, sizeof(ack));
	if (rc == 0 && (ack.magic != BENCH_WIRE_MAGIC || ack.kind != W_ACK))
		rc = side_fail_own(w->side, -EPROTO, "the peer is not a vsock-bench server");
	return rc;
}

static int fair_go(struct fair *f, struct bconn *bc, unsigned i)
{
	struct wire_msg m;

	wire_init(&m, W_GO, f->w->side->o, f->c, i);
	return conn_send_all(f->w, bc->zc, &m, sizeof(m));
}

/* The hog of the scene: the client's end of it, or the other one, takes and keeps. */
static int fair_hog(struct fair *f, bool send)
{
	bool reserves = f->c->scene == SCENE_RESERVES;
	/* Who reserves is a sender, who holds is a receiver. */
	bool ours = reserves == send;
	enum wire_kind kind = !ours && reserves ? W_HOG_RESERVE
			      : !ours		? W_HOG_SINK
			      : reserves	? W_HOG_SINK
						: W_HOG_SOURCE;
	int rc = fair_open(f, &f->side, f->n, kind, f->c->msg_size);

	if (rc < 0)
		return rc;
	if (ours) {
		rc = hog_start(f->w, &f->side, reserves);
		return rc < 0 || reserves ? rc : fair_go(f, &f->side, f->n);
	}
	if (reserves)
		return 0;
	bc_start_source(f->w, &f->side); /* until its credit is used up, and no end */
	f->side.end_ticks = UINT64_MAX;
	return 0;
}

static int fair_begin(struct fair *f)
{
	bool pings = f->c->scene == SCENE_PING || f->c->scene == SCENE_PING_BULK;
	bool send = (f->c->dir == DIR_G2H) == (f->w->side->role == ROLE_GUEST);
	uint64_t d;
	int rc = 0;

	for (unsigned i = 0; i < f->n && rc == 0; i++) {
		rc = fair_open(f, &f->bcs[i], i, send ? W_SINK : W_SOURCE,
			       pings ? FAIR_BULK : f->c->msg_size);
		f->bcs[i].state = send ? BC_GO : BC_SINK;
	}
	if (rc == 0 && pings)
		rc = fair_open(f, &f->side, f->n, W_ECHO, f->c->msg_size);
	else if (rc == 0 && (f->c->scene == SCENE_HOLDS || f->c->scene == SCENE_RESERVES))
		rc = fair_hog(f, send);
	for (unsigned i = 0; i < f->n && rc == 0; i++) {
		if (send)
			bc_start_source(f->w, &f->bcs[i]);
		else
			rc = fair_go(f, &f->bcs[i], i);
	}
	d = cpu_ns_to_ticks(BENCH_FAIR_TIMES * f->w->side->o->duration_ns);
	f->from = cpu_ticks() + d / 4;
	f->to = f->from + d / 2;
	return rc;
}

/* ---- pings ---- */

static int ping_send(struct fair *f)
{
	struct bconn *bc = &f->side;
	ssize_t n;

	if (!f->waiting && cpu_ticks() < f->to) {
		f->sent_at = cpu_ticks();
		pattern_fill(f->ping, bc->size, bc->salt, bc->seq, 0);
		f->unsent = bc->size;
		f->waiting = true;
		bc->off = 0;
	}
	while (f->unsent) {
		n = zv_send(bc->zc, f->ping + bc->size - f->unsent, f->unsent, 0);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return side_fail(f->w->side, (int)n, "zv_send");
		f->unsent -= (uint32_t)n;
	}
	return 0;
}

static int ping_event(struct fair *f)
{
	struct bconn *bc = &f->side;
	unsigned char got[BENCH_SOCK_RX_LEN];
	ssize_t n = zv_recv(bc->zc, got, sizeof(got), NULL);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return side_fail_own(f->w->side, n < 0 ? (int)n : -ECONNRESET, "receive");
	if ((uint64_t)n > bc->size - bc->off ||
	    !pattern_check(got, (size_t)n, bc->salt, bc->seq, bc->off)) {
		bc->errors++;
		return 0;
	}
	bc->off += (uint32_t)n;
	if (bc->off < bc->size)
		return 0;
	if (f->measuring)
		hist_add(&f->rtt, cpu_ticks() - f->sent_at);
	bc->seq++;
	f->waiting = false;
	return 0;
}

/* ---- the run ---- */

static void fair_measure(struct fair *f)
{
	uint64_t now = cpu_ticks(), sum = 0, least = UINT64_MAX;
	double s;

	if (!f->measuring && !f->measured && now >= f->from) {
		f->measuring = true;
		f->from = now;
		for (unsigned i = 0; i < f->n; i++)
			f->at[i] = f->bcs[i].bytes;
	}
	if (!f->measuring || now < f->to)
		return;
	f->measuring = false;
	f->measured = true;
	s = (double)cpu_ticks_to_ns(now - f->from);
	for (unsigned i = 0; i < f->n; i++) {
		uint64_t b = f->bcs[i].bytes - f->at[i];

		sum += b;
		least = b < least ? b : least;
	}
	if (f->n) {
		f->res.slowest = (double)least * 8 / s;
		f->res.mean = (double)sum * 8 / s / f->n;
	}
}

static int fair_event(struct fair *f, struct bconn *bc, uint32_t events)
{
	int rc;

	if (!bc || bc->state == BC_DONE)
		return 0;
	if (bc == &f->side) {
		if (bc->state == BC_HOG)
			hog_grab(bc);
		else if (bc->state == BC_SOURCE)
			bc->blocked = bc->blocked && !(events & ZV_EV_OUT);
		else
			return ping_event(f);
		return 0;
	}
	rc = bc_data_event(f->w, bc, events);
	f->done += rc > 0;
	return rc < 0 ? rc : 0;
}

static int fair_loop(struct fair *f)
{
	uint64_t limit = BENCH_FAIR_TIMES * f->w->side->o->duration_ns + BENCH_GRACE_NS / 2;
	uint64_t deadline = cpu_ticks() + cpu_ns_to_ticks(limit);
	bool pings = f->c->scene == SCENE_PING || f->c->scene == SCENE_PING_BULK;
	struct zv_event ev[BENCH_EVENTS];

	while (f->done < f->n || !f->measured || f->waiting) {
		int sent, n, rc = pings ? ping_send(f) : 0;

		sent = rc < 0 ? rc : worker_run_senders(f->w);
		if (sent < 0)
			return sent;
		n = worker_wait(f->w, ev, BENCH_EVENTS, sent ? 0 : 1000000u);
		if (n < 0 && n != -EINTR)
			return side_fail(f->w->side, n, "zv_wait");
		if (proc_interrupted)
			return -EINTR;
		if (cpu_ticks() > deadline)
			return side_fail_own(f->w->side, -ETIMEDOUT, "the transfer does not end");
		for (int i = 0; i < n && rc == 0; i++)
			rc = fair_event(f, ev[i].user, ev[i].events);
		if (rc < 0)
			return rc;
		fair_measure(f);
	}
	return 0;
}

static void fair_add(struct side_stats *st, const struct bconn *bc)
{
	st->msgs[bc->qi] += bc->seq;
	st->bytes += bc->bytes;
	st->errors += bc->errors;
	if (bc->first_ns && (!st->first_ns || bc->first_ns < st->first_ns))
		st->first_ns = bc->first_ns;
	if (bc->last_ns > st->last_ns)
		st->last_ns = bc->last_ns;
}

int client_fairness(struct worker *w, const struct bench_cell *c, struct side_stats *st,
		    struct bench_result *res)
{
	struct fair *f = calloc(1, sizeof(*f));
	unsigned n = c->scene == SCENE_PING ? 0 : c->scene == SCENE_PING_BULK ? 1 : c->in_flight;
	uint64_t first_ns = cpu_now_ns();
	int rc = -ENOMEM;

	if (f) {
		*f = (struct fair){.w = w, .c = c, .n = n};
		f->bcs = calloc(n + 1, sizeof(*f->bcs));
		f->at = calloc(n + 1, sizeof(*f->at));
	}
	if (!f || !f->bcs || !f->at)
		side_fail_own(w->side, rc, "connections");
	else
		rc = worker_buffers(w, FAIR_BULK > c->msg_size ? FAIR_BULK : c->msg_size);
	w->nsenders = 0;
	w->tx_owner = NULL;
	if (rc == 0)
		rc = fair_begin(f);
	if (rc == 0)
		rc = fair_loop(f);
	w->nsenders = 0;
	for (unsigned i = 0; f && f->bcs && i < n; i++) {
		fair_add(st, &f->bcs[i]);
		zv_conn_close(f->bcs[i].zc);
	}
	if (f && f->side.zc) {
		if (f->side.state != BC_HOG && f->side.state != BC_SOURCE)
			fair_add(st, &f->side);
		hog_end(&f->side);
		zv_conn_close(f->side.zc);
	}
	if (rc == 0) {
		res->fair = f->res;
		st->first_ns = first_ns;
		st->last_ns = cpu_now_ns();
		res->rtt.p50 = cpu_ticks_to_ns(hist_quantile(&f->rtt, 0.5));
		res->rtt.p99 = cpu_ticks_to_ns(hist_quantile(&f->rtt, 0.99));
		res->rtt.p999 = cpu_ticks_to_ns(hist_quantile(&f->rtt, 0.999));
		res->rtt.max = cpu_ticks_to_ns(f->rtt.max);
	}
	if (f) {
		free(f->bcs);
		free(f->at);
	}
	free(f);
	return rc;
}
