/* SPDX-License-Identifier: BSD-3-Clause */
/* Where rings begin: what the frontend says, with the real rte_vhost. */
#include "transport_fix.h"

static char dir[] = "/tmp/zvsock-places-XXXXXX";
static char sock_a[64];
/* Another driver in the same VM, which has no indirect descriptors: its rings begin anew. */
static void another_driver_begins_where_it_says(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	uint64_t features = FEATURES & ~(1ull << 28);
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	for (unsigned i = 0; i < 3; i++) {
		(void)ring_stop(&f, 0);
		(void)ring_stop(&f, 1);
		send_acked(&f, VU_SET_FEATURES, &features, sizeof(features), -1);
		drv_make(&f.ring[0], &f.g, 0, N);
		drv_make(&f.ring[1], &f.g, 1, N);
		pair_setup(&f, 0, 1);
		wait_up(q, 1);
		exchange(&f, q, 0, 1);
	}
	front_free(&f);
	ops->close(d);
}

/*
 * What has been looked up in the memory table is as long as the features had it that were
 * negotiated then. A pair that ran on with others would, after the next table, be in parts that are
 * too short.
 */
static void rings_do_not_run_on_with_other_features(void **state)
{
	struct transport_dev *d = open_dev(sock_a, 3);
	struct transport_queue *q = ops->queue(d, 0);
	struct vhost_pair *p = vhost_pair_of(q);
	const uint64_t other = FEATURES ^ VSOCK_FEATURE_RING_PACKED;
	uint64_t features = other;
	struct front f;

	(void)state;
	front_make(&f, sock_a, 3);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	send_acked(&f, VU_SET_FEATURES, &features, sizeof(features), -1);
	assert_true(!p->loaded || p->paused || p->to_guest.layout == vhost_ring_layout_of(other));
	set_mem(&f);
	assert_true(!p->loaded || p->paused || p->to_guest.layout == vhost_ring_layout_of(other));
	features = FEATURES;
	send_acked(&f, VU_SET_FEATURES, &features, sizeof(features), -1);
	(void)ring_stop(&f, 0);
	(void)ring_stop(&f, 1);
	drv_make(&f.ring[0], &f.g, 0, N);
	drv_make(&f.ring[1], &f.g, 1, N);
	pair_setup(&f, 0, 1);
	wait_up(q, 1);
	exchange(&f, q, 0, 1);
	front_free(&f);
	ops->close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(init),
		cmocka_unit_test(another_driver_begins_where_it_says),
		cmocka_unit_test(rings_do_not_run_on_with_other_features),
	};
	int ret;

	if (!mkdtemp(dir))
		return 99;
	snprintf(sock_a, sizeof(sock_a), "%s/a", dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	return rmdir(dir) < 0 ? 1 : ret;
}
