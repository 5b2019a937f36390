/* SPDX-License-Identifier: BSD-3-Clause */
/* See handover.h. */
#include "handover.h"

#include "call_guest.h"
#include "core/log.h"
#include "passed.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct handover {
	struct call_guest t; /* first */
	struct end_report report;
	char ok[CALL_OK_ROOM];
};

static void describe(const struct guest *g, const struct zv_conn_info *info, char *buf, size_t len)
{
	(void)g;
	(void)info;
	(void)snprintf(buf, len, "zvsockctl");
}

static const struct conn_kind handover_kind = CONN_KIND(handover_kind, describe);

static void joined(struct call_guest *t)
{
	call_guest_ok(t, ((struct handover *)(void *)t)->ok, NULL, 0);
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

static void ended(struct relay *r, bool complete)
{
	struct handover *v = (struct handover *)(void *)r;
	struct guest_queue *gq = r->f.owner.gq;
	const char *line = complete ? v->report.complete : v->report.aborted;

	(void)send(v->report.fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL);
	if (passed_waits(v->report.fd, true)) {
		guest_fd_discard(gq->guest, v->report.fd);
		return;
	}
	io_close_fd(lcore_io(gq->lc), v->report.fd);
	guest_fd_put(gq);
}

static const struct call_guest_ops ops = {.joined = joined, .refused = refused};

struct handover_msg {
	struct handover *v;
	struct guest_queue *gq;
	int fd;
	bool passed;
};

static void begin(struct lcore *lc, void *arg)
{
	struct handover_msg *h = arg;

	(void)lc;
	relay_init(&h->v->t.r, h->gq, NULL, &handover_kind, h->fd, 0);
	if (h->passed)
		relay_expect_passed(&h->v->t.r);
	h->v->t.r.cred_fd = h->v->report.fd;
	h->v->t.r.ended = ended;
	call_guest(&h->v->t);
	free(h);
}

static void put_fds(struct guest_queue *gq, unsigned n)
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
		put_fds(gq, n);
	return n == 2;
}

int handover_join(struct guest *g, uint32_t port, int fd, const struct end_report *report)
{
	static unsigned next;
	struct guest_queue *gq = &g->queues[next++ % g->n_queues];
	struct handover_msg *h;
	struct handover *v;
	bool passed = !passed_refuse(fd);

	/* The control connection may have some in it, too. */
	if (guest_expects_passed(g) < 0)
		return -ENOMEM;
	if (!take(gq))
		return -EMFILE;
	h = malloc(sizeof(*h));
	v = calloc(1, sizeof(*v));
	if (h && v) {
		v->t.ops = &ops;
		v->t.port = port;
		v->report = *report;
		*h = (struct handover_msg){v, gq, fd, passed};
		GUEST_COUNT(gq, host_accepted);
		if (lcore_post(gq->lc, begin, h) == 0)
			return 0; // cppcheck-suppress memleak ; both are begin's
	}
	free(h);
	free(v);
	put_fds(gq, 2);
	return -ENOMEM;
}
