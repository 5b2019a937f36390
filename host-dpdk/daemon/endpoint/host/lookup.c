/* SPDX-License-Identifier: BSD-3-Clause */
#include "lookup.h"
#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zvsock.h>

/* Look-ups of one configuration. */
struct lookup {
	struct lookup *next; /* in the list of those whose configuration is gone */
	unsigned n;
	struct gaicb **list; /* by name */
	struct gaicb *req;
};

static const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

static struct lookup *left_over; /* their configuration was freed before the answer came */

/* ---- questions ---- */

static void enter(struct tcp_port *t, const struct addrinfo *found)
{
	memcpy(&t->addr, found->ai_addr, found->ai_addrlen);
	t->addr_len = found->ai_addrlen;
	if (found->ai_family == AF_INET6)
		((struct sockaddr_in6 *)&t->addr)->sin6_port = htons(t->target);
	else
		((struct sockaddr_in *)&t->addr)->sin_port = htons(t->target);
}

bool lookup_number(struct tcp_port *t)
{
	struct addrinfo number = hints, *found;

	number.ai_flags = AI_NUMERICHOST;
	if (getaddrinfo(t->host, NULL, &number, &found))
		return false;
	enter(t, found);
	freeaddrinfo(found);
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct gaicb *const *)a)->ar_name, (*(struct gaicb *const *)b)->ar_name);
}

static void lookup_free(struct lookup *l)
{
	for (unsigned i = 0; l && i < l->n; i++) {
		if (l->req[i].ar_result)
			freeaddrinfo(l->req[i].ar_result);
		free((void *)(uintptr_t)l->req[i].ar_name);
	}
	if (l) {
		free(l->list);
		free(l->req);
	}
	free(l);
}

/* Room for @n questions. */
static struct lookup *lookup_new(unsigned n)
{
	struct lookup *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->list = calloc(n, sizeof(struct gaicb *));
	l->req = calloc(n, sizeof(*l->req));
	if (l->list && l->req)
		return l;
	lookup_free(l);
	return NULL;
}

/* Adds each name once. False: no memory. */
static bool fill(struct lookup *l, const struct cfg *c)
{
	unsigned used = 0;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct tcp_values *v = tcp_values(&c->guests[i]);

		for (unsigned k = 0; k < v->ports.n; k++) {
			struct gaicb *req = &l->req[l->n];

			if (tcp_port(v, k)->addr_len)
				continue;
			req->ar_name = strdup(tcp_port(v, k)->host);
			req->ar_request = &hints;
			if (!req->ar_name)
				return false;
			l->list[l->n++] = req;
		}
	}
	qsort(l->list, l->n, sizeof(struct gaicb *), by_name);
	for (unsigned i = 0; i < l->n; i++)
		if (!used || by_name(&l->list[i], &l->list[used - 1]) != 0)
			l->list[used++] = l->list[i];
	for (unsigned i = used; i < l->n; i++)
		l->list[i] = NULL;
	return true;
}

static unsigned names(const struct lookup *l)
{
	unsigned n = 0;

	while (n < l->n && l->list[n])
		n++;
	return n;
}

int lookup_begin(struct cfg *c)
{
	struct lookup *l;
	unsigned n = 0;

	for (unsigned i = 0; i < c->n_guests; i++) {
		const struct tcp_values *v = tcp_values(&c->guests[i]);

		for (unsigned k = 0; k < v->ports.n; k++)
			n += !tcp_port(v, k)->addr_len;
	}
	if (c->part[ENDPOINT_tcp] || !n)
		return 0;
	l = lookup_new(n);
	c->part[ENDPOINT_tcp] = l;
	if (l && fill(l, c) && getaddrinfo_a(GAI_NOWAIT, l->list, (int)names(l), NULL) == 0)
		return 0;
	lookup_end(c); /* some may be on their way */
	return -ENOMEM;
}

/* ---- answers ---- */

