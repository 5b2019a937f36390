/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtqueue numbers and feature bits, as the specification and docs/protocol.md have them. */
#include "proto_test.h"

#include "proto/vsock/vsock_device.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

static void pairs_have_the_virtqueues_of_the_protocol(void **state)
{
	static const struct {
		unsigned pair, rx, tx;
	} want[] = {{0, 0, 1}, {1, 3, 4}, {2, 5, 6}, {15, 31, 32}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(want); i++) {
		assert_int_equal(vsock_vq(want[i].pair, VSOCK_VQ_RX), want[i].rx);
		assert_int_equal(vsock_vq(want[i].pair, VSOCK_VQ_TX), want[i].tx);
		assert_int_equal(VSOCK_VQS(want[i].pair + 1), want[i].tx + (i ? 1 : 2));
	}
}

/* Every virtqueue of a device is the event queue or one ring of one of its pairs. */
static void every_virtqueue_belongs_somewhere(void **state)
{
	(void)state;
	for (unsigned pairs = 1; pairs <= 16; pairs++) {
		unsigned events = 0;

		for (unsigned vq = 0; vq < VSOCK_VQS(pairs); vq++) {
			unsigned pair = 99, ring = 99;

			if (!vsock_vq_pair(vq, &pair, &ring)) {
				assert_int_equal(vq, 2);
				events++;
				continue;
			}
			assert_true(pair < pairs && ring <= VSOCK_VQ_TX);
			assert_int_equal(vsock_vq(pair, ring), vq);
		}
		assert_int_equal(events, 1);
	}
}

static void a_device_has_as_many_pairs_as_fit(void **state)
{
	static const uint64_t want[] = {0, 0, 0, 1, 1, 2, 2, 3};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(want); i++)
		assert_int_equal(vsock_vq_pairs(i), want[i]);
	for (unsigned pairs = 1; pairs <= 16; pairs++)
		assert_int_equal(vsock_vq_pairs(VSOCK_VQS(pairs)), pairs);
	assert_true(vsock_vq_pairs(UINT64_MAX) == UINT64_MAX / 2);
}

static void feature_bits_are_those_of_linux(void **state)
{
	(void)state;
	assert_true(VSOCK_FEATURE_INDIRECT_DESC == 1ULL << VIRTIO_RING_F_INDIRECT_DESC);
	assert_true(VSOCK_FEATURE_EVENT_IDX == 1ULL << VIRTIO_RING_F_EVENT_IDX);
	assert_true(VSOCK_FEATURE_VERSION_1 == 1ULL << VIRTIO_F_VERSION_1);
	assert_true(VSOCK_FEATURE_ACCESS_PLATFORM == 1ULL << VIRTIO_F_ACCESS_PLATFORM);
	assert_true(VSOCK_FEATURE_RING_PACKED == 1ULL << VIRTIO_F_RING_PACKED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_have_the_virtqueues_of_the_protocol),
		cmocka_unit_test(every_virtqueue_belongs_somewhere),
		cmocka_unit_test(a_device_has_as_many_pairs_as_fit),
		cmocka_unit_test(feature_bits_are_those_of_linux),
	};

	return cmocka_run_group_tests_name("vsock_device", tests, NULL, NULL);
}
