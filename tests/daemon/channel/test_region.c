/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions by themselves (channel/region.h): who may fetch one, who may hold how much, what a part's
 * end is known by. */
#include "base/clock.h"
#include "channel/region_int.h"
#include "channel/region_lock.h"
#include "channel/shape.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB   (1u << 20)
#define SIZE  (16u * MIB)
#define USERS 4u

static const struct region_user users[USERS] = {{1, "a"}, {2, "b"}, {3, "c"}, {4, "d"}};
static struct guest_queue queues[USERS]; /* addresses only */
static struct region *region;

static int make(void **state)
{
	struct region_mem mem = {0};

	(void)state;
	if (shm_region_create(&mem.at, "test", SIZE, SHM_NO_HUGE))
		return -1;
	region = region_new(&mem, "", CHANNEL_MIN);
	return region ? 0 : -1;
}

/* The caller's reference is the last one. */
static int unmake(void **state)
{
	struct region_info *infos;
	int n;

	(void)state;
	region_put(region);
	(void)regions_check();
	n = region_infos(&infos);
	region_infos_free(infos, n);
	return n;
}

static struct region_info look(void)
{
	struct region_info *infos, one;

	assert_int_equal(region_infos(&infos), 1);
	one = infos[0];
	region_infos_free(infos, 1);
	one.members = NULL;
	return one;
}

static struct chan_part *part(unsigned a, unsigned b)
{
	struct chan_part *p = NULL;

	assert_int_equal(chan_part_new(region, &users[a], &users[b], &p), 0);
	return p;
}

static void release(struct chan_part *p)
{
	struct chan_end *b = &p->end[1];

	end_release(&p->end[0]);
	end_release(b);
}

