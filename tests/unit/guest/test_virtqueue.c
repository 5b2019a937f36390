/* SPDX-License-Identifier: BSD-3-Clause */
#include "raw_packed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#define N 16u

static const struct virtq_layout *L;
static struct raw_ring (*raw)(const struct virtq *vq, bool event_idx);

struct fixture {
	struct virtq vq;
	void *mem;
	struct raw_ring dev;
};

static void setup(struct fixture *f, uint32_t size, bool event_idx)
{
	const struct virtq_bufs bufs = {.addr = {0x1000},
					.stride = 0x1000,
					.len = 100,
					.count = (uint16_t)size,
					.write = true};

	f->mem = aligned_alloc(VIRTQ_ALIGN, L->bytes(size));
	assert_non_null(f->mem);
	memset(f->mem, 0xa5, L->bytes(size)); /* reset must not rely on zeroed memory */
	assert_int_equal(virtq_init(&f->vq, f->mem, size), 0);
	L->reset(&f->vq, event_idx);
	L->set_bufs(&f->vq, &bufs);
	f->dev = raw(&f->vq, event_idx);
}

static void teardown(struct fixture *f)
{
	virtq_fini(&f->vq);
	free(f->mem);
}

static void post_all(struct fixture *f)
{
	for (uint16_t i = 0; i < virtq_size(&f->vq); i++)
		L->post(&f->vq, i, 100);
	(void)L->publish(&f->vq);
}

static void test_layout(void **state)
{
	static const uint32_t bad[] = {0, 3, 24, 65536};
	struct virtq vq;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(virtq_init(&vq, NULL, bad[i]), -EINVAL);
	for (uint32_t n = 1; n <= VIRTQ_SIZE_MAX; n *= 2) {
		struct virtq_areas a;
		struct fixture f;
		struct raw_ring *r = &f.dev;

		setup(&f, n, true);
		L->areas(&f.vq, &a);
		assert_int_equal(a.size, n);
		assert_int_equal(a.base, 0);
		assert_ptr_equal(a.desc, f.mem);
		assert_int_equal(L->bytes(n) % VIRTQ_ALIGN, 0);
		assert_int_equal((uintptr_t)a.driver % VIRTQ_ALIGN, 0);
		assert_int_equal((uintptr_t)a.device % VIRTQ_ALIGN, 0);
		assert_true((uint8_t *)(raw_used_event(r) + 1) <= (uint8_t *)a.device);
		assert_true((uint8_t *)(raw_avail_event(r) + 1) <= (uint8_t *)f.mem + L->bytes(n));
		assert_true((uint8_t *)(r->desc + n) <= (uint8_t *)a.driver);
		teardown(&f);
	}
}

/* Every buffer to the device and back, more often than indices have values. */
static void test_wrap(void **state)
{
	struct fixture f;
	uint32_t rounds = 0x22000 / N + 3, total = 0;

	(void)state;
	setup(&f, N, true);
	for (uint32_t r = 0; r < rounds; r++) {
		uint16_t id, order[N], n = (uint16_t)(1 + r % N);
		uint32_t len;

		for (uint16_t i = 0; i < n; i++)
			L->post(&f.vq, (uint16_t)((r + i) % N), 50 + i);
		assert_int_equal(virtq_pending(&f.vq), n);
		assert_false(raw_pop(&f.dev, &id)); /* not published */
		(void)L->publish(&f.vq);
		assert_int_equal(virtq_in_flight(&f.vq), n);
		for (uint16_t i = 0; i < n; i++) {
			assert_true(raw_pop(&f.dev, &order[i]));
			assert_int_equal(order[i], (r + i) % N);
			assert_int_equal(f.dev.desc[order[i]].len, 50 + i);
			assert_int_equal(f.dev.desc[order[i]].addr, 0x1000 * (order[i] + 1u));
		}
		assert_false(raw_pop(&f.dev, &id));
		/* back in reverse order */
		for (uint16_t i = 0; i < n; i++)
			raw_put(&f.dev, order[n - 1 - i], 50u + n - 1 - i);
		assert_int_equal(L->ready(&f.vq, UINT16_MAX), 0);
		(void)raw_flush(&f.dev);
		assert_int_equal(L->ready(&f.vq, UINT16_MAX), n);
		for (uint16_t i = 0; i < n; i++) {
			assert_true(L->take(&f.vq, true, &id, &len));
			assert_int_equal(id, order[n - 1 - i]);
			assert_int_equal(len, 50u + n - 1 - i);
			assert_false(virtq_has(&f.vq, id));
		}
		assert_int_equal(L->ready(&f.vq, UINT16_MAX), 0);
		assert_int_equal(virtq_fault(&f.vq), VIRTQ_OK);
		total += n;
	}
	assert_true(total > 0x10000);
	teardown(&f);
}