static bool is_over(const struct lookup *l)
{
	for (unsigned i = 0; i < l->n && l->list[i]; i++)
		if (gai_error(l->list[i]) == EAI_INPROGRESS)
			return false;
	return true;
}

static void wait_for(const struct lookup *l, unsigned ms)
{
	int64_t end = (int64_t)now_ms() + ms, left;

	for (unsigned i = 0; i < l->n && l->list[i]; i++)
		while (gai_error(l->list[i]) == EAI_INPROGRESS &&
		       (left = end - (int64_t)now_ms()) > 0) {
			const struct gaicb *one[] = {l->list[i]};
			struct timespec t = {.tv_sec = left / 1000,
					     .tv_nsec = left % 1000 * 1000000};

			(void)gai_suspend(one, 1, &t);
		}
}

/* Takes the answer for @t's name. 0: it has an address now; otherwise a code of getaddrinfo(3). */
static int take(const struct lookup *l, struct tcp_port *t)
{
	struct gaicb key = {.ar_name = t->host}, *const kp = &key, **found;
	int ret;

	if (t->addr_len)
		return 0;
	found = bsearch(&kp, l->list, names(l), sizeof(struct gaicb *), by_name);
	ret = found ? gai_error(*found) : EAI_MEMORY;
	if (ret == 0)
		enter(t, (*found)->ar_result);
	return ret;
}

static void take_guest(const struct lookup *l, struct tcp_values *v)
{
	const struct tcp_port *missing = NULL;
	int why = 0;

	for (unsigned k = 0; k < v->ports.n; k++) {
		int ret = take(l, tcp_port(v, k));

		if (ret && !missing) {
			missing = tcp_port(v, k);
			why = ret;
		}
	}
	free(v->trouble);
	v->trouble = NULL;
	if (missing &&
	    asprintf(&v->trouble,
		     "tcp: the host of \"%s:%u\" cannot be resolved: %s; mend the name or write an "
		     "address",
		     missing->host, missing->target,
		     why == EAI_INPROGRESS ? "no name server has answered yet"
					   : gai_strerror(why)) < 0)
		v->trouble = NULL; /* it would be started: its connections fail one by one */
}

bool lookup_take(struct cfg *c, unsigned ms)
{
	struct lookup *l = c->part[ENDPOINT_tcp];
	bool over;

	if (!l)
		return true;
	wait_for(l, ms);
	over = is_over(l);
	for (unsigned i = 0; i < c->n_guests; i++)
		take_guest(l, tcp_values(&c->guests[i]));
	if (over)
		lookup_end(c);
	return over;
}

const char *lookup_trouble(const void *values)
{
	return ((const struct tcp_values *)values)->trouble;
}

void lookup_keep(void *to_values, const void *from_values)
{
	const struct tcp_values *from = from_values;
	struct tcp_values *to = to_values;

	for (unsigned k = 0; k < to->ports.n && k < from->ports.n; k++) {
		struct tcp_port *t = tcp_port(to, k), *f = tcp_port(from, k);

		if (!t->addr_len) { /* the same host: cfg_guest_same() */
			t->addr = f->addr;
			t->addr_len = f->addr_len;
		}
	}
	free(to->trouble);
	to->trouble = NULL;
}

/* Frees look-ups that have been answered since. Pending ones keep their memory. */
void lookup_end(struct cfg *c)
{
	struct lookup **p = &left_over, *l;

	if (c->part[ENDPOINT_tcp]) {
		l = c->part[ENDPOINT_tcp];
		l->next = left_over;
		left_over = l;
		c->part[ENDPOINT_tcp] = NULL;
	}
	while ((l = *p)) {
		for (unsigned i = 0; i < l->n && l->list[i]; i++)
			(void)gai_cancel(l->list[i]);
		if (is_over(l)) {
			*p = l->next;
			lookup_free(l);
		} else {
			p = &l->next;
		}
	}
}
