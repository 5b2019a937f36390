/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tcp endpoint: "tcp = PORT=HOST:TARGET". Host ports that stand for an address in the host's
 * network: an allow-list, like that of Nitro's vsock-proxy. Names are looked up when the
 * configuration is read (lookup.h).
 */
#include "endpoint_tcp.h"

#include "dial.h"
#include "lookup.h"

#include <stdlib.h>
#include <string.h>

/* ---- configuration ---- */

/* Cuts "HOST:TARGET" or "[ADDRESS]:TARGET" into @t. */
static bool parse_target(struct tcp_port *t, const char *text)
{
	const char *host = text, *colon = strrchr(text, ':');
	uint64_t target;
	size_t len;

	if (!colon || cfg_number(colon + 1, 1, UINT16_MAX, &target) < 0)
		return false;
	len = (size_t)(colon - text);
	if (*host == '[') {
		if (len < 3 || host[len - 1] != ']')
			return false;
		host++;
		len -= 2;
	} else if (memchr(host, ':', len)) {
		return false; /* an IPv6 address without brackets: the start of the port would be
				 ambiguous */
	}
	if (len == 0 || len >= sizeof(t->host))
		return false;
	memcpy(t->host, host, len);
	t->target = (uint16_t)target;
	return true;
}

static void add_tcp(struct load *l, void *values, const struct key *k, char *value)
{
	struct tcp_values *v = values;
	char *target = strchr(value, '=');
	struct tcp_port t = {.target = 0}, *added;

	if (target) {
		*target++ = 0;
		if (!cfg_port(l, k, value, &t.port.first))
			return;
	}
	if (!target || !parse_target(&t, target)) {
		cfg_wrong(l,
			  "tcp: \"%s\" is no HOST:TARGET; write PORT=HOST:TARGET, for example "
			  "8080=127.0.0.1:80 or 8080=[::1]:80",
			  target ? target : value);
		return;
	}
	(void)lookup_number(&t); /* names: all at once, after everything has been read */
	t.port.last = t.port.first;
	if (!cfg_take_ports(l, k, &t.port))
		return;
	added = cfg_add(l, &v->ports, sizeof(t));
	if (added)
		*added = t;
}

static const struct key tcp_keys[] = {
	{"tcp", add_tcp, .list = true},
	{0},
};

static void tcp_ready(void *values)
{
	cfg_sort_ports(&((struct tcp_values *)values)->ports, sizeof(struct tcp_port));
}

static void tcp_release(void *values)
{
	struct tcp_values *v = values;

	free(v->ports.v);
	free(v->trouble);
}

/*
 * The resolved addresses are not compared: name servers may return them in another order each time.
 */
static bool tcp_same(const void *a, const void *b)
{
	const struct tcp_values *x = a, *y = b;

	if (x->ports.n != y->ports.n)
		return false;
	for (unsigned i = 0; i < x->ports.n; i++) {
		const struct tcp_port *p = tcp_port(x, i), *q = tcp_port(y, i);

		if (p->port.first != q->port.first || p->target != q->target ||
		    strcmp(p->host, q->host) != 0)
			return false;
	}
	return true;
}

/* HOST:TARGET, as it is written. */
static void target_text(const struct tcp_port *t, char *buf, size_t len)
{
	(void)snprintf(buf, len, strchr(t->host, ':') ? "[%s]:%u" : "%s:%u", t->host, t->target);
}

static void tcp_print(const struct cfg *c, const struct cfg_guest *g, const void *values,
		      void **scratch, FILE *to)
{
	const struct tcp_values *v = values;
	char target[sizeof(((struct tcp_port *)0)->host) + 16];

	(void)c;
	(void)g;
	(void)scratch;
	for (unsigned i = 0; i < v->ports.n; i++) {
		target_text(tcp_port(v, i), target, sizeof(target));
		(void)fprintf(to, "  port        %u: TCP to %s\n", tcp_port(v, i)->port.first,
			      target);
	}
}

/* ---- connections ---- */

static void tcp_describe(const struct guest *g, const struct zv_conn_info *info, char *buf,
			 size_t len)
{
	const struct tcp_port *t = tcp_at(guest_cfg(g), info->local_port);
	size_t used = (size_t)snprintf(buf, len, "tcp:");

	if (t && used < len)
		target_text(t, buf + used, len - used);
}

static int tcp_serve(struct guest_queue *gq, struct zv_conn *conn, const struct zv_conn_info *info)
{
	const struct tcp_port *t;

	t = tcp_at(guest_cfg(gq->guest), info->local_port);
	return t ? dial(gq, conn, &endpoint_tcp.kind, info, (const struct sockaddr *)&t->addr,
			t->addr_len)
		 : 0;
}

static bool tcp_has_port(const struct guest *g, uint32_t port, bool dgram)
{
	return !dgram && tcp_at(guest_cfg(g), port);
}

const struct endpoint_ops endpoint_tcp = {
	.name = "tcp",
	.cfg = {.keys = tcp_keys,
		.size = sizeof(struct tcp_values),
		.ready = tcp_ready,
		.release = tcp_release,
		.same = tcp_same,
		.print = tcp_print,
		.ask = lookup_begin,
		.answers = lookup_take,
		.trouble = lookup_trouble,
		.keep = lookup_keep,
		.release_all = lookup_end},
	.kind = CONN_KIND(endpoint_tcp.kind, tcp_describe),
	.has_port = tcp_has_port,
	.serve = tcp_serve,
};
