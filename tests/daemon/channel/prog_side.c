/* SPDX-License-Identifier: BSD-3-Clause */
#include "prog_side.h"

#include "vhost-user/frontend_transport.h"

#include <errno.h>
#include <proto/ctrl/hello.h>
#include <proto/vsock/conn_table.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <transport.h>

#include <cmocka.h>

#define CHAN_END 1u

uint32_t ps_port;

int __real_conn_table_port(struct conn_table *t, uint64_t cid, uint32_t peer_port, uint32_t *port);
int __wrap_conn_table_port(struct conn_table *t, uint64_t cid, uint32_t peer_port, uint32_t *port);

int __wrap_conn_table_port(struct conn_table *t, uint64_t cid, uint32_t peer_port, uint32_t *port)
{
	if (!ps_port)
		return __real_conn_table_port(t, cid, peer_port, port);
	*port = ps_port;
	ps_port = 0;
	return 0;
}

/* ---- the control connection ---- */

struct ps *ps_hello(struct zv_dev *dev, uint32_t port)
{
	const struct hello h = {.type = CTRL_HELLO,
				.version = ZV_CTRL_VERSION,
				.nonce = port,
				.npairs = 1,
				.caps = ZV_CAP_CHANNEL,
				.max_pkt = 65536};
	struct ps *p = calloc(1, sizeof(*p));
	uint8_t wire[HELLO_WIRE_LEN];
	struct hello ack;

	assert_non_null(p);
	p->dev = dev;
	ps_port = port;
	p->ctl = zf_connect(dev, 0, ZV_CID_HOST, ZV_PROC_PORT, ZV_STREAM, NULL);
	assert_non_null(p->ctl);
	hello_put(wire, &h);
	assert_true(zf_send(p->ctl, wire, sizeof(wire), 0));
	assert_int_equal(zf_recv(p->ctl, wire, sizeof(wire), NULL), sizeof(wire));
	assert_int_equal(hello_get(&ack, wire, sizeof(wire)), sizeof(wire));
	assert_int_equal(ack.type, CTRL_HELLO_ACK);
	assert_int_equal(ack.caps, ZV_CAP_CHANNEL);
	assert_int_equal(ack.nonce, port);
	return p;
}

void ps_send_msg(struct ps *p, const struct ctrl_msg *m)
{
	uint8_t wire[CTRL_MSG_MAX];

	assert_true(zf_send(p->ctl, wire, ctrl_msg_put(wire, m), 0));
}

void ps_claim(struct ps *p, enum ctrl_claim_what what, uint32_t port, uint32_t peer_port)
{
	const struct ctrl_msg m = {.type = CTRL_CLAIM,
				   .claim = {.port = port,
					     .peer_port = peer_port,
					     .peer_cid = ZV_CID_HOST,
					     .type = ZV_STREAM,
					     .what = (uint16_t)what}};

	ps_send_msg(p, &m);
}

struct got {
	struct ps *p;
	struct ctrl_msg m;
};

static bool got(void *arg)
{
	struct got *g = arg;
	struct ps *p = g->p;
	ssize_t n = zv_recv(p->ctl->c, p->in + p->n_in, sizeof(p->in) - p->n_in, NULL);
	int len;

	p->n_in += n > 0 ? (size_t)n : 0;
	len = ctrl_msg_get(&g->m, p->in, p->n_in);
	assert_true(len >= 0 && p->ctl->err == 0);
	if (len <= 0)
		return false;
	p->n_in -= (size_t)len;
	memmove(p->in, p->in + len, p->n_in);
	return true;
}

struct ctrl_msg ps_next(struct ps *p, enum ctrl_type type)
{
	struct got g = {.p = p};

	assert_true(zf_until(got, &g));
	assert_int_equal(g.m.type, type);
	return g.m;
}

bool ps_none(struct ps *p)
{
	struct got g = {.p = p};

	return !got(&g);
}

static bool reset(void *arg)
{
	struct ps *p = arg;
	char b;

	return p->ctl->err == -ECONNRESET || zv_recv(p->ctl->c, &b, 1, NULL) == -ECONNRESET;
}

bool ps_reset(struct ps *p)
{
	return zf_until(reset, p);
}

void ps_ack(struct ps *p)
{
	ps_send_msg(p,
		    &(struct ctrl_msg){.type = CTRL_REGION_ACK, .region_ack = {.id = p->region}});
}

void ps_offer(struct ps *p)
{
	struct transport_dev *t = zv_dev_transport(p->dev);
	struct ctrl_msg m = {.type = CTRL_OFFER};
	struct region_map *map;

	assert_int_equal(frontend_transport_ops.regions->offer(t, 0, &m.offer), 0);
	ps_send_msg(p, &m);
	m = ps_next(p, CTRL_REGION);
	p->region = m.region.id;
	assert_int_equal(frontend_transport_ops.regions->map(t, 0, &m.region, &map), 0);
	p->mem = map->addr; /* it is the device's own memory: it stays there */
	p->size = map->size;
	region_map_put(map);
}

