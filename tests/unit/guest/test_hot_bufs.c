/* SPDX-License-Identifier: BSD-3-Clause */
/* Which buffers circulate, without rings: the invariants of hot_bufs.h under any order of calls. */
#include "hot_bufs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MAX 1024u

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

static void test_how_many_circulate(void **state)
{
	(void)state;
	assert_int_equal(hot_count(0, 4096, 256), HOT_MIN);
	assert_int_equal(hot_count(HOT_SMALL, 4096, 256), HOT_MIN);
	assert_int_equal(hot_count(HOT_SMALL + 1, 4096, 4096), HOT_BYTES / (HOT_SMALL + 1));
	assert_int_equal(hot_count(65536, 65536, 256), HOT_BYTES / 65536);
	/* a full buffer may be a piece of something large */
	assert_int_equal(hot_count(64, 64, 32768), 32768);
	assert_int_equal(hot_count(0, 0, 256), 256);
	/* never fewer than for small messages, never more than there are */
	assert_int_equal(hot_count(1u << 20, 1u << 20, 256), HOT_MIN);
	assert_int_equal(hot_count(UINT32_MAX, 64, 256), HOT_MIN);
	assert_int_equal(hot_count(64, 4096, 16), 16);
	/* more of the small ones that are received; as many of the large ones */
	assert_int_equal(hot_rx_count(HOT_SMALL, 4096, 256), HOT_RX_MIN);
	assert_int_equal(hot_rx_count(HOT_SMALL + 1, 4096, 4096), HOT_BYTES / (HOT_SMALL + 1));
	assert_int_equal(hot_rx_count(65536, 65536, 256), HOT_BYTES / 65536);
	assert_int_equal(hot_rx_count(64, 4096, 64), 64);
	assert_int_equal(hot_rx_count(64, 64, 32768), 32768);
}

/* ---- transmit ---- */

/* Where each buffer is: in the deque, cold, or out. */
static void check_tx(const struct hot_tx *h, uint32_t size, const bool *out)
{
	uint8_t n[MAX] = {0};

	for (uint32_t i = h->head; i != h->tail; i++)
		n[h->deque[i & h->mask]]++;
	for (uint32_t i = 0; i < h->ncold; i++)
		n[h->cold[i]]++;
	for (uint32_t i = 0; i < size; i++)
		assert_int_equal(n[i] + out[i], 1);
	assert_in_range(h->hot, size < HOT_MIN ? size : HOT_MIN, size);
}

static void test_each_free_buffer_is_in_one_place(void **state)
{
	static const uint32_t sizes[] = {1, 2, 16, 64, 256, 1024};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint32_t size = sizes[s], nout = 0, in_flight = 0;
		uint16_t held[MAX];
		bool out[MAX] = {0};
		struct hot_tx h;

		seed = size;
		assert_int_equal(hot_tx_init(&h, size, 4096), 0);
		assert_int_equal(hot_tx_free(&h), size);
		h.head = h.tail = UINT32_MAX - 5; /* the counters wrap */
		for (uint32_t i = 0; i < size; i++)
			hot_tx_append(&h, (uint16_t)i);
		for (unsigned i = 0; i < 20000; i++) {
			uint32_t len = rnd(3) ? rnd(HOT_SMALL) : rnd(8192);

			if (rnd(50) == 0)
				hot_tx_expect(&h, len);
			for (uint32_t k = rnd(40); k && hot_tx_free(&h); k--) {
				uint16_t id = hot_tx_take(&h, len);

				assert_true(id < size);
				assert_false(out[id]);
				out[id] = true;
				held[nout++] = id;
			}
			for (uint32_t k = rnd(40); k && nout; k--) {
				uint32_t at = rnd(nout);
				uint16_t id = held[at];

				held[at] = held[--nout];
				out[id] = false;
				in_flight = nout ? rnd(nout + 1) : 0;
				if (rnd(20))
					hot_tx_put(&h, id, in_flight);
				else
					hot_tx_append(&h, id);
			}
			if (i % 16 == 0)
				check_tx(&h, size, out);
			assert_int_equal(hot_tx_free(&h) + nout, size);
		}
		hot_tx_fini(&h);
	}
}

