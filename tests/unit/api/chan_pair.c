/* SPDX-License-Identifier: BSD-3-Clause */
#include "chan_pair.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* They have to outlive the queues. */
static struct bell_page pages[2];
static struct bell_map own[2], ring[2];

static void free_map(struct bell_map *m)
{
	close(m->fd);
	m->fd = -1;
}

struct shm_channel_desc chan_default(void)
{
	struct shm_channel_desc d;

	shm_channel_desc_init(&d, 0, 1);
	return d;
}

struct shm_channel_desc chan_small(void)
{
	struct shm_channel_desc d = chan_default();

	for (int i = 0; i < 2; i++) {
		d.dir[i].entries = 16;
		d.dir[i].cls[0] = (struct shm_slot_class){256, 3};
		d.dir[i].cls[1] = (struct shm_slot_class){1024, 4};
	}
	d.length = shm_channel_bytes(&d);
	return d;
}

static void gone(void *arg)
{
	++((struct chan_end *)arg)->gone;
}

static void attach(struct chan_pair *p, struct chan_end *e, enum shm_role role, bool bells)
{
	struct chan_opts o = {.region = p->mem,
			      .size = p->size,
			      .desc = &p->desc,
			      .role = role,
			      .gone = gone,
			      .gone_arg = e};

	e->gone = 0;
	if (bells) {
		o.bell = o.ring_bell = PAIR_BELL;
		o.ring_page = ring[role == SHM_ROLE_A ? ZV_ROLE_HOST : ZV_ROLE_GUEST].id;
	}
	assert_int_equal(chan_attach(e->c, &o), 0);
	assert_int_equal(chan_attach(e->c, &o), -EINVAL); /* one is enough */
}

/* Of the two queues, for all pairs of a test. */
static void make_bells(struct chan_pair *p)
{
	static uint32_t id;
	int fd;

	for (int role = 0; role < 2; role++) {
		struct zv_queue *q = role == ZV_ROLE_GUEST ? P.g : P.h;

		p->page[role] = &pages[role];
		if (q->chans.bells)
			continue;
		memset(p->page[role], 0, sizeof(struct bell_page));
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		own[role] = (struct bell_map){&pages[role], ++id, fd, 1, free_map};
		ring[role] = (struct bell_map){&pages[role], id, fcntl(fd, F_DUPFD_CLOEXEC, 0), 1,
					       free_map};
		assert_true(fd >= 0 && ring[role].fd >= 0);
		fake_regions.ring[role] = &ring[role];
		assert_int_equal(chan_bells_open(q, &own[role]), 0);
	}
}

void chan_attach_pair(struct chan_pair *p, const struct shm_channel_desc *d, bool bells)
{
	p->desc = *d;
	p->size = (size_t)d->length;
	p->mem = aligned_alloc(SHM_CHANNEL_ALIGN, p->size);
	assert_non_null(p->mem);
	memset(p->mem, 0, p->size);
	assert_int_equal(channel_layout(&p->l, d), 0);
	assert_int_equal(shm_channel_format(p->mem, p->size, d), 0);
	if (bells)
		make_bells(p);
	attach(p, &p->guest, SHM_ROLE_A, bells);
	attach(p, &p->host, SHM_ROLE_B, bells);
	pump();
}

void chan_connect(struct chan_pair *p, enum zv_type type, const struct shm_channel_desc *d,
		  bool bells)
{
	*p = (struct chan_pair){0};
	connect_pair(type, 1000 + 10 * type, &p->guest.c, &p->host.c);
	chan_attach_pair(p, d, bells);
}

void chan_free_memory(struct chan_pair *p)
{
	free(p->mem);
}

void chan_close(struct chan_pair *p)
{
	if (p->guest.c)
		assert_int_equal(zv_conn_close(p->guest.c), 0);
	if (p->host.c)
		assert_int_equal(zv_conn_close(p->host.c), 0);
	pump();
	assert_int_equal(p->guest.gone, 1);
	assert_int_equal(p->host.gone, 1);
	chan_free_memory(p);
}

struct zv_queue_stats chan_stats(struct zv_queue *q)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
	return s;
}

uint32_t chan_events_of(struct zv_queue *q, const struct zv_conn *c)
{
	struct zv_event ev[16];
	int n = zv_poll(q, ev, 16);

	assert_true(n >= 0);
	for (int i = 0; i < n; i++)
		if (ev[i].conn == c)
			return ev[i].events;
	return 0;
}

bool chan_readable(struct zv_queue *q)
{
	struct pollfd p = {.fd = zv_fd(q), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}
