/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Long random mixes of traffic, loans, sleeps and sessions: each buffer is in exactly one place at
 * any time, none is lost, none is posted twice.
 */
#include "drv_fix.h"
#include "ring_toy.h"
#include "vsock_priv.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RING 1024u

struct mix {
	struct fixture f;
	uint64_t rnd;
	/* receive: buffers that the device has taken, and those on loan */
	uint16_t taken[MAX_RING];
	uint32_t lent[MAX_RING];
	uint8_t lent_fill[MAX_RING];
	const uint8_t *lent_base[MAX_RING];
	uint32_t ntaken, nlent;
	bool with_dev[MAX_RING], is_lent[MAX_RING];
	/* transmit: reserved, and taken by the device */
	struct tx_slot held[MAX_RING];
	uint16_t tx_taken[MAX_RING];
	uint32_t nheld, ntx_taken;
	bool tx_with_dev[MAX_RING], is_held[MAX_RING];
};

static uint32_t rnd(struct mix *m, uint32_t n)
{
	m->rnd = m->rnd * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(m->rnd >> 33) % n;
}

/* Each buffer is in exactly one place, by the driver's own books and by the test's. */
static void audit(struct mix *m)
{
	const struct vsock_pair *p = m->f.p;
	uint8_t rx[MAX_RING] = {0}, tx[MAX_RING] = {0};

	for (uint32_t i = 0; i < p->hot_rx.nspare; i++)
		rx[p->hot_rx.spare[i]]++;
	for (uint32_t i = p->hot_tx.head; i != p->hot_tx.tail; i++)
		tx[p->hot_tx.deque[i & p->hot_tx.mask]]++;
	for (uint32_t i = 0; i < p->hot_tx.ncold; i++)
		tx[p->hot_tx.cold[i]]++;
	for (uint16_t i = 0; i < m->f.n; i++) {
		assert_int_equal(p->rx_state[i] == RX_LENT, m->is_lent[i]);
		assert_int_equal(rx[i] + virtq_has(&p->rx, i) + (p->rx_state[i] != RX_POSTED), 1);
		assert_int_equal(p->tx_state[i] != TX_FREE, m->is_held[i]);
		assert_int_equal(tx[i] + virtq_has(&p->tx, i) + m->is_held[i], 1);
	}
	assert_int_equal(p->hot_rx.lent, m->nlent);
	assert_int_equal(virtq_in_flight(&p->rx) + p->hot_rx.lent + p->hot_rx.nspare + p->rest_n,
			 m->f.n);
}

/* The device takes some buffers and sends some packets, out of order when @shuffle. */
static void mix_dev_rx(struct mix *m, uint32_t max_len, bool shuffle)
{
	struct fixture *f = &m->f;
	uint16_t id;

	for (uint32_t n = rnd(m, 48); n && raw_pop(&f->rx, &id); n--) {
		assert_true(id < f->n);
		assert_false(m->with_dev[id]);
		assert_false(m->is_lent[id]);
		m->with_dev[id] = true;
		m->taken[m->ntaken++] = id;
	}
	for (uint32_t n = rnd(m, 48); n && m->ntaken; n--) {
		uint32_t at = shuffle ? rnd(m, m->ntaken) : 0;

		id = m->taken[at];
		memmove(&m->taken[at], &m->taken[at + 1], (--m->ntaken - at) * sizeof(m->taken[0]));
		m->with_dev[id] = false;
		dev_fill(f, id, rnd(m, max_len + 1), (uint8_t)id);
	}
	(void)raw_flush(&f->rx);
}

static void mix_drv_rx(struct mix *m, uint32_t keep)
{
	struct rx_pkt pkts[VSOCK_BURST];
	unsigned max = 1 + rnd(m, VSOCK_BURST);
	/* What a session has left comes first. */
	int n = m->f.p->rest_n ? m->f.q->ops->rx_rest(m->f.q, pkts, max)
			       : m->f.q->ops->rx_burst(m->f.q, pkts, max);

	for (int i = 0; i < n; i++) {
		if (!pkts[i].nseg)
			continue;
		assert_false(m->is_lent[pkts[i].token]);
		assert_int_equal(pkts[i].hdr.src_port, (uint8_t)pkts[i].token);
		m->is_lent[pkts[i].token] = true;
		m->lent_fill[m->nlent] = pkts[i].seg[0].base[0];
		m->lent_base[m->nlent] = pkts[i].seg[0].base;
		m->lent[m->nlent++] = pkts[i].token;
	}
	while (m->nlent > keep) {
		uint32_t at = rnd(m, m->nlent), last = --m->nlent;

		/* Nobody has written into a buffer on loan. */
		assert_int_equal(*m->lent_base[at], m->lent_fill[at]);
		m->is_lent[m->lent[at]] = false;
		m->f.q->ops->rx_release(m->f.q, m->lent[at]);
		m->lent[at] = m->lent[last];
		m->lent_fill[at] = m->lent_fill[last];
		m->lent_base[at] = m->lent_base[last];
	}
}

