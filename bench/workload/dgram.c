/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams. The client sends them as fast as its ring takes them, through all its queues in turn.
 * The server receives and verifies those for which its ports have room. The figures are what was
 * sent, what was received, and the share that was dropped. There is no credit, so a sender that is
 * faster than its receiver loses some, which is no error. A datagram that arrives changed, twice
 * or out of order is an error.
 *
 * Each queue also has a connection. Over it the server reports that its port is bound and, once it
 * has read to the end, what it has received; the end of the connection arrives after the last
 * datagram.
 */
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "measure/pattern.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <string.h>
#include <zvsock_dgram.h>

#define PORT_DGRAM 5300u /* and the queue's index */
#define SIZE_MIN   8u	 /* the word that tells which one it is */

enum { OWN_SENT, OWN_DROPPED };

/* What the server says on each connection in the end. */
struct counts {
	uint64_t received, bytes, errors;
};

/* ---- server ---- */

/* Which message of the stream @salt begins with this word. */
static uint64_t seq_of(const void *data, uint64_t salt)
{
	uint64_t word, inverse = PATTERN_SEQ;

	memcpy(&word, data, sizeof(word));
	for (int i = 0; i < 5; i++) /* Newton's: each step doubles the bits that are right */
		inverse *= 2 - PATTERN_SEQ * inverse;
	return (word - salt) * inverse;
}

static void sink_take(struct worker *w, struct bconn *bc, ssize_t n)
{
	uint64_t seq = n >= (ssize_t)SIZE_MIN ? seq_of(w->rxbuf, bc->salt) : 0;

	/* bc->final: the number of the next that can come. */
	if (n != (ssize_t)bc->size || (bc->touch && seq < bc->final) ||
	    (bc->touch && !pattern_check(w->rxbuf, (size_t)n, bc->salt, seq, 0)))
		bc->errors++;
	bc->final = seq + 1;
	bc->seq++;
	bc->bytes += (uint64_t)n;
}

static int sink_receive(struct worker *w, struct bconn *bc)
{
	struct zv_queue *q = zv_conn_queue(bc->zc);
	ssize_t n;

	while ((n = zv_dgram_recv(q, PORT_DGRAM + bc->qi, w->rxbuf, w->buf_len, NULL, NULL)) >= 0)
		sink_take(w, bc, n);
	return n == -EAGAIN ? 0 : side_fail(w->side, (int)n, "zv_dgram_recv");
}

static int sink_start(struct worker *w, struct bconn *bc)
{
	uint32_t port = PORT_DGRAM + bc->qi;
	int rc;

	pthread_mutex_lock(&w->side->lock); /* other workers bind, too */
	rc = zv_dgram_bind(w->side->dev, &port, 0);
	pthread_mutex_unlock(&w->side->lock);
	if (rc < 0)
		return side_fail(w->side, rc, NULL);
	bc->own = w;
	w->dgram[bc->qi] = bc;
	bc->first_ns = cpu_now_ns();
	return conn_send_all(w, bc->zc, "r", 1);
}

static void sink_drop(struct bconn *bc)
{
	struct worker *w = bc->own;

	if (!w)
		return;
	w->dgram[bc->qi] = NULL;
	pthread_mutex_lock(&w->side->lock);
	(void)zv_dgram_unbind(w->side->dev, PORT_DGRAM + bc->qi);
	pthread_mutex_unlock(&w->side->lock);
}

static int sink_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	struct counts c;
	char more;
	ssize_t n;
	int rc = sink_receive(w, bc);

	if (rc < 0 || !(events & (ZV_EV_IN | ZV_EV_HUP | ZV_EV_ERR)))
		return rc;
	n = zv_recv(bc->zc, &more, 1, NULL);
	if (n == -EAGAIN)
		return 0;
	rc = n == 0 ? sink_receive(w, bc) : -EPROTO;
	if (rc < 0)
		return rc;
	bc->last_ns = cpu_now_ns();
	run_add(w->side, bc); /* before the client hears of it, and asks for the sum */
	c = (struct counts){bc->seq, bc->bytes, bc->errors};
	rc = conn_send_all(w, bc->zc, &c, sizeof(c));
	return rc < 0 ? rc : 1;
}

static const struct zv_role sink = {
	.name = "dgram", .start = sink_start, .event = sink_event, .drop = sink_drop};
static const struct zv_role *const roles[] = {&sink, NULL};

/* ---- client ---- */

static int dgram_open(struct worker *w, const struct bench_cell *c, struct bconn *bc, unsigned i)
{
	struct wire_msg m;
	char ready;
	int rc = client_open(w, bc, c, i);

	if (rc < 0)
		return rc;
	wire_role(&m, sink.name, w->side->o, c, bc->qi);
	bc_set_task(bc, &m, w->side->o->type == TYPE_SEQPACKET);
	rc = client_ask(w, bc, &m);
	return rc < 0 ? rc : conn_recv_all(w, bc->zc, &ready, 1);
}

/* One batch by the connection's queue. 1: there was room for some, 0, -errno. */
static int dgram_batch(struct worker *w, struct bconn *bc, uint32_t from)
{
	const struct zv_dgram_addr to = {.local_port = from, .peer_port = PORT_DGRAM + bc->qi};

	for (uint32_t i = 0; i < bc->batch; i++) {
		ssize_t n;

		if (bc->touch)
			pattern_fill(w->txbuf, bc->size, bc->salt, bc->seq, 0);
		n = zv_dgram_send(zv_conn_queue(bc->zc), &to, w->txbuf, bc->size, 0);
		if (n == -EAGAIN)
			return i != 0;
		if (n < 0)
			return side_fail(w->side, (int)n, NULL);
		bc->seq++;
	}
	return 1;
}

