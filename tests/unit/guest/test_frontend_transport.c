/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole `vhost-user:` transport against a scripted backend; the test plays the device through
 * the backend's own mapping of the memory.
 */
#include "fake_backend.h"
#include "proto/vsock/vsock_device.h"
#include "raw_dev.h"
#include "vhost-user/frontend_transport.h"
#include "vsock_drv.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char dir[64], path[96];
static const struct transport_ops *const ops = &frontend_transport_ops;

static int make_dir(void **state)
{
	(void)state;
	strcpy(dir, "zv-transport-XXXXXX"); /* in the working directory: socket paths are short */
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

static struct zv_opts small(uint32_t queues)
{
	return (struct zv_opts){.size = sizeof(struct zv_opts),
				.queues = queues,
				.ring_size = 16,
				.rx_buf = 256,
				.tx_buf = 512,
				.flags = ZV_OPT_NO_HUGE};
}

static struct transport_dev *open_dev(struct fake_backend *b, unsigned queues)
{
	struct zv_opts o = small(queues);
	struct transport_dev *d = NULL;
	unsigned ready = atomic_load(&b->ready);

	assert_int_equal(ops->open(&d, path, &o), 0);
	assert_non_null(d);
	assert_true(fake_wait_ready(b, ready + 1));
	return d;
}

/* The device side of ring @i, through the backend's mapping. */
static struct raw_ring dev_ring(struct fake_backend *b, unsigned i)
{
	struct fake_ring ring = fake_get_ring(b, i), *r = &ring;
	struct raw_ring dev = {.ops = &raw_split_ops,
			       .desc = fake_user_va(b, r->addr.desc, 16 * r->num),
			       .avail = fake_user_va(b, r->addr.avail, 6 + 2 * r->num),
			       .used = fake_user_va(b, r->addr.used, 6 + 8 * r->num),
			       .size = r->num,
			       .event_idx = b->acked & VSOCK_FEATURE_EVENT_IDX};

	assert_non_null(dev.desc);
	assert_non_null(dev.avail);
	assert_non_null(dev.used);
	return dev;
}

static void dev_put(struct fake_backend *b, struct raw_ring *r, uint32_t mark)
{
	struct vsock_hdr h = {.len = 8, .op = VSOCK_OP_RW, .src_port = mark};
	uint16_t id;
	uint8_t *buf;

	assert_true(raw_pop(r, &id));
	buf = fake_gpa_va(b, r->desc[id].addr, r->desc[id].len);
	assert_non_null(buf);
	vsock_hdr_put(buf, &h);
	memset(buf + VSOCK_HDR_LEN, (int)mark, 8);
	(void)raw_push(r, id, VSOCK_HDR_LEN + 8);
}

/* One packet, as the socket layer would receive it. Waits until the queue lets us in (30 s). */
static void drv_get(struct transport_queue *q, struct rx_pkt *pkt, uint32_t mark)
{
	int n = 0;

	for (unsigned i = 0; i < 30000 && n == 0; i++) {
		if (quiesce_enter(&q->qs)) {
			n = q->ops->rx_burst(q, pkt, 1);
			quiesce_leave(&q->qs);
		}
		if (n == 0)
			usleep(1000);
	}
	assert_int_equal(n, 1);
	assert_int_equal(pkt->hdr.src_port, mark);
	assert_int_equal(pkt->seg[0].base[7], (uint8_t)mark);
}

static void drv_put(struct transport_queue *q, uint32_t mark)
{
	struct vsock_hdr h = {.len = 8, .op = VSOCK_OP_RW, .src_port = mark};
	struct tx_slot s;

	assert_true(quiesce_enter(&q->qs));
	assert_int_equal(q->ops->tx_reserve(q, &s, 1, 8, 0), 1);
	memset(s.data, (int)mark, 8);
	q->ops->tx_commit(q, s.token, &h);
	q->ops->publish(q);
	quiesce_leave(&q->qs);
}

static void dev_get(struct fake_backend *b, struct raw_ring *r, uint32_t mark)
{
	struct vsock_hdr h;
	uint16_t id;
	uint8_t *buf;

	assert_true(raw_pop(r, &id));
	assert_int_equal(r->desc[id].len, VSOCK_HDR_LEN + 8);
	buf = fake_gpa_va(b, r->desc[id].addr, r->desc[id].len);
	assert_non_null(buf);
	vsock_hdr_get(&h, buf);
	assert_int_equal(h.src_port, mark);
	assert_int_equal(buf[VSOCK_HDR_LEN + 7], (uint8_t)mark);
	(void)raw_push(r, id, 0);
}

/* Sleeps on the queue's descriptor as zv_wait does, until session and up are as wanted. */
static void await(struct transport_queue *q, uint32_t old_session, uint32_t up)
{
	for (unsigned i = 0; i < 30000; i++) {
		struct pollfd p = {.fd = ops->fd(q), .events = POLLIN};
		bool there = false;

		(void)poll(&p, 1, 1);
		if (!quiesce_enter(&q->qs))
			continue;
		q->ops->disarm(q, true);
		there = q->session != old_session && q->up == up;
		quiesce_leave(&q->qs);
		if (there)
			return;
	}
	fail_msg("the session did not change");
}

static void test_open(void **state)
{
	static const unsigned pairs[] = {1, 4, 16};
	struct fake_backend b;

	(void)state;
	for (size_t k = 0; k < 3; k++) {
		struct transport_dev *d;
		unsigned enabled = 0;

		fake_init(&b, path);
		fake_start(&b);
		d = open_dev(&b, pairs[k]);
		assert_int_equal(d->nqueues, pairs[k]);
		assert_int_equal(ops->guest_cid(d), 42);
		assert_int_equal(ops->page_size(d), sysconf(_SC_PAGESIZE));
		assert_null(ops->queue(d, pairs[k]));
		for (unsigned i = 0; i < FAKE_RINGS; i++)
			enabled += fake_get_ring(&b, i).enabled == 1;
		assert_int_equal(enabled, VSOCK_VQS(pairs[k]));
		for (unsigned i = 0; i < VSOCK_VQS(pairs[k]); i++) {
			struct fake_ring r = fake_get_ring(&b, i);

			assert_int_equal(r.enabled, 1);
			assert_int_equal(r.num, 16);
			assert_true(r.call_fd > 0 && r.kick_fd > 0);
		}
		assert_int_not_equal(b.mem.gpa, b.mem.uva);
		for (unsigned i = 0; i < pairs[k]; i++) {
			struct transport_queue *q = ops->queue(d, i);
			struct raw_ring rx = dev_ring(&b, vsock_vq(i, VSOCK_VQ_RX));
			struct raw_ring tx = dev_ring(&b, vsock_vq(i, VSOCK_VQ_TX));
			struct rx_pkt pkt;

			assert_non_null(q->ops);
			assert_int_equal(q->up, 1);
			assert_int_equal(q->rx_descs, 16);
			for (unsigned n = 0; n < 100; n++) {
				dev_put(&b, &rx, i * 100 + n);
				drv_get(q, &pkt, i * 100 + n);
				assert_true(quiesce_enter(&q->qs));
				q->ops->rx_release(q, pkt.token);
				q->ops->publish(q);
				quiesce_leave(&q->qs);
				drv_put(q, i * 200 + n);
				dev_get(&b, &tx, i * 200 + n);
			}
		}
		ops->close(d);
		fake_stop(&b);
	}
}

static void test_reconnect(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;
	struct rx_pkt kept, pkt;
	struct tx_slot s;
	struct vsock_hdr h = {.len = 1};
	struct raw_ring rx, tx;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 2);
	rx = dev_ring(&b, 3);
	for (unsigned round = 1; round < 5; round++) {
		struct transport_queue *q = ops->queue(d, 1);
		uint32_t session = q->session;

		dev_put(&b, &rx, round);
		drv_get(q, &kept, round);
		assert_true(quiesce_enter(&q->qs));
		assert_int_equal(q->ops->tx_reserve(q, &s, 1, 1, 0), 1);
		quiesce_leave(&q->qs);
		atomic_store(&b.cid, 100 + round);
		if (round % 2) {
			fake_hang_up(&b);
		} else { /* the backend is away for a while */
			fake_stop(&b);
			await(q, session, 0);
			usleep(30000);
			fake_start(&b);
		}
		assert_true(fake_wait_ready(&b, round + 1));
		await(q, session, 1);
		assert_int_equal(q->stats.sessions, round + 1);
		assert_int_equal(ops->guest_cid(d), 100 + round);
		/* what was on loan is as it was; one buffer less for the device */
		assert_int_equal(kept.seg[0].base[7], (uint8_t)round);
		rx = dev_ring(&b, 3);
		tx = dev_ring(&b, 4);
		assert_int_equal(shm_load16(&rx.avail->idx), 15);
		assert_true(quiesce_enter(&q->qs));
		q->ops->rx_release(q, kept.token);
		q->ops->tx_commit(q, s.token, &h); /* of a dead connection */
		assert_int_equal(q->ops->arm(q, 0), 0);
		q->ops->disarm(q, true);
		quiesce_leave(&q->qs);
		assert_int_equal(shm_load16(&rx.avail->idx), 16);
		assert_int_equal(shm_load16(&tx.avail->idx), 0);
		drv_put(q, 7);
		dev_get(&b, &tx, 7);
		dev_put(&b, &rx, 9);
		drv_get(q, &pkt, 9);
		assert_true(quiesce_enter(&q->qs));
		q->ops->rx_release(q, pkt.token);
		quiesce_leave(&q->qs);
	}
	ops->close(d);
	fake_stop(&b);
}

