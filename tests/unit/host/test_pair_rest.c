/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue pair that rests, because threads have slept on its memory: its rings are left alone. */
#include "dev_fix.h"

static void send_packet(struct fix *f, uint16_t i)
{
	uint64_t off = put_packet(f, 8, 8);

	drv_desc(&f->from, i, G_GPA + off, HDR + 8, 0, 0);
	drv_offer(&f->from, i);
}

static void the_rings_are_left_alone(void **state)
{
	struct fix *f = *state;
	const uint32_t from = drv_returned(&f->from), to = drv_returned(&f->to);
	uint32_t rx_token;

	f->top = G_DATA + 0x8000; /* behind the receive buffers */
	for (uint16_t i = 0; i < 8; i++)
		offer_empty(f, i, 0x1000);
	send_packet(f, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	rx_token = f->pkt[0].token;
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 100, 0), 2);
	vhost_pair_rest(f->q, true);
	send_packet(f, 1);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	assert_int_equal(f->tq->ops->tx_ready(f->tq), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 2, 1, 0, TX_CTRL), 0);
	assert_int_equal(f->tq->ops->arm(f->tq, 1), 0);
	/* What was taken is given back, and is not shown to the driver. */
	assert_true(f->tq->ops->rx_intact(f->tq, rx_token));
	f->tq->ops->rx_release(f->tq, rx_token);
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
	send_one(f, &f->slot[0], 5);
	assert_int_equal(drv_returned(&f->from), from);
	assert_int_equal(drv_returned(&f->to), to);
	vhost_pair_rest(f->q, false);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	f->tq->ops->publish(f->tq);
	assert_int_not_equal(drv_returned(&f->to), to);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 2, 1, 0, TX_CTRL), 1);
	assert_int_equal(f->tq->up, 1);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	f->tq->ops->tx_cancel(f->tq, f->slot[2].token);
}

/* Whoever connects again meanwhile has gained nothing; afterwards it is that session's rings. */
static void a_session_begins_meanwhile(void **state)
{
	struct fix *f = *state;
	uint32_t rx_token;

	send_packet(f, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	rx_token = f->pkt[0].token;
	vhost_pair_rest(f->q, true);
	fresh(f, N);
	send_packet(f, 0);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 0);
	f->tq->ops->rx_release(f->tq, rx_token); /* of the former */
	vhost_pair_rest(f->q, false);
	assert_int_equal(f->tq->ops->rx_burst(f->tq, f->pkt, 64), 1);
	f->tq->ops->rx_release(f->tq, f->pkt[0].token);
	assert_int_equal(f->tq->up, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(the_rings_are_left_alone),
		T(a_session_begins_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