static int dgram_send_all(struct worker *w, struct bconn *bcs, uint32_t from)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(w->side->o->duration_ns);
	struct zv_event ev[BENCH_EVENTS];

	while (cpu_ticks() < end) {
		int sent = 0, n;

		for (unsigned i = 0; i < w->nq; i++) {
			int rc = dgram_batch(w, &bcs[i], from);

			if (rc < 0)
				return rc;
			sent += rc;
		}
		n = worker_wait(w, ev, BENCH_EVENTS, sent ? 0 : 1000000u);
		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (proc_interrupted)
			return -EINTR;
	}
	return 0;
}

/* Ends a connection, and adds what its other end has received. */
static int dgram_end(struct worker *w, struct bconn *bc, struct side_stats *st)
{
	struct counts c;
	int rc = zv_shutdown(bc->zc, 1);

	if (rc < 0)
		return side_fail(w->side, rc, "zv_shutdown");
	rc = conn_recv_all(w, bc->zc, &c, sizeof(c));
	if (rc < 0)
		return rc;
	st->msgs[bc->qi] = c.received;
	st->bytes += c.bytes;
	return 0;
}

static int dgram_run(struct zv_run *r)
{
	struct bconn bcs[BENCH_QUEUES_MAX];
	struct worker *w = r->w;
	uint32_t from = ZV_PORT_ANY;
	uint64_t sent = 0, received = 0;
	int rc = worker_buffers(w, r->c->msg_size);

	memset(bcs, 0, sizeof(bcs));
	if (rc == 0 && (rc = zv_dgram_bind(w->side->dev, &from, 0)) < 0)
		return side_fail(w->side, rc, NULL);
	for (unsigned i = 0; i < w->nq && rc == 0; i++)
		rc = dgram_open(w, r->c, &bcs[i], i);
	r->st.first_ns = cpu_now_ns();
	if (rc == 0)
		rc = dgram_send_all(w, bcs, from);
	for (unsigned i = 0; i < w->nq; i++) {
		if (rc == 0)
			rc = dgram_end(w, &bcs[i], &r->st);
		if (bcs[i].zc)
			zv_conn_close(bcs[i].zc);
		sent += bcs[i].seq;
		received += r->st.msgs[bcs[i].qi];
	}
	r->st.last_ns = cpu_now_ns();
	(void)zv_dgram_unbind(w->side->dev, from);
	r->res->own[OWN_SENT] = (double)sent;
	r->res->own[OWN_DROPPED] = (double)(sent - received);
	return rc;
}

/* ---- report ---- */

static double sent_rate(const struct bench_result *r)
{
	return r->elapsed_ns ? r->own[OWN_SENT] * 1e9 / (double)r->elapsed_ns : 0;
}

static double dropped_percent(const struct bench_result *r)
{
	return r->own[OWN_SENT] > 0 ? 100 * r->own[OWN_DROPPED] / r->own[OWN_SENT] : 0;
}

static void dgram_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	(void)o;
	fprintf(f, "\nDatagrams of %s\n  %-25s %10s %10s %9s %9s %15s\n",
		size_text(size, sizeof(size), c->msg_size), "", "sent/s", "received/s", "dropped %",
		"Gbit/s", "CPU s g / h");
}

static void dgram_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		      const struct bench_cell *c)
{
	char name[48], sent[24], got[24];

	(void)p;
	fprintf(f, "  %-25s %10s %10s %9.2f %9.2f", cell_label(name, sizeof(name), c),
		human(sent, sizeof(sent), cell_med(c, o->repeat, sent_rate)),
		human(got, sizeof(got), cell_med(c, o->repeat, result_rate)),
		cell_med(c, o->repeat, dropped_percent), cell_med(c, o->repeat, result_gbit));
	print_cpu(f, c, o->repeat);
	print_errors(f, c, o->repeat);
}

static void dgram_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	json_t *d = json_object();

	(void)c;
	json_set_int(j, "messages", r->messages);
	json_set_num(j, "msgs_per_s", result_rate(r));
	json_set_int(j, "bytes", r->bytes);
	json_set_num(j, "gbit_per_s", result_gbit(r));
	json_set_int(d, "sent", (uint64_t)r->own[OWN_SENT]);
	json_set_int(d, "dropped", (uint64_t)r->own[OWN_DROPPED]);
	json_set_num(d, "sent_per_s", sent_rate(r));
	json_object_set_new(j, "dgram", d);
}

static int dgram_check(const struct bench_opts *o, char *why, size_t len)
{
	for (unsigned i = 0; i < o->nsizes; i++)
		if (o->sizes[i] < SIZE_MIN || o->sizes[i] > ZV_DGRAM_MAX) {
			snprintf(why, len,
				 "--test dgram: --size is %u, a datagram here has %u to %u bytes",
				 o->sizes[i], SIZE_MIN, ZV_DGRAM_MAX);
			return -EINVAL;
		}
	return 0;
}

static int dgram_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.dir = DIR_G2H;
	return plan_sizes(p, o, c);
}

const struct workload workload_dgram = {
	.name = "dgram",
	.help = "datagrams one way: sent, received, dropped",
	.check = dgram_check,
	.datagrams = true,
	.plan = dgram_plan,
	.zv = {.run = dgram_run, .roles = roles},
	.table = {dgram_head, dgram_row},
	.steady = sent_rate,
	.one_thread = true,
	.json = dgram_json,
};
