/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of programs to a guest on another lcore, which does not come to take them: one user may
 * have so many on their way that others still get theirs through. Both lcores are played here.
 */
#include "endpoint/af_vsock/av_dgram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define A    1000u /* users */
#define B    1001u
#define MANY 1000u

static struct lcore *const home = (struct lcore *)(uintptr_t)8;
static struct lcore *const other = (struct lcore *)(uintptr_t)16;
static struct av_space space;
static struct cfg_guest cfg = {.cid = 3};
static struct guest guest;
static struct av_guest in_space;
static unsigned arrived;

static struct {
	void (*fn)(struct lcore *lc, void *arg);
	void *arg;
} on_way[MANY];
static unsigned n_on_way;

bool __wrap_av_is_local(struct av_space *s, uint32_t cid);
struct av_guest *__wrap_av_guest_find(struct av_space *s, uint32_t cid);
int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg);
int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info);
ssize_t __wrap_zv_dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
			     size_t len, uint32_t flags);

bool __wrap_av_is_local(struct av_space *s, uint32_t cid)
{
	(void)s;
	return cid != 3;
}

struct av_guest *__wrap_av_guest_find(struct av_space *s, uint32_t cid)
{
	(void)s;
	return cid == 3 ? &in_space : NULL;
}

int __wrap_lcore_post(struct lcore *lc, void (*fn)(struct lcore *lc, void *arg), void *arg)
{
	assert_ptr_equal(lc, other);
	assert_true(n_on_way < MANY);
	on_way[n_on_way].fn = fn;
	on_way[n_on_way++].arg = arg;
	return 0;
}

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *info)
{
	(void)dev;
	(void)info;
	return 0;
}

ssize_t __wrap_zv_dgram_send(struct zv_queue *q, const struct zv_dgram_addr *addr, const void *data,
			     size_t len, uint32_t flags)
{
	(void)q;
	(void)addr;
	(void)data;
	(void)flags;
	arrived++;
	return (ssize_t)len;
}

/* The other lcore takes all that is on its way. */
static void take_all(void)
{
	for (unsigned i = 0; i < n_on_way; i++)
		on_way[i].fn(other, on_way[i].arg);
	n_on_way = 0;
}

/* Sends @n from a program of @uid. How many are on their way. */
static unsigned sends(uid_t uid, unsigned n)
{
	struct av_port p = {.uid = uid, .label = {.local = {ZV_CID_HOST, 5000}}};
	const struct dropin_addr to = {3, 80};
	unsigned before = n_on_way;

	while (n--)
		av_route(&space, &p, &to, "datagram", 8);
	return n_on_way - before;
}

static void a_user_leaves_room_for_others(void **state)
{
	unsigned of_b;

	(void)state;
	assert_int_equal(sends(A, 10 * DGRAM_IN_TRANSIT_MAX), DGRAM_IN_TRANSIT_MAX);
	of_b = sends(B, 10 * DGRAM_IN_TRANSIT_MAX);
	assert_int_equal(of_b, DGRAM_IN_TRANSIT_MAX / 2);
	assert_int_equal(sends(A, 1), 0);
	take_all();
	assert_int_equal(arrived, DGRAM_IN_TRANSIT_MAX + of_b);
	assert_int_equal(in_space.to.all.n, 0);
	for (unsigned i = 0; i < DGRAM_SHARED_SENDERS; i++)
		assert_int_equal(in_space.to.of[i], 0);
	assert_int_equal(sends(B, 10 * DGRAM_IN_TRANSIT_MAX), DGRAM_IN_TRANSIT_MAX);
	take_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_leaves_room_for_others),
	};

	space.home = home;
	space.seed = 0x9e3779b97f4a7c15ull; /* those two share nothing */
	pthread_mutex_init(&space.lock, NULL);
	guest.cfg = &cfg;
	guest.n_queues = 1;
	guest.queues[0].guest = &guest;
	guest.queues[0].lc = other;
	in_space.guest = &guest;
	return cmocka_run_group_tests_name("av_transit", tests, NULL, NULL);
}