static void test_full_ring(void **state)
{
	static const uint32_t sizes[] = {1, 2, 16, 32768};

	(void)state;
	for (size_t s = 0; s < 4; s++) {
		struct fixture f;
		uint16_t id;
		uint32_t len;

		setup(&f, sizes[s], true);
		for (unsigned round = 0; round < 3; round++) { /* 3 x 32768 wraps */
			post_all(&f);
			assert_int_equal(virtq_in_flight(&f.vq), sizes[s]);
			while (raw_pop(&f.dev, &id))
				raw_put(&f.dev, id, 100);
			(void)raw_flush(&f.dev);
			assert_int_equal(L->ready(&f.vq, UINT16_MAX), sizes[s]);
			for (uint32_t i = 0; i < sizes[s]; i++)
				assert_true(L->take(&f.vq, true, &id, &len));
			assert_int_equal(L->ready(&f.vq, UINT16_MAX), 0);
			assert_int_equal(virtq_fault(&f.vq), VIRTQ_OK);
		}
		teardown(&f);
	}
}

/* Descriptors and slots are stored only when they change. */
static void test_shadows(void **state)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	setup(&f, N, true);
	for (unsigned round = 0; round < 2; round++) {
		if (round == 1) {
			/* what the driver does not store, it does not repair either */
			f.dev.avail->ring[3] = 99;
			f.dev.desc[5].len = 77;
		}
		post_all(&f);
		while (raw_pop(&f.dev, &id))
			raw_put(&f.dev, round == 1 && id == 99 ? 3 : id, 10);
		(void)raw_flush(&f.dev);
		for (unsigned n = L->ready(&f.vq, UINT16_MAX); n; n--)
			assert_true(L->take(&f.vq, true, &id, &len));
	}
	assert_int_equal(f.dev.avail->ring[3], 99);
	assert_int_equal(f.dev.desc[5].len, 77);
	L->post(&f.vq, 5, 99); /* another length: stored */
	assert_int_equal(f.dev.desc[5].len, 99);
	assert_int_equal(f.dev.avail->ring[0], 5); /* another buffer: stored */
	teardown(&f);
}

/* Kick exactly when the new index has passed avail_event, for windows all around the circle. */
static void test_kick_windows(void **state)
{
	(void)state;
	for (unsigned event_off = 0; event_off < 2 * N + 2; event_off++) {
		for (unsigned start = 0; start < 3; start++) {
			const uint16_t first = (uint16_t)(start == 0   ? 0
							  : start == 1 ? 0xfff8
								       : 0x7ffa);

			for (unsigned n = 1; n <= N; n++) {
				struct fixture f;
				uint16_t event = (uint16_t)(first - N - 1 + event_off);
				bool want = false;

				setup(&f, N, true);
				f.vq.posted = f.vq.published = f.vq.taken = first;
				shm_store16(raw_avail_event(&f.dev), event);
				for (uint16_t i = 0; i < n; i++) {
					L->post(&f.vq, i, 100);
					want |= (uint16_t)(first + i) == event;
				}
				assert_int_equal(L->publish(&f.vq), want);
				teardown(&f);
			}
		}
	}
}

static void test_kick_flags(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, N, false);
	L->post(&f.vq, 0, 100);
	assert_true(L->publish(&f.vq));
	shm_store16(&f.dev.used->flags, VRING_USED_F_NO_NOTIFY);
	L->post(&f.vq, 1, 100);
	assert_false(L->publish(&f.vq));
	teardown(&f);
}

static void check_interrupts(bool event_idx)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	setup(&f, N, event_idx);
	/* Not armed: never an interrupt, however often the indices go round. */
	for (uint32_t r = 0; r < 0x30000 / N; r++) {
		post_all(&f);
		while (raw_pop(&f.dev, &id))
			assert_false(raw_push(&f.dev, id, 1));
		for (unsigned n = L->ready(&f.vq, UINT16_MAX); n; n--)
			assert_true(L->take(&f.vq, true, &id, &len));
		assert_int_equal(L->ready(&f.vq, UINT16_MAX), 0);
	}
	/* Armed: at the next entry, once with EVENT_IDX. */
	post_all(&f);
	assert_true(L->arm(&f.vq));
	assert_true(raw_pop(&f.dev, &id));
	assert_true(raw_push(&f.dev, id, 1));
	assert_true(raw_pop(&f.dev, &id));
	assert_int_equal(raw_push(&f.dev, id, 1), !event_idx);
	L->disarm(&f.vq);
	assert_true(raw_pop(&f.dev, &id));
	assert_false(raw_push(&f.dev, id, 1));
	/* There is work: not armed, and quiet. */
	assert_false(L->arm(&f.vq));
	assert_true(raw_pop(&f.dev, &id));
	assert_false(raw_push(&f.dev, id, 1));
	assert_int_equal(L->ready(&f.vq, UINT16_MAX), 4);
	teardown(&f);
}

static void test_interrupts_event_idx(void **state)
{
	(void)state;
	check_interrupts(true);
}

