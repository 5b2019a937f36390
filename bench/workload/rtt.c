/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Round trip: one message is under way at any time. The client writes and verifies it, the server
 * sends back what it received. With several queues the messages take turns, so that each queue is
 * used and all are polled. The clock runs from before the payload is written until after it is
 * verified.
 */
#include "io/peer/peer.h"
#include "io/raw/raw.h"
#include "io/sock/kernel_socket.h"
#include "io/zv/zv_echo.h"
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"
#include "report/json_set.h"
#include "report/peer_row.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#define RAW_PING_END UINT32_MAX

/* ---- zvsock ---- */

/* Receives what there is of the present message; 1 when it is complete. */
static int ping_receive(struct worker *w, struct bconn *bc)
{
	while (bc->off < bc->size) {
		const unsigned char *p = w->rxbuf;
		struct zv_buf b;
		uint32_t len;
		ssize_t n;

		if (bc->zero_copy)
			n = zv_buf_recv(bc->zc, &b, 1);
		else
			n = zv_recv(bc->zc, w->rxbuf, bc->size - bc->off, NULL);
		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return side_fail_own(w->side, n < 0 ? (int)n : -ECONNRESET, "receive");
		if (bc->zero_copy)
			p = b.data;
		len = bc->zero_copy ? b.len : (uint32_t)n;
		if (len > bc->size - bc->off || !pattern_check(p, len, bc->salt, bc->seq, bc->off))
			bc->errors++;
		if (bc->zero_copy)
			zv_buf_release(zv_conn_queue(bc->zc), &b, 1);
		bc->off += len;
	}
	return 1;
}

static int ping_once(struct worker *w, struct bconn *bc)
{
	struct zv_event ev[8];
	uint64_t deadline = 0;
	int rc;

	bc->off = 0;
	rc = echo_send(w, bc, NULL, bc->size, bc->seqpacket ? ZV_EOM : 0);
	while (rc == 0) {
		int n = worker_wait(w, ev, 8, 1000000000u);

		if (n < 0 && n != -EINTR)
			return side_fail(w->side, n, "zv_wait");
		if (n <= 0 && proc_interrupted)
			return -EINTR;
		/* The clock is not looked at while there are answers. */
		if (n <= 0 && !deadline)
			deadline = cpu_now_ns() + BENCH_GRACE_NS / 2;
		else if (n <= 0 && cpu_now_ns() > deadline)
			return side_fail_own(w->side, -ETIMEDOUT, "no answer");
		rc = ping_receive(w, bc);
	}
	if (rc < 0)
		return rc;
	bc->seq++;
	bc->bytes += bc->size;
	return 0;
}

static int rtt_open(struct worker *w, const struct bench_cell *c, struct bconn *bc, unsigned i)
{
	struct wire_msg m;
	int rc = client_open(w, bc, c, i);

	if (rc < 0)
		return rc;
	wire_role(&m, role_echo.name, w->side->o, c, bc->qi);
	bc_set_task(bc, &m, w->side->o->type == TYPE_SEQPACKET);
	return client_ask(w, bc, &m);
}

/* Connections whose other end sends everything back, in turn, unless @rc is a failure already. */
static int pings(struct worker *w, struct bconn *bcs, struct side_stats *st, struct rtt_result *rtt,
		 int rc)
{
	uint64_t end, t0, t1 = 0;
	static struct hist h;
	unsigned k = 0;

	hist_reset(&h);
	st->first_ns = cpu_now_ns();
	end = cpu_ticks() + cpu_ns_to_ticks(w->side->o->duration_ns);
	while (rc == 0 && t1 < end) {
		t0 = cpu_ticks();
		rc = ping_once(w, &bcs[k]);
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
		k = k + 1 == w->nq ? 0 : k + 1;
	}
	st->last_ns = cpu_now_ns();
	for (unsigned i = 0; i < w->nq; i++) {
		if (bcs[i].zc)
			zv_conn_close(bcs[i].zc);
		st->msgs[bcs[i].qi] = bcs[i].seq;
		st->bytes += bcs[i].bytes;
		st->errors += bcs[i].errors;
	}
	*rtt = rtt_of_ticks(&h);
	return rc;
}

static int rtt_run(struct zv_run *r)
{
	struct bconn bcs[BENCH_QUEUES_MAX];
	struct worker *w = r->w;
	int rc = worker_buffers(w, r->c->msg_size);

	memset(bcs, 0, sizeof(bcs));
	for (unsigned i = 0; i < w->nq && rc == 0; i++)
		rc = rtt_open(w, r->c, &bcs[i], i);
	return pings(w, bcs, &r->st, &r->res->rtt, rc);
}

static const struct zv_role *const roles[] = {&role_echo, NULL};

/* ---- a foreign backend ---- */