/* Small messages: the newest first. Large: the oldest, so that all that circulate come round. */
static void test_order(void **state)
{
	struct hot_tx h;

	(void)state;
	assert_int_equal(hot_tx_init(&h, 64, 1u << 16), 0);
	assert_int_equal(hot_tx_take(&h, HOT_SMALL), 63);
	assert_int_equal(hot_tx_take(&h, HOT_SMALL), 62);
	assert_int_equal(hot_tx_take(&h, HOT_SMALL + 1), 0);
	assert_int_equal(hot_tx_take(&h, HOT_SMALL + 1), 1);
	hot_tx_put(&h, 1, 3);
	assert_int_equal(hot_tx_take(&h, 0), 1);
	hot_tx_fini(&h);
}

/* What exceeds the circulating ones gets cold, oldest first, and is used when the others are out.
 */
static void test_cold_buffers(void **state)
{
	struct hot_tx h;
	uint16_t id[256];

	(void)state;
	assert_int_equal(hot_tx_init(&h, 256, 4096), 0);
	hot_tx_expect(&h, 64);
	assert_int_equal(h.hot, HOT_MIN);
	for (unsigned i = 0; i < 256; i++) { /* each put makes one cold: the deque was full */
		uint16_t one = hot_tx_take(&h, 64);

		hot_tx_put(&h, one, 0);
	}
	assert_int_equal(h.tail - h.head, HOT_MIN);
	assert_int_equal(h.ncold, 256 - HOT_MIN);
	/* buffers with the device count as circulating */
	id[0] = hot_tx_take(&h, 64);
	hot_tx_put(&h, id[0], HOT_MIN);
	assert_int_equal(h.ncold, 256 - HOT_MIN + 1);
	for (unsigned i = 0; i < 256; i++)
		id[i] = hot_tx_take(&h, 64);
	assert_int_equal(hot_tx_free(&h), 0);
	/* another kind of traffic warms them up */
	hot_tx_expect(&h, 8192);
	assert_int_equal(h.hot, 256);
	for (unsigned i = 0; i < 256; i++)
		hot_tx_put(&h, id[i], 0);
	assert_int_equal(h.ncold, 0);
	hot_tx_fini(&h);
}

static void test_when_to_reclaim(void **state)
{
	struct hot_tx h;

	(void)state;
	assert_int_equal(hot_tx_init(&h, 256, 1u << 15), 0);
	hot_tx_expect(&h, 1u << 15);
	assert_int_equal(h.hot, 128);
	/* Small ones: each HOT_RECLAIM messages, or when there are too few. */
	for (unsigned i = 1; i <= 2 * HOT_RECLAIM; i++)
		assert_int_equal(hot_tx_wants_reclaim(&h, 1, 8, HOT_SMALL), i % HOT_RECLAIM == 0);
	assert_true(hot_tx_wants_reclaim(&h, HOT_RECLAIM, 8, HOT_SMALL));
	assert_false(hot_tx_wants_reclaim(&h, 1, 255, HOT_SMALL));
	assert_true(hot_tx_wants_reclaim(&h, 1, 256, HOT_SMALL));
	assert_false(hot_tx_wants_reclaim(&h, 1, 0, 1u << 15));
	assert_false(hot_tx_wants_reclaim(&h, 250, 6, 1u << 15));
	assert_true(hot_tx_wants_reclaim(&h, 250, 7, 1u << 15)); /* there are not so many */
	for (unsigned i = 0; i < 256 - 64; i++)
		(void)hot_tx_take(&h, 1u << 15);
	assert_false(hot_tx_wants_reclaim(&h, 1, 0, 1u << 15));
	(void)hot_tx_take(&h, 1u << 15);
	assert_true(hot_tx_wants_reclaim(&h, 1, 0, 1u << 15)); /* half of those that circulate */
	hot_tx_fini(&h);
}

/* ---- receive ---- */

