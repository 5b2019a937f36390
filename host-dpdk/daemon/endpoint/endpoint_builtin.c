/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The builtin endpoint: services inside the daemon, for trying things out and for measuring. Off
 * unless configured: "builtin = SERVICE:PORT".
 *
 * echo     sends back what comes: a connection spliced with itself (relay/splice.h)
 * discard  takes everything and drops it unseen, by reference
 * source   sends zeroes until the guest wants no more
 */
#include "endpoint_builtin.h"

#include "relay/splice.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH	     16u
#define SOURCE_CHUNK 65536u

/* ---- discard and source ---- */

/* A connection of one of them is a flow and nothing else; service_end() frees it. */
static void service_end(struct flow *f, bool reset)
{
	conn_log(&f->owner, f->conn, reset ? "ended: reset by zvsockd" : "ended: by the peer");
	flow_close(f, reset);
	conn_owner_remove(&f->owner);
	free(f);
}

static void service_abort(struct conn_owner *o)
{
	service_end((struct flow *)(void *)o, true);
}

static void service_event(struct conn_owner *o, const struct zv_event *ev)
{
	struct flow *f = (struct flow *)(void *)o;

	if (ev->events & ZV_EV_ERR)
		service_end(f, false);
	else
		flow_defer(f);
}

static int service_begin(struct guest_queue *gq, struct zv_conn *conn, uint32_t events,
			 void (*run)(struct lcore_work *w))
{
	struct flow *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->owner.event = service_event;
	f->owner.abort = service_abort;
	flow_init(f, gq, conn, &endpoint_builtin.kind, run);
	flow_events(f, events);
	if (zv_conn_answer(conn, 0) == 0)
		GUEST_COUNT(gq, guest_joined);
	conn_log(&f->owner, conn, "opened");
	flow_defer(f);
	return 1;
}

static void discard(struct lcore_work *w)
{
	struct flow *f = flow_of_work(w);
	uint32_t work = 0, most = flow_may(f);
	struct zv_buf bufs[BATCH];
	int n = 1;

	while (n > 0 && work < most) { /* if there is more, ZV_EV_IN is reported again */
		n = zv_buf_recv(f->conn, bufs, BATCH);
		for (int i = 0; i < n; i++)
			work += flow_moved(f, bufs[i].len);
		if (n > 0)
			zv_buf_release(f->owner.gq->q, bufs, (unsigned)n);
	}
	if (n == 0)
		service_end(f, false);
}

static int discard_begin(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	(void)info;
	return service_begin(gq, conn, ZV_EV_IN, discard);
}

static void source(struct lcore_work *w)
{
	struct flow *f = flow_of_work(w);
	uint32_t work = 0, most = flow_may(f);
	struct zv_buf bufs[BATCH];
	int n = 1;

	while (n > 0 && work < most) {
		n = zv_buf_alloc(f->conn, bufs, BATCH, SOURCE_CHUNK);
		for (int i = 0; i < n; i++) {
			memset(bufs[i].data, 0, bufs[i].capacity);
			bufs[i].len = bufs[i].capacity;
			bufs[i].flags = ZV_EOM; /* SEQPACKET: a message a buffer */
			work += flow_moved(f, bufs[i].len);
		}
		if (n > 0)
			n = zv_buf_send(f->conn, bufs, (unsigned)n);
	}
	if (n == -EPIPE)
		service_end(f, false);
	else if (most && (n > 0 || n == -ENOBUFS))
		flow_defer(f);
}

static int source_begin(struct guest_queue *gq, struct zv_conn *conn,
			const struct zv_conn_info *info)
{
	(void)info;
	return service_begin(gq, conn, ZV_EV_OUT | ZV_EV_HUP, source);
}

/* ---- echo ---- */

static int echo_begin(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	return splice_new(gq, conn, &endpoint_builtin.kind, info, true) ? 1 : -ENOMEM;
}

/* ---- the services ---- */