static int rtt_peer_guest(struct worker *w, struct peer_shm *sh)
{
	struct bconn bc;
	struct wire_msg m;
	int rc;

	memset(&bc, 0, sizeof(bc));
	rc = conn_open(w, w->q[0], PEER_PORT_DATA, ZV_STREAM, &bc.zc);
	wire_init(&m, W_ROLE, w->side->o, &sh->cell, 0);
	bc_set_task(&bc, &m, false);
	return pings(w, &bc, &sh->side[ROLE_GUEST], &sh->rtt, rc);
}

static int rtt_peer_host(struct peer_shm *sh, int listen_fd)
{
	return peer_host_data(sh, listen_fd, stream_echo);
}

/* ---- sockets ---- */

static void socket_ping(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns), t0, t1;
	uint32_t size = t->s->c->msg_size;
	struct stream_io *io = &t->io;
	static struct hist h;

	(void)cap;
	hist_reset(&h);
	do {
		t0 = cpu_ticks();
		pattern_fill(buf, size, io->salt, io->msgs, 0);
		if (!stream_write_all(io->fd, buf, size) || !stream_read_all(io->fd, buf, size)) {
			io->errors++;
			break;
		}
		if (!pattern_check(buf, size, io->salt, io->msgs, 0))
			io->errors++;
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
		io->msgs++;
	} while (t1 < end);
	io->bytes = io->msgs * size;
	t->rtt = rtt_of_ticks(&h);
}

static void socket_echo(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	stream_echo(&t->io, buf, cap);
}

/* ---- two words, or two eventfds ---- */

/* The other side has written the word before: it has a new value. */
static void raw_sleep(const struct raw_ctx *r, enum bench_role role)
{
	eventfd_t n;

	(void)eventfd_read(r->wake[role], &n);
}

static void raw_wake(const struct raw_ctx *r, enum bench_role role)
{
	if (r->o->sleep)
		(void)eventfd_write(r->wake[role], 1);
}

static void raw_ping(struct raw_ctx *r, struct side_stats *st)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns), t0, t1 = cpu_ticks();
	static struct hist h;
	unsigned spins = 0;
	uint32_t i = 0;

	hist_reset(&h);
	do {
		i++;
		t0 = cpu_ticks();
		shm_store_release32(&r->shm->ping, i);
		raw_wake(r, ROLE_HOST);
		if (r->o->sleep)
			raw_sleep(r, ROLE_GUEST);
		while (shm_load_acquire32(&r->shm->pong) != i)
			raw_relax(r, &spins);
		t1 = cpu_ticks();
		hist_add(&h, t1 - t0);
	} while (t1 < end && i < RAW_PING_END - 1);
	shm_store_release32(&r->shm->ping, RAW_PING_END);
	raw_wake(r, ROLE_HOST);
	st->msgs[0] = i;
	r->shm->rtt = rtt_of_ticks(&h);
}

static void raw_pong(struct raw_ctx *r, struct side_stats *st)
{
	uint32_t last = 0, v;
	unsigned spins = 0;

	for (;;) {
		if (r->o->sleep)
			raw_sleep(r, ROLE_HOST);
		v = shm_load_acquire32(&r->shm->ping);
		if (v == RAW_PING_END)
			break;
		if (v == last) {
			raw_relax(r, &spins);
			continue;
		}
		last = v;
		shm_store_release32(&r->shm->pong, v);
		raw_wake(r, ROLE_GUEST);
	}
	st->msgs[0] = last;
}

/* ---- bare virtqueues ---- */

/* As the rows of zvsock: the payload is written, sent back by the device, and verified. */
RAW_INLINE void ring_ping(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns), t0, t1 = cpu_ticks();
	struct raw_vq *tx = &r->vq[0], *rx = &r->vq[1];
	const uint32_t size = r->c->msg_size;
	struct raw_hdr h = {.len = size};
	static struct hist hist;
	unsigned char *buf;
	unsigned spins = 0;

	hist_reset(&hist);
	for (uint32_t i = 0; i < rx->nbufs; i++)
		raw_vq_post(rx, packed);
	raw_vq_offer(rx, packed);
	do {
		t0 = cpu_ticks();
		buf = raw_vq_buf(tx, tx->made) + RAW_HDR_OFF;
		h.len = t1 < end ? size : 0;
		memcpy(buf, &h, sizeof(h));
		pattern_fill(buf + RAW_HDR_LEN, size, 0, st->msgs[0], 0);
		raw_vq_post(tx, packed);
		raw_vq_offer(tx, packed);
		while (!(buf = raw_vq_back(rx, packed)))
			raw_relax(r, &spins);
		shm_copy_in(&h, buf + RAW_HDR_OFF, sizeof(h));
		if (!h.len)
			break;
		st->errors += h.len != size ||
			      !pattern_check(buf + RAW_DATA_OFF, size, 0, st->msgs[0], 0);
		st->msgs[0]++;
		/* Nobody waits for these: the other side has half of the buffers. */
		raw_vq_post(rx, packed);
		if ((uint16_t)(rx->made - rx->published) >= rx->nbufs / 2)
			raw_vq_offer(rx, packed);
		while ((uint16_t)(tx->made - tx->got) == tx->nbufs)
			while (raw_vq_back(tx, packed))
				;
		t1 = cpu_ticks();
		hist_add(&hist, t1 - t0);
	} while (true);
	r->shm->rtt = rtt_of_ticks(&hist);
}

