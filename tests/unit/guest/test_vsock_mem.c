/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets whose payload is the application's memory: tables, and when they are over. */
#include "drv_fix.h"
#include "ring_toy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define N	8u
#define PAYLOAD 256u
#define APP	((struct iova){0x700000000ull})

struct piece { /* of a table, in either layout */
	uint64_t addr;
	uint32_t len, rest;
};

static void all_layouts(void (*test)(void))
{
	static const struct vsock_rings *const all[] = {&toy_rings, &vsock_rings_packed,
							&vsock_rings_split};

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		fix_layout(all[i]);
		test();
	}
}

/* A packet of @len bytes of the application's memory. Its buffer. */
static uint32_t commit_mem(struct fixture *f, uint32_t len, uint32_t cookie)
{
	const struct vsock_hdr h = {.len = len, .src_port = 7, .op = VSOCK_OP_RW};
	struct tx_slot s;

	assert_int_equal(f->q->ops->tx_reserve(f->q, &s, 1, 0, 0), 1);
	f->q->ops->tx_commit_mem(f->q, s.token, &h, APP, cookie);
	return s.token;
}

static void commit(struct fixture *f, uint32_t len)
{
	struct tx_slot s;

	assert_int_equal(f->q->ops->tx_reserve(f->q, &s, 1, len, 0), 1);
	drv_commit(f, &s, len, 5);
}

/* The device takes a table: the buffer's number. */
static uint16_t dev_table(struct fixture *f, uint32_t len)
{
	const struct piece *t;
	struct vsock_hdr h;
	uint16_t id;

	assert_true(raw_pop(&f->tx, &id));
	assert_int_equal(f->tx.desc[id].flags & VRING_DESC_F_INDIRECT, VRING_DESC_F_INDIRECT);
	assert_int_equal(f->tx.desc[id].len, 32);
	t = (const void *)va(f, f->tx.desc[id].addr);
	assert_int_equal(t[0].len, VSOCK_HDR_LEN);
	assert_int_equal(t[1].addr, APP.v);
	assert_int_equal(t[1].len, len);
	vsock_hdr_get(&h, va(f, t[0].addr));
	assert_int_equal(h.len, len);
	assert_int_equal(h.src_port, 7);
	return id;
}

/* The device takes an ordinary packet. */
static uint16_t dev_plain(struct fixture *f, uint32_t len)
{
	struct vsock_hdr h;
	uint16_t id;

	assert_true(raw_pop(&f->tx, &id));
	assert_int_equal(f->tx.desc[id].flags & VRING_DESC_F_INDIRECT, 0);
	assert_int_equal(f->tx.desc[id].len, VSOCK_HDR_LEN + len);
	vsock_hdr_get(&h, va(f, f->tx.desc[id].addr));
	assert_int_equal(h.len, len);
	return id;
}

static void over(struct fixture *f, uint32_t cookie, int err)
{
	struct transport_sent *t = &f->q->sent;

	assert_int_not_equal(t->head, t->tail);
	assert_int_equal(t->ring[t->head & t->mask].cookie, cookie);
	assert_int_equal(t->ring[t->head & t->mask].err, err);
	t->head++;
}

static void none_over(const struct fixture *f)
{
	assert_int_equal(f->q->sent.head, f->q->sent.tail);
}

/* Buffers are tables and ordinary packets in turn, many laps long; completions as they come. */
static void turns(void)
{
	struct fixture f;

	setup(&f, N, PAYLOAD, false);
	for (uint32_t i = 0; i < 500; i++) {
		uint16_t table, plain;

		commit_mem(&f, 3000 + i, i);
		commit(&f, i % PAYLOAD);
		commit_mem(&f, 1, 10000 + i);
		f.q->ops->publish(f.q);
		table = dev_table(&f, 3000 + i);
		plain = dev_plain(&f, i % PAYLOAD);
		raw_push(&f.tx, dev_table(&f, 1), 0);
		none_over(&f);
		assert_true(f.q->ops->tx_ready(f.q) > 0);
		over(&f, 10000 + i, 0); /* the later one first */
		raw_push(&f.tx, plain, 0);
		assert_true(f.q->ops->tx_ready(f.q) > 0);
		none_over(&f);
		raw_push(&f.tx, table, 0);
		assert_true(f.q->ops->tx_ready(f.q) > 0);
		over(&f, i, 0);
		assert_int_equal(f.q->sent.out, 0);
	}
	assert_int_equal(f.q->stats.ring_broken, 0);
	teardown(&f);
}

static void test_turns(void **state)
{
	(void)state;
	all_layouts(turns);
}

/* A table is the application's again when the device is gone, and at the next session at last. */
static void session_ends(void)
{
	struct fixture f;
	uint32_t first;

	setup(&f, N, PAYLOAD, false);
	commit_mem(&f, 3000, 1);
	commit_mem(&f, 3000, 2);
	f.q->ops->publish(f.q);
	vsock_pair_stop(f.p);
	none_over(&f); /* it may be reading still */
	vsock_pair_let_go(f.p);
	assert_int_equal(f.q->sent.tail - f.q->sent.head, 2);
	first = f.q->sent.ring[f.q->sent.head & f.q->sent.mask].cookie;
	assert_in_range(first, 1, 2);
	over(&f, first, -ECONNRESET);
	over(&f, 3 - first, -ECONNRESET);
	vsock_pair_let_go(f.p);
	none_over(&f);
	restart(&f);
	none_over(&f);
	commit_mem(&f, 4000, 3);
	f.q->ops->publish(f.q);
	restart(&f);
	over(&f, 3, -ECONNRESET);
	assert_int_equal(f.q->sent.out, 0);
	for (uint32_t i = 0; i < 20; i++) { /* all buffers are there, and ordinary ones */
		commit(&f, 100);
		f.q->ops->publish(f.q);
		raw_push(&f.tx, dev_plain(&f, 100), 0);
	}
	teardown(&f);
}

static void test_session_ends(void **state)
{
	(void)state;
	all_layouts(session_ends);
}

/* A device that gives a table back twice has broken the ring; one completion. */
static void twice(void)
{
	struct fixture f;
	uint16_t id;

	setup(&f, N, PAYLOAD, false);
	commit_mem(&f, 3000, 1);
	commit_mem(&f, 3000, 2);
	f.q->ops->publish(f.q);
	id = dev_table(&f, 3000);
	raw_put(&f.tx, id, 0);
	raw_put(&f.tx, id, 0);
	raw_flush(&f.tx);
	assert_int_equal(f.q->ops->tx_ready(f.q), 0);
	assert_int_equal(f.q->stats.ring_broken, 1);
	over(&f, 1, 0);
	none_over(&f); /* the other one may be with the device */
	restart(&f);
	over(&f, 2, -ECONNRESET);
	none_over(&f);
	teardown(&f);
}

static void test_twice(void **state)
{
	(void)state;
	all_layouts(twice);
}

/* Who sleeps is woken by the end of a table, also when it does not wait for room. */
static void wakes(void)
{
	struct fixture f;
	uint16_t id;

	setup(&f, N, PAYLOAD, false);
	commit_mem(&f, 3000, 1);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	id = dev_table(&f, 3000);
	assert_true(raw_push(&f.tx, id, 0)); /* the driver wants an interrupt */
	f.q->ops->disarm(f.q, true);
	assert_int_equal(f.q->ops->arm(f.q, 0), 1); /* there is one: no sleep */
	over(&f, 1, 0);
	assert_int_equal(f.q->ops->arm(f.q, 0), 0);
	teardown(&f);
}

static void test_wakes(void **state)
{
	(void)state;
	all_layouts(wakes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_session_ends),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
