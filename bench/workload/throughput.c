/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput: one side sends messages of one size as fast as it can, the other receives and
 * verifies each byte. io/zv/zv_transfer.h describes how that is done over zvsock.
 */
#include "io/peer/peer.h"
#include "io/raw/raw.h"
#include "io/sock/kernel_socket.h"
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "measure/pattern.h"
#include "report/json_set.h"
#include "report/peer_row.h"
#include "report/stats.h"
#include "workloads.h"

#include <string.h>

#define RAW_SALT 0x726177u

/* ---- zvsock ---- */

/* Opens one connection for each queue of the worker and tells the server its part. */
static int throughput_open(struct worker *w, const struct bench_cell *c, struct bconn *bcs)
{
	const struct far_end *far = far_end_of(w->side->o);
	enum far_part part = far_part_of(c, w->side->role);
	bool send = part == FAR_SINK;
	struct wire_msg m;
	int rc;

	for (unsigned i = 0; i < w->nq; i++) {
		struct bconn *bc = &bcs[i];

		rc = client_open(w, bc, c, i);
		if (rc < 0)
			return rc;
		wire_role(&m, far_part_role(part), w->side->o, c, bc->qi);
		bc_set_task(bc, &m, w->side->o->type == TYPE_SEQPACKET);
		bc->state = send ? BC_GO : BC_SINK;
		rc = client_ask(w, bc, &m);
		if (rc < 0)
			return rc;
	}
	for (unsigned i = 0; i < w->nq; i++) {
		if (send)
			bc_start_source(w, &bcs[i]);
		else if (far->dull)
			bc_start_zeros(&bcs[i]);
		else if ((rc = client_go(w, &bcs[i], c)) < 0)
			return rc;
	}
	return 0;
}

static int throughput_run(struct zv_run *r)
{
	struct bconn bcs[BENCH_QUEUES_MAX];
	struct worker *w = r->w;
	int rc;

	memset(bcs, 0, sizeof(bcs));
	w->nsenders = 0;
	w->tx_owner = NULL;
	rc = worker_buffers(w, r->c->msg_size);
	if (rc == 0)
		rc = throughput_open(w, r->c, bcs);
	return client_transfer(w, bcs, w->nq, &r->st, rc);
}

static const struct zv_role *const roles[] = {&role_sink, &role_source, NULL};

/* ---- a foreign backend ---- */

static int throughput_peer_guest(struct worker *w, struct peer_shm *sh)
{
	bool send = sh->cell.dir == DIR_G2H;
	struct bconn bc;
	struct wire_msg m;
	int rc;

	memset(&bc, 0, sizeof(bc));
	w->nsenders = 0;
	w->tx_owner = NULL;
	if (send)
		rc = conn_open(w, w->q[0], PEER_PORT_DATA, ZV_STREAM, &bc.zc);
	else
		rc = peer_accept(w, PEER_PORT_DATA, &bc.zc);
	if (rc == 0) {
		zv_set_user(bc.zc, &bc);
		wire_init(&m, W_ROLE, w->side->o, &sh->cell, 0);
		bc_set_task(&bc, &m, false);
		bc.announce = send ? &sh->total : NULL;
		bc.state = BC_SINK;
		if (send)
			bc_start_source(w, &bc);
	}
	return client_transfer(w, &bc, 1, &sh->side[ROLE_GUEST], rc);
}

static int throughput_peer_host(struct peer_shm *sh, int listen_fd)
{
	return peer_host_data(sh, listen_fd, sh->cell.dir == DIR_G2H ? stream_sink : stream_source);
}

/* ---- sockets ---- */

/* Of either side. */
static void socket_transfer(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	bool send = (t->s->c->dir == DIR_G2H) == (t->role == ROLE_GUEST);

	(send ? stream_source : stream_sink)(&t->io, buf, cap);
}

/* ---- the bare loop ---- */

