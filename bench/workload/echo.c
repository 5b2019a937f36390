/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Echo: the client sends messages as fast as they go, and the same thread receives and verifies
 * what the far end sends back. Unlike rtt, it has as many messages under way as fit. What came
 * back counts, from the first message sent to the end of the stream.
 */
#include "io/sock/kernel_socket.h"
#include "io/zv/zv_echo.h"
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <string.h>

/* ---- zvsock ---- */

/* A connection, as its sender and as its receiver. */
struct there_and_back {
	struct bconn out, in;
};

static int echo_open(struct worker *w, const struct bench_cell *c, struct there_and_back *tb,
		     unsigned i)
{
	struct wire_msg m;
	int rc = client_open(w, &tb->out, c, i);

	if (rc < 0)
		return rc;
	wire_role(&m, far_part_role(FAR_ECHO), w->side->o, c, tb->out.qi);
	bc_set_task(&tb->out, &m, w->side->o->type == TYPE_SEQPACKET);
	rc = client_ask(w, &tb->out, &m);
	tb->in = tb->out;
	tb->in.state = BC_SINK;
	zv_set_user(tb->out.zc, tb);
	return rc;
}

/* 1: everything is back and the far end has closed, 0: not yet, -errno. */
static int echo_event(struct worker *w, void *user, uint32_t events)
{
	struct there_and_back *tb = user;
	struct bconn *in = &tb->in;
	int rc;

	if (events & ZV_EV_OUT)
		tb->out.blocked = false;
	if (!(events & (ZV_EV_IN | ZV_EV_HUP | ZV_EV_ERR)) || in->state == BC_DONE)
		return 0;
	rc = bc_receive(w, in);
	if (rc < 0)
		return side_fail(w->side, rc, "receive");
	if (rc == 0)
		return 0;
	if (tb->out.state != BC_DRAIN)
		return side_fail_own(w->side, -ECONNRESET, "the far end closed the connection");
	in->state = BC_DONE;
	in->last_ns = cpu_now_ns();
	in->errors += in->off != 0 || in->seq != tb->out.seq;
	return 1;
}

static int echo_run(struct zv_run *r)
{
	struct there_and_back tb[BENCH_QUEUES_MAX];
	struct worker *w = r->w;
	int rc = worker_buffers(w, r->c->msg_size);

	memset(tb, 0, sizeof(tb));
	w->nsenders = 0;
	w->tx_owner = NULL;
	for (unsigned i = 0; i < w->nq && rc == 0; i++)
		rc = echo_open(w, r->c, &tb[i], i);
	for (unsigned i = 0; i < w->nq && rc == 0; i++)
		bc_start_source(w, &tb[i].out);
	if (rc == 0)
		rc = worker_until_done(w, echo_event, w->nq, "the echo does not end");
	for (unsigned i = 0; i < w->nq; i++) {
		const struct bconn *in = &tb[i].in;

		if (tb[i].out.zc)
			zv_conn_close(tb[i].out.zc);
		r->st.msgs[tb[i].out.qi] = in->seq;
		r->st.bytes += in->bytes;
		r->st.errors += in->errors;
		if (!r->st.first_ns || tb[i].out.first_ns < r->st.first_ns)
			r->st.first_ns = tb[i].out.first_ns;
		if (in->last_ns > r->st.last_ns)
			r->st.last_ns = in->last_ns;
	}
	w->nsenders = 0;
	return rc;
}

/* ---- sockets ---- */

static void socket_guest(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	stream_there_and_back(&t->io, buf, cap);
}

static void socket_host(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	stream_echo(&t->io, buf, cap);
}

/* ---- report ---- */

static void echo_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	fprintf(f, "\nEcho, %s messages, %s\n  %-25s %9s %9s  %-17s",
		size_text(size, sizeof(size), c->msg_size),
		o->touch ? "written and verified in full" : "by reference (payload not touched)",
		"", "msg/s", "Gbit/s", "[min .. max]");
	print_ratio_heads(f, o, c->workload);
	fprintf(f, " %15s\n", "CPU s g / h");
}

static void echo_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		     const struct bench_cell *c)
{
	struct spread g = cell_spread(c, o->repeat, result_gbit);
	char name[48], rate[24], range[64];

	snprintf(range, sizeof(range), "[%.2f .. %.2f]", g.min, g.max);
	fprintf(f, "  %-25s %9s %9.2f  %-17s", cell_label(name, sizeof(name), c),
		human(rate, sizeof(rate), cell_med(c, o->repeat, result_rate)), g.med, range);
	print_ratios(f, p, o, c, result_rate);
	print_cpu(f, c, o->repeat);
	print_errors(f, c, o->repeat);
}

static void echo_json_setup(json_t *j, const struct bench_opts *o, const struct bench_cell *c)
{
	if (target_zv(c->target))
		json_set_int(j, "batch", o->batch);
}

static void echo_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	(void)c;
	json_set_int(j, "messages", r->messages);
	json_set_num(j, "msgs_per_s", result_rate(r));
	json_set_int(j, "bytes", r->bytes);
	json_set_num(j, "gbit_per_s", result_gbit(r));
}

static int echo_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	c.dir = DIR_BOTH;
	return plan_sizes(p, o, c);
}

const struct workload workload_echo = {
	.name = "echo",
	.help = "messages to an echo and back, as many under way as fit",
	.plan = echo_plan,
	.far = {[DIR_BOTH] = FAR_ECHO},
	.calls = true,
	.zv = {.run = echo_run, .threads = true},
	.socket = {.guest = socket_guest, .host = socket_host, .per_queue = true},
	.table = {echo_head, echo_row},
	.steady = result_rate,
	.json_setup = echo_json_setup,
	.json = echo_json,
};
