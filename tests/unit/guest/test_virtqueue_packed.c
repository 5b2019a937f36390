/* SPDX-License-Identifier: BSD-3-Clause */
/* What the packed layout has for itself. What is the same for all is in test_virtqueue.c. */
#include "raw_packed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <string.h>

#define N     16u
#define AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define USED  (1u << VRING_PACKED_DESC_F_USED)

static const struct virtq_layout *L;

struct fixture {
	struct virtq vq;
	void *mem;
	struct raw_ring dev;
};

static void setup(struct fixture *f, uint32_t size, bool event_idx, bool write)
{
	const struct virtq_bufs bufs = {.addr = {0x123456789000},
					.stride = 0x1000,
					.len = 100,
					.count = (uint16_t)size,
					.write = write};

	L = vsock_rings_packed.layout;
	f->mem = aligned_alloc(VIRTQ_ALIGN, L->bytes(size));
	assert_non_null(f->mem);
	memset(f->mem, 0xa5, L->bytes(size)); /* reset must not rely on zeroed memory */
	assert_int_equal(virtq_init(&f->vq, f->mem, size), 0);
	L->reset(&f->vq, event_idx);
	L->set_bufs(&f->vq, &bufs);
	f->dev = raw_packed(&f->vq, event_idx);
}

static void teardown(struct fixture *f)
{
	virtq_fini(&f->vq);
	free(f->mem);
}

/* The ring has been used @n times, a buffer each time. */
static void turn(struct fixture *f, unsigned n)
{
	uint16_t id;
	uint32_t len;

	while (n--) {
		L->post(&f->vq, 0, 100);
		(void)L->publish(&f->vq);
		assert_true(raw_pop(&f->dev, &id));
		(void)raw_push(&f->dev, 0, 1);
		assert_int_equal(L->ready(&f->vq, 1), 1);
		assert_true(L->take(&f->vq, true, &id, &len));
	}
}

static void test_layout(void **state)
{
	(void)state;
	for (uint32_t n = 1; n <= VIRTQ_SIZE_MAX; n *= 2) {
		struct virtq_areas a;
		struct fixture f;

		setup(&f, n, true, true);
		L->areas(&f.vq, &a);
		assert_int_equal(a.size, n);
		assert_int_equal(a.base, 0x80008000);
		assert_ptr_equal(a.desc, f.mem);
		assert_int_equal(L->bytes(n) % VIRTQ_ALIGN, 0);
		assert_int_equal((uintptr_t)a.driver % VIRTQ_ALIGN, 0);
		assert_int_equal((uintptr_t)a.device % VIRTQ_ALIGN, 0);
		assert_true((uint8_t *)a.desc + 16 * n <= (uint8_t *)a.driver);
		assert_true((uint8_t *)a.driver + 4 <= (uint8_t *)a.device);
		assert_true((uint8_t *)a.device + 4 <= (uint8_t *)f.mem + L->bytes(n));
		/* fresh: nothing available, no interrupts */
		assert_int_equal(*f.dev.driver_event, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
		for (uint32_t i = 0; i < n; i++)
			assert_int_equal(raw_packed_at(&f.dev, (uint16_t)i)->flags, 0);
		teardown(&f);
	}
}

/* Of a batch the device sees nothing, then all. All of a descriptor is written, lap for lap. */
static void test_descriptors(void **state)
{
	(void)state;
	for (unsigned write = 0; write < 2; write++)
		for (unsigned from = 0; from < 2 * N; from++) {
			const uint16_t flags = (uint16_t)(write ? VRING_DESC_F_WRITE : 0);
			struct fixture f;
			uint16_t id;

			setup(&f, N, true, write);
			turn(&f, from);
			for (uint16_t i = 0; i < N; i++)
				L->post(&f.vq, (uint16_t)(N - 1 - i), 50u + i);
			assert_false(raw_pop(&f.dev, &id));
			(void)L->publish(&f.vq);
			for (uint16_t i = 0; i < N; i++) {
				uint16_t at = (uint16_t)(from + i);
				const struct vring_packed_desc *d = raw_packed_at(&f.dev, at);

				assert_int_equal(d->addr, 0x123456789000 + 0x1000 * (N - 1u - i));
				assert_int_equal(d->len, 50 + i);
				assert_int_equal(d->id, N - 1 - i);
				assert_int_equal(d->flags, flags | (at / N % 2 ? USED : AVAIL));
				assert_true(raw_pop(&f.dev, &id));
			}
			assert_false(raw_pop(&f.dev, &id));
			assert_false(L->publish(&f.vq)); /* there is nothing more */
			teardown(&f);
		}
}

/* Kick exactly when the place that the device has named has been made available. */
static void test_kick_windows(void **state)
{
	(void)state;
	for (unsigned from = 0; from < 2 * N; from++)
		for (unsigned ask = 0; ask < N; ask++)
			for (unsigned n = 1; n <= N; n++) {
				struct fixture f;

				setup(&f, N, true, true);
				turn(&f, from);
				*f.dev.device_event =
					VRING_PACKED_EVENT_FLAG_DESC << 16 |
					raw_packed_place(&f.dev, (uint16_t)(from + ask));
				for (uint16_t i = 0; i < n; i++)
					L->post(&f.vq, i, 100);
				assert_int_equal(L->publish(&f.vq), ask < n);
				teardown(&f);
			}
}

static void test_kick_flags(void **state)
{
	static const struct {
		uint32_t wish;
		bool event_idx, kick;
	} t[] = {
		{VRING_PACKED_EVENT_FLAG_ENABLE, false, true},
		{VRING_PACKED_EVENT_FLAG_DISABLE, false, false},
		{VRING_PACKED_EVENT_FLAG_DESC, false,
		 true}, /* not negotiated: rather once too often */
		{3, false, true},
		{VRING_PACKED_EVENT_FLAG_ENABLE, true, true},
		{VRING_PACKED_EVENT_FLAG_DISABLE, true, false},
		{3, true, true},
		{VRING_PACKED_EVENT_FLAG_DISABLE | 0xfffc, true, false}, /* reserved bits */
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct fixture f;

		setup(&f, N, t[i].event_idx, true);
		*f.dev.device_event = t[i].wish << 16 | 0x7fff;
		L->post(&f.vq, 0, 100);
		assert_int_equal(L->publish(&f.vq), t[i].kick);
		teardown(&f);
	}
}

/* At most as many as are asked for are looked at, and the rest is not forgotten. */
static void test_some_at_a_time(void **state)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	setup(&f, N, true, true);
	for (uint16_t i = 0; i < N; i++)
		L->post(&f.vq, i, 100);
	(void)L->publish(&f.vq);
	while (raw_pop(&f.dev, &id))
		raw_put(&f.dev, id, 10);
	(void)raw_flush(&f.dev);
	for (uint16_t i = 0; i < N;) {
		unsigned n = L->ready(&f.vq, 3);

		assert_int_equal(n, i < N - 1 ? 3 : 1);
		assert_false(L->arm(&f.vq));
		for (unsigned k = 0; k < n; k++)
			assert_int_equal(L->likely(&f.vq, k), i + k);
		assert_int_equal(L->ready(&f.vq, 1), 1);
		for (; n; n--) {
			assert_true(L->used_beyond(&f.vq, i));
			assert_true(L->take(&f.vq, true, &id, &len));
			assert_int_equal(id, i++);
		}
	}
	assert_false(L->used_beyond(&f.vq, N));
	teardown(&f);
}

