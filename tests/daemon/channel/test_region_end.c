/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions to which nobody refers any more, guests that have theirs replaced all the time, and very
 * large ones. */
#include "channel/reach.h"
#include "channel/shape.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zvsock_broker.h>

#include <cmocka.h>

#define SIZE  (1u << 20)
#define LARGE (1ull << 38)
#define MANY  100u
#define MOST  8u /* regions that a guest may have: reach.c */

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out);
int __wrap_shm_channel_format(void *region, size_t region_size, const struct shm_channel_desc *d);

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out)
{
	(void)dev;
	out->guest_cid = 3;
	return 0;
}

/* ---- memory of a guest, of which nothing is touched ---- */

int __wrap_shm_channel_format(void *region, size_t region_size, const struct shm_channel_desc *d)
{
	(void)region, (void)region_size, (void)d;
	return 0;
}

static unsigned maps; /* that have not been dropped */

static void drop(void *arg)
{
	(void)arg;
	maps--;
}

static struct region_mem memory(uint64_t size)
{
	static ino_t ino;

	maps++;
	ino++;
	return (struct region_mem){
		.at = {.size = size, .fd = -1, .page_size = 4096}, .ino = ino, .drop = drop};
}

static int import(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
		  struct region_mem *out)
{
	(void)dev;
	(void)queue;
	(void)gpa;
	*out = memory(size);
	return 0;
}

static int begin(void **state)
{
	(void)state;
	reach_import_by(import);
	return 0;
}

static int end(void **state)
{
	(void)state;
	(void)regions_check();
	return (int)maps;
}

/* ---- tests ---- */

static void they_count_until_they_are_freed(void **state)
{
	struct region_mem mem = memory(SIZE);
	struct region *r = region_new(&mem, "vm", 0);

	(void)state;
	assert_non_null(r);
	assert_int_equal(regions_of("vm"), 1);
	region_put(r);
	assert_int_equal(regions_of("vm"), 1);
	assert_int_equal(maps, 1);
	(void)regions_check();
	assert_int_equal(regions_of("vm"), 0);
	assert_int_equal(maps, 0);
}

static void the_main_thread_is_woken(void **state)
{
	struct pollfd p = {.fd = regions_fd(), .events = POLLIN};

	(void)state;
	assert_true(p.fd >= 0);
	assert_int_equal(poll(&p, 1, 0), 0);
	for (unsigned i = 0; i < 2; i++) { /* not only for the first one */
		struct region_mem mem = memory(SIZE), other = memory(SIZE);

		region_put(region_new(&mem, "vm", 0));
		region_put(region_new(&other, "vm", 0));
		assert_int_equal(poll(&p, 1, -1), 1);
		(void)regions_check();
		assert_int_equal(maps, 0);
		assert_int_equal(poll(&p, 1, 0), 0);
	}
}

/* The main thread came for something else before the timer had expired. */
static void the_timer_is_read_later(void **state)
{
	struct pollfd p = {.fd = regions_fd(), .events = POLLIN};
	struct region_mem mem = memory(SIZE);

	(void)state;
	region_put(region_new(&mem, "vm", 0));
	(void)regions_check();
	(void)poll(&p, 1, 1000); /* 20 ms as a rule */
	(void)regions_check();
	assert_int_equal(poll(&p, 1, 0), 0);
}

/* Each driver that says HELLO takes the former one's region away, and offers another one. */
static void a_guest_has_few_at_a_time(void **state)
{
	static struct cfg_guest cfg = {.role = CFG_AS_HOST};
	static struct guest g = {.name = "vm", .cfg = &cfg, .n_queues = 1};
	struct guest_queue *gq = &g.queues[0];

	(void)state;
	gq->guest = &g;
	for (unsigned round = 0; round < 2; round++) {
		unsigned got = 0;

		for (uint64_t nonce = 1; nonce <= MANY; nonce++) {
			struct region *r;

			reach_driver(&g, nonce);
			r = reach_offered(gq, nonce, 4096 * nonce, SIZE);
			got += r != NULL;
			region_put(r);
			assert_in_range(maps, 1, MOST);
		}
		assert_int_equal(got, MOST);
		reach_guest_end(&g);
		(void)regions_check();
		assert_int_equal(maps, 0);
	}
}

/* Bytes of resident private memory. */
static size_t resident(void)
{
	unsigned long all = 0, shared = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*u %lu %lu", &all, &shared), 2);
	(void)fclose(f);
	return (all - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

/* A guest's memory may be a sparse file. */
static void a_large_one_takes_little_memory(void **state)
{
	size_t before = resident(), with = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++) { /* malloc takes from its heap what was mapped first */
		struct region_mem mem = memory(LARGE);
		struct region *r = region_new(&mem, "vm", 0);

		assert_non_null(r);
		with = resident();
		region_put(r);
		(void)regions_check();
	}
	assert_true(with < before + (8u << 20));
}

static void release(struct chan_part *p)
{
	end_release(&p->end[0]);
	end_release(&p->end[1]);
}

/* Also of the guest that has offered the memory. */
static void channels_of_a_device_are_bounded(void **state)
{
	static struct chan_part *p[REGION_ENDS_MAX];
	const struct region_user vm = {1, "vm"}, app = {2, "app"}, other = {3, "other"};
	struct region_mem mem = memory(LARGE);
	struct region *r = region_new(&mem, "vm", CHANNEL_MIN);
	struct chan_part *more = NULL;

	(void)state;
	assert_non_null(r);
	for (unsigned i = 0; i < REGION_ENDS_MAX; i++)
		assert_int_equal(chan_part_new(r, &app, i % 2 ? &vm : &app, &p[i]), 0);
	assert_int_equal(chan_part_new(r, &vm, &app, &more), -ENOSPC);
	assert_int_equal(chan_part_new(r, &app, &vm, &more), -ENOSPC);
	assert_int_equal(chan_part_new(r, &vm, &other, &more), 0);
	release(more);
	end_release(&p[0]->end[0]);
	assert_int_equal(chan_part_new(r, &vm, &app, &more), -ENOSPC); /* it has the other end */
	end_release(&p[0]->end[1]);
	assert_int_equal(chan_part_new(r, &vm, &app, &p[0]), 0);
	for (unsigned i = 0; i < REGION_ENDS_MAX; i++)
		release(p[i]);
	region_put(r);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(they_count_until_they_are_freed), T(the_main_thread_is_woken),
		T(the_timer_is_read_later),	    T(a_guest_has_few_at_a_time),
		T(a_large_one_takes_little_memory), T(channels_of_a_device_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
