/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Throughput over many connections: all of them send in turn, a batch each (over sockets a message
 * each), and one thread receives from all. The fall of the rate shows what further connections
 * cost.
 */
#include "io/sock/kernel_socket.h"
#include "io/zv/zv_transfer.h"
#include "measure/cpu.h"
#include "measure/pattern.h"
#include "report/json_set.h"
#include "report/stats.h"
#include "workloads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CONNS_MAX  1000u
#define LIST_MAX   8u
#define EVENTS_MAX 64

/* ---- options ---- */

static uint32_t active[LIST_MAX] = {1, 10, 100, CONNS_MAX};
static unsigned nactive = 4;

static void parse_active(char *arg)
{
	char *save = NULL;

	nactive = 0;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (nactive == LIST_MAX)
			option_bad("--active takes at most %u numbers", LIST_MAX);
		active[nactive++] = option_number("active", s, 1, CONNS_MAX);
	}
	if (!nactive)
		option_bad("--active takes numbers of connections such as 1,10,100");
}

static const struct bench_option options[] = {
	{.name = "active",
	 .arg = "N",
	 .group = OPTIONS_TEST,
	 .help = "Connections of --test conns, several with commas (1,10,100,1000)",
	 .kind = OPTION_CALL,
	 .call = parse_active},
};

static int conns_plan(struct bench_plan *p, const struct bench_opts *o, struct bench_cell c)
{
	struct bench_opts g2h = *o;
	int rc = 0;

	g2h.dir = DIR_G2H;
	c.dir = DIR_G2H;
	for (unsigned s = 0; s < o->nsizes; s++)
		for (unsigned i = 0; i < nactive && rc == 0; i++) {
			c.msg_size = o->sizes[s];
			c.in_flight = active[i];
			rc = plan_cells(p, &g2h, c);
		}
	return rc;
}

/* ---- zvsock ---- */

static int conns_open(struct zv_run *r)
{
	struct worker *w = r->w;
	struct bconn *bcs = r->own = calloc(r->c->in_flight, sizeof(*bcs));
	struct wire_msg m;
	int rc = bcs ? worker_buffers(w, r->c->msg_size) : -ENOMEM;

	if (rc < 0)
		return side_fail_own(w->side, rc, "the connections");
	w->nsenders = 0;
	w->tx_owner = NULL;
	for (unsigned i = 0; i < r->c->in_flight && rc == 0; i++) {
		rc = client_open(w, &bcs[i], r->c, i % w->nq);
		if (rc < 0)
			break;
		wire_role(&m, role_sink.name, w->side->o, r->c, bcs[i].qi);
		bc_set_task(&bcs[i], &m, w->side->o->type == TYPE_SEQPACKET);
		rc = client_ask(w, &bcs[i], &m);
	}
	return rc;
}

static int conns_run(struct zv_run *r)
{
	struct bconn *bcs = r->own;

	for (unsigned i = 0; i < r->c->in_flight; i++)
		bc_start_source(r->w, &bcs[i]);
	return client_transfer(r->w, bcs, r->c->in_flight, &r->st, 0);
}

static void conns_close(struct zv_run *r)
{
	free(r->own); /* the connections were closed by their transfer, or go with the device */
}

static const struct zv_role *const roles[] = {NULL};

/* ---- sockets ---- */

struct many {
	struct stream_io io[CONNS_MAX];
	unsigned n;
};

static struct many *many_open(struct stream_thread *t)
{
	struct many *m = calloc(1, sizeof(*m));

