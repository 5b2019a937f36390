/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_transport.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_BUF 1024u
#define MAX_SEG 16u

enum { BUF_FREE, BUF_RESERVED, BUF_SENT, BUF_HELD };

uint32_t fake_faults;
bool fake_zeros;
struct fake_config fake_config = {.nbuf = 64, .buf_len = 4096, .nseg = 1};

/* One direction of one queue. */
struct lane {
	uint8_t *mem;
	uint8_t state[MAX_BUF];
	uint32_t epoch[MAX_BUF]; /* session a reservation was made in */
	struct vsock_hdr hdr[MAX_BUF];
	uint32_t fifo[MAX_BUF];
	unsigned head, count;
	int limit;     /* most free buffers offered; -1: all */
	unsigned rest; /* of count: sent in a session that is over */
};

struct fake_queue {
	struct transport_queue tq;
	unsigned index;
	enum zv_role role;
	int fd;
	unsigned arms, armed_for;
	struct pkt_seg seg[64][MAX_SEG];
};

struct fake_dev {
	struct transport_dev d;
	struct fake_queue q[FAKE_QUEUES];
};

static struct lane lanes[2][FAKE_QUEUES]; /* by receiving role */
static struct fake_dev *devs[2];
static uint32_t epoch = 1;

static struct lane *rx_lane(struct transport_queue *q)
{
	return &lanes[((struct fake_queue *)q)->role][((struct fake_queue *)q)->index];
}

static struct lane *tx_lane(struct transport_queue *q)
{
	return &lanes[!((struct fake_queue *)q)->role][((struct fake_queue *)q)->index];
}

static int fake_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts,
		     const struct transport_ops *ops)
{
	struct fake_dev *d = calloc(1, sizeof(*d));

	(void)rest;
	if (!d)
		return -ENOMEM;
	d->d.ops = ops;
	d->d.nqueues = opts->queues < FAKE_QUEUES ? opts->queues : FAKE_QUEUES;
	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		struct lane *l = &lanes[ops->role][i];

		d->q[i].tq = (struct transport_queue){.ops = &fake_queue_ops,
						      .session = epoch,
						      .up = 1,
						      .faults = &fake_faults,
						      .rx_descs = fake_config.nbuf,
						      .tx_descs = fake_config.nbuf};
		d->q[i].index = i;
		d->q[i].role = ops->role;
		d->q[i].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		memset(l, 0, sizeof(*l));
		l->limit = -1;
		l->mem = calloc(fake_config.nbuf, fake_config.buf_len);
	}
	devs[ops->role] = d;
	*out = &d->d;
	return 0;
}

static int open_guest(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	return fake_open(out, rest, opts, &fake_guest_ops);
}

static int open_host(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	return fake_open(out, rest, opts, &fake_host_ops);
}

static void fake_close(struct transport_dev *t)
{
	struct fake_dev *d = (struct fake_dev *)t;

	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		close(d->q[i].fd);
		free(lanes[t->ops->role][i].mem);
		lanes[t->ops->role][i].mem = NULL;
	}
	devs[t->ops->role] = NULL;
	free(d);
}

static uint64_t fake_cid(struct transport_dev *t)
{
	(void)t;
	return FAKE_CID;
}

static uint64_t fake_page_size(struct transport_dev *t)
{
	(void)t;
	return 4096;
}

static struct transport_queue *fake_q(struct transport_dev *t, unsigned i)
{
	return &((struct fake_dev *)t)->q[i].tq;
}

static unsigned take(struct fake_queue *q, struct rx_pkt *pkts, unsigned max)
{
	struct lane *l = rx_lane(&q->tq);
	unsigned n = 0;

	while (n < max && n < 64 && l->count) {
		uint32_t b = l->fifo[l->head];
		struct rx_pkt *p = &pkts[n];
		uint32_t left = l->hdr[b].len, off = 0;

		l->head = (l->head + 1) % MAX_BUF;
		l->count--;
		*p = (struct rx_pkt){.hdr = l->hdr[b], .seg = q->seg[n], .token = b, .ndesc = 1};
		while (left) {
			uint32_t part = p->nseg + 1 == fake_config.nseg ? left : (left + 1) / 2;

			q->seg[n][p->nseg++] =
				(struct pkt_seg){l->mem + b * fake_config.buf_len + off, part};
			off += part;
			left -= part;
		}
		l->state[b] = p->nseg ? BUF_HELD : BUF_FREE;
		n++;
	}
	return n;
}

