/* SPDX-License-Identifier: BSD-3-Clause */
/* The server: accepts connections, learns what each is for, does that, and counts. */
#include "measure/cpu.h"
#include "zv_side.h"
#include "zv_transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct bconn *bc_new(struct worker *w, struct zv_conn *zc, unsigned qi)
{
	struct bconn *bc = w->free;

	if (bc)
		w->free = bc->next;
	else
		bc = malloc(sizeof(*bc));
	if (!bc)
		return NULL;
	memset(bc, 0, sizeof(*bc));
	bc->zc = zc;
	bc->qi = (uint8_t)qi;
	zv_set_user(zc, bc);
	return bc;
}

static void bc_drop(struct worker *w, struct bconn *bc)
{
	for (unsigned i = 0; i < w->nsenders; i++)
		if (w->senders[i] == bc) {
			w->senders[i] = w->senders[--w->nsenders];
			break;
		}
	if (w->tx_owner == bc)
		w->tx_owner = NULL;
	if (bc->role && bc->role->drop)
		bc->role->drop(bc);
	zv_conn_close(bc->zc);
	bc->next = w->free;
	w->free = bc;
}

void run_add(struct zv_side *s, const struct bconn *bc)
{
	struct side_stats *r = &s->run;

	pthread_mutex_lock(&s->lock);
	r->msgs[bc->qi] += bc->seq;
	r->bytes += bc->bytes;
	r->errors += bc->errors;
	if (bc->first_ns && (!r->first_ns || bc->first_ns < r->first_ns))
		r->first_ns = bc->first_ns;
	if (bc->last_ns > r->last_ns)
		r->last_ns = bc->last_ns;
	pthread_mutex_unlock(&s->lock);
}

static int ctrl_message(struct worker *w, struct bconn *bc, const struct wire_msg *m)
{
	struct zv_side *s = w->side;
	struct side_stats answer;

	pthread_mutex_lock(&s->lock);
	run_answer(&s->run, &s->cpu0, m, &answer);
	pthread_mutex_unlock(&s->lock);
	return conn_send_all(w, bc->zc, &answer, sizeof(answer));
}

/* ---- roles ---- */

/* Goes through the roles of all workloads; starts as zeros. */
struct role_at {
	unsigned workload, role;
};

static const struct zv_role *role_next(struct role_at *at)
{
	for (; at->workload < nworkloads; at->workload++, at->role = 0) {
		const struct zv_role *const *roles = workloads[at->workload]->zv.roles;

		if (roles && roles[at->role])
			return roles[at->role++];
	}
	return NULL;
}

static const struct zv_role *role_by_name(const char *name, size_t max)
{
	struct role_at at = {0};
	const struct zv_role *r;

	while ((r = role_next(&at)) && (r->port || strncmp(r->name, name, max) != 0))
		;
	return r;
}

static const struct zv_role *role_by_port(uint32_t port)
{
	struct role_at at = {0};
	const struct zv_role *r;

	while ((r = role_next(&at)) && r->port != port)
		;
	return r;
}

static int role_start(struct worker *w, struct bconn *bc, const struct zv_role *role)
{
	bc->role = role;
	bc->state = BC_ROLE;
	return role->start ? role->start(w, bc) : 0;
}

/* ---- events ---- */

/* A complete first message, or the next one of a control connection. 0 or -errno. */
static int server_message(struct worker *w, struct bconn *bc, const struct wire_msg *m)
{
	const struct zv_role *role;
	struct wire_msg ack = *m;
	int rc;

	if (!wire_known(m))
		return -EPROTO;
	if (bc->state == BC_GO) {
		bc->role->go(w, bc);
		return 0;
	}
	if (m->kind == W_BEGIN || m->kind == W_MARK || m->kind == W_END) {
		bc->state = BC_CTRL;
		return ctrl_message(w, bc, m);
	}
	role = role_by_name(m->role, sizeof(m->role));
	if (m->kind != W_ROLE || !role || !wire_task_ok(m) || w->nsenders == BENCH_SENDERS_MAX)
		return -EPROTO;
	rc = worker_buffers(w, m->msg_size);
	if (rc < 0)
		return rc;
	bc_set_task(bc, m, bc->seqpacket);
	ack.kind = W_ACK;
	rc = conn_send_all(w, bc->zc, &ack, sizeof(ack));
	return rc < 0 ? rc : role_start(w, bc, role);
}