static void test_unsolicited(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;
	struct transport_queue *q;
	uint32_t session;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 1);
	q = ops->queue(d, 0);
	session = q->session;
	assert_int_equal(send(atomic_load(&b.fd), "?", 1, MSG_NOSIGNAL), 1);
	assert_true(fake_wait_ready(&b, 2));
	assert_int_equal(atomic_load(&b.disconnects), 1);
	await(q, session, 1);
	ops->close(d);
	fake_stop(&b);
}

static void send_event(struct fake_backend *b, struct raw_ring *r, uint32_t what)
{
	uint16_t id;

	assert_true(raw_pop(r, &id));
	memcpy(fake_gpa_va(b, r->desc[id].addr, 4), &what, 4);
	assert_true(raw_push(r, id, 4));
	fake_signal(b, 2);
}

static void test_transport_reset(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;
	struct raw_ring ev, rx;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 2);
	ev = dev_ring(&b, 2);
	rx = dev_ring(&b, 3);
	for (unsigned i = 0; i < 40; i++) {
		struct transport_queue *q0 = ops->queue(d, 0), *q1 = ops->queue(d, 1);
		uint32_t s0 = q0->session, s1 = q1->session;
		struct rx_pkt pkt;

		atomic_store(&b.cid, 1000 + i);
		send_event(&b, &ev, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
		dev_put(&b, &rx, i);
		/* what was sent after the event is seen in the new session only */
		drv_get(q1, &pkt, i);
		assert_int_not_equal(q1->session, s1);
		assert_true(quiesce_enter(&q1->qs));
		q1->ops->rx_release(q1, pkt.token);
		q1->ops->publish(q1);
		quiesce_leave(&q1->qs);
		await(q0, s0, 1);
		assert_int_equal(ops->guest_cid(d), 1000 + i);
		assert_int_equal(q0->stats.sessions, 1); /* the rings have not been restarted */
	}
	/* a broken event ring costs the events, not the pairs */
	raw_push(&ev, 99, 4);
	fake_signal(&b, 2);
	dev_put(&b, &rx, 5);
	drv_get(ops->queue(d, 1), &(struct rx_pkt){0}, 5);
	assert_int_equal(ops->queue(d, 0)->stats.ring_broken, 1);
	assert_int_equal(atomic_load(&b.disconnects), 0);
	ops->close(d);
	fake_stop(&b);
}