static void test_interrupts_flags(void **state)
{
	(void)state;
	check_interrupts(false);
}

/* ---- hostile devices ---- */

static void expect_fault(struct fixture *f, enum virtq_fault fault)
{
	uint16_t id;
	uint32_t len;
	unsigned n = L->ready(&f->vq, UINT16_MAX);

	while (n && L->take(&f->vq, true, &id, &len))
		n--;
	assert_int_equal(virtq_fault(&f->vq), fault);
	assert_int_equal(L->ready(&f->vq, 1), 0);
	assert_false(L->arm(&f->vq));
	assert_string_not_equal(virtq_fault_name(virtq_fault(&f->vq)), "unknown fault");
	/* a reset mends it */
	L->reset(&f->vq, true);
	assert_int_equal(virtq_fault(&f->vq), VIRTQ_OK);
	assert_int_equal(L->ready(&f->vq, UINT16_MAX), 0);
	teardown(f);
}

static void test_bad_id(void **state)
{
	static const uint32_t ids[] = {N, N + 1, 0xffff, 0x10000, 0x10003, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct fixture f;

		setup(&f, N, true);
		post_all(&f);
		raw_push(&f.dev, ids[i], 10);
		expect_fault(&f, VIRTQ_BAD_ID);
	}
}

static void test_id_twice(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, N, true);
	post_all(&f);
	raw_push(&f.dev, 4, 10);
	raw_push(&f.dev, 4, 10);
	expect_fault(&f, VIRTQ_NOT_POSTED);
}

static void test_id_never_posted(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, N, true);
	L->post(&f.vq, 1, 100);
	(void)L->publish(&f.vq);
	raw_push(&f.dev, 2, 10);
	expect_fault(&f, VIRTQ_NOT_POSTED);
}

static void test_index_jump(void **state)
{
	static const uint16_t jumps[] = {3, N, N + 1, 0x7fff, 0x8000, 0xffff};

	(void)state;
	for (size_t i = 0; i < sizeof(jumps) / sizeof(jumps[0]); i++) {
		struct fixture f;

		setup(&f, N, true);
		L->post(&f.vq, 0, 100);
		L->post(&f.vq, 1, 100);
		(void)L->publish(&f.vq);
		/* posted but not published: not the device's yet, so this does not count */
		for (uint16_t k = 2; k < N; k++)
			L->post(&f.vq, k, 100);
		f.dev.used_idx = jumps[i];
		(void)raw_flush(&f.dev);
		expect_fault(&f, VIRTQ_BAD_INDEX);
	}
}

static void test_index_back(void **state)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	setup(&f, N, true);
	post_all(&f);
	raw_push(&f.dev, 0, 1);
	assert_int_equal(L->ready(&f.vq, UINT16_MAX), 1);
	assert_true(L->take(&f.vq, true, &id, &len));
	f.dev.used_idx = 0;
	(void)raw_flush(&f.dev);
	expect_fault(&f, VIRTQ_BAD_INDEX);
}

static void test_bad_len(void **state)
{
	static const uint32_t lens[] = {101, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		setup(&f, N, true);
		post_all(&f);
		raw_push(&f.dev, 0, 100); /* exactly full is fine */
		raw_push(&f.dev, 1, lens[i]);
		expect_fault(&f, VIRTQ_BAD_LEN);
	}
	/* of buffers that the device only reads, the length means nothing */
	setup(&f, N, true);
	post_all(&f);
	raw_push(&f.dev, 1, UINT32_MAX);
	assert_int_equal(L->ready(&f.vq, UINT16_MAX), 1);
	assert_true(L->take(&f.vq, false, &id, &len));
	assert_int_equal(virtq_fault(&f.vq), VIRTQ_OK);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest split[] = {
		cmocka_unit_test(test_layout),	     cmocka_unit_test(test_shadows),
		cmocka_unit_test(test_kick_windows), cmocka_unit_test(test_kick_flags),
		cmocka_unit_test(test_bad_id),	     cmocka_unit_test(test_index_jump),
		cmocka_unit_test(test_index_back),
	};
	const struct CMUnitTest any[] = {
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_full_ring),
		cmocka_unit_test(test_interrupts_event_idx),
		cmocka_unit_test(test_interrupts_flags),
		cmocka_unit_test(test_id_twice),
		cmocka_unit_test(test_id_never_posted),
		cmocka_unit_test(test_bad_len),
	};
	int failed;

	L = vsock_rings_split.layout;
	raw = raw_split;
	failed = cmocka_run_group_tests_name("virtqueue_split", split, NULL, NULL);
	failed += cmocka_run_group_tests_name("virtqueue, split", any, NULL, NULL);
	L = vsock_rings_packed.layout;
	raw = raw_packed;
	return failed + cmocka_run_group_tests_name("virtqueue, packed", any, NULL, NULL);
}
