/* SPDX-License-Identifier: BSD-3-Clause */
#include "gdev.h"

#include "socket/core/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct gdev G;

static char dir[] = "/tmp/zvsock-device-XXXXXX";

static void nap(void)
{
	nanosleep(&(struct timespec){0, 200000}, NULL);
}

struct zv_queue_stats guest_stats(unsigned q)
{
	struct zv_queue_stats st;

	zv_queue_stats(G.q[q], &st, sizeof(st));
	return st;
}

/* ---- rings ---- */

/* After @handshakes of them in all. */
static void attach(unsigned handshakes)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	assert_true(fake_wait_ready(&G.b, handshakes));
	for (unsigned i = 0; i < 25000; i++) {
		assert_int_equal(zv_dev_info(G.dev, &info), 0);
		if (info.queues_up == 2)
			break;
		nap();
	}
	assert_int_equal(info.queues_up, 2);
	G.gone = false;
	for (unsigned i = 0; i < 2; i++)
		G.broken[i] = guest_stats(i).ring_broken;
	for (unsigned i = 0; i < 5; i++) {
		struct fake_ring f = fake_get_ring(&G.b, i);
		struct gring *r = &G.r[i];

		*r = (struct gring){
			.size = (uint16_t)f.num,
			.desc = fake_user_va(&G.b, f.addr.desc, 16 * f.num),
			.avail = fake_user_va(&G.b, f.addr.avail, G.layout->driver_bytes(f.num)),
			.used = fake_user_va(&G.b, f.addr.used, G.layout->device_bytes(f.num)),
		};
		assert_non_null(r->desc);
		assert_non_null(r->avail);
		assert_non_null(r->used);
		assert_int_equal(f.num, i == EVT ? 16 : G_N);
	}
}

static bool waiting(unsigned ring)
{
	return G.layout->posted(&G.r[ring], 1);
}

uint16_t dev_take(unsigned ring)
{
	for (unsigned i = 0; i < 10000 && !waiting(ring); i++) {
		struct zv_event ev[4];

		/* an idle driver posts what it has kept back */
		zv_poll(G.q[ring / 3], ev, 4);
	}
	assert_true(waiting(ring));
	return G.layout->take(&G.r[ring]);
}

void *dev_buf(unsigned ring, uint16_t id)
{
	const struct vring_desc *d = G.layout->buf(&G.r[ring], id);
	void *p = fake_gpa_va(&G.b, d->addr, d->len);

	assert_non_null(p);
	return p;
}

void dev_used_idx(unsigned ring, uint16_t idx)
{
	shm_store_release16(&G.r[ring].used->idx, idx);
}

void dev_show(unsigned ring)
{
	G.layout->show(&G.r[ring]);
}

void dev_used(unsigned ring, uint32_t id, uint32_t len, bool show)
{
	G.layout->used(&G.r[ring], id, len);
	if (show)
		dev_show(ring);
}

static void send_on(unsigned ring, const struct vsock_hdr *h, const void *payload, uint32_t have,
		    uint32_t used)
{
	uint16_t id = dev_take(ring);
	uint8_t *buf = dev_buf(ring, id);

	vsock_hdr_put(buf, h);
	if (have)
		memcpy(buf + VSOCK_HDR_LEN, payload, have);
	dev_used(ring, id, used ? used : VSOCK_HDR_LEN + have, true);
}

void dev_send(const struct vsock_hdr *h, const void *payload, uint32_t have, uint32_t used)
{
	send_on(RX0, h, payload, have, used);
}

struct vsock_hdr dev_hdr(unsigned op, uint32_t len)
{
	struct zv_conn_info i = {.size = sizeof(i)};

	assert_int_equal(zv_conn_info(G.c[0], &i), 0);
	return (struct vsock_hdr){.src_cid = VSOCK_CID_HOST,
				  .dst_cid = G_CID,
				  .src_port = i.peer_port,
				  .dst_port = i.local_port,
				  .len = len,
				  .type = (uint16_t)i.type,
				  .op = (uint16_t)op,
				  .buf_alloc = 262144};
}

void dev_op(unsigned op, const void *payload, uint32_t len)
{
	struct vsock_hdr h = dev_hdr(op, len);

	dev_send(&h, payload, len, 0);
}

unsigned dev_heard(uint32_t mark, unsigned op, uint32_t dport)
{
	unsigned n = 0;

	for (; mark != G.nlog; mark++)
		n += G.log[mark % G_LOG].op == op && G.log[mark % G_LOG].dst_port == dport;
	return n;
}

/* ---- what the device does with packets from the guest ---- */

static struct vsock_hdr answer_to(const struct vsock_hdr *in, unsigned op)
{
	struct vsock_hdr h;

	vsock_hdr_rst_for(&h, in);
	h.op = (uint16_t)op;
	h.buf_alloc = 262144;
	return h;
}

