/* SPDX-License-Identifier: BSD-3-Clause */
/* The layout of rings is chosen once a session, and may be another one in the next. */
#include "drv_fix.h"
#include "ring_toy.h"
#include "vsock_priv.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

static const struct vsock_rings *const *both = toy_and_split;

static void test_features_choose_the_layout(void **state)
{
	(void)state;
	assert_int_equal(vsock_rings_features(both, ZV_OPT_PACKED), TOY_FEATURE);
	assert_int_equal(vsock_rings_features(both, 0), 0);
	assert_int_equal(vsock_rings_features(both, ZV_OPT_SPLIT), 0);
	assert_int_equal(vsock_rings_features(both, ZV_OPT_SPLIT | ZV_OPT_PACKED), 0);
	assert_ptr_equal(vsock_rings_choose(both, TOY_FEATURE), &toy_rings);
	assert_ptr_equal(vsock_rings_choose(both, ~0ull), &toy_rings);
	assert_ptr_equal(vsock_rings_choose(both, ~TOY_FEATURE), &vsock_rings_split);
	assert_ptr_equal(vsock_rings_choose(both, 0), &vsock_rings_split);
}

/* A ring has room for whichever layout it will have. */
static void test_memory_is_enough_for_each(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= VIRTQ_SIZE_MAX; n *= 2)
		for (unsigned i = 0; both[i]; i++) {
			assert_true(vsock_rings_bytes(both, n) >= both[i]->layout->bytes(n));
			assert_int_equal(vsock_rings_bytes(both, n) % VIRTQ_ALIGN, 0);
		}
}

/* Each is complete, has a name and a bit of its own, and the last one can always be had. */
static void check_table(const struct vsock_rings *const *all)
{
	uint64_t bits = 0;

	for (; *all; all++) {
		const struct virtq_layout *l = (*all)->layout;
		void *const *fn = (void *const *)(const void *)&l->bytes;
		void *const *op = (void *const *)(const void *)&(*all)->queue;
		size_t nfn = (sizeof(*l) - offsetof(struct virtq_layout, bytes)) / sizeof(*fn);

		assert_non_null(l->name);
		assert_int_equal(l->feature & bits, 0);
		assert_int_equal(l->feature & (l->feature - 1), 0);
		assert_int_equal(l->feature == 0, all[1] == NULL);
		bits |= l->feature;
		for (size_t i = 0; i < nfn; i++)
			assert_non_null(fn[i]);
		for (size_t i = 0; i < sizeof((*all)->queue) / sizeof(*op); i++)
			if (&op[i] != (void *const *)(const void *)&(*all)->queue.rx_intact &&
			    &op[i] != (void *const *)(const void *)&(*all)->queue.connect)
				assert_non_null(op[i]);
		/* A driver owns its memory: nobody can cut it off; and its ports. */
		assert_null((*all)->queue.rx_intact);
		assert_null((*all)->queue.connect);
	}
}

static void test_tables_are_complete(void **state)
{
	(void)state;
	check_table(vsock_rings);
	check_table(both);
}

/* What is on loan, reserved or left over stays what it is when the layout changes. */
static void test_a_session_with_another_layout(void **state)
{
	struct fixture f;
	struct rx_pkt lent, pkts[16];
	struct tx_slot held, s[16];
	uint8_t fill;

	(void)state;
	fix_layout(&vsock_rings_split);
	setup(&f, 16, 64, false);
	for (unsigned round = 0; round < 9; round++) {
		static const struct vsock_rings *const all[] = {&toy_rings, &vsock_rings_packed,
								&vsock_rings_split};
		const struct vsock_rings *next = all[round % 3];
		const struct transport_queue_ops *ops = f.q->ops;
		unsigned seen = 0;

		assert_true(dev_send(&f, 4, 0x11, true));
		assert_int_equal(f.q->ops->rx_burst(f.q, &lent, 1), 1);
		assert_true(dev_send(&f, 4, 0x22, true)); /* left over */
		assert_int_equal(f.q->ops->tx_reserve(f.q, &held, 1, 4, 0), 1);
		assert_int_equal(f.q->ops->tx_reserve(f.q, s, 3, 4, 0), 3);
		for (unsigned i = 0; i < 3; i++) /* with the device */
			drv_commit(&f, &s[i], 4, 0x33);
		f.q->ops->publish(f.q);
		vsock_pair_stop(f.p);

		fix_layout(next);
		restart(&f);
		assert_ptr_equal(f.q->ops, &next->queue);
		assert_ptr_not_equal(f.q->ops, ops);
		while (dev_send(&f, 4, 0x44, true))
			seen++;
		assert_int_equal(seen, 14);
		assert_int_equal(lent.seg[0].base[3], 0x11);
		assert_int_equal(f.q->ops->rx_rest(f.q, pkts, 16), 1);
		assert_int_equal(pkts[0].hdr.src_port, 0x22);
		f.q->ops->rx_release(f.q, pkts[0].token);
		f.q->ops->rx_release(f.q, lent.token);
		assert_int_equal(f.q->ops->rx_burst(f.q, pkts, 16), 14);
		for (unsigned i = 0; i < 14; i++) {
			assert_int_equal(pkts[i].hdr.src_port, 0x44);
			f.q->ops->rx_release(f.q, pkts[i].token);
		}
		assert_int_equal(f.q->ops->tx_reserve(f.q, s, 16, 4, TX_CTRL), 15);
		drv_commit(&f, &held, 4, 0x55); /* of the former session: not sent */
		drv_commit(&f, &s[0], 4, 0x66);
		for (unsigned i = 1; i < 15; i++)
			f.q->ops->tx_cancel(f.q, s[i].token);
		f.q->ops->publish(f.q);
		assert_int_equal(dev_recv(&f, &fill, true), 4);
		assert_int_equal(fill, 0x66);
		assert_int_equal(dev_recv(&f, &fill, true), -1);
		assert_int_equal(f.q->ops->tx_ready(f.q), f.q->ops->tx_max(f.q));
		assert_int_equal(f.q->ops->arm(f.q, 0), 0);
		assert_int_equal(virtq_with_device(&f.p->rx), 16);
		f.q->ops->disarm(f.q, true);
	}
	assert_int_equal(f.q->stats.ring_broken, 0);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_features_choose_the_layout),
		cmocka_unit_test(test_memory_is_enough_for_each),
		cmocka_unit_test(test_tables_are_complete),
		cmocka_unit_test(test_a_session_with_another_layout),
	};

	return cmocka_run_group_tests_name("vsock_rings", tests, NULL, NULL);
}
