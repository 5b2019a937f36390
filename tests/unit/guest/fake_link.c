/* SPDX-License-Identifier: BSD-3-Clause */
#include "fake_link.h"

#include "transport/guest_bond.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fake_record testbed;

static struct fake *of(struct guest_dev *g)
{
	return (struct fake *)g;
}

static int fake_map(struct guest_dev *g)
{
	if (!g->mem.addr || g->d.nqueues)
		count(&testbed.faults);
	if (get(&testbed.refuse_map))
		return zv_err(-EPERM, "the fake device has no way to the memory");
	g->iova = FAKE_IOVA;
	return 0;
}

/* Only of a device whose kicks are registers. */
static struct virtq_notify fake_kick(struct guest_dev *g, unsigned vq)
{
	return virtq_notify_reg16(&of(g)->reg[vq], (uint16_t)vq);
}

static int fake_connect(struct guest_dev *g)
{
	int err = (int)get(&testbed.refuse);

	if (of(g)->pipe[0] >= 0 || g->d.nqueues == 0 || !g->mem.addr)
		count(&testbed.faults);
	count(&testbed.tries);
	if (get(&testbed.hang)) {
		struct pollfd p = {.fd = g->stop_fd, .events = POLLIN};

		(void)poll(&p, 1, -1);
		return zv_err(-ECANCELED, "closed");
	}
	if (err)
		return zv_err(-err, "the fake device refuses");
	if (pipe2(of(g)->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return zv_err(-errno, "no pipe");
	g->has = testbed.has;
	guest_dev_set_cid(g, __atomic_load_n(&testbed.cid, __ATOMIC_SEQ_CST));
	return 0;
}

/* The rings that a device is given are empty, and lie in the memory that it is given. */
static bool fresh(const struct guest_dev *g, const struct virtq *vq)
{
	const struct virtq_layout *l = g->has.rings->layout;
	const uint8_t *mem = g->mem.addr, *at;
	struct virtq_areas a;

	l->areas(vq, &a);
	at = a.desc;
	return at >= mem && at + l->bytes(a.size) <= mem + g->mem.size && a.base == 0 &&
	       virtq_in_flight(vq) == 0 && !l->used_beyond(vq, 0) &&
	       vq->event_idx == g->has.event_idx;
}

static int fake_start(struct guest_dev *g)
{
	for (unsigned i = 0; i < g->d.nqueues; i++) {
		const struct vsock_pair *p = &g->pair[i];

		if (!fresh(g, &p->rx) || !fresh(g, &p->tx) || p->tq.up)
			count(&testbed.faults);
	}
	if (of(g)->pipe[0] < 0 || of(g)->started || !fresh(g, &g->ev.vq))
		count(&testbed.faults);
	count(&testbed.starts);
	if (get(&testbed.refuse_start))
		return zv_err(-EPROTO, "the fake device does not start");
	pthread_mutex_lock(&of(g)->lock);
	of(g)->started = true;
	of(g)->tx = raw_split(&g->pair[0].tx, g->has.event_idx);
	pthread_mutex_unlock(&of(g)->lock);
	return 0;
}

static void fake_disconnect(struct guest_dev *g)
{
	count(&testbed.disconnects);
	for (unsigned i = 0; i < 2; i++) {
		if (of(g)->pipe[i] >= 0)
			(void)close(of(g)->pipe[i]);
		of(g)->pipe[i] = -1;
	}
	pthread_mutex_lock(&of(g)->lock);
	of(g)->started = false;
	pthread_mutex_unlock(&of(g)->lock);
}

unsigned fake_work(struct fake *f)
{
	unsigned n = 0;
	uint16_t id;

	pthread_mutex_lock(&f->lock);
	while (f->started && get(&testbed.takes) && raw_pop(&f->tx, &id)) {
		n++;
		if (shm_load32(&f->tx.desc[id].len) == VSOCK_HDR_LEN || get(&testbed.takes) == 2)
			(void)raw_push(&f->tx, id, 0);
	}
	pthread_mutex_unlock(&f->lock);
	return n;
}

static int fake_read_cid(struct guest_dev *g)
{
	guest_dev_set_cid(g, __atomic_load_n(&testbed.cid, __ATOMIC_SEQ_CST));
	return 0;
}

static int fake_fd(struct guest_dev *g)
{
	return of(g)->pipe[0];
}

static const char *fake_lost(struct guest_dev *g)
{
	char c;

	(void)!read(of(g)->pipe[0], &c, 1);
	count(&testbed.looks);
	return get(&testbed.calm) ? NULL : "the fake device is gone";
}

static void fake_destroy(struct guest_dev *g)
{
	/* What a backend sees of a device that was closed. */
	bool left = of(g)->tx.avail && shm_load16(&of(g)->tx.avail->idx);

	if (of(g)->pipe[0] >= 0 || (left && get(&testbed.silent)))
		count(&testbed.faults);
	if (left)
		count(&testbed.left);
	count(&testbed.destroyed);
	free(g);
}

#define FAKE_LINK                                                                                  \
	.map = fake_map, .connect = fake_connect, .start = fake_start,                             \
	.disconnect = fake_disconnect, .read_cid = fake_read_cid, .fd = fake_fd,                   \
	.lost = fake_lost, .destroy = fake_destroy

static int fake_region(struct guest_dev *g, const struct ctrl_region *r, struct shm_region *out)
{
	(void)g;
	count(&testbed.maps);
	if (testbed.map_err)
		return zv_err(testbed.map_err, "the fake device has no such memory");
	return shm_region_create(out, "zvsock-test", r->size, SHM_NO_HUGE);
}

static const struct guest_link_ops link_ops = {FAKE_LINK},
				   region_ops = {FAKE_LINK, .region = fake_region},
				   register_ops = {FAKE_LINK, .kick = fake_kick},
				   silent_ops = {FAKE_LINK, .silent = true};

static const struct transport_ops fake_ops, fake_region_ops;

static int fake_open(struct transport_dev **out, const char *rest, const struct zv_opts *opts)
{
	struct fake *f;
	int ret;

	if (strchr(rest, ','))
		return guest_bond_open(out, rest, opts,
				       get(&testbed.regions) ? &fake_region_ops : &fake_ops,
				       "card");
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->pipe[0] = f->pipe[1] = -1;
	f->g.d.ops = get(&testbed.regions) ? &fake_region_ops : &fake_ops;
	f->g.link = get(&testbed.registers) ? &register_ops
		    : get(&testbed.silent)  ? &silent_ops
		    : get(&testbed.regions) ? &region_ops
					    : &link_ops;
	pthread_mutex_init(&f->lock, NULL);
	memset(f->reg, 0xff, sizeof(f->reg));
	f->g.scheme = "fake";
	f->g.name = "card0";
	if (get(&testbed.own))
		assert_int_equal(
			own_region_make(&f->g.own, "fake", "1M", (struct gpa){1u << 20}, opts), 0);
	ret = guest_dev_open(&f->g, opts);
	if (ret == 0)
		*out = &f->g.d;
	return ret;
}

#define FAKE_OPS                                                                                   \
	.scheme = "fake", .role = ZV_ROLE_GUEST, .open = fake_open, .close = guest_dev_close,      \
	.guest_cid = guest_dev_cid, .page_size = guest_dev_page_size, .queue = guest_dev_queue,    \
	.fd = vsock_fd
static const struct transport_ops fake_ops = {FAKE_OPS},
				  fake_region_ops = {FAKE_OPS, .regions = &guest_region_ops};

int reset(void **state)
{
	(void)state;
	memset(&testbed, 0, sizeof(testbed));
	testbed.cid = 42;
	testbed.has = (struct guest_features){
		.rings = &vsock_rings_split, .event_idx = true, .events = true};
	return 0;
}

int open_fake(struct transport_dev **out, const char *rest, uint32_t queues)
{
	const struct zv_opts o = {.size = sizeof(o),
				  .queues = queues,
				  .ring_size = 16,
				  .rx_buf = 256,
				  .tx_buf = 512,
				  .flags = ZV_OPT_NO_HUGE,
				  .tx_timeout_ns =
					  (get(&testbed.patient) ? 600000u : FAKE_TX_TIMEOUT_MS) *
					  1000000ull};

	*out = NULL;
	return fake_open(out, rest, &o);
}

void await(struct transport_queue *q, uint32_t old, uint32_t up)
{
	for (unsigned i = 0; i < 30000; i++) {
		bool there = false;

		if (quiesce_enter(&q->qs)) {
			there = q->session != old && q->up == up;
			quiesce_leave(&q->qs);
		}
		if (there)
			return;
		(void)usleep(1000);
	}
	fail_msg("the session did not change");
}

void until(uint32_t *word, uint32_t least)
{
	for (unsigned i = 0; i < 30000 && get(word) < least; i++)
		(void)usleep(1000);
	assert_true(get(word) >= least);
}
