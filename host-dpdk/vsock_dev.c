/* SPDX-License-Identifier: BSD-3-Clause */
/* Queue pairs: sessions, epochs, notification. Receiving is in vsock_rx.c, sending in vsock_tx.c.
 */
#include "vsock_dev.h"

#include "fd_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- making and freeing ---- */

/*
 * Adds @fd to the queue's epoll set, edge-triggered: a kick makes hq_fd() readable until the next
 * epoll_wait, and nobody ever has to read the eventfd, which might be no eventfd at all and block.
 */
static int watch(struct hq *q, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};

	return epoll_ctl(q->epfd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

int hq_init(struct hq *q, const struct transport_ops *ops, unsigned index, const char *name)
{
	int ret;

	memset(q, 0, sizeof(*q));
	q->tq.ops = ops;
	q->index = index;
	q->name = q->tq.name = name;
	for (int i = 0; i < 2; i++)
		q->callfd[i] = q->kickfd[i] = -1;
	q->wakefd = -1;
	q->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (q->epfd < 0)
		return -errno;
	q->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = q->wakefd < 0 ? -errno : watch(q, q->wakefd);
	if (ret < 0)
		hq_fini(q);
	return ret;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

void hq_fini(struct hq *q)
{
	for (int i = 0; i < 2; i++) {
		close_fd(&q->callfd[i]);
		close_fd(&q->kickfd[i]);
	}
	close_fd(&q->wakefd);
	close_fd(&q->epfd);
	while (q->retired) {
		struct hq_epoch *ep = q->retired;

		q->retired = ep->next;
		guest_mem_put(ep->mem);
		free(ep);
	}
	hq_kept_fini(q);
	free(q->rec);
	free(q->stack);
	free(q->ctrl);
	free(q->seg);
	q->rec = NULL;
	q->stack = q->ctrl = NULL;
	q->seg = NULL;
}

/* ---- epochs ---- */

static struct hq_epoch *epoch_new(struct guest_mem *mem, uint32_t session)
{
	struct hq_epoch *ep = calloc(1, sizeof(*ep));

	if (ep) {
		ep->mem = guest_mem_get(mem);
		ep->session = session;
	}
	return ep;
}

static bool rec_out(const struct hq_rec *rec)
{
	return rec->state == HQ_RX_OUT || rec->state == HQ_TX_OUT;
}

/* Ends the current epoch: from now on it counts its tokens. It stays in q->retired meanwhile. */
static void epoch_retire(struct hq *q)
{
	struct hq_epoch *ep = q->ep;

	for (uint32_t i = 0; i < q->nrec; i++)
		ep->out += rec_out(&q->rec[i]) && q->rec[i].ep == ep;
	ep->next = q->retired;
	q->retired = ep;
	q->ep = NULL;
}

/* Frees the retired epochs that no token refers to any more. */
static void epochs_sweep(struct hq *q)
{
	for (struct hq_epoch **p = &q->retired; *p;) {
		struct hq_epoch *ep = *p;

		if (ep->out) {
			p = &ep->next;
			continue;
		}
		*p = ep->next;
		guest_mem_put(ep->mem);
		free(ep);
	}
}

static unsigned epochs_kept(const struct hq *q)
{
	unsigned n = 0;

	for (const struct hq_epoch *ep = q->retired; ep; ep = ep->next)
		n++;
	return n;
}

bool hq_stale(struct hq *q, struct hq_rec *rec)
{
	struct hq_epoch *ep = rec->ep;
	bool alive = hq_alive(q, rec);

	if (--ep->out == 0)
		epochs_sweep(q);
	rec->ep = NULL;
	return alive;
}

static void drop_stacks(struct hq *q)
{
	while (q->nstack)
		hq_rec_free(q, q->stack[--q->nstack]);
	while (q->nctrl)
		hq_rec_free(q, q->ctrl[--q->nctrl]);
}

void hq_break(struct hq *q, const struct dvring *r)
{
	shm_store32(&q->tq.up, 0);
	q->tq.session++;
	tq_count(&q->tq.stats.ring_broken, 1);
	tq_count(&q->tq.stats.rx_bad_chain, 1);
	drop_stacks(q);
	epoch_retire(q);
	epochs_sweep(q);
	zv_log_limited(&q->tq.log, ZV_LOG_ERR,
		       "%s: queue %u: the guest's %s ring is broken: %s; it is down until the "
		       "driver restarts it",
		       q->name, q->index, r == &q->tx ? "transmit" : "receive",
		       dvring_fault_text(r->broken));
}

/* ---- sessions ---- */

static bool grow(void *array, uint32_t n, size_t size)
{
	void *p, **slot = array;

	p = realloc(*slot, (size_t)n * size);
	if (p)
		*slot = p;
	return p != NULL;
}

/* Makes room for the records of both rings beside those that stale tokens still occupy. */
static int make_records(struct hq *q, uint32_t need, uint32_t segs)
{
	uint32_t total = need;

	for (uint32_t i = 0; i < q->nrec; i++)
		total += q->rec[i].state != HQ_FREE;
	if (total > q->nrec) {
		if (!grow(&q->rec, total, sizeof(*q->rec)) ||
		    !grow(&q->stack, total, sizeof(*q->stack)) ||
		    !grow(&q->ctrl, total, sizeof(*q->ctrl)))
			return -ENOMEM;
		/* Backwards, so that the lowest, adjacent ones are used first. */
		for (uint32_t i = total; i-- > q->nrec;)
			hq_rec_free(q, i);
		q->nrec = total;
	}
	if (segs > q->nseg) {
		if (!grow(&q->seg, segs, sizeof(*q->seg)))
			return -ENOMEM;
		q->nseg = segs;
	}
	return 0;
}

static int load_rings(struct hq *q, const struct hq_setup *s)
{
	int ret;

	ret = dvring_load(&q->rx, &s->ring[HQ_GUEST_RX], s->mem, s->event_idx, s->indirect, true);
	if (ret == 0)
		ret = dvring_load(&q->tx, &s->ring[HQ_GUEST_TX], s->mem, s->event_idx, s->indirect,
				  false);
	if (ret == 0)
		/* One chain of the longest kind always fits, and a burst of short ones beside it.
		 */
		ret = make_records(q, s->ring[HQ_GUEST_RX].size + s->ring[HQ_GUEST_TX].size,
				   dvring_chain_max(&q->tx) + 8 * HQ_BURST);
	return ret;
}

int hq_start(struct hq *q, const struct hq_setup *s)
{
	struct hq_epoch *ep = NULL;
	int ret;

	quiesce_stop(&q->tq.qs);
	ret = epochs_kept(q) >= HQ_RETIRED ? -EBUSY : load_rings(q, s);
	if (ret == 0) {
		ep = epoch_new(s->mem, q->tq.session + 1);
		ret = ep ? 0 : -ENOMEM;
	}
	if (ret == 0) {
		q->ep = ep;
		q->loaded = true;
		q->began.base[HQ_GUEST_RX] = q->rx.last_avail;
		q->began.base[HQ_GUEST_TX] = q->tx.last_avail;
		q->tq.rx_descs = q->tx.size;
		q->tq.tx_descs = q->rx.size;
		tq_count(&q->tq.stats.sessions, 1);
		q->tq.session++;
		shm_store32(&q->tq.up, 1);
	}
	quiesce_resume(&q->tq.qs);
	hq_wake(q);
	return ret;
}

/* Before the guest may reuse them: buffers on loan turn into private memory. */
static void revoke_retired(struct hq *q)
{
	int ret;

	for (struct hq_epoch *ep = q->retired; ep; ep = ep->next)
		if (ep->out && (ret = guest_mem_revoke(ep->mem)) < 0)
			zv_log(ZV_LOG_WARN,
			       "%s: queue %u: buffers on loan stay in guest memory: %s", q->name,
			       q->index, zv_strerror(ret));
}

/* Returns every chain of the session that is in flight to the guest, unused. */
static void return_in_flight(struct hq *q, uint32_t session)
{
	for (uint32_t i = 0; i < q->nrec; i++) {
		struct hq_rec *rec = &q->rec[i];

		if (rec->state == HQ_FREE || rec->ep->session != session)
			continue;
		dvring_used(rec->state == HQ_RX_OUT ? &q->tx : &q->rx, rec->head, 0);
	}
	hq_publish(&q->tq);
}

bool hq_stop(struct hq *q, struct hq_bases *b)
{
	uint32_t session;

	if (!q->loaded)
		return false;
	quiesce_stop(&q->tq.qs);
	hq_rx_keep(q);
	session = q->tq.session;
	if (q->ep)
		epoch_retire(q);
	revoke_retired(q);
	if (q->tq.up) {
		return_in_flight(q, session);
		drop_stacks(q);
		shm_store32(&q->tq.up, 0);
		q->tq.session++;
	}
	epochs_sweep(q);
	q->loaded = false;
	b->base[HQ_GUEST_RX] = q->rx.last_avail;
	b->base[HQ_GUEST_TX] = q->tx.last_avail;
	quiesce_resume(&q->tq.qs);
	hq_wake(q);
	return true;
}

/* The memory behind a token is not all in @now. */
static bool rec_gone(const struct hq_rec *rec, const struct guest_mem *now)
{
	const struct guest_mem *m = rec->ep->mem;

	if (rec->state == HQ_RX_OUT)
		return guest_mem_gone(m, now, rec->hdr, (uintptr_t)rec->data - (uintptr_t)rec->hdr);
	return guest_mem_gone(m, now, rec->data, rec->cap) ||
	       (rec->hdr && guest_mem_gone(m, now, rec->hdr, VSOCK_HDR_LEN));
}

/* Makes @ep the current epoch of the same session. 0; -EBUSY: the session cannot go on in it. */
static int epoch_change(struct hq *q, struct hq_epoch *ep)
{
	int ret = 0;

	epoch_retire(q);
	q->ep = ep;
	for (uint32_t i = 0; i < q->nrec && q->ep; i++) {
		struct hq_rec *rec = &q->rec[i];

		/* What waits on the stacks belongs to nobody else: take it along. */
		if (rec->state == HQ_STACK && !hq_tx_resolve(q, rec))
			hq_break(q, &q->rx);
		else if (rec_out(rec) && rec->ep->session == ep->session && rec_gone(rec, ep->mem))
			ret = -EBUSY;
	}
	epochs_sweep(q);
	return epochs_kept(q) > HQ_RETIRED ? -EBUSY : ret;
}

int hq_switch_mem(struct hq *q, const struct hq_setup *s)
{
	struct hq_epoch *ep = NULL;
	struct dvring rx, tx;
	int ret = 0;

	if (!q->loaded)
		return 0;
	quiesce_stop(&q->tq.qs);
	rx = q->rx;
	tx = q->tx;
	if (dvring_move(&rx, &s->ring[HQ_GUEST_RX], s->mem) < 0 ||
	    dvring_move(&tx, &s->ring[HQ_GUEST_TX], s->mem) < 0)
		ret = -EINVAL;
	else if (q->ep && !(ep = epoch_new(s->mem, q->ep->session)))
		ret = -ENOMEM;
	if (ret == 0) {
		q->rx = rx;
		q->tx = tx;
	}
	if (ep)
		ret = epoch_change(q, ep);
	if (!q->ep) /* a ring is broken: no session goes on with what is out */
		revoke_retired(q);
	quiesce_resume(&q->tq.qs);
	hq_wake(q);
	return ret;
}

/* ---- notification ---- */

void hq_wake(struct hq *q)
{
	uint64_t one = 1;

	(void)!write(q->wakefd, &one, sizeof(one));
}

/*
 * What a frontend gives as an eventfd may be anything. A write to a pipe or socket that nobody
 * reads would raise SIGPIPE; to poll a file of the frontend's own file system, or an epoll set
 * whose lock somebody holds, may take as long as the frontend likes.
 */
static int dup_fd(int fd, int *out)
{
	*out = -1;
	if (fd < 0)
		return 0;
	if (!fd_is_eventfd(fd))
		return -EINVAL;
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

int hq_dup_call(int fd, int *out)
{
	int ret = dup_fd(fd, out), flags;

	if (*out < 0)
		return ret;
	/* A full eventfd must not stop the queue's owner. */
	flags = fcntl(*out, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(*out, F_SETFL, flags | O_NONBLOCK);
	return 0;
}

int hq_set_call(struct hq *q, enum hq_ring ring, int fd)
{
	uint64_t one = 1;
	int own, ret = hq_dup_call(fd, &own);

	quiesce_stop(&q->tq.qs);
	close_fd(&q->callfd[ring]);
	q->callfd[ring] = own;
	/* What was published while nobody listened: say it once more. */
	if (own >= 0 && q->loaded)
		(void)!write(own, &one, sizeof(one));
	quiesce_resume(&q->tq.qs);
	return ret;
}

int hq_set_kick(struct hq *q, enum hq_ring ring, int fd)
{
	int own, ret = dup_fd(fd, &own);

	if (q->kickfd[ring] >= 0)
		(void)epoll_ctl(q->epfd, EPOLL_CTL_DEL, q->kickfd[ring], NULL);
	close_fd(&q->kickfd[ring]);
	if (own >= 0 && (ret = watch(q, own)) < 0)
		close_fd(&own);
	q->kickfd[ring] = own;
	/* A kick on the former descriptor that the owner has not seen yet went with it. */
	if (q->loaded)
		hq_wake(q);
	return ret;
}

static void call_guest(struct hq *q, enum hq_ring ring)
{
	uint64_t one = 1;

	if (q->callfd[ring] < 0)
		return;
	(void)!write(q->callfd[ring], &one, sizeof(one));
	tq_count(&q->tq.stats.kicks, 1);
}

void hq_publish(struct tq *tq)
{
	struct hq *q = hq_of(tq);
	bool tx, rx;

	if (!tq->up)
		return;
	tx = dvring_publish(&q->tx);
	rx = dvring_publish(&q->rx);
	if (!tx && !rx)
		return;
	shm_mb(); /* barrier pair [C], one for both rings */
	if (tx && dvring_want_call(&q->tx))
		call_guest(q, HQ_GUEST_TX);
	if (rx && dvring_want_call(&q->rx))
		call_guest(q, HQ_GUEST_RX);
}

/* True when there is work, so that the owner must not sleep. */
static bool work_now(struct hq *q, unsigned what)
{
	uint16_t shadow = q->rx.shadow;

	if (dvring_pending(&q->tx) || dvring_refresh(&q->tx) || q->tx.broken)
		return true;
	if (!(what & ARM_TX))
		return false;
	/* Any change counts: the owner may be waiting for a buffer for a control packet. */
	return hq_tx_ready(&q->tq) || q->rx.broken || q->rx.shadow != shadow;
}

int hq_arm(struct tq *tq, unsigned what)
{
	struct hq *q = hq_of(tq);
	uint32_t have, keep;

	q->armed = 1;
	if (!tq->up)
		return 0;
	if (work_now(q, what))
		return 1;
	dvring_notify_on(&q->tx, q->tx.last_avail);
	if (what & ARM_TX) {
		have = q->nstack + dvring_pending(&q->rx);
		keep = hq_keep(q);
		/* With none at all any buffer helps, for control packets at least. */
		dvring_notify_on(&q->rx, (uint16_t)(q->rx.shadow + (have ? keep - have : 0)));
	}
	shm_mb(); /* barrier pair [C] */
	if (!work_now(q, what))
		return 0;
	dvring_notify_off(&q->tx);
	dvring_notify_off(&q->rx);
	return 1;
}

void hq_disarm(struct tq *tq)
{
	struct hq *q = hq_of(tq);
	struct epoll_event ev[4];

	if (!q->armed)
		return;
	q->armed = 0;
	if (tq->up) {
		dvring_notify_off(&q->tx);
		dvring_notify_off(&q->rx);
	}
	(void)epoll_wait(q->epfd, ev, 4, 0);
}

int hq_fd(struct tq *tq)
{
	return hq_of(tq)->epfd;
}
