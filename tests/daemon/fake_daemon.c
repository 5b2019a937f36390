/* SPDX-License-Identifier: BSD-3-Clause */
/* See fake_daemon.h. */
#include "fake_daemon.h"

#include "control/control_int.h"
#include "core/owner.h"

#include <endian.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lcore_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- what the library and the lcores would do ---- */

void lcore_call_named(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg,
		      const char *name)
{
	(void)name;
	pthread_mutex_lock(&lcore_lock);
	fn(lc, arg);
	pthread_mutex_unlock(&lcore_lock);
}

void lcore_stats(struct lcore *lc, struct lcore_stats *st)
{
	(void)lc;
	*st = (struct lcore_stats){.cpu_s = 1.5, .counters = {.rounds = 1000, .sleeps = 10}};
}

int zv_set_tap(struct zv_queue *q, zv_tap_fn fn, void *ctx)
{
	q->tap = fn;
	q->tap_ctx = ctx;
	return 0;
}

/* ---- connections: each third has no owner, each third one that has closed it ---- */

static void describe(const struct guest *g, const struct zv_conn_info *info, char *buf, size_t len)
{
	(void)snprintf(buf, len, "%s's %u", g->name, info->local_port);
}

static const struct conn_kind kind = CONN_KIND(kind, describe);
static struct conn_owner owner = {.kind = &kind};

static void *user_of(unsigned i)
{
	void *const users[] = {&owner, NULL, (void *)(uintptr_t)&kind.closed};

	return users[i % 3];
}

int zv_queue_conns(struct zv_queue *q, uint64_t *cursor,
		   int (*fn)(void *ctx, const struct zv_conn_info *info), void *ctx)
{
	unsigned i = cursor ? (unsigned)*cursor : 0, first = i;
	struct timespec t;
	int ret = 0;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	for (; i < q->n_conns && !ret && !(cursor && i - first == FAKE_SLICE); i++) {
		struct zv_conn_info info = {
			.size = sizeof(info),
			.local_cid = 2,
			.peer_cid = q->guest + 3,
			.local_port = 1024 + i,
			.peer_port = 50000 + i,
			.type = i % 2 ? ZV_SEQPACKET : ZV_STREAM,
			.queue = q->index,
			.state = "connected",
			.rx_bytes = i,
			.flags = ZV_CONN_INCOMING,
			.user = user_of(i),
			.opened_ns = (uint64_t)(t.tv_sec - 61) * 1000000000u,
		};

		ret = fn(ctx, &info);
	}
	q->most_shown = i - first > q->most_shown ? i - first : q->most_shown;
	if (cursor)
		*cursor = i < q->n_conns ? i : 0;
	return ret;
}

int zv_queue_stats(const struct zv_queue *q, struct zv_queue_stats *stats, size_t size)
{
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		((uint64_t *)stats)[i] = q->index * 1000 + i;
	return 0;
}

struct zv_dev {
	uint64_t cid, attached_ns;
};
static struct zv_dev devs[FAKE_GUESTS];

int zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info)
{
	info->queues_up = !dev->attached_ns;
	info->guest_cid = dev->cid;
	info->peer = ZV_PEER_PLAIN;
	info->flags = 0;
	info->attached_ns = dev->attached_ns;
	return 0;
}

/* ---- the daemon ---- */

static void *serve(void *arg)
{
	struct fake *f = arg;
	struct pollfd p[2] = {{.fd = control_fd(&f->d), .events = POLLIN},
			      {.fd = f->stop[0], .events = POLLIN}};

	while (poll(p, 2, -1) >= 0 && !p[1].revents) {
		pthread_mutex_lock(&f->main);
		control_serve(&f->d);
		pthread_mutex_unlock(&f->main);
	}
	return NULL;
}

