/* SPDX-License-Identifier: BSD-3-Clause */
/* Packets to the guest: its empty buffers, in every shape that descriptors allow. */
#include "dev_fix.h"

static void a_buffer_of_any_shape_is_used(void **state)
{
	/* writable pieces; capacity is the first piece of payload behind the header */
	static const struct {
		uint32_t piece[5];
		uint32_t cap;
	} t[] = {
		{{HDR + 100}, 100},	    {{HDR, 100}, 100}, {{HDR, 100, 50}, 100},
		{{20, 24, 100}, 100},	    {{20, 124}, 100},  {{1, 43, 7, 9}, 7},
		{{43, 1, 100}, 100},	    {{43, 2, 100}, 1}, {{HDR + 1, 100}, 1},
		{{10, 10, 10, 10, 50}, 46}, {{43, 101}, 100},
	};
	struct fix *f = *state;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		uint8_t wire[HDR], got[1024];
		struct vsock_hdr h = hdr_of(t[i].cap);
		uint32_t at = 0;
		unsigned n;

		fresh(f, N);
		for (n = 0; n < 5 && t[i].piece[n]; n++)
			drv_desc(&f->to, n, D + n * 0x1000ull, t[i].piece[n],
				 n < 4 && t[i].piece[n + 1] ? NEXT | WRITE : WRITE,
				 (uint16_t)(n + 1));
		drv_offer(&f->to, 0);
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 4096, 0), 1);
		assert_int_equal(f->slot[0].capacity, t[i].cap);
		send_one(f, &f->slot[0], t[i].cap);
		assert_used(&f->to, 0, HDR + t[i].cap);
		for (unsigned k = 0; k < n; k++) {
			memcpy(got + at, f->g.mem + G_DATA + k * 0x1000ull, t[i].piece[k]);
			at += t[i].piece[k];
		}
		vsock_hdr_put(wire, &h);
		assert_memory_equal(got, wire, HDR);
		for (uint32_t k = 0; k < t[i].cap; k++)
			assert_int_equal(got[HDR + k], (uint8_t)(k + 1));
	}
}

/* Buffers of exactly a header serve control packets only. */
static void buffers_without_payload_carry_control_packets(void **state)
{
	struct fix *f = *state;

	offer_empty(f, 0, HDR);
	offer_empty(f, 1, HDR);
	offer_empty(f, 2, HDR + 10);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 10, 0), 1);
	assert_int_equal(f->slot[0].capacity, 10);
	assert_false(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 64 - 1, 10, 0), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 63, 0, TX_CTRL), 2);
	assert_int_equal(f->slot[1].capacity, 0);
	f->tq->ops->tx_cancel(f->tq, f->slot[2].token);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 2, 62, 10, 0), 0);
	send_one(f, &f->slot[1], 0);
	send_one(f, &f->slot[0], 10);
	assert_used(&f->to, 1, HDR);
	assert_used(&f->to, 2, HDR + 10);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 0, TX_CTRL), 1);
	send_one(f, &f->slot[0], 0);
	assert_used(&f->to, 0, HDR);
	assert_int_equal(ring_in_flight(&f->q->to_guest), 0);
	assert_int_equal(f->tq->up, 1);
}

static void a_cancelled_buffer_is_the_next_one(void **state)
{
	struct fix *f = *state;
	uint8_t *data;

	offer_empty(f, 0, 4096);
	offer_empty(f, 1, 4096);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 2, 1, 0), 2);
	data = f->slot[1].data;
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token);
	f->tq->ops->tx_cancel(f->tq, f->slot[1].token); /* once is enough */
	assert_true(f->tq->ops->tx_ready(f->tq));
	f->tq->ops->publish(f->tq);
	assert_false(drv_used(&f->to, &(uint32_t){0}, &(uint32_t){0}));
	offer_empty(f, 2, 4096);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + 1, 2, 1, 0), 2);
	assert_ptr_equal(f->slot[1].data, data); /* the cancelled one first */
	assert_int_equal(f->slot[1].capacity, 4096 - HDR);
	for (unsigned i = 3; i-- > 0;)
		send_one(f, &f->slot[i], i);
	assert_used(&f->to, 2, HDR + 2);
	assert_used(&f->to, 1, HDR + 1);
	assert_used(&f->to, 0, HDR);
}

static void some_buffers_are_kept_for_control_packets(void **state)
{
	struct fix *f = *state;

	for (unsigned i = 0; i < N; i++)
		offer_empty(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_max(f->tq), N - KEEP);
	assert_true(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), N - KEEP);
	assert_false(f->tq->ops->tx_ready(f->tq));
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - KEEP, 8, 1, 0), 0);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - KEEP, 3, 0, TX_CTRL), 3);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot + N - 5, 64, 0, TX_CTRL), 5);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 0, TX_CTRL), 0);
	for (unsigned i = 0; i < N; i++)
		f->tq->ops->tx_cancel(f->tq, f->slot[i].token);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), N - KEEP);
	/* small rings keep an eighth; a guest with few buffers keeps few back */
	fresh(f, 16);
	for (unsigned i = 0; i < 16; i++)
		offer_empty(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_max(f->tq), 14);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 14);
	fresh(f, N);
	for (unsigned i = 0; i < 4; i++)
		offer_empty(f, (uint16_t)i, 1024);
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0), 4);
}

/* Who sends a packet a call has chains taken ahead, and uses them in the order of the ring. */
static void chains_taken_ahead_keep_their_order(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;
	uint32_t id, len;
	unsigned rest = 0, all, got;

	for (unsigned i = 0; i < 32; i++)
		offer_empty(f, (uint16_t)i, 1000);
	all = f->tq->ops->tx_ready(f->tq);
	assert_in_range(all, 24, 31);
	for (unsigned i = 0; i < 20; i++) {
		/* What is taken ahead is there still. */
		assert_int_equal(f->tq->ops->tx_ready(f->tq), all - i);
		assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, 0), 1);
		send_one(f, f->slot, 100);
		assert_used(&f->to, i, HDR + 100);
	}
	got = f->tq->ops->tx_reserve(f->tq, f->slot, 64, 1, 0);
	assert_int_equal(got, all - 20);
	for (unsigned i = 0; i < got; i++) {
		send_one(f, &f->slot[i], 8);
		assert_used(&f->to, 20 + i, HDR + 8);
	}
	/* A stop gives the others back, unused. */
	assert_int_equal(f->tq->ops->tx_reserve(f->tq, f->slot, 1, 1, TX_CTRL), 1);
	assert_true(vhost_pair_stop(f->q, &b));
	for (; drv_used(&f->to, &id, &len); rest++)
		assert_int_equal(len, 0);
	assert_in_range(rest, 1, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(chains_taken_ahead_keep_their_order),
		T(a_buffer_of_any_shape_is_used),
		T(buffers_without_payload_carry_control_packets),
		T(a_cancelled_buffer_is_the_next_one),
		T(some_buffers_are_kept_for_control_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