static void a_part_is_a_channel(void **state)
{
	struct chan_part *p = part(0, 1);
	uint64_t size = 0, offset = 1;
	struct shm_region mem;
	struct shm_channel *end[2];
	struct shm_msg m = {.data = (void *)(uintptr_t) "over", .len = 4}, got;
	int fd;

	(void)state;
	assert_int_equal(region_admit(region, &users[0]), 0);
	fd = region_fetch(region_id(region), &users[0], &size, &offset);
	assert_true(fd >= 0);
	assert_int_equal(size, SIZE);
	assert_int_equal(offset, 0);
	assert_int_equal(shm_region_open(&mem, fd, size), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(shm_channel_attach(&end[i], mem.addr, mem.size, &p->desc,
						    (enum shm_role)i, NULL),
				 0);
	assert_int_equal(shm_channel_send(end[0], &m, 1), 1);
	assert_int_equal(shm_channel_recv(end[1], &got, 1), 1);
	assert_memory_equal(got.data, "over", 4);
	assert_int_equal(got.len, 4);
	shm_channel_detach(end[0]);
	shm_channel_detach(end[1]);
	shm_region_destroy(&mem);
	close(fd);
	region_expel(region, &users[0]);
	release(p);
	assert_int_equal(look().free_bytes, SIZE);
}

/* As a hole in a file of hugepages is, of which none is left: an access would be SIGBUS. */
static void memory_that_is_not_there_ends_nobody(void **state)
{
	struct region_mem mem = {0};
	struct chan_part *p = NULL;
	struct region *r;

	(void)state;
	mem.at = (struct shm_region){.size = SIZE, .page_size = 4096};
	mem.at.fd = memfd_create("cut", MFD_CLOEXEC);
	assert_true(mem.at.fd >= 0 && ftruncate(mem.at.fd, SIZE) == 0);
	mem.at.map = mem.at.addr =
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, mem.at.fd, 0);
	mem.at.map_size = SIZE;
	assert_true(mem.at.map != MAP_FAILED);
	r = region_new(&mem, "", CHANNEL_MIN);
	assert_non_null(r);
	assert_int_equal(ftruncate(mem.at.fd, 0), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(chan_part_new(r, &users[0], &users[1], &p), -ENOMEM);
	assert_int_equal(ftruncate(mem.at.fd, SIZE), 0); /* there is some again */
	assert_int_equal(chan_part_new(r, &users[0], &users[1], &p), 0);
	release(p);
	region_put(r);
	(void)regions_check();
}

static void only_who_was_told_can_fetch(void **state)
{
	uint64_t size = 0, offset = 1;
	struct stat st;
	int fd;

	(void)state;
	assert_int_equal(region_fetch(region_id(region), &users[0], &size, &offset), -ENOENT);
	assert_int_equal(region_admit(region, &users[0]), 0);
	assert_int_equal(region_fetch(region_id(region), &users[1], &size, &offset), -ENOENT);
	assert_int_equal(region_fetch(region_id(region) + 1, &users[0], &size, &offset), -ENOENT);
	fd = region_fetch(region_id(region), &users[0], &size, &offset);
	assert_true(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC);
	/* Nobody can change its size, in either direction. */
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(ftruncate(fd, 2 * SIZE), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	close(fd);
	region_expel(region, &users[0]);
	assert_int_equal(region_fetch(region_id(region), &users[0], &size, &offset), -ENOENT);
}

/* The most that @a and @b get; they give back what they hold. */
static unsigned fill(unsigned a, unsigned b, struct chan_part **p)
{
	unsigned n = 0;

	while (chan_part_new(region, &users[a], &users[b], &p[n]) == 0)
		n++;
	return n;
}

static void each_has_half_of_what_others_leave(void **state)
{
	static struct chan_part *p[3][SIZE / CHANNEL_MIN];
	unsigned n[3];

	(void)state;
	n[0] = fill(0, 1, p[0]);
	assert_int_equal(n[0], SIZE / CHANNEL_MIN / 2);
	n[1] = fill(0, 2, p[1]); /* c has no share of a's */
	assert_int_equal(n[1], 0);
	n[1] = fill(2, 2, p[1]);
	assert_int_equal(n[1], SIZE / CHANNEL_MIN / 4);
	n[2] = fill(2, 3, p[2]);
	assert_int_equal(n[2], 0);
	n[2] = fill(3, 3, p[2]);
	assert_int_equal(n[2], SIZE / CHANNEL_MIN / 8);
	/* b gives its ends back: a still holds them, b has a share again. */
	for (unsigned i = 0; i < n[0]; i++)
		end_release(&p[0][i]->end[1]);
	assert_int_equal(look().free_bytes, SIZE / 8);
	assert_int_equal(fill(0, 0, p[0] + n[0]), 0);
	for (unsigned i = 0; i < n[0]; i++)
		end_release(&p[0][i]->end[0]);
	for (unsigned k = 1; k < 3; k++)
		for (unsigned i = 0; i < n[k]; i++)
			release(p[k][i]);
	assert_int_equal(look().free_bytes, SIZE);
	assert_int_equal(look().largest_free, SIZE);
	assert_int_equal(look().n_members, 0);
}

static void an_end_is_found_by_its_holder_only(void **state)
{
	struct chan_part *p = part(0, 1);
	uint64_t at = p->desc.offset;
	uint32_t gen = p->desc.generation;

	(void)state;
	assert_null(end_find(region, &queues[0], at, gen)); /* not granted */
	end_granted(&p->end[0], &queues[0]);
	end_granted(&p->end[1], &queues[1]);
	assert_ptr_equal(end_find(region, &queues[0], at, gen), &p->end[0]);
	assert_ptr_equal(end_find(region, &queues[1], at, gen), &p->end[1]);
	assert_null(end_find(region, &queues[2], at, gen));
	assert_null(end_find(region, &queues[0], at, gen + 1));
	assert_null(end_find(region, &queues[0], at, 0));
	assert_null(end_find(region, &queues[0], at + 64, gen));
	assert_null(end_find(region, &queues[0], at + CHANNEL_MIN, gen));
	assert_null(end_find(region, &queues[0], SIZE, gen));
	assert_null(end_find(region, &queues[0], UINT64_MAX, gen));
	end_release(&p->end[0]);
	assert_null(end_find(region, &queues[0], at, gen)); /* twice */
	assert_ptr_equal(end_find(region, &queues[1], at, gen), &p->end[1]);
	end_release(&p->end[1]);
	assert_null(end_find(region, &queues[1], at, gen));
	p = part(0, 1); /* the same memory */
	assert_int_equal(p->desc.offset, at);
	assert_int_not_equal(p->desc.generation, gen);
	release(p);
}

/* One device on both ends: charged once, released twice. */
static void a_device_may_talk_to_itself(void **state)
{
	struct chan_part *p = part(0, 0);
	struct chan_end *e;

	(void)state;
	end_granted(&p->end[0], &queues[0]);
	end_granted(&p->end[1], &queues[0]);
	for (unsigned i = 0; i < 2; i++) {
		e = end_find(region, &queues[0], p->desc.offset, p->desc.generation);
		assert_non_null(e);
		assert_int_equal(look().free_bytes, SIZE - CHANNEL_MIN);
		end_release(e);
	}
	assert_int_equal(look().free_bytes, SIZE);
}

static void a_retired_region_is_there_until_it_is_free(void **state)
{
	struct chan_part *p = part(0, 1), *more;

	(void)state;
	region_retire(region);
	assert_int_equal(chan_part_new(region, &users[2], &users[3], &more), -ESTALE);
	region_get(region);
	region_put(region);
	assert_true(regions_check()); /* its queues must hear of it */
	assert_false(regions_check());
	assert_true(look().retired);
	assert_int_equal(look().channels, 1);
	release(p);
	assert_int_equal(look().n_members, 0);
}

static unsigned drops;
static bool is_gone;

static void drop(void *arg)
{
	struct shm_region *at = arg;

	shm_region_destroy(at);
	drops++;
}

static bool gone(void *arg)
{
	(void)arg;
	return is_gone;
}

/* A guest's memory: given up with it, and what is still held there is not given to anybody when the
 * same file comes again. */
static void memory_of_a_guest_comes_and_goes(void **state)
{
	static struct shm_region at[2];
	struct region_mem mem[2];
	struct region *r, *again;
	struct chan_part *p, *q;

	(void)state;
	assert_int_equal(shm_region_create(&at[0], "guest", SIZE, SHM_NO_HUGE), 0);
	assert_int_equal(shm_region_open(&at[1], at[0].fd, SIZE), 0);
	for (unsigned i = 0; i < 2; i++)
		mem[i] = (struct region_mem){
			.at = at[i], .dev = 7, .ino = 9, .drop = drop, .gone = gone, .arg = &at[i]};
	assert_int_equal(region_same(&mem[0], &again), -ENOENT);
	r = region_new(&mem[0], "guest", CHANNEL_MIN);
	assert_non_null(r);
	region_own(r);
	assert_int_equal(chan_part_new(r, &users[0], &users[1], &p), 0);
	assert_false(region_gone(r));
	is_gone = true;
	assert_true(region_gone(r) && region_retired(r));
	is_gone = false;
	region_disown(r);
	assert_int_equal(chan_part_new(r, &users[0], &users[1], &q), -ESTALE);
	mem[1].at.size = SIZE / 2;
	assert_int_equal(region_same(&mem[1], &again), -EBUSY);
	mem[1].at.size = SIZE;
	assert_int_equal(region_same(&mem[1], &again), 0);
	assert_ptr_equal(again, r);
	assert_int_equal(drops, 1);
	assert_false(region_retired(r));
	assert_int_equal(chan_part_new(r, &users[0], &users[1], &q), 0);
	assert_int_not_equal(q->desc.offset, p->desc.offset);
	release(p);
	release(q);
	region_put(again);
	region_put(r);
	(void)regions_check();
	assert_int_equal(drops, 2);
}

/* Whoever talks to a guest in the guest's memory leaves something for the next one. */
static void a_guest_has_all_of_its_own_memory(void **state)
{
	static struct chan_part *p[3][SIZE / CHANNEL_MIN];
	struct region_mem mem = {.drop = drop, .gone = gone};
	struct region *before = region;
	struct shm_region at;
	unsigned n[3];

	(void)state;
	assert_int_equal(shm_region_create(&at, "test", SIZE, SHM_NO_HUGE), 0);
	mem.at = at;
	mem.arg = &at;
	region = region_new(&mem, users[0].name, CHANNEL_MIN);
	assert_non_null(region);
	region_own(region);
	n[0] = fill(0, 1, p[0]);
	n[1] = fill(2, 0, p[1]);
	n[2] = fill(0, 0, p[2]);
	assert_int_equal(n[0], SIZE / CHANNEL_MIN / 2);
	assert_int_equal(n[1], SIZE / CHANNEL_MIN / 4);
	assert_int_equal(n[2], SIZE / CHANNEL_MIN / 4);
	for (unsigned k = 0; k < 3; k++)
		for (unsigned i = 0; i < n[k]; i++)
			release(p[k][i]);
	region_own(region); /* and another guest has it: nobody may have all */
	n[0] = fill(0, 0, p[0]);
	assert_int_equal(n[0], SIZE / CHANNEL_MIN / 2);
	for (unsigned i = 0; i < n[0]; i++)
		release(p[0][i]);
	region_put(region);
	(void)regions_check();
	region = before;
	drops = 0;
}

static unsigned looks;
static bool locked;

/* As with a file on which somebody has taken very many locks. */
bool __wrap_region_locked_before(int fd, uint32_t life);
bool __wrap_region_locked_before(int fd, uint32_t life)
{
	(void)fd;
	(void)life;
	looks++;
	(void)usleep(1000);
	return locked;
}

/* However many connections ask whether the region is free of what was there before. */
static void looks_for_locks_are_rare(void **state)
{
	struct region_mem mem = {.drop = drop, .gone = gone};
	struct shm_region at;
	struct region *r;
	uint64_t start;

	(void)state;
	looks = 0;
	locked = true;
	assert_int_equal(shm_region_create(&at, "test", SIZE, SHM_NO_HUGE), 0);
	mem.at = at;
	mem.arg = &at;
	r = region_new(&mem, "a", CHANNEL_MIN);
	assert_non_null(r);
	start = now_ns();
	for (unsigned i = 0; i < 1000; i++)
		assert_false(region_settled(r));
	assert_in_range(looks, 1, 1 + (now_ns() - start) / 100000000u);
	locked = false;
	while (!region_settled(r))
		(void)usleep(1000);
	region_put(r);
	(void)regions_check();
	drops = 0;
}

static void channels_change_their_size(void **state)
{
	struct chan_part *p = part(0, 1), *q;

	(void)state;
	region_resize_channels(region, 2 * MIB);
	q = part(0, 1);
	assert_int_equal(p->desc.length, CHANNEL_MIN);
	assert_int_equal(q->desc.length, 2 * MIB);
	release(p);
	release(q);
	assert_int_equal(look().free_bytes, SIZE);
}

static void a_region_for_nothing_is_none(void **state)
{
	struct region_mem mem = {0};

	(void)state;
	assert_int_equal(shm_region_create(&mem.at, "test", CHANNEL_MIN, SHM_NO_HUGE), 0);
	assert_null(region_new(&mem, "small", 0));
}

/* Lcores wait for pages in a hundredth of the time, and 100 ms beyond that. */
static void waits_for_pages_are_bounded(void **state)
{
	const uint64_t ms = 1000000, at = 1000000 * ms;

	(void)state;
	region_took(region, at, at + 2000 * ms, 0); /* it was preempted */
	assert_false(region_rests(region, at + 2000 * ms));
	region_took(region, at, at + 90 * ms, 90 * ms);
	assert_false(region_rests(region, at + 2000 * ms));
	region_took(region, at + 2000 * ms, at + 2010 * ms, 10 * ms);
	assert_false(region_rests(region, at + 2010 * ms));
	region_took(region, at + 2010 * ms, at + 3010 * ms, 1000 * ms);
	assert_true(region_rests(region, at + 3010 * ms));
	assert_true(region_rests(region, at + 90000 * ms));
	assert_false(region_rests(region, at + 110000 * ms));
	/* it is still watched, and the next wait counts in full */
	region_took(region, at + 110000 * ms, at + 110200 * ms, 200 * ms);
	assert_true(region_rests(region, at + 110200 * ms));
}

/* The kernel clears a page of 1 GiB in this thread, which is no wait. */
static void pages_that_are_cleared_count(void **state)
{
	static _Alignas(4096) volatile char page[4096];
	struct region_touch t;

	(void)state;
	region->watch_ns = UINT64_MAX;
	t = region_touch(region);
	region_touched(region, &t); /* as always */
	assert_false(region_rests(region, now_ns()));
	t = region_touch(region);
	while (cpu_ns() - t.cpu_ns < 150000000u) {
		madvise((void *)page, 4096, MADV_DONTNEED);
		page[0] = 1;
	}
	region_touched(region, &t);
	assert_true(region_rests(region, t.start + 4000000000u));
}

static unsigned looks;

static bool died(void *arg, uint64_t cid)
{
	(void)arg;
	(void)cid;
	return ++looks;
}

static unsigned some_lend(void *arg, uint64_t *cids, unsigned n)
{
	(void)arg;
	assert_true(n > 0);
	cids[0] = 3;
	return ++looks != 0;
}

static void is_served(void *arg, uint64_t cid)
{
	(void)died(arg, cid);
}

static bool counts_always(uint64_t cid, void *arg)
{
	(void)cid;
	(void)arg;
	return true;
}

/* Nobody touches it: no channel is made, and no word of a driver is read. */
static void nothing_is_touched_while_it_rests(void **state)
{
	struct chan_part *p = part(0, 1);
	uint64_t now = now_ns();

	(void)state;
	release(p);
	region->from.orphaned = died;
	region->from.serve = is_served;
	region->from.lent = some_lend;
	region->settled = false;
	looks = 0;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(region_orphaned(region, 3), i == 0);
		region_serve(region, 3);
		region_look_lent(region, counts_always, NULL);
		assert_int_equal(looks, 3);
		assert_true(region->lent);
		region_took(region, now - 3600000000000, now, 3600000000000);
	}
	assert_int_equal(chan_part_new(region, &users[0], &users[1], &p), -EAGAIN);
	assert_int_equal(look().channels, 0);
	assert_int_equal(look().n_members, 0);
}

int main(void)
{
#define WITH_REGION(test) cmocka_unit_test_setup_teardown(test, make, unmake)
	const struct CMUnitTest tests[] = {
		WITH_REGION(a_part_is_a_channel),
		cmocka_unit_test(memory_that_is_not_there_ends_nobody),
		WITH_REGION(only_who_was_told_can_fetch),
		WITH_REGION(each_has_half_of_what_others_leave),
		WITH_REGION(an_end_is_found_by_its_holder_only),
		WITH_REGION(a_device_may_talk_to_itself),
		WITH_REGION(a_retired_region_is_there_until_it_is_free),
		WITH_REGION(a_guest_has_all_of_its_own_memory),
		WITH_REGION(looks_for_locks_are_rare),
		WITH_REGION(waits_for_pages_are_bounded),
		WITH_REGION(pages_that_are_cleared_count),
		WITH_REGION(nothing_is_touched_while_it_rests),
		WITH_REGION(channels_change_their_size),
		WITH_REGION(memory_of_a_guest_comes_and_goes),
		cmocka_unit_test(a_region_for_nothing_is_none),
	};

	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