RAW_INLINE void ring_pong(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	struct raw_vq *rx = &r->vq[0], *tx = &r->vq[1];
	const uint32_t size = r->c->msg_size;
	struct raw_hdr h = {.len = size};
	unsigned spins = 0;

	while (h.len) {
		const unsigned char *in = raw_vq_next(rx, packed);
		unsigned char *out;

		if (!in) {
			raw_relax(r, &spins);
			continue;
		}
		shm_copy_in(&h, in, sizeof(h));
		while (!(out = raw_vq_next(tx, packed)))
			raw_relax(r, &spins);
		memcpy(out, &h, sizeof(h));
		memcpy(out + RAW_HDR_LEN, in + RAW_HDR_LEN, size);
		raw_vq_put(tx, packed);
		raw_vq_publish(tx, packed);
		raw_vq_put(rx, packed);
		if ((uint16_t)(rx->made - rx->published) >= rx->nbufs / 2)
			raw_vq_publish(rx, packed);
		st->msgs[0] += h.len != 0;
	}
}

static void ring_guest(struct raw_ctx *r, struct side_stats *st)
{
	r->packed ? ring_ping(r, st, true) : ring_ping(r, st, false);
}

static void ring_host(struct raw_ctx *r, struct side_stats *st)
{
	r->packed ? ring_pong(r, st, true) : ring_pong(r, st, false);
}

/* ---- report ---- */

static void rtt_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	fprintf(f, "\nRound trip, %s, us\n  %-25s %8s %8s %8s %8s",
		size_text(size, sizeof(size), c->msg_size), "", "p50", "p99", "p99.9", "max");
	print_ratio_heads(f, o, c->workload);
	fprintf(f, " %15s\n", "CPU s g / h");
}

static void rtt_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		    const struct bench_cell *c)
{
	char name[48];

	fprintf(f, "  %-25s %8.2f %8.2f %8.2f %8.1f", cell_label(name, sizeof(name), c),
		cell_med(c, o->repeat, m_p50), cell_med(c, o->repeat, m_p99),
		cell_med(c, o->repeat, m_p999), cell_med(c, o->repeat, m_max));
	print_ratios(f, p, o, c, m_p50);
	print_cpu(f, c, o->repeat);
	print_errors(f, c, o->repeat);
}

static void rtt_peer_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32], first[32];

	fprintf(f, "\nRound trip, %s, us\n  %-23s %8s %8s %8s %10s      " PEER_HEAD_END,
		size_text(size, sizeof(size), c->msg_size), "", "p50", "p99", "p99.9", "max",
		PEER_HEAD_ARGS(peer_first(first, sizeof(first), o), "us/trip"));
}

static void rtt_peer_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			 const struct bench_cell *c)
{
	fprintf(f, "  %-23s %8.2f %8.2f %8.2f %10.1f     ", peer_label(o, c),
		cell_med(c, o->repeat, m_p50), cell_med(c, o->repeat, m_p99),
		cell_med(c, o->repeat, m_p999), cell_med(c, o->repeat, m_max));
	peer_row_end(f, p, o, c, m_p50, m_cpu_op);
}

static void rtt_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	(void)c;
	json_set_int(j, "messages", r->messages);
	json_set_num(j, "msgs_per_s", result_rate(r));
	json_set_rtt(j, &r->rtt);
	json_set_cdf(j, &r->rtt);
}

static int rtt_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.dir = DIR_BOTH;
	c.msg_size = o->sizes[0];
	return plan_cells(p, o, c);
}

const struct workload workload_rtt = {
	.name = "rtt",
	.help = "round trips of one message",
	.by_default = true,
	.plan = rtt_plan,
	.far = {[DIR_BOTH] = FAR_ECHO},
	.calls = true,
	.zv = {.run = rtt_run, .roles = roles},
	.socket = {.guest = socket_ping, .host = socket_echo},
	.raw = {.guest = raw_ping, .host = raw_pong},
	.ring = {.guest = ring_guest, .host = ring_host},
	.peer = {.guest = rtt_peer_guest, .host = rtt_peer_host, .port = PEER_PORT_DATA},
	.table = {rtt_head, rtt_row},
	.peer_table = {rtt_peer_head, rtt_peer_row},
	.steady = m_p50,
	.one_thread = true,
	.json = rtt_json,
	.touches = true,
};