static void mix_drv_tx(struct mix *m, uint32_t max_len)
{
	uint32_t len = rnd(m, max_len + 1), room = MAX_RING - m->nheld;
	unsigned n = m->f.q->ops->tx_reserve(m->f.q, m->held + m->nheld,
					     1 + rnd(m, room < 40 ? room : 40), len,
					     rnd(m, 8) ? 0 : TX_CTRL);

	for (; n; n--, m->nheld++) {
		assert_false(m->is_held[m->held[m->nheld].token]);
		assert_false(m->tx_with_dev[m->held[m->nheld].token]);
		m->is_held[m->held[m->nheld].token] = true;
	}
	for (n = rnd(m, 48); n && m->nheld; n--) {
		uint32_t at = rnd(m, m->nheld);
		struct tx_slot s = m->held[at];

		m->held[at] = m->held[--m->nheld];
		m->is_held[s.token] = false;
		if (rnd(m, 8))
			drv_commit(&m->f, &s, rnd(m, len + 1), (uint8_t)s.token);
		else
			vsock_tx_cancel(m->f.q, s.token);
	}
}

static void mix_dev_tx(struct mix *m, bool shuffle)
{
	struct fixture *f = &m->f;
	uint16_t id;

	for (uint32_t n = rnd(m, 48); n && raw_pop(&f->tx, &id); n--) {
		assert_true(id < f->n);
		assert_false(m->tx_with_dev[id]);
		assert_false(m->is_held[id]);
		m->tx_with_dev[id] = true;
		m->tx_taken[m->ntx_taken++] = id;
	}
	for (uint32_t n = rnd(m, 48); n && m->ntx_taken; n--) {
		uint32_t at = shuffle ? rnd(m, m->ntx_taken) : 0;

		id = m->tx_taken[at];
		memmove(&m->tx_taken[at], &m->tx_taken[at + 1],
			(--m->ntx_taken - at) * sizeof(m->tx_taken[0]));
		m->tx_with_dev[id] = false;
		raw_put(&f->tx, id, 0);
	}
	(void)raw_flush(&f->tx);
}

static void mix_restart(struct mix *m)
{
	vsock_pair_stop(m->f.p);
	restart(&m->f);
	memset(m->with_dev, 0, sizeof(m->with_dev));
	memset(m->tx_with_dev, 0, sizeof(m->tx_with_dev));
	m->ntaken = m->ntx_taken = 0;
}

/* Everything comes back; both rings can be used in full. */
static void mix_end(struct mix *m)
{
	struct fixture *f = &m->f;
	struct tx_slot s[MAX_RING];
	uint16_t id;

	audit(m);
	vsock_pair_stop(f->p);
	do /* what the device had sent: all of it, though the pair is down */
		mix_drv_rx(m, 0);
	while (f->p->rest_n);
	while (m->nheld)
		vsock_tx_cancel(f->q, m->held[--m->nheld].token);
	memset(m->is_held, 0, sizeof(m->is_held));
	mix_restart(m);
	for (uint32_t i = 0; i < f->n; i++)
		assert_true(raw_pop(&f->rx, &id));
	assert_false(raw_pop(&f->rx, &id));
	assert_int_equal(f->q->ops->tx_reserve(f->q, s, MAX_RING, 1, TX_CTRL), f->n);
	assert_int_equal(f->q->stats.ring_broken, 0);
	assert_int_equal(f->q->stats.rx_bad_hdr, 0);
}

/* @sessions: the pair is restarted now and then, with everything out. */
static void run_mix(uint32_t ring, uint32_t payload, uint32_t rounds, bool shuffle, bool sessions)
{
	struct mix *m = calloc(1, sizeof(*m));
	uint32_t len = 64, keep = 0;

	assert_non_null(m);
	m->rnd = ring + payload + shuffle;
	setup(&m->f, ring, payload, false);
	for (uint32_t i = 0; i < rounds; i++) {
		if (rnd(m, 100) == 0) { /* another kind of traffic */
			len = rnd(m, 2) ? rnd(m, 128) : rnd(m, payload + 1);
			keep = rnd(m, 2) ? rnd(m, ring / 2 + 1) : 0;
		}
		mix_dev_rx(m, len, shuffle);
		mix_drv_rx(m, keep);
		mix_drv_tx(m, len);
		mix_dev_tx(m, shuffle);
		if (rnd(m, 50) == 0) {
			(void)m->f.q->ops->arm(m->f.q, rnd(m, 2) ? rnd(m, 12) : 0);
			m->f.q->ops->disarm(m->f.q, true);
		} else {
			m->f.q->ops->publish(m->f.q);
		}
		if (sessions && rnd(m, 300) == 0)
			mix_restart(m);
		if (i % 16 == 0)
			audit(m);
	}
	assert_int_equal(m->f.q->up, 1);
	mix_end(m);
	teardown(&m->f);
	free(m);
}

static void test_random_mixes(void **state)
{
	(void)state;
	run_mix(16, 256, 20000, false, false);
	run_mix(256, 4096, 20000, false, false);
	run_mix(256, 4096, 20000, true, false);
	run_mix(1024, 128, 10000, true, false);
}

static void test_random_mixes_with_sessions(void **state)
{
	(void)state;
	run_mix(64, 4096, 20000, false, true);
	run_mix(256, 4096, 20000, true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_mixes),
		cmocka_unit_test(test_random_mixes_with_sessions),
	};

	int failed = cmocka_run_group_tests_name("vsock_mix, split rings", tests, NULL, NULL);

	/* the same functions, compiled for other layouts */
	fix_layout(&vsock_rings_packed);
	failed += cmocka_run_group_tests_name("vsock_mix, packed rings", tests, NULL, NULL);
	fix_layout(&toy_rings);
	return failed + cmocka_run_group_tests_name("vsock_mix, toy rings", tests, NULL, NULL);
}