	while (m && m->n < t->s->c->in_flight) {
		struct stream_io *io = &m->io[m->n];

		*io = t->io;
		io->salt = m->n;
		io->fd = t->role == ROLE_GUEST ? stream_connect(t->s)
					       : accept4(t->s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
		if (io->fd < 0)
			break;
		m->n++;
	}
	if (!m || m->n < t->s->c->in_flight)
		t->io.errors++;
	return m;
}

static void many_close(struct stream_thread *t, struct many *m)
{
	for (unsigned i = 0; m && i < m->n; i++) {
		t->io.msgs += m->io[i].msgs;
		t->io.bytes += m->io[i].bytes;
		t->io.errors += m->io[i].errors;
		if (m->io[i].fd >= 0)
			close(m->io[i].fd);
	}
	free(m);
}

/* A message on each, in turn. */
static void many_send(struct stream_thread *t, struct many *m, unsigned char *buf)
{
	uint64_t end = cpu_ticks() + cpu_ns_to_ticks(t->s->o->duration_ns);

	while (cpu_ticks() < end)
		for (unsigned i = 0; i < m->n; i++) {
			struct stream_io *io = &m->io[i];

			if (io->touch)
				pattern_fill(buf, io->size, io->salt, io->msgs, 0);
			if (!stream_write_all(io->fd, buf, io->size)) {
				io->errors++;
				return;
			}
			io->msgs++;
			io->bytes += io->size;
		}
}

static void socket_sends(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	struct many *m = many_open(t);
	char c;

	(void)cap;
	if (m && !t->io.errors)
		many_send(t, m, buf);
	for (unsigned i = 0; m && i < m->n; i++)
		shutdown(m->io[i].fd, SHUT_WR);
	/* The receiver closes each when it has everything. */
	for (unsigned i = 0; m && i < m->n; i++)
		while (recv(m->io[i].fd, &c, 1, 0) < 0 && errno == EINTR && !proc_interrupted)
			;
	many_close(t, m);
}

/* What there is of one connection. True: its end. */
static bool socket_take(struct stream_io *io, unsigned char *buf, size_t cap)
{
	ssize_t n = recv(io->fd, buf, cap, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n > 0) {
		stream_check(io, buf, (size_t)n);
		return false;
	}
	io->errors += n < 0 || io->off != 0;
	close(io->fd);
	io->fd = -1;
	return true;
}

static void socket_receives(struct stream_thread *t, unsigned char *buf, size_t cap)
{
	struct many *m = many_open(t);
	struct epoll_event ev[EVENTS_MAX];
	int ep = epoll_create1(EPOLL_CLOEXEC);
	unsigned open = 0;

	for (unsigned i = 0; m && ep >= 0 && !t->io.errors && i < m->n; i++) {
		ev[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &m->io[i]};
		open += epoll_ctl(ep, EPOLL_CTL_ADD, m->io[i].fd, &ev[0]) == 0;
	}
	t->io.errors += !m || open != m->n;
	while (open && !proc_interrupted) {
		int n = epoll_wait(ep, ev, EVENTS_MAX, (int)(BENCH_GRACE_NS / 1000000u));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		for (int i = 0; i < n; i++)
			open -= socket_take(ev[i].data.ptr, buf, cap);
	}
	t->io.errors += open != 0;
	if (ep >= 0)
		close(ep);
	many_close(t, m);
}

/* ---- report ---- */

static void conns_head(FILE *f, const struct bench_opts *o, const struct bench_cell *c)
{
	char size[32];

	fprintf(f, "\nThroughput over %u connection%s, %s messages\n  %-25s %9s %9s  %-17s",
		c->in_flight, c->in_flight == 1 ? "" : "s",
		size_text(size, sizeof(size), c->msg_size), "", "msg/s", "Gbit/s", "[min .. max]");
	print_ratio_heads(f, o, c->workload);
	fprintf(f, " %15s\n", "CPU s g / h");
}

static void conns_row(FILE *f, const struct bench_plan *p, const struct bench_opts *o,
		      const struct bench_cell *c)
{
	struct spread g = cell_spread(c, o->repeat, result_gbit);
	char name[48], rate[24], range[64];

	snprintf(range, sizeof(range), "[%.2f .. %.2f]", g.min, g.max);
	fprintf(f, "  %-25s %9s %9.2f  %-17s", cell_label(name, sizeof(name), c),
		human(rate, sizeof(rate), cell_med(c, o->repeat, result_rate)), g.med, range);
	print_ratios(f, p, o, c, result_gbit);
	print_cpu(f, c, o->repeat);
	print_errors(f, c, o->repeat);
}

static void conns_json_setup(json_t *j, const struct bench_opts *o, const struct bench_cell *c)
{
	if (target_zv(c->target))
		json_set_int(j, "batch", o->batch);
	if (c->coalesce)
		json_set_bool(j, "coalesced", true);
	json_set_int(j, "conns", c->in_flight);
}

static void conns_json(json_t *j, const struct bench_cell *c, const struct bench_result *r)
{
	(void)c;
	json_set_int(j, "messages", r->messages);
	json_set_num(j, "msgs_per_s", result_rate(r));
	json_set_int(j, "bytes", r->bytes);
	json_set_num(j, "gbit_per_s", result_gbit(r));
}

const struct workload workload_conns = {
	.name = "conns",
	.help = "messages one way over many connections (--active)",
	.options = BENCH_OPTIONS(options),
	.plan = conns_plan,
	.far = {[DIR_G2H] = FAR_SINK},
	.oneway = true,
	.calls = true,
	.zv = {.open = conns_open,
	       .run = conns_run,
	       .close = conns_close,
	       .many_conns = true,
	       .roles = roles},
	.socket = {.guest = socket_sends,
		   .host = socket_receives,
		   .own_conns = true,
		   .local = true},
	.table = {conns_head, conns_row},
	.steady = result_rate,
	.one_thread = true,
	.json_setup = conns_json_setup,
	.json = conns_json,
};