/* begin(): 1, or -ENOMEM and @conn is still the caller's. */
static const struct service {
	const char *name;
	int (*begin)(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info);
} services[] = {
	{"echo", echo_begin},
	{"discard", discard_begin},
	{"source", source_begin},
};
#define N_SERVICES (sizeof(services) / sizeof(services[0]))

const char *builtin_at(const struct cfg_guest *g, uint32_t port)
{
	const struct builtin *b = cfg_find_port(builtin_ports(g), sizeof(*b), port);

	return b ? services[b->service].name : NULL;
}

/* "echo:PORT, discard:PORT or source:PORT", from the table. */
static const char *what_to_write(char *buf, size_t size)
{
	size_t len = 0;

	for (size_t i = 0; i < N_SERVICES && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s:PORT",
					i == 0		      ? ""
					: i + 1 == N_SERVICES ? " or "
							      : ", ",
					services[i].name);
	return buf;
}

static void add_service(struct load *l, void *values, const struct key *k, char *value)
{
	struct builtin_values *v = values;
	char *colon = strchr(value, ':'), usage[128];
	struct builtin b = {.service = 0}, *added;

	if (colon)
		*colon = 0;
	while (b.service < N_SERVICES && strcmp(value, services[b.service].name) != 0)
		b.service++;
	if (b.service == N_SERVICES || !colon) {
		cfg_wrong(l, "builtin: \"%s\" is %s; write %s", value,
			  colon ? "no service" : "no SERVICE:PORT",
			  what_to_write(usage, sizeof(usage)));
		return;
	}
	if (!cfg_port(l, k, colon + 1, &b.port.first))
		return;
	b.port.last = b.port.first;
	if (!cfg_take_ports(l, k, &b.port))
		return;
	added = cfg_add(l, &v->ports, sizeof(b));
	if (added)
		*added = b;
}

static const struct key builtin_keys[] = {
	{"builtin", add_service, .list = true},
	{0},
};

static void builtin_ready(void *values)
{
	struct builtin_values *v = values;

	cfg_sort_ports(&v->ports, sizeof(struct builtin));
}

static void builtin_release(void *values)
{
	struct builtin_values *v = values;

	free(v->ports.v);
}

static bool builtin_same(const void *a, const void *b)
{
	const struct builtin_values *x = a, *y = b;

	return cfg_same_array(&x->ports, &y->ports, sizeof(struct builtin));
}

static void builtin_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
			  void **scratch, FILE *to)
{
	const struct builtin_values *v = values;
	const struct builtin *b = v->ports.v;

	(void)c;
	(void)g;
	(void)scratch;
	for (unsigned i = 0; i < v->ports.n; i++)
		(void)fprintf(to, "  port        %u: %s, built in\n", b[i].port.first,
			      services[b[i].service].name);
}

/* ---- the endpoint ---- */

static void builtin_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			     size_t len)
{
	const char *name = builtin_at(guest_cfg(g), info->local_port);

	(void)snprintf(buf, len, "%s", name ? name : "builtin");
}

static int builtin_serve(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	const struct builtin *b;
	int ret;

	b = cfg_find_port(builtin_ports(guest_cfg(gq->guest)), sizeof(*b), info->local_port);
	if (!b)
		return 0;
	ret = services[b->service].begin(gq, conn, info);
	if (ret < 0)
		GUEST_COUNT(gq, no_memory);
	return ret;
}

static bool builtin_has_port(const struct guest *g, uint32_t port, bool dgram)
{
	return !dgram && builtin_at(guest_cfg(g), port);
}

const struct endpoint_ops endpoint_builtin = {
	.name = "builtin",
	.cfg = {.keys = builtin_keys,
		.size = sizeof(struct builtin_values),
		.ready = builtin_ready,
		.release = builtin_release,
		.same = builtin_same,
		.print = builtin_print},
	.kind = CONN_KIND(endpoint_builtin.kind, builtin_describe),
	.has_port = builtin_has_port,
	.serve = builtin_serve,
};