static void honest(unsigned rx, const struct vsock_hdr *in, const uint8_t *payload)
{
	struct vsock_hdr h;

	switch (in->op) {
	case VSOCK_OP_REQUEST:
		if (in->dst_port == ZV_CTRL_PORT) {
			if (rx == RX0 && G.hello)
				G.ctrl = *in;
			h = answer_to(in, rx == RX0 && G.hello ? VSOCK_OP_RESPONSE : VSOCK_OP_RST);
			send_on(rx, &h, NULL, 0, 0);
		} else if (rx != RX0 || !G.silent) {
			h = answer_to(in, VSOCK_OP_RESPONSE);
			send_on(rx, &h, NULL, 0, 0);
		}
		break;
	case VSOCK_OP_RW:
		if (rx == RX0)
			break;
		G.echoed += in->len;
		h = answer_to(in, VSOCK_OP_RW);
		h.len = in->len;
		h.fwd_cnt = G.echoed;
		send_on(rx, &h, payload, in->len, 0);
		break;
	case VSOCK_OP_SHUTDOWN:
		h = answer_to(in, VSOCK_OP_RST);
		send_on(rx, &h, NULL, 0, 0);
		break;
	default:
		break;
	}
}

static bool serve(unsigned pair)
{
	unsigned rx = pair ? RX1 : RX0, tx = rx + 1;
	bool work = false;

	while (waiting(tx)) {
		uint16_t id = dev_take(tx);
		const uint8_t *buf = dev_buf(tx, id);
		struct vsock_hdr h;

		vsock_hdr_get(&h, buf);
		if (pair == 0)
			G.log[G.nlog++ % G_LOG] = h;
		honest(rx, &h, buf + VSOCK_HDR_LEN);
		dev_used(tx, id, 0, true);
		work = true;
	}
	return work;
}

/* The control thread has stopped the pair: a poll would turn back at once and find nothing. */
static bool stopped(unsigned i)
{
	return __atomic_load_n(&G.q[i]->tq->qs.stop, __ATOMIC_ACQUIRE);
}

void gdev_pump(void)
{
	unsigned idle = 0;

	while (idle < 4) {
		struct zv_event ev[16];

		if (stopped(0) || stopped(1))
			nap();
		else
			idle++;
		for (unsigned i = 0; i < 2; i++) {
			int n;

			if (!G.gone && guest_stats(i).ring_broken == G.broken[i] && serve(i))
				idle = 0;
			n = zv_poll(G.q[i], ev, 16);
			for (int k = 0; k < n; k++)
				if (ev[k].conn && ev[k].conn == G.c[0]) {
					G.seen |= ev[k].events;
					G.err = ev[k].err;
				}
		}
	}
}

/* ---- sessions ---- */

static void open_guest(void)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = 2,
			    .ring_size = G_N,
			    .rx_buf = G_BUF,
			    .tx_buf = G_BUF,
			    .buf_alloc = G_CREDIT,
			    .close_timeout_ns = 1000000u,
			    .flags = ZV_OPT_NO_HUGE | G.layout->opts};
	unsigned before = atomic_load(&G.b.ready);
	char uri[160];

	(void)snprintf(uri, sizeof(uri), "vhost-user:%s", G.b.path);
	assert_int_equal(zv_open(&G.dev, uri, &o), 0);
	for (unsigned i = 0; i < 2; i++)
		G.q[i] = zv_queue(G.dev, i);
	assert_int_equal(zv_listen(G.dev, G_LISTEN, ZV_STREAM, G_BACKLOG), 0);
	attach(before + 1);
}

static void close_guest(void)
{
	for (unsigned i = 0; i < 2; i++) {
		if (G.c[i])
			zv_conn_close(G.c[i]);
		G.c[i] = NULL;
	}
	assert_int_equal(zv_close(G.dev), 0);
	G.dev = NULL;
}

void gdev_start(void)
{
	char path[64];

	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/d", dir);
	fake_init(&G.b, path);
	fake_start(&G.b);
}

void gdev_stop(void)
{
	if (G.dev)
		close_guest();
	fake_stop(&G.b);
	assert_int_equal(rmdir(dir), 0);
}

static void connect_both(unsigned type)
{
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			zv_connect(G.q[i], ZV_CID_HOST, G_PORT, i ? ZV_STREAM : type, &G.c[i]), 0);
	G.echoed = 0;
	gdev_pump();
	assert_true(G.seen & ZV_EV_CONNECT || G.silent);
}

void gdev_session(unsigned type)
{
	if (G.dev)
		close_guest();
	G.seen = 0;
	G.b.features = (G.b.features & ~gdev_packed.feature) | G.layout->feature;
	open_guest();
	gdev_pump();
	connect_both(type);
	G.seen = 0;
	G.err = 0;
}

void gdev_hang_up(void)
{
	unsigned before = atomic_load(&G.b.ready);

	for (unsigned i = 0; i < 2; i++) {
		zv_conn_close(G.c[i]);
		G.c[i] = NULL;
	}
	fake_hang_up(&G.b);
	attach(before + 1);
	gdev_pump();
	G.seen = 0;
	connect_both(ZV_STREAM);
}