static void raw_send(struct raw_ctx *r, struct side_stats *st)
{
	const struct bench_cell *c = r->c;
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns);
	uint64_t tail = 0, head = 0;
	uint32_t slot = 0;
	unsigned spins = 0;

	for (;;) {
		uint64_t used, n;

		head = shm_load_acquire64(&r->shm->head);
		used = tail - head;
		n = r->nslots - used;
		if (n == 0) {
			raw_relax(r, &spins);
			continue;
		}
		spins = 0;
		if (cpu_ticks() >= end)
			break;
		if (n > r->batch)
			n = r->batch;
		for (uint64_t i = 0; i < n; i++, tail++) {
			uint64_t at = (uint64_t)slot * r->stride;

			if (r->o->touch)
				pattern_fill(r->slots + at, c->msg_size, RAW_SALT, tail, 0);
			r->shm->ring[tail % RAW_RING] = at;
			slot = slot + 1 == r->nslots ? 0 : slot + 1;
		}
		shm_store_release64(&r->shm->tail, tail);
	}
	r->shm->ring[tail % RAW_RING] = RAW_END;
	shm_store_release64(&r->shm->tail, tail + 1);
	st->msgs[0] = tail;
	st->bytes = tail * c->msg_size;
}

static void raw_receive(struct raw_ctx *r, struct side_stats *st)
{
	const struct bench_cell *c = r->c;
	uint64_t head = 0, tail, errors = 0;
	unsigned spins = 0;

	for (;;) {
		tail = shm_load_acquire64(&r->shm->tail);
		if (tail == head) {
			raw_relax(r, &spins);
			continue;
		}
		spins = 0;
		if (tail - head > r->batch)
			tail = head + r->batch;
		for (; head != tail; head++) {
			uint64_t at = r->shm->ring[head % RAW_RING];

			if (at == RAW_END)
				goto out;
			if (r->o->touch)
				errors += !pattern_check(r->slots + at, c->msg_size, RAW_SALT, head,
							 0);
		}
		shm_store_release64(&r->shm->head, head);
	}
out:
	st->msgs[0] = head;
	st->bytes = head * c->msg_size;
	st->errors = errors;
}

static void raw_guest(struct raw_ctx *r, struct side_stats *st)
{
	(r->c->dir != DIR_H2G ? raw_send : raw_receive)(r, st);
}

static void raw_host(struct raw_ctx *r, struct side_stats *st)
{
	(r->c->dir != DIR_H2G ? raw_receive : raw_send)(r, st);
}

/* ---- bare virtqueues ---- */

/* Writes the next message, the @n-th, into a buffer; @len 0: the end. */
RAW_INLINE void ring_fill(const struct raw_ctx *r, unsigned char *hdr, uint32_t len, uint64_t n)
{
	const struct raw_hdr h = {.len = len};

	memcpy(hdr, &h, sizeof(h));
	if (len && r->o->touch)
		pattern_fill(hdr + RAW_HDR_LEN, len, RAW_SALT, n, 0);
}

/* True: it was the last. */
RAW_INLINE bool ring_check(const struct raw_ctx *r, const unsigned char *hdr, struct side_stats *st)
{
	struct raw_hdr h;

	shm_copy_in(&h, hdr, sizeof(h));
	if (!h.len)
		return true;
	st->errors += h.len != r->c->msg_size;
	if (r->o->touch)
		st->errors +=
			!pattern_check(hdr + RAW_HDR_LEN, r->c->msg_size, RAW_SALT, st->msgs[0], 0);
	st->msgs[0]++;
	return false;
}

/* The driver sends. */
RAW_INLINE void ring_drv_send(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns), sent = 0;
	struct raw_vq *v = &r->vq[0];
	bool last = false;
	unsigned spins = 0;

	while (!last) {
		uint32_t n = v->nbufs - (uint16_t)(v->made - v->got);

		/* A look takes a line from the device: not before it is needed. */
		if (n < r->batch)
			while (raw_vq_back(v, packed))
				n++;
		if (n < r->batch) {
			raw_relax(r, &spins);
			continue;
		}
		spins = 0;
		last = cpu_ticks() >= end;
		for (n = last ? 1 : r->batch; n; n--) {
			ring_fill(r, raw_vq_buf(v, v->made) + RAW_HDR_OFF,
				  last ? 0 : r->c->msg_size, sent++);
			raw_vq_post(v, packed);
		}
		raw_vq_offer(v, packed);
	}
	st->msgs[0] = sent - 1;
	st->bytes = st->msgs[0] * r->c->msg_size;
}