static void make_guest(struct fake *f, unsigned i)
{
	static const char *const names[FAKE_GUESTS] = {"web", "db", "a-b"};
	struct cfg_guest *c = &f->cfgs[i];
	struct guest *g = &f->guests[i];

	(void)snprintf(c->name, sizeof(c->name), "%s", names[i]);
	c->cid = i + 3;
	c->n_devices = i + 1;
	c->client = i == 1;
	c->queues = FAKE_QUEUES;
	for (unsigned k = 0; k < c->n_devices; k++)
		(void)snprintf(c->devices[k], sizeof(c->devices[k]), "/run/a b,c/%s%u.sock",
			       names[i], k);
	g->counters.guest_joined = 12;
	(void)snprintf(g->name, sizeof(g->name), "%s", names[i]);
	g->cfg = c;
	devs[i] = (struct zv_dev){.cid = c->cid};
	g->dev = &devs[i];
	g->n_queues = FAKE_QUEUES;
	g->next = i + 1 < FAKE_GUESTS ? &f->guests[i + 1] : NULL;
	for (unsigned k = 0; k < FAKE_QUEUES; k++) {
		f->queues[i][k] = (struct zv_queue){.guest = i, .index = k};
		g->queues[k] = (struct guest_queue){.guest = g, .q = &f->queues[i][k], .index = k};
	}
}

struct fake *fake_new(void)
{
	static const struct cfg_part *const parts[] = {NULL};
	struct fake *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/zv-control-XXXXXX");
	if (!mkdtemp(f->dir) || pipe(f->stop) < 0)
		goto fail;
	(void)snprintf(f->path, sizeof(f->path), "%s/control.sock", f->dir);
	memcpy(f->cfg.control_path, f->path, sizeof(f->path));
	f->cfg.control_mode = 0600;
	f->cfg.guests = f->cfgs;
	f->cfg.n_guests = FAKE_GUESTS;
	for (unsigned i = 0; i < FAKE_GUESTS; i++)
		make_guest(f, i);
	f->cfg.parts = parts;
	f->d.cfg = &f->cfg;
	f->d.guests = f->guests;
	f->d.n_guests = FAKE_GUESTS;
	f->d.lcores = f->lcores;
	f->d.n_lcores = FAKE_LCORES;
	pthread_mutex_init(&f->main, NULL);
	if (control_start(&f->d) < 0 || pthread_create(&f->server, NULL, serve, f) != 0)
		goto fail;
	return f;
fail:
	free(f);
	return NULL;
}

void fake_free(struct fake *f)
{
	(void)!write(f->stop[1], "", 1);
	(void)pthread_join(f->server, NULL);
	control_stop(&f->d);
	(void)close(f->stop[0]);
	(void)close(f->stop[1]);
	(void)rmdir(f->dir);
	free(f);
}

void fake_attach(struct fake *f, unsigned guest, uint64_t since_ns)
{
	pthread_mutex_lock(&f->main);
	devs[guest].attached_ns = since_ns;
	pthread_mutex_unlock(&f->main);
}

void fake_conns(struct fake *f, unsigned guest, unsigned queue, unsigned n)
{
	pthread_mutex_lock(&lcore_lock);
	f->queues[guest][queue].n_conns = n;
	pthread_mutex_unlock(&lcore_lock);
}

bool fake_packet(struct zv_queue *q, bool sent, unsigned op, const struct iovec *iov, int n)
{
	struct virtio_vsock_hdr h = {
		.src_cid = htole64(sent ? 2 : q->guest + 3),
		.dst_cid = htole64(sent ? q->guest + 3 : 2),
		.src_port = htole32(1024),
		.dst_port = htole32(50000 + q->index),
		.type = htole16(1),
		.op = htole16((uint16_t)op),
		.buf_alloc = htole32(262144),
	};
	size_t len = 0;
	bool tapped;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	h.len = htole32((uint32_t)len);
	pthread_mutex_lock(&lcore_lock);
	tapped = q->tap;
	if (tapped)
		q->tap(q->tap_ctx, sent, &h, iov, n);
	pthread_mutex_unlock(&lcore_lock);
	return tapped;
}

unsigned fake_taps(const struct fake *f)
{
	unsigned n = 0;

	pthread_mutex_lock(&lcore_lock);
	for (unsigned i = 0; i < FAKE_GUESTS; i++)
		for (unsigned k = 0; k < FAKE_QUEUES; k++)
			n += f->queues[i][k].tap != NULL;
	pthread_mutex_unlock(&lcore_lock);
	return n;
}
