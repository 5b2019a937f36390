/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_app.h"

#include "testbed.h"
#include "zvsock_dgram.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK	  16384u
#define MAX_LOANS 64u

struct client {
	struct zv_conn *c;
	unsigned port; /* 0: opened by us */
	uint32_t off, len;
	uint64_t at;
	bool victim;
	struct client *next, **link;
	uint8_t buf[];
};

static struct client *clients;
static struct zv_buf loans[MAX_LOANS], slots[MAX_LOANS];
static struct client *slot_owner;
static unsigned nloans, nslots;

/* Commands of the test to the host thread: one word each, taken back to 0 when done. */
static uint32_t cmd_connect, cmd_release, cmd_touch, cmd_reserve;
static int connect_result;
static uint64_t touch_sum;

static const struct {
	unsigned port;
	enum zv_type type;
} services[] = {
	{PORT_ECHO, ZV_STREAM},	  {PORT_SEQ, ZV_SEQPACKET},	 {PORT_MUTE, ZV_STREAM},
	{PORT_SINK, ZV_STREAM},	  {PORT_HOLD, ZV_STREAM},	 {PORT_BACKLOG, ZV_STREAM},
	{PORT_SOURCE, ZV_STREAM}, {PORT_SEQ_MUTE, ZV_SEQPACKET},
};

bool app_listen(struct zv_dev *dev)
{
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		if (zv_listen(dev, services[i].port, services[i].type,
			      services[i].port == PORT_BACKLOG ? BACKLOG : 256) < 0)
			return false;
	return zv_dgram_bind(dev, &(uint32_t){PORT_DGRAM}, 0) == 0 &&
	       zv_dgram_bind(dev, &(uint32_t){PORT_DGRAM_MUTE}, DGRAM_BYTES) == 0;
}

static struct client *client_new(struct zv_conn *c, unsigned port, bool victim)
{
	bool big = port == PORT_ECHO || port == PORT_SEQ;
	struct client *cl = calloc(1, sizeof(*cl) + (big ? CHUNK : 0));

	if (!cl)
		abort();
	cl->c = c;
	cl->port = port;
	cl->victim = victim;
	cl->next = clients;
	cl->link = &clients;
	if (clients)
		clients->link = &cl->next;
	clients = cl;
	zv_set_user(c, cl);
	if (port == PORT_MUTE || port == PORT_SEQ_MUTE)
		zv_set_events(c, ZV_EV_HUP);
	return cl;
}

static void client_close(struct client *cl)
{
	if (slot_owner == cl) {
		zv_buf_cancel(cl->c, slots, nslots);
		__atomic_store_n(&nslots, 0, __ATOMIC_RELEASE);
		slot_owner = NULL;
	}
	(void)zv_conn_close(cl->c);
	*cl->link = cl->next;
	if (cl->next)
		cl->next->link = cl->link;
	free(cl);
}

static void accept_all(struct zv_queue *q, uint32_t port, bool victim)
{
	struct zv_conn *c;

	while (port != PORT_BACKLOG && zv_accept(q, port, &c) == 0) {
		struct client *cl = client_new(c, port, victim);

		if (port == PORT_SOURCE)
			zv_set_events(cl->c, ZV_EV_IN | ZV_EV_OUT | ZV_EV_HUP);
	}
}

/* Echo; false: the connection is over. */
static bool echo(struct client *cl)
{
	uint32_t flags = cl->port == PORT_SEQ ? ZV_EOM : 0;

	for (int turn = 0; turn < 8; turn++) {
		ssize_t n;

		if (cl->len == 0) {
			n = zv_recv(cl->c, cl->buf, CHUNK, NULL);
			if (n <= 0)
				return n == -EAGAIN;
			cl->off = 0;
			cl->len = (uint32_t)n;
		}
		n = zv_send(cl->c, cl->buf + cl->off, cl->len, flags);
		if (n < 0)
			return n == -EAGAIN;
		cl->off += (uint32_t)n;
		cl->len -= (uint32_t)n;
	}
	return true;
}

static bool hold(struct client *cl)
{
	int n = zv_buf_recv(cl->c, loans + nloans, MAX_LOANS - nloans);

	if (n <= 0)
		return n == -EAGAIN || nloans == MAX_LOANS;
	__atomic_store_n(&nloans, nloans + (unsigned)n, __ATOMIC_RELEASE);
	if (nloans == MAX_LOANS)
		zv_set_events(cl->c, 0);
	return true;
}

static bool source(struct client *cl)
{
	uint8_t b[1000];

	for (int turn = 0; turn < 4; turn++) {
		ssize_t n;

		memset(b, (int)(cl->at & 0xff), sizeof(b));
		n = zv_send(cl->c, b, sizeof(b), 0);
		if (n < 0)
			return n == -EAGAIN;
		cl->at++;
	}
	return true;
}

static void serve(struct client *cl, const struct zv_event *e)
{
	uint8_t sink[4096];
	bool good = true;
	ssize_t n;

	if (e->events & ZV_EV_CONNECT) {
		__atomic_store_n(&connect_result, e->err, __ATOMIC_RELEASE);
		if (e->err == 0)
			zv_set_events(cl->c, 0);
	}
	switch (e->events & ZV_EV_ERR ? 0 : cl->port) {
	case PORT_ECHO:
	case PORT_SEQ:
		good = echo(cl);
		break;
	case PORT_HOLD:
		good = hold(cl);
		break;
	case PORT_SOURCE:
		good = !(e->events & ZV_EV_HUP) && source(cl);
		break;
	case PORT_SINK:
		while ((n = zv_recv(cl->c, sink, sizeof(sink), NULL)) > 0)
			;
		good = n == -EAGAIN;
		break;
	default:
		good = !(e->events & (ZV_EV_ERR | ZV_EV_HUP));
		break;
	}
	if (!good)
		client_close(cl);
}