/* ---- hostile devices ---- */

static void test_bad_id(void **state)
{
	static const uint16_t ids[] = {N, N + 1, 0x7fff, 0xffff};

	(void)state;
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct fixture f;
		uint16_t id;
		uint32_t len;

		setup(&f, N, true, true);
		L->post(&f.vq, 0, 100);
		(void)L->publish(&f.vq);
		raw_push(&f.dev, ids[i], 10);
		assert_int_equal(L->ready(&f.vq, 8), 1);
		assert_in_range(L->likely(&f.vq, 0), 0, N - 1);
		assert_false(L->take(&f.vq, true, &id, &len));
		assert_int_equal(virtq_fault(&f.vq), VIRTQ_BAD_ID);
		assert_int_equal(L->ready(&f.vq, 8), 0);
		assert_false(L->arm(&f.vq));
		L->reset(&f.vq, true);
		assert_int_equal(virtq_fault(&f.vq), VIRTQ_OK);
		teardown(&f);
	}
}

/* Used descriptors where the device has none: not looked at, nor a reason to stay awake. */
static void test_places_that_the_device_does_not_have(void **state)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	setup(&f, N, true, true);
	for (uint16_t i = 0; i < N; i++) {
		raw_packed_at(&f.dev, i)->flags = AVAIL | USED;
		raw_packed_at(&f.dev, i)->id = i;
	}
	assert_int_equal(L->ready(&f.vq, N), 0);
	assert_true(L->arm(&f.vq));
	L->disarm(&f.vq);
	/* posted and not published: not the device's either */
	for (uint16_t i = 0; i < 4; i++)
		L->post(&f.vq, i, 100);
	for (uint16_t i = 0; i < N; i++)
		raw_packed_at(&f.dev, i)->flags = AVAIL | USED;
	assert_int_equal(L->ready(&f.vq, N), 0);
	(void)L->publish(&f.vq);
	for (uint16_t i = 0; i < N; i++)
		raw_packed_at(&f.dev, i)->flags = AVAIL | USED;
	assert_int_equal(L->ready(&f.vq, N), 4);
	for (uint16_t i = 0; i < 4; i++)
		assert_true(L->take(&f.vq, true, &id, &len));
	assert_int_equal(L->ready(&f.vq, N), 0);
	assert_int_equal(virtq_fault(&f.vq), VIRTQ_OK);
	teardown(&f);
}

/* The device changes what it has written after it was seen: what was copied is used. */
static void test_what_was_seen_stays(void **state)
{
	struct fixture f;
	uint16_t id;
	uint32_t len;

	(void)state;
	setup(&f, N, true, true);
	L->post(&f.vq, 3, 100);
	(void)L->publish(&f.vq);
	raw_push(&f.dev, 3, 10);
	assert_int_equal(L->ready(&f.vq, N), 1);
	memset(f.mem, 0xff, 16 * N);
	assert_true(L->take(&f.vq, true, &id, &len));
	assert_int_equal(id, 3);
	assert_int_equal(len, 10);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_descriptors),
		cmocka_unit_test(test_kick_windows),
		cmocka_unit_test(test_kick_flags),
		cmocka_unit_test(test_some_at_a_time),
		cmocka_unit_test(test_bad_id),
		cmocka_unit_test(test_places_that_the_device_does_not_have),
		cmocka_unit_test(test_what_was_seen_stays),
	};

	return cmocka_run_group_tests_name("virtqueue_packed", tests, NULL, NULL);
}
