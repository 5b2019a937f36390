/* SPDX-License-Identifier: BSD-3-Clause */
/* See given.h. */
#include "given.h"

#include "call_guest.h"
#include "core/log.h"
#include "passed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct given {
	struct call_guest t; /* first */
	struct end_told told;
	char ok[CALL_OK_ROOM];
};

static void describe(const struct guest *g, const struct zv_conn_info *info, char *buf, size_t len)
{
	(void)g;
	(void)info;
	(void)snprintf(buf, len, "zvsockctl");
}

static const struct conn_kind given_kind = CONN_KIND(given_kind, describe);

static void joined(struct call_guest *t)
{
	call_guest_ok(t, ((struct given *)(void *)t)->ok, NULL, 0);
}

static void refused(struct call_guest *t, const char *why)
{
	char line[160];
	int len = snprintf(line, sizeof(line), "NO %.150s\n", why);

	/* Nothing has been sent before, so there is room, unless the program has filled the buffer
	 * itself. */
	(void)send(t->r.fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	log_line(ZV_LOG_DEBUG, t->r.f.owner.gq->guest->name, "zvsockctl, port %u: %s", t->port,
		 why);
}

static void ended(struct relay *r, bool whole)
{
	struct given *v = (struct given *)(void *)r;
	struct guest_queue *gq = r->f.owner.gq;
	const char *line = whole ? v->told.whole : v->told.cut;

	(void)send(v->told.fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (passed_waits(v->told.fd, true)) {
		guest_fd_discard(gq->guest, v->told.fd);
		return;
	}
	io_close_fd(lcore_io(gq->lc), v->told.fd);
	guest_fd_put(gq);
}

static const struct call_guest_ops ops = {.joined = joined, .refused = refused};

struct handed {
	struct given *v;
	struct guest_queue *gq;
	int fd;
};

static void begin(struct lcore *lc, void *arg)
{
	struct handed *h = arg;

	(void)lc;
	relay_init(&h->v->t.r, h->gq, NULL, &given_kind, h->fd, 0);
	relay_expect_passed(&h->v->t.r); /* some may be queued in it already */
	h->v->t.r.ended = ended;
	call_guest(&h->v->t);
	free(h);
}

static void give_back(struct guest_queue *gq, unsigned n)
{
	while (n--)
		guest_fd_put(gq);
}

/* Room for both descriptors. */
static bool take(struct guest_queue *gq)
{
	unsigned n = 0;

	while (n < 2 && guest_fd_get(gq))
		n++;
	if (n < 2)
		give_back(gq, n);
	return n == 2;
}

int given_join(struct guest *g, uint32_t port, int fd, const struct end_told *told)
{
	static unsigned next;
	struct guest_queue *gq = &g->queues[next++ % g->n_queues];
	struct handed *h;
	struct given *v;

	if (guest_expects_passed(g) < 0)
		return -ENOMEM;
	if (!take(gq))
		return -EMFILE;
	h = malloc(sizeof(*h));
	v = calloc(1, sizeof(*v));
	if (h && v) {
		v->t.ops = &ops;
		v->t.port = port;
		v->told = *told;
		*h = (struct handed){v, gq, fd};
		GUEST_COUNT(gq, host_accepted);
		if (lcore_post(gq->lc, begin, h) == 0)
			return 0; // cppcheck-suppress memleak ; both are begin's
	}
	free(h);
	free(v);
	give_back(gq, 2);
	return -ENOMEM;
}