/* What finds no room on its way back is lost, as datagrams are. */
static void dgram_echo(struct zv_queue *q)
{
	static uint8_t data[ZV_DGRAM_MAX];
	struct zv_dgram_addr from;
	ssize_t n;

	while ((n = zv_dgram_recv(q, PORT_DGRAM, data, sizeof(data), NULL, &from)) >= 0)
		(void)zv_dgram_send(q, &from, data, (size_t)n, 0);
}

unsigned app_poll(struct zv_queue *q, bool is_victim)
{
	struct zv_event ev[32];
	unsigned work = 0;
	int n = zv_poll(q, ev, 32);

	for (int i = 0; i < n; i++) {
		if (ev[i].events & ZV_EV_ACCEPT)
			accept_all(q, ev[i].port, is_victim);
		else if (ev[i].events & ZV_EV_DGRAM && ev[i].port == PORT_DGRAM)
			dgram_echo(q);
		else if (!(ev[i].events & (ZV_EV_DGRAM | ZV_EV_DGRAM_OUT)))
			serve(ev[i].user, &ev[i]);
		work += ev[i].port != PORT_BACKLOG && ev[i].port != PORT_DGRAM_MUTE;
	}
	return work;
}

/* ---- commands ---- */

static void do_connect(struct zv_queue *q, uint32_t port)
{
	struct zv_conn *c;
	int ret = zv_connect(q, 0, port, ZV_STREAM, &c);

	if (ret < 0)
		__atomic_store_n(&connect_result, ret, __ATOMIC_RELEASE);
	else
		(void)client_new(c, 0, true);
}

static void do_reserve(void)
{
	for (struct client *cl = clients; cl && !slot_owner; cl = cl->next) {
		int n;

		if (cl->port != PORT_HOLD || !cl->victim)
			continue;
		n = zv_buf_alloc(cl->c, slots, 4, 256);
		if (n > 0) {
			slot_owner = cl;
			__atomic_store_n(&nslots, (unsigned)n, __ATOMIC_RELEASE);
		}
	}
}

static void do_touch(void)
{
	touch_sum = 0;
	for (unsigned i = 0; i < nloans; i++)
		for (uint32_t k = 0; k < loans[i].len; k++)
			touch_sum += ((volatile uint8_t *)loans[i].data)[k];
	/* A late write: whoever owns that memory now must not see it. */
	for (unsigned i = 0; i < nloans; i++)
		memset(loans[i].data, 0xd1, loans[i].len);
	for (unsigned i = 0; i < nslots; i++)
		memset(slots[i].data, 0xd1, slots[i].capacity);
}

void app_commands(struct zv_queue *q)
{
	uint32_t port = __atomic_load_n(&cmd_connect, __ATOMIC_ACQUIRE);

	if (port) {
		do_connect(q, port);
		__atomic_store_n(&cmd_connect, 0, __ATOMIC_RELEASE);
	}
	if (__atomic_load_n(&cmd_reserve, __ATOMIC_ACQUIRE)) {
		do_reserve();
		__atomic_store_n(&cmd_reserve, 0, __ATOMIC_RELEASE);
	}
	if (__atomic_load_n(&cmd_touch, __ATOMIC_ACQUIRE)) {
		do_touch();
		__atomic_store_n(&cmd_touch, 0, __ATOMIC_RELEASE);
	}
	if (__atomic_load_n(&cmd_release, __ATOMIC_ACQUIRE)) {
		if (slot_owner)
			zv_buf_cancel(slot_owner->c, slots, nslots);
		slot_owner = NULL;
		zv_buf_release(q, loans, nloans);
		__atomic_store_n(&nloans, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&nslots, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&cmd_release, 0, __ATOMIC_RELEASE);
	}
}

void app_close_all(void)
{
	while (clients)
		client_close(clients);
}

static bool taken(void *cmd)
{
	return __atomic_load_n((uint32_t *)cmd, __ATOMIC_ACQUIRE) == 0;
}

static void order(uint32_t *cmd, uint32_t arg)
{
	__atomic_store_n(cmd, arg, __ATOMIC_RELEASE);
	(void)testbed_until(taken, cmd);
}

void testbed_connect(uint32_t port)
{
	__atomic_store_n(&connect_result, 1, __ATOMIC_RELEASE);
	order(&cmd_connect, port);
}

static bool has_result(void *arg)
{
	(void)arg;
	return __atomic_load_n(&connect_result, __ATOMIC_ACQUIRE) != 1;
}

int testbed_connect_result(void)
{
	(void)testbed_until(has_result, NULL);
	return __atomic_load_n(&connect_result, __ATOMIC_ACQUIRE);
}

unsigned testbed_loans(void)
{
	return __atomic_load_n(&nloans, __ATOMIC_ACQUIRE);
}

void testbed_release(void)
{
	order(&cmd_release, 1);
}

uint64_t testbed_touch_loans(void)
{
	order(&cmd_touch, 1);
	return touch_sum;
}

unsigned testbed_reserve(void)
{
	order(&cmd_reserve, 1);
	return __atomic_load_n(&nslots, __ATOMIC_ACQUIRE);
}
