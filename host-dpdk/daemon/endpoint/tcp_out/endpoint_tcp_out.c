/* SPDX-License-Identifier: BSD-3-Clause */
/* The tcp_out endpoint as a whole: configuration; see endpoint_tcp_out.h. */
#include "endpoint_tcp_out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void add_port(struct load *l, void *values, const struct key *k, char *value)
{
	struct tcp_out_values *v = values;
	struct cfg_ports p, *added;

	if (!cfg_port(l, k, value, &p.first))
		return;
	p.last = p.first;
	if (!cfg_take_ports(l, k, &p))
		return;
	added = cfg_add(l, &v->ports, sizeof(p));
	if (added)
		*added = p;
}

static void add_rule(struct load *l, void *values, const struct key *k, char *value)
{
	struct tcp_out_values *v = values;
	struct allow_rule r, *added;

	(void)k;
	if (!allow_read(&r, value)) {
		cfg_wrong(l,
			  "tcp_allow: \"%s\" is no rule; write ADDRESS:PORT, ADDRESS/BITS:PORT or "
			  "NAME:PORT, where a port may be FIRST-LAST or *, for example "
			  "10.0.0.0/8:443, [fd00::]/8:* or example.org:80",
			  value);
		return;
	}
	added = cfg_add(l, &v->rules, sizeof(r));
	if (added)
		*added = r;
}

static const struct key tcp_out_keys[] = {
	{"tcp_out", add_port, .list = true},
	{"tcp_allow", add_rule, .list = true},
	{0},
};

static void tcp_out_ready(void *values)
{
	cfg_sort_ports(&((struct tcp_out_values *)values)->ports, sizeof(struct cfg_ports));
}

static void tcp_out_release(void *values)
{
	struct tcp_out_values *v = values;

	free(v->ports.v);
	free(v->rules.v);
}

static bool tcp_out_same(const void *a, const void *b)
{
	const struct tcp_out_values *x = a, *y = b;

	return cfg_same_array(&x->ports, &y->ports, sizeof(struct cfg_ports)) &&
	       cfg_same_array(&x->rules, &y->rules, sizeof(struct allow_rule));
}

static void tcp_out_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
			  void **scratch, FILE *to)
{
	const struct tcp_out_values *v = values;
	const struct allow_rule *r = v->rules.v;

	(void)c;
	(void)g;
	(void)scratch;
	if (!v->ports.n && v->rules.n)
		(void)fprintf(to, "  tcp_allow   without effect: there is no tcp_out\n");
	for (unsigned i = 0; i < v->ports.n; i++) {
		(void)fprintf(to, "  port        %u: TCP by SOCKS5, to ",
			      ((const struct cfg_ports *)v->ports.v)[i].first);
		for (unsigned k = 0; k < v->rules.n; k++)
			(void)fprintf(to, "%s%s", k ? ", " : "", r[k].text);
		(void)fprintf(to, "%s\n", v->rules.n ? "" : "nothing: there is no tcp_allow");
	}
}

static int tcp_out_start(struct guest *g)
{
	struct tcp_out_guest *t;

	if (!tcp_out_values(guest_cfg(g))->ports.n)
		return 0;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; i < g->n_queues; i++)
		look_ups_init(&t->look_ups[i], &g->queues[i]);
	g->part[ENDPOINT_tcp_out] = t;
	return 0;
}

static void tcp_out_free(struct guest *g)
{
	free(tcp_out_guest(g));
	g->part[ENDPOINT_tcp_out] = NULL;
}

static bool tcp_out_has_port(const struct guest *g, uint32_t port, bool dgram)
{
	return !dgram &&
	       cfg_find_port(&tcp_out_values(guest_cfg(g))->ports, sizeof(struct cfg_ports), port);
}

static void tcp_out_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			     size_t len)
{
	(void)g;
	(void)info;
	(void)snprintf(buf, len, "tcp_out");
}

static int tcp_out_serve(struct guest_queue *gq, struct zv_conn *conn,
			 const struct zv_conn_info *info)
{
	return tcp_out_has_port(gq->guest, info->local_port, false) ? tcp_out_begin(gq, conn, info)
								    : 0;
}

const struct endpoint_ops endpoint_tcp_out = {
	.name = "tcp_out",
	.cfg = {.keys = tcp_out_keys,
		.size = sizeof(struct tcp_out_values),
		.ready = tcp_out_ready,
		.release = tcp_out_release,
		.same = tcp_out_same,
		.print = tcp_out_print},
	.kind = CONN_KIND(endpoint_tcp_out.kind, tcp_out_describe),
	.start = tcp_out_start,
	.free = tcp_out_free,
	.has_port = tcp_out_has_port,
	.serve = tcp_out_serve,
};