#define RESETS 200u

static void count_line(void *ctx, enum zv_log_level level, const char *line)
{
	(void)level;
	if (strstr(line, "transport reset"))
		__atomic_add_fetch((unsigned *)ctx, 1, __ATOMIC_RELAXED);
}

static time_t second(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

/* A line for each would be as many as the device likes. */
static void resets_do_not_flood_the_log(void **state)
{
	time_t start = second();
	struct fake_backend b;
	struct transport_dev *d;
	struct raw_ring ev;
	unsigned lines = 0;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 1);
	ev = dev_ring(&b, 2);
	zv_set_log(count_line, &lines);
	for (unsigned i = 0; i < RESETS; i++) {
		uint32_t session = ops->queue(d, 0)->session;

		send_event(&b, &ev, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
		await(ops->queue(d, 0), session, 1);
	}
	zv_set_log(NULL, NULL);
	assert_in_range(lines, 1, ZV_LOG_BURST * (unsigned)(second() - start + 1));
	ops->close(d);
	fake_stop(&b);
}

/* CID changes are asked for at the reset; a backend that fails then is as good as gone. */
static void test_reset_without_answer(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;
	struct raw_ring ev;
	uint32_t session;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 1);
	ev = dev_ring(&b, 2);
	session = ops->queue(d, 0)->session;
	atomic_store(&b.cid, 0);
	send_event(&b, &ev, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	await(ops->queue(d, 0), session, 0);
	atomic_store(&b.cid, 9);
	assert_true(fake_wait_ready(&b, 2));
	await(ops->queue(d, 0), session, 1);
	assert_int_equal(ops->guest_cid(d), 9);
	ops->close(d);
	fake_stop(&b);
}

static void expect_refusal(struct zv_opts o, int err, const char *text)
{
	struct transport_dev *d = NULL;

	assert_int_equal(ops->open(&d, path, &o), err);
	assert_null(d);
	if (!strstr(zv_error_text(), text))
		fail_msg("the text '%s' has no '%s'", zv_error_text(), text);
}

/* What no device can have is refused by zv_open, before the transport. */
static void expect_bad_option(struct zv_opts o, const char *text)
{
	struct zv_dev *d;
	char uri[256];

	snprintf(uri, sizeof(uri), "vhost-user:%s", path);
	assert_int_equal(zv_open(&d, uri, &o), -EINVAL);
	assert_null(d);
	if (!strstr(zv_error_text(), text))
		fail_msg("the text '%s' has no '%s'", zv_error_text(), text);
}

static void test_open_errors(void **state)
{
	struct fake_backend b;
	struct zv_opts o;
	struct transport_dev *d = NULL;

	(void)state;
	expect_bad_option(small(17), "queues is 17");
	for (uint32_t r = 8; r < 70000; r = r == 8 ? 17 : r == 17 ? 65536 : 70000) {
		o = small(1);
		o.ring_size = r;
		expect_bad_option(o, "ring_size is ");
	}
	for (unsigned i = 0; i < 4; i++) {
		o = small(1);
		*(i & 1 ? &o.rx_buf : &o.tx_buf) = i & 2 ? 63 : (1u << 20) + 1;
		expect_bad_option(o, i & 1 ? "rx_buf is " : "tx_buf is ");
	}
	o = small(1);
	o.tx_timeout_ns = 99999999;
	expect_bad_option(o, "tx_timeout_ns is 99999999, must be 100000000 or more");
	o = small(1);
	assert_int_equal(ops->open(&d, "", &o), -EINVAL);
	expect_refusal(o, -ENOENT, path);
	fake_init(&b, path);
	b.queues = 5;
	fake_start(&b);
	expect_refusal(small(3), -ERANGE, "queues=2");
	fake_play(&b, VU_GET_FEATURES, FAKE_TRUNCATED);
	expect_refusal(small(1), -EPROTO, path);
	fake_stop(&b);
}

/* Closing while there is no backend, and while one does not answer. */
static void test_close_any_time(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;

	(void)state;
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 1);
	fake_stop(&b);
	await(ops->queue(d, 0), 1, 0);
	ops->close(d);

	fake_start(&b);
	d = open_dev(&b, 1);
	fake_play(&b, VU_GET_CONFIG, FAKE_SILENT);
	fake_hang_up(&b);
	await(ops->queue(d, 0), 1, 0);
	usleep(30000); /* into the handshake, most likely */
	ops->close(d);
	fake_stop(&b);

	/* with packets that nobody takes */
	fake_init(&b, path);
	fake_start(&b);
	d = open_dev(&b, 1);
	drv_put(ops->queue(d, 0), 1);
	ops->close(d);
	fake_stop(&b);
}

/* A backend that still looks at the rings must not find them cleared, and call them broken. */
static void test_close_leaves_the_rings(void **state)
{
	struct fake_backend b;
	struct transport_dev *d;

	(void)state;
	fake_init(&b, path);
	b.lets_go_late = true;
	fake_start(&b);
	d = open_dev(&b, 1);
	drv_put(ops->queue(d, 0), 1);
	ops->close(d);
	fake_stop(&b);
	assert_int_equal(atomic_load(&b.last_avail), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_unsolicited),
		cmocka_unit_test(test_transport_reset),
		cmocka_unit_test(resets_do_not_flood_the_log),
		cmocka_unit_test(test_reset_without_answer),
		cmocka_unit_test(test_open_errors),
		cmocka_unit_test(test_close_any_time),
		cmocka_unit_test(test_close_leaves_the_rings),
	};

	return cmocka_run_group_tests_name("frontend_transport", tests, make_dir, remove_dir);
}