/* First messages and control. 1: the connection has ended, 0, -errno. */
static int server_hello(struct worker *w, struct bconn *bc)
{
	while (bc->state == BC_HELLO || bc->state == BC_GO || bc->state == BC_CTRL) {
		struct wire_msg m;
		ssize_t n = zv_recv(bc->zc, (char *)&bc->hello + bc->hello_len,
				    sizeof(bc->hello) - bc->hello_len, NULL);
		int rc;

		if (n == -EAGAIN)
			return 0;
		if (n <= 0)
			return n == 0 ? 1 : (int)n;
		bc->hello_len += (uint32_t)n;
		if (bc->hello_len < sizeof(m))
			continue;
		m = bc->hello;
		bc->hello_len = 0;
		rc = server_message(w, bc, &m);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void server_conn_event(struct worker *w, struct bconn *bc, uint32_t events)
{
	bool playing = bc->state >= BC_ROLE;
	int rc = playing ? bc->role->event(w, bc, events) : server_hello(w, bc);

	if (rc == 0)
		return;
	if (playing && bc->role->end)
		bc->role->end(w, bc, rc);
	/* A peer that went away in mid-test is its own failure: the server goes on. */
	if (rc < 0)
		side_forgive(w->side);
	bc_drop(w, bc);
}

static void server_accept(struct worker *w, unsigned qi, uint32_t port)
{
	const struct zv_role *role = role_by_port(port);
	struct zv_conn *zc;

	while (zv_accept(zv_queue(w->side->dev, qi), port, &zc) == 0) {
		struct bconn *bc = bc_new(w, zc, qi);

		if (!bc) {
			zv_conn_close(zc);
			continue;
		}
		bc->seqpacket = port == BENCH_PORT_SEQ;
		bc->state = BC_HELLO;
		if (role && role_start(w, bc, role) < 0)
			bc_drop(w, bc);
	}
}

static int server_worker(struct worker *w)
{
	struct zv_side *s = w->side;
	struct zv_event ev[BENCH_EVENTS];

	while (!side_stopping(s)) {
		int sent = worker_run_senders(w), n;

		side_wait_while_paused(s);
		n = worker_wait(w, ev, BENCH_EVENTS, sent > 0 ? 0 : side_tick_ns(s));
		if (n < 0 && n != -EINTR) {
			__atomic_store_n(&s->failed, 1, __ATOMIC_RELEASE);
			return side_fail(s, n, "zv_wait");
		}
		for (int i = 0; i < n; i++) {
			struct bconn *dgram = w->dgram[w->qi[ev[i].queue]];

			if (ev[i].events & ZV_EV_DGRAM && dgram)
				server_conn_event(w, dgram, ZV_EV_DGRAM);
			else if (ev[i].events & ZV_EV_ACCEPT)
				server_accept(w, w->qi[ev[i].queue], ev[i].port);
			else if (ev[i].conn && ev[i].user)
				server_conn_event(w, ev[i].user, ev[i].events);
		}
	}
	return 0;
}

static void *server_thread(void *arg)
{
	struct worker *w = arg;

	cpu_pin(w->side->o->cpus, w->side->role, w->index);
	w->rc = server_worker(w);
	return NULL;
}

static int listen_on(struct zv_side *s, uint32_t port, enum zv_type type)
{
	int rc = zv_listen(s->dev, port, type, 1024);

	return rc < 0 ? side_fail(s, rc, "zv_listen") : 0;
}

static int server_listen(struct zv_side *s)
{
	struct role_at at = {0};
	const struct zv_role *r;
	int rc = listen_on(s, BENCH_PORT_STREAM, ZV_STREAM);

	if (rc == 0)
		rc = listen_on(s, BENCH_PORT_SEQ, ZV_SEQPACKET);
	while (rc == 0 && (r = role_next(&at)))
		if (r->port)
			rc = listen_on(s, r->port, ZV_STREAM);
	return rc;
}

int server_run(struct zv_side *s)
{
	unsigned started = 1;
	int rc = server_listen(s);

	for (unsigned i = 0; i < s->nthreads && rc == 0; i++)
		rc = worker_init(&s->workers[i], s, i, s->nthreads, 0);
	if (rc < 0)
		return rc;
	for (; started < s->nthreads; started++) {
		struct worker *w = &s->workers[started];

		if (pthread_create(&w->tid, NULL, server_thread, w) != 0) {
			__atomic_store_n(&s->failed, 1, __ATOMIC_RELEASE);
			rc = side_fail_own(s, -EAGAIN, "cannot start a thread");
			break;
		}
	}
	server_thread(&s->workers[0]);
	for (unsigned i = 0; i < started; i++) {
		if (i > 0)
			pthread_join(s->workers[i].tid, NULL);
		if (rc == 0)
			rc = s->workers[i].rc;
	}
	return rc;
}

int server_main(const struct bench_opts *o, struct proc_err *err)
{
	struct zv_side s = {0};
	int rc = side_open_server(&s, o, o->server_uri, err);

	if (rc == 0) {
		fprintf(stderr, "vsock-bench: serving on %s, %u queue%s; Ctrl-C ends it\n",
			o->server_uri, s.nqueues, s.nqueues == 1 ? "" : "s");
		rc = server_run(&s);
	}
	side_close(&s);
	return rc;
}