/* The device receives. */
RAW_INLINE void ring_dev_receive(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	struct raw_vq *v = &r->vq[0];
	bool last = false;
	unsigned spins = 0;

	while (!last) {
		const unsigned char *hdr = NULL;
		uint32_t n = 0;

		for (; n < r->batch && !last && (hdr = raw_vq_next(v, packed)); n++) {
			last = ring_check(r, hdr, st);
			raw_vq_put(v, packed);
		}
		raw_vq_publish(v, packed);
		if (n)
			spins = 0;
		else
			raw_relax(r, &spins);
	}
	st->bytes = st->msgs[0] * r->c->msg_size;
}

/* The device sends. */
RAW_INLINE void ring_dev_send(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(r->o->duration_ns), sent = 0;
	struct raw_vq *v = &r->vq[1];
	bool last = false;
	unsigned spins = 0;

	while (!last) {
		bool late = cpu_ticks() >= end;
		unsigned char *hdr = NULL;
		uint32_t n = 0;

		for (; n < r->batch && !last && (hdr = raw_vq_next(v, packed)); n++) {
			last = late;
			ring_fill(r, hdr, last ? 0 : r->c->msg_size, sent++);
			raw_vq_put(v, packed);
		}
		raw_vq_publish(v, packed);
		if (n)
			spins = 0;
		else
			raw_relax(r, &spins);
	}
	st->msgs[0] = sent - 1;
	st->bytes = st->msgs[0] * r->c->msg_size;
}

/* The driver receives. */
RAW_INLINE void ring_drv_receive(struct raw_ctx *r, struct side_stats *st, const bool packed)
{
	struct raw_vq *v = &r->vq[1];
	bool last = false;
	unsigned spins = 0;

	for (uint32_t i = 0; i < v->nbufs; i++)
		raw_vq_post(v, packed);
	while (!last) {
		const unsigned char *buf = NULL;
		uint32_t n = 0;

		raw_vq_offer(v, packed);
		for (; n < r->batch && !last && (buf = raw_vq_back(v, packed)); n++) {
			last = ring_check(r, buf + RAW_HDR_OFF, st);
			raw_vq_post(v, packed);
		}
		if (n)
			spins = 0;
		else
			raw_relax(r, &spins);
	}
	st->bytes = st->msgs[0] * r->c->msg_size;
}

static void ring_guest(struct raw_ctx *r, struct side_stats *st)
{
	if (r->c->dir == DIR_G2H)
		r->packed ? ring_drv_send(r, st, true) : ring_drv_send(r, st, false);
	else
		r->packed ? ring_drv_receive(r, st, true) : ring_drv_receive(r, st, false);
}

static void ring_host(struct raw_ctx *r, struct side_stats *st)
{
	if (r->c->dir == DIR_G2H)
		r->packed ? ring_dev_receive(r, st, true) : ring_dev_receive(r, st, false);
	else
		r->packed ? ring_dev_send(r, st, true) : ring_dev_send(r, st, false);
}

/* ---- report ---- */

static const char *how_touched(const struct bench_opts *o)
{
	return o->touch ? "written and verified in full" : "by reference (payload not touched)";
}

static void throughput_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	fprintf(f, "\nThroughput, %s messages, %s\n  %-25s %-4s %9s %9s  %-17s",
		size_text(size, sizeof(size), c->msg_size), how_touched(o), "", "dir", "msg/s",
		"Gbit/s", "[min .. max]");
	print_ratio_heads(f, o, c->workload);
	fprintf(f, " %15s\n", "CPU s g / h");
}