struct ps *ps_new(struct zv_dev *dev, uint32_t port)
{
	struct ps *p = ps_hello(dev, port);

	ps_offer(p);
	ps_ack(p);
	return p;
}

void ps_end(struct ps *p)
{
	zf_close(p->ctl);
	free(p);
}

/* ---- a channel ---- */

/* The other end has slept, and is told by a byte. No room: some have not been read. */
static int wake(void *arg)
{
	struct zf_conn *c = arg;
	ssize_t n = zv_send(c->c, "w", 1, 0);

	return n == 1 || n == -EAGAIN ? 0 : (int)n;
}

struct ps_chan ps_use(struct ps *p, struct zf_conn *c, const struct ctrl_msg *grant)
{
	const struct shm_channel_opts o = {
		.size = sizeof(o), .wake = wake, .wake_arg = c, .wake_fd = -1};
	struct ps_chan pc = {.c = c, .g = grant->grant};
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(c->c, &i), 0);
	assert_int_equal(pc.g.peer_cid, ZV_CID_HOST);
	assert_int_equal(pc.g.peer_port, i.peer_port);
	assert_int_equal(pc.g.local_port, i.local_port);
	assert_int_equal(pc.g.region, p->region);
	assert_int_equal(shm_channel_check(&pc.g.desc, p->size), 0);
	assert_int_equal(shm_channel_attach(&pc.ch, p->mem, p->size, &pc.g.desc,
					    (enum shm_role)pc.g.role, &o),
			 0);
	return pc;
}

/* True: the connection has brought wake-ups, which are bytes, any number of them. */
static bool woken(void *arg)
{
	struct ps_chan *pc = arg;
	char b[64];

	assert_int_equal(pc->c->err, 0);
	return zv_recv(pc->c->c, b, sizeof(b), NULL) > 0 || shm_channel_pending(pc->ch);
}

/* Sleeps until it is woken: who forgets to wake it makes the test fail. */
static void sleep_for(struct ps_chan *pc, unsigned want, uint32_t len)
{
	int ret = shm_channel_arm(pc->ch, want, len);

	assert_true(ret >= 0);
	while (ret == 0) {
		char b[64];

		zf_poll();
		assert_int_equal(pc->c->err, 0);
		if (zv_recv(pc->c->c, b, sizeof(b), NULL) > 0)
			break;
	}
	shm_channel_disarm(pc->ch);
}

void ps_send(struct ps_chan *pc, size_t len, unsigned seed)
{
	size_t done = 0;

	while (done < len) {
		struct shm_msg m;

		if (shm_channel_alloc(pc->ch, &m, 1, 4096) != 1) {
			sleep_for(pc, SHM_WANT_ROOM, 4096);
			continue;
		}
		m.len = len - done < 4096 ? (uint32_t)(len - done) : 4096;
		m.flags = SHM_EOM;
		for (uint32_t i = 0; i < m.len; i++)
			((uint8_t *)m.data)[i] = (uint8_t)(seed + done + i);
		while (shm_channel_send(pc->ch, &m, 1) != 1)
			sleep_for(pc, SHM_WANT_ROOM, 0);
		done += m.len;
		assert_true(shm_channel_notify(pc->ch) >= 0);
		zf_poll();
	}
}

void ps_recv(struct ps_chan *pc, size_t len, unsigned seed)
{
	size_t done = 0;

	while (done < len) {
		struct shm_msg m;
		int n = shm_channel_recv(pc->ch, &m, 1);

		assert_true(n >= 0);
		if (n == 0) {
			sleep_for(pc, SHM_WANT_DATA, 0);
			continue;
		}
		assert_int_not_equal(m.kind, SHM_MSG_CONTROL);
		for (uint32_t i = 0; i < m.len; i++)
			assert_int_equal(((uint8_t *)m.data)[i], (uint8_t)(seed + done + i));
		done += m.len;
		assert_int_equal(shm_channel_release(pc->ch, &m, 1), 0);
		assert_true(shm_channel_notify(pc->ch) >= 0);
	}
}

bool ps_ended(struct ps_chan *pc)
{
	struct shm_msg m;

	while (shm_channel_recv(pc->ch, &m, 1) == 0)
		if (!zf_until(woken, pc))
			return false;
	return m.kind == SHM_MSG_CONTROL && m.len == CHAN_END;
}

void ps_shut(struct ps_chan *pc)
{
	assert_int_equal(shm_channel_control(pc->ch, CHAN_END, 0), 1);
	assert_true(shm_channel_notify(pc->ch) >= 0);
}

void ps_drop(struct ps *p, struct ps_chan *pc)
{
	const struct ctrl_msg m = {.type = CTRL_RELEASE,
				   .release = {.region = p->region,
					       .offset = pc->g.desc.offset,
					       .generation = pc->g.desc.generation}};

	shm_channel_detach(pc->ch);
	zf_close(pc->c);
	ps_send_msg(p, &m);
}