static void test_a_spare_buffer_is_nowhere_else(void **state)
{
	static const uint32_t sizes[] = {1, 2, 16, 64, 256, 1024};

	(void)state;
	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		uint32_t size = sizes[s], posted = size, nlent = 0;
		uint16_t dev[MAX] = {0}, lent[MAX] = {0};
		struct hot_rx h;

		seed = size;
		assert_int_equal(hot_rx_init(&h, size, 4096), 0);
		for (uint32_t i = 0; i < size; i++)
			dev[i] = (uint16_t)i;
		for (unsigned i = 0; i < 20000; i++) {
			bool seen[MAX] = {0};
			uint32_t n = 0, bytes = 0, want;

			for (uint32_t k = rnd(40); k && posted; k--, n++) {
				lent[nlent++] = dev[--posted];
				h.lent++;
				bytes += rnd(200);
			}
			want = hot_rx_learn(&h, n, bytes);
			assert_in_range(want, h.hot / 2, size);
			while (h.nspare && posted < want)
				dev[posted++] = hot_rx_take(&h);
			for (uint32_t k = rnd(40); k && nlent; k--) {
				uint16_t id = lent[--nlent];
				bool few = posted < h.hot / 2;

				h.lent--;
				if (!hot_rx_keep(&h, id, posted))
					dev[posted++] = id;
				else
					assert_false(few);
			}
			if (i % 16)
				continue;
			for (uint32_t k = 0; k < posted; k++)
				seen[dev[k]] = true;
			for (uint32_t k = 0; k < nlent; k++)
				seen[lent[k]] = true;
			for (uint32_t k = 0; k < h.nspare; k++) {
				assert_false(seen[h.spare[k]]);
				seen[h.spare[k]] = true;
			}
			assert_int_equal(posted + nlent + h.nspare, size);
			for (uint32_t k = 0; k < size; k++)
				assert_true(seen[k]);
			assert_in_range(h.hot, size < HOT_MIN ? size : HOT_MIN, size);
		}
		hot_rx_fini(&h);
	}
}

/* The mean size of HOT_LEARN packets says how many circulate. */
static void test_learning(void **state)
{
	struct hot_rx h;

	(void)state;
	assert_int_equal(hot_rx_init(&h, 256, 1u << 15), 0);
	assert_int_equal(hot_rx_learn(&h, HOT_LEARN - 1, 64 * (HOT_LEARN - 1)), 128);
	assert_int_equal(h.hot, 256);
	assert_int_equal(hot_rx_learn(&h, 1, 64), HOT_RX_MIN / 2);
	assert_int_equal(h.hot, HOT_RX_MIN);
	(void)hot_rx_learn(&h, HOT_LEARN, HOT_LEARN << 15);
	assert_int_equal(h.hot, HOT_BYTES >> 15);
	/* a session begins with everything posted, and learns anew */
	h.lent = 7;
	(void)hot_rx_keep(&h, 3, 128);
	assert_int_equal(h.nspare, 1);
	hot_rx_restart(&h);
	assert_int_equal(h.hot, 256);
	assert_int_equal(h.nspare, 0);
	assert_int_equal(h.lent, 7);
	hot_rx_fini(&h);
}

/* Once in HOT_ROUND packets, and after HOT_IDLE empty looks, everything is to be posted. */
static void test_everything_is_posted_in_the_end(void **state)
{
	struct hot_rx h;
	unsigned all = 0;

	(void)state;
	assert_int_equal(hot_rx_init(&h, 256, 4096), 0);
	for (unsigned i = 0; i < 5 * HOT_ROUND; i += 16)
		all += hot_rx_learn(&h, 16, 16 * 64) == 256;
	assert_int_equal(all, 5);
	for (unsigned i = 1; i < HOT_IDLE; i++)
		assert_false(hot_rx_idle(&h));
	(void)hot_rx_learn(&h, 1, 64); /* a packet: not idle */
	for (unsigned i = 1; i < HOT_IDLE; i++)
		assert_false(hot_rx_idle(&h));
	assert_true(hot_rx_idle(&h));
	hot_rx_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_how_many_circulate),
		cmocka_unit_test(test_each_free_buffer_is_in_one_place),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_cold_buffers),
		cmocka_unit_test(test_when_to_reclaim),
		cmocka_unit_test(test_a_spare_buffer_is_nowhere_else),
		cmocka_unit_test(test_learning),
		cmocka_unit_test(test_everything_is_posted_in_the_end),
	};

	return cmocka_run_group_tests_name("hot_bufs", tests, NULL, NULL);
}