static int fake_rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	return tq->up ? (int)take((struct fake_queue *)tq, pkts, max) : 0;
}

static int fake_rx_rest(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max)
{
	struct lane *l = rx_lane(tq);
	unsigned n = take((struct fake_queue *)tq, pkts, max < l->rest ? max : l->rest);

	l->rest -= n;
	return (int)n;
}

static void fake_rx_release(struct transport_queue *tq, uint32_t token)
{
	rx_lane(tq)->state[token] = BUF_FREE;
}

static unsigned count_free(const struct lane *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake_config.nbuf; i++)
		n += l->state[i] == BUF_FREE;
	return l->limit >= 0 && n > (unsigned)l->limit ? (unsigned)l->limit : n;
}

static unsigned fake_tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
				uint32_t len, unsigned flags)
{
	struct lane *l = tx_lane(tq);
	unsigned keep = flags & TX_CTRL ? 0 : FAKE_CTRL_RESERVE, free = count_free(l), got = 0;

	(void)len;
	for (unsigned i = 0; tq->up && i < fake_config.nbuf && got < n && free > keep; i++) {
		if (l->state[i] != BUF_FREE)
			continue;
		l->state[i] = BUF_RESERVED;
		l->epoch[i] = epoch;
		free--;
		slots[got++] =
			(struct tx_slot){l->mem + i * fake_config.buf_len, fake_config.buf_len, i};
		if (l->limit > 0)
			l->limit--;
	}
	return got;
}

static void fake_tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h)
{
	struct lane *l = tx_lane(tq);

	if (l->epoch[token] != epoch) {
		l->state[token] = BUF_FREE;
		return;
	}
	l->state[token] = BUF_SENT;
	l->hdr[token] = *h;
	l->fifo[(l->head + l->count++) % MAX_BUF] = token;
}

static void fake_tx_cancel(struct transport_queue *tq, uint32_t token)
{
	struct lane *l = tx_lane(tq);

	l->state[token] = BUF_FREE;
	l->limit += l->limit >= 0;
}

static void fake_publish(struct transport_queue *tq)
{
	(void)tq;
}

static unsigned fake_tx_max(struct transport_queue *tq)
{
	(void)tq;
	return fake_config.nbuf - FAKE_CTRL_RESERVE;
}

static unsigned fake_tx_ready(struct transport_queue *tq)
{
	unsigned n = count_free(tx_lane(tq));

	return tq->up && n > FAKE_CTRL_RESERVE ? n - FAKE_CTRL_RESERVE : 0;
}

static int fake_arm(struct transport_queue *tq, unsigned room)
{
	struct fake_queue *q = (struct fake_queue *)tq;

	q->arms++;
	q->armed_for = room;
	return rx_lane(tq)->count != 0 || (room && fake_tx_ready(tq) >= room);
}

static void fake_disarm(struct transport_queue *tq, bool rung)
{
	(void)tq;
	(void)rung;
}

static int fake_fd(struct transport_queue *tq)
{
	return ((struct fake_queue *)tq)->fd;
}

static bool fake_rx_intact(struct transport_queue *tq, uint32_t token)
{
	(void)tq;
	(void)token;
	return !fake_zeros;
}

const struct transport_queue_ops fake_queue_ops = {
	.rx_burst = fake_rx_burst,
	.rx_rest = fake_rx_rest,
	.rx_release = fake_rx_release,
	.rx_intact = fake_rx_intact,
	.tx_reserve = fake_tx_reserve,
	.tx_commit = fake_tx_commit,
	.tx_cancel = fake_tx_cancel,
	.publish = fake_publish,
	.tx_max = fake_tx_max,
	.tx_ready = fake_tx_ready,
	.arm = fake_arm,
	.disarm = fake_disarm,
};

#define FAKE_OPS                                                                                   \
	.close = fake_close, .guest_cid = fake_cid, .page_size = fake_page_size, .queue = fake_q,  \
	.fd = fake_fd

/* ---- regions ---- */

struct fake_regions fake_regions;

static int region_offer(struct transport_dev *d, unsigned queue, struct ctrl_offer *out)
{
	(void)d;
	(void)queue;
	*out = fake_regions.offer;
	return out->size ? 0 : -ENOENT;
}

