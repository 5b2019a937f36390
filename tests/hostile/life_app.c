/* SPDX-License-Identifier: BSD-3-Clause */
#include "life_app.h"

#include "testbed.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RX_MAX	48u
#define TX_MAX	8u
#define AGE_MAX 3u /* rounds */

struct client {
	struct zv_conn *c;
	bool dead;
	unsigned reserved;
	struct client *next;
};

struct held {
	struct zv_buf b;
	struct client *of; /* of a reserved buffer */
	uint32_t born;
};

char life_path[80];

static struct zv_dev *dev;
static pthread_t thread;
static struct client *clients;
static struct held rx[RX_MAX], tx[TX_MAX];
static unsigned nrx, ntx;
static uint64_t rng;

/* Shared with the test's thread. */
static uint32_t quit, round_no, freeze, frozen, drop, touches, new_rx, new_tx;

static uint32_t any(uint32_t n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(rng >> 33) % n;
}

static uint32_t get(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static void set(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* ---- loans ---- */

static void touch_all(void)
{
	for (unsigned i = 0; i < nrx; i++)
		memset(rx[i].b.data, LIFE_LATE, rx[i].b.len);
	for (unsigned i = 0; i < ntx; i++)
		memset(tx[i].b.data, LIFE_LATE, tx[i].b.capacity);
	__atomic_add_fetch(&touches, 1, __ATOMIC_ACQ_REL);
}

static void receive(struct zv_queue *q, struct client *cl)
{
	struct zv_buf b[8];
	int n = zv_buf_recv(cl->c, b, 8);

	if (n == 0)
		cl->dead = true;
	for (int i = 0; i < n; i++)
		if (nrx < RX_MAX) {
			rx[nrx++] = (struct held){b[i], NULL, get(&round_no)};
			set(&new_rx, get(&new_rx) + 1);
		} else {
			zv_buf_release(q, &b[i], 1);
		}
}

static void reserve(struct client *cl)
{
	struct zv_buf b[2];
	int n;

	if (cl->dead || ntx + 2 > TX_MAX)
		return;
	n = zv_buf_alloc(cl->c, b, 1 + any(2), 200);
	for (int i = 0; i < n; i++) {
		tx[ntx++] = (struct held){b[i], cl, get(&round_no)};
		cl->reserved++;
		set(&new_tx, get(&new_tx) + 1);
	}
}

static void give_back_rx(struct zv_queue *q, unsigned i)
{
	zv_buf_release(q, &rx[i].b, 1);
	rx[i] = rx[--nrx];
}

static void give_back_tx(unsigned i, bool send)
{
	struct client *cl = tx[i].of;

	tx[i].b.len = 100;
	if (send)
		(void)zv_buf_send(cl->c, &tx[i].b, 1);
	else
		zv_buf_cancel(cl->c, &tx[i].b, 1);
	cl->reserved--;
	tx[i] = tx[--ntx];
}

static void give_back(struct zv_queue *q, bool all)
{
	uint32_t now = get(&round_no);

	for (unsigned i = nrx; i-- > 0;)
		if (all || now - rx[i].born >= AGE_MAX)
			give_back_rx(q, i);
	for (unsigned i = ntx; i-- > 0;)
		if (all || now - tx[i].born >= AGE_MAX)
			give_back_tx(i, any(2));
	if (nrx > RX_MAX / 2 && !any(4))
		give_back_rx(q, any(nrx));
	if (ntx > TX_MAX / 2 && !any(4))
		give_back_tx(any(ntx), any(2));
}

/* ---- connections ---- */

static void close_dead(bool all)
{
	for (struct client **p = &clients, *cl; (cl = *p);) {
		if (!(cl->dead || all) || cl->reserved) {
			p = &cl->next;
			continue;
		}
		(void)zv_conn_close(cl->c);
		*p = cl->next;
		free(cl);
	}
}

static void accept_all(struct zv_queue *q, uint32_t port)
{
	struct zv_conn *c;

	while (zv_accept(q, port, &c) == 0) {
		struct client *cl = calloc(1, sizeof(*cl));

		if (!cl)
			abort();
		cl->c = c;
		cl->next = clients;
		clients = cl;
		zv_set_user(c, cl);
	}
}

static void turn(struct zv_queue *q)
{
	struct zv_event ev[16];
	int n = zv_poll(q, ev, 16);

	for (int i = 0; i < n; i++) {
		struct client *cl = ev[i].user;

		if (ev[i].events & ZV_EV_ACCEPT) {
			accept_all(q, ev[i].port);
			continue;
		}
		if (ev[i].events & ZV_EV_IN)
			receive(q, cl);
		if (ev[i].events & (ZV_EV_ERR | ZV_EV_HUP))
			cl->dead = true;
	}
	for (struct client *cl = clients; cl; cl = cl->next)
		reserve(cl);
	give_back(q, false);
	close_dead(false);
	if (n == 0)
		testbed_idle();
}

static void *app_main(void *arg)
{
	struct zv_queue *q = zv_queue(dev, 0);

	(void)arg;
	while (!get(&quit)) {
		if (get(&freeze)) {
			set(&frozen, 1);
			touch_all();
			testbed_nap();
			continue;
		}
		set(&frozen, 0);
		turn(q);
		touch_all();
		if (get(&drop)) {
			give_back(q, true);
			close_dead(true);
			set(&drop, 0);
		}
	}
	give_back(q, true);
	close_dead(true);
	return NULL;
}

/* ---- for the test ---- */

const char *life_start(uint64_t seed)
{
	struct zv_opts o = {.size = sizeof(o), .close_timeout_ns = 10000000u};
	char uri[128];

	rng = seed;
	snprintf(life_path, sizeof(life_path), "%s-life", testbed_victim);
	snprintf(uri, sizeof(uri), "host:%s,cid=%u", life_path, LIFE_CID);
	if (zv_open(&dev, uri, &o) < 0 || zv_listen(dev, PORT_HOLD, ZV_STREAM, 0) < 0 ||
	    zv_listen(dev, PORT_SINK, ZV_STREAM, 0) < 0)
		return zv_error_text();
	return pthread_create(&thread, NULL, app_main, NULL) ? "no thread" : NULL;
}

bool life_stop(void)
{
	set(&quit, 1);
	pthread_join(thread, NULL);
	return zv_close(dev) == 0;
}

static bool is_up(void *arg)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	return zv_dev_info(dev, &info) == 0 && (info.queues_up == 1) == *(bool *)arg;
}

bool life_wait_up(bool up)
{
	return testbed_until(is_up, &up);
}

unsigned life_received(void)
{
	return get(&new_rx);
}

unsigned life_reserved(void)
{
	return get(&new_tx);
}

void life_new_round(void)
{
	__atomic_add_fetch(&round_no, 1, __ATOMIC_ACQ_REL);
	set(&new_rx, 0);
	set(&new_tx, 0);
}

static bool passed(void *arg)
{
	return get(&touches) - *(uint32_t *)arg >= 3;
}

bool life_touched(void)
{
	uint32_t from = get(&touches);

	return testbed_until(passed, &from);
}

static bool equals(void *arg)
{
	return get(&frozen) == get(&freeze) && arg == NULL;
}

void life_freeze(bool on)
{
	set(&freeze, on);
	(void)testbed_until(equals, NULL);
}

static bool dropped(void *arg)
{
	return arg == NULL && get(&drop) == 0;
}

void life_give_up_all(void)
{
	set(&drop, 1);
	(void)testbed_until(dropped, NULL);
}