/* The slowest queue as a share of the mean. */
static double slowest_queue(const struct bench_result *r, unsigned queues)
{
	uint64_t min = UINT64_MAX;

	for (unsigned i = 0; i < queues; i++)
		if (r->per_queue[i] < min)
			min = r->per_queue[i];
	return r->messages ? (double)min * queues / (double)r->messages : 0;
}

/* "dir msg/s Gbit/s [min .. max]" */
static void print_figures(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	struct spread g = cell_spread(c, o->repeat, result_gbit);
	char rate[24], range[64];

	snprintf(range, sizeof(range), "[%.2f .. %.2f]", g.min, g.max);
	fprintf(f, " %-4s %9s %9.2f  %-17s", dir_names.name[c->dir],
		human(rate, sizeof(rate), cell_med(c, o->repeat, result_rate)), g.med, range);
}

static void throughput_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
			   const struct bench_cell *c)
{
	char name[48];

	fprintf(f, "  %-25s", cell_label(name, sizeof(name), c));
	print_figures(f, o, c);
	print_ratios(f, p, o, c, result_gbit);
	print_cpu(f, c, o->repeat);
	if (o->queues > 1 && !io_is_bare(c->target->io)) {
		double worst = 1;

		for (unsigned i = 0; i < o->repeat; i++)
			if (c->res[i].valid && slowest_queue(&c->res[i], o->queues) < worst)
				worst = slowest_queue(&c->res[i], o->queues);
		fprintf(f, "  slowest queue %.2f of mean", worst);
	}
	print_errors(f, c, o->repeat);
}

static void throughput_peer_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32], first[32];

	fprintf(f,
		"\nThroughput, %s messages, %s\n"
		"  %-23s %-4s %9s %9s  %-17s " PEER_HEAD_END,
		size_text(size, sizeof(size), c->msg_size), how_touched(o), "", "dir", "msg/s",
		"Gbit/s", "[min .. max]",
		PEER_HEAD_ARGS(peer_first(first, sizeof(first), o), "ns/KiB"));
}

static void throughput_peer_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
				const struct bench_cell *c)
{
	fprintf(f, "  %-23s", peer_label(o, c));
	print_figures(f, o, c);
	peer_row_end(f, p, o, c, result_gbit, m_cpu_kib);
}

static void throughput_json_setup(json_t *j, const struct bench_opts *o, const struct bench_cell *c)
{
	if (c->target->io != IO_SOCKET)
		json_set_int(j, "batch", o->batch);
	if (c->coalesce)
		json_set_bool(j, "coalesced", true);
	if (c->registered)
		json_set_bool(j, "registered", true);
	if (c->target->io == IO_RAW)
		json_set_int(j, "slots", raw_slots(c->msg_size));
}

static void throughput_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	(void)c;
	json_set_int(j, "messages", r->messages);
	json_set_num(j, "msgs_per_s", result_rate(r));
	json_set_int(j, "bytes", r->bytes);
	json_set_num(j, "gbit_per_s", result_gbit(r));
}

static int throughput_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.dir = DIR_G2H;
	return plan_sizes(p, o, c);
}

const struct workload workload_throughput = {
	.name = "throughput",
	.help = "messages one way, as fast as they go",
	.by_default = true,
	.plan = throughput_plan,
	.far = {[DIR_G2H] = FAR_SINK, [DIR_H2G] = FAR_SOURCE},
	.oneway = true,
	.calls = true,
	.registers = true,
	.zv = {.run = throughput_run, .threads = true, .roles = roles},
	.socket = {.guest = socket_transfer, .host = socket_transfer, .per_queue = true},
	.raw = {.guest = raw_guest, .host = raw_host},
	.ring = {.guest = ring_guest, .host = ring_host},
	.peer = {.guest = throughput_peer_guest,
		 .host = throughput_peer_host,
		 .port = PEER_PORT_DATA},
	.table = {throughput_head, throughput_row},
	.peer_table = {throughput_peer_head, throughput_peer_row},
	.steady = result_rate,
	.json_setup = throughput_json_setup,
	.json = throughput_json,
};