static int region_map(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
		      struct region_map **out)
{
	(void)d;
	(void)queue;
	if (fake_regions.result)
		return fake_regions.result;
	if (r->size != fake_regions.map.size)
		return -EINVAL;
	*out = region_map_hold(&fake_regions.map);
	return 0;
}

static void region_forget(struct transport_dev *d, unsigned queue, uint64_t id)
{
	(void)d;
	(void)queue;
	(void)id;
	fake_regions.forgotten++;
}

static int ringer(struct transport_dev *d, uint32_t id, struct bell_map **out)
{
	(void)d;
	for (int i = 0; i < 2; i++) {
		struct bell_map *m = fake_regions.ring[i];

		if (!m || m->id != id)
			continue;
		*out = bell_map_hold(m);
		return 0;
	}
	return -EINPROGRESS;
}

static const struct transport_region_ops region_ops = {.offer = region_offer,
						       .map = region_map,
						       .forget = region_forget,
						       .ringer = ringer},
					 host_region_ops = {.ringer = ringer};

const struct transport_ops fake_guest_ops = {.scheme = "fakeguest",
					     .role = ZV_ROLE_GUEST,
					     .open = open_guest,
					     .regions = &region_ops,
					     FAKE_OPS};
const struct transport_ops fake_host_ops = {.scheme = "fakehost",
					    .role = ZV_ROLE_HOST,
					    .open = open_host,
					    .regions = &host_region_ops,
					    FAKE_OPS};

const struct transport_ops *const zv_builtin_transports[] = {&fake_guest_ops, &fake_host_ops, NULL};

int fake_inject(enum zv_role to, unsigned q, const struct vsock_hdr *h, const void *payload)
{
	struct lane *l = &lanes[to][q];

	for (unsigned i = 0; i < fake_config.nbuf; i++) {
		if (l->state[i] != BUF_FREE)
			continue;
		if (payload)
			memcpy(l->mem + i * fake_config.buf_len, payload, h->len);
		l->state[i] = BUF_SENT;
		l->hdr[i] = *h;
		l->fifo[(l->head + l->count++) % MAX_BUF] = i;
		return 0;
	}
	return -EAGAIN;
}

unsigned fake_pending(enum zv_role to, unsigned q)
{
	return lanes[to][q].count;
}

bool fake_peek(enum zv_role to, unsigned q, unsigned i, struct vsock_hdr *h)
{
	struct lane *l = &lanes[to][q];

	if (i >= l->count)
		return false;
	*h = l->hdr[l->fifo[(l->head + i) % MAX_BUF]];
	return true;
}

void fake_drain(enum zv_role to, unsigned q)
{
	struct lane *l = &lanes[to][q];

	l->rest = 0;
	for (; l->count; l->count--) {
		l->state[l->fifo[l->head]] = BUF_FREE;
		l->head = (l->head + 1) % MAX_BUF;
	}
}

void fake_new_session(bool up)
{
	for (unsigned r = 0; r < 2; r++)
		for (unsigned i = 0; devs[r] && i < FAKE_QUEUES; i++)
			fake_drain(r, i);
	fake_end_session(up);
}

void fake_lose_session(enum zv_role of)
{
	for (unsigned i = 0; i < FAKE_QUEUES; i++)
		devs[of]->q[i].tq.session++;
}

void fake_bury(enum zv_role of)
{
	for (unsigned i = 0; i < FAKE_QUEUES; i++) {
		devs[of]->q[i].tq.gone++;
		devs[of]->q[i].tq.session++;
	}
}

void fake_set_end(enum zv_role of, enum transport_end end)
{
	devs[of]->d.end = (uint8_t)end;
}

void fake_end_session(bool up)
{
	epoch++;
	for (unsigned r = 0; r < 2; r++)
		for (unsigned i = 0; devs[r] && i < FAKE_QUEUES; i++) {
			devs[r]->q[i].tq.session++;
			devs[r]->q[i].tq.up = up;
			lanes[r][i].rest = lanes[r][i].count;
		}
}

unsigned fake_arms(enum zv_role of, unsigned q, unsigned *what)
{
	*what = devs[of]->q[q].armed_for;
	return devs[of]->q[q].arms;
}

unsigned fake_held(enum zv_role to, unsigned q)
{
	unsigned n = 0;

	for (unsigned i = 0; i < fake_config.nbuf; i++)
		n += lanes[to][q].state[i] == BUF_HELD;
	return n;
}

void fake_limit_tx(enum zv_role from, unsigned q, int n)
{
	lanes[!from][q].limit = n;
}
