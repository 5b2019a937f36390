/* SPDX-License-Identifier: BSD-3-Clause */
/* The word by which a host hears of a driver's death (transport/guest_alive.h), in memory that the
 * device has from the beginning, and in memory that comes later and may go. */
#include "transport/guest_alive.h"

#include "proto/ctrl/alive.h"
#include "region/vm_region.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SIZE 65536u
#define GPA  0x100000u
#define CID  7u

static struct own_region region;
static struct alive_slot *slots;
static const struct ctrl_region whole = {.id = 1, .size = SIZE, .gpa = GPA};

static uint32_t word(void)
{
	const struct alive_slot *s = alive_find(slots, CID, 0);

	return s ? shm_load32(&s->owner) : 0;
}

/* A VIRTIO shared memory region: what is behind it the host says later. */
static void late_region(void)
{
	struct vm_region_own own = {.size = SIZE, .gpa = {GPA}};
	struct zv_opts opts = {.size = sizeof(opts)};

	own.addr = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(own.addr, MAP_FAILED);
	slots = alive_slots(own.addr, SIZE);
	assert_int_equal(own_region_find(&region, "test", "virtio", &opts, &own), 0);
	assert_false(own_region_present(&region));
}

static void announced(void)
{
	struct region_map *map;

	assert_int_equal(own_region_map_part(&region, "test", "device", 0, &whole, &map), 0);
	region_map_put(map);
	assert_true(own_region_present(&region));
}

static void other_memory(void)
{
	memset(slots, 0, ALIVE_BYTES);
}

static void look(struct guest_alive *a, bool kept)
{
	guest_alive_update(a, &region, CID);
	assert_int_equal(word(), kept ? (uint32_t)gettid() : 0);
}

/* Not the test's own thread, because its robust list goes with it. */
static void on_a_thread(void *(*fn)(void *arg))
{
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, fn, NULL), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	own_region_release(&region);
}

/* What the kernel looks at when this thread ends. */
static const void *list_of_thread(void)
{
	struct robust_list_head *head = NULL;
	size_t len;

	assert_int_equal(syscall(SYS_get_robust_list, 0, &head, &len), 0);
	return head;
}

static void *comes_and_goes(void *arg)
{
	const void *was = list_of_thread();
	struct guest_alive a;

	guest_alive_begin(&a);
	look(&a, false);
	announced();
	look(&a, true);
	other_memory(); /* of another host, which has announced it as well */
	announced();
	look(&a, true);
	own_region_lost(&region);
	other_memory();
	look(&a, false);
	guest_alive_end(&a); /* nothing is written where nothing may be */
	assert_int_equal(word(), 0);
	announced();
	look(&a, true);
	assert_ptr_equal(list_of_thread(), &a.head);
	guest_alive_end(&a);
	assert_int_equal(word(), 0);
	assert_ptr_equal(list_of_thread(), was);
	return arg;
}

static void memory_that_comes_later_is_used_while_it_is_there(void **state)
{
	(void)state;
	late_region();
	on_a_thread(comes_and_goes);
	assert_int_equal(word(), 0);
}

static void *dies(void *arg)
{
	static struct guest_alive a; /* the kernel looks at it when the thread has ended */

	guest_alive_begin(&a);
	announced();
	look(&a, true);
	return arg;
}

static void the_kernel_tells_of_a_death_there(void **state)
{
	(void)state;
	late_region();
	on_a_thread(dies);
	assert_int_equal(word(), ALIVE_DIED);
}

/* Memory that is there from the beginning. */
static void *lives(void *arg)
{
	struct guest_alive a;

	guest_alive_begin(&a);
	look(&a, true);
	guest_alive_end(&a);
	assert_int_equal(word(), 0);
	look(&a, true);
	guest_alive_update(&a, &region, CID + 1); /* the device has another CID now */
	assert_int_equal(word(), 0);
	guest_alive_end(&a);
	return arg;
}

static void memory_of_its_own_is_used_at_once(void **state)
{
	struct zv_opts opts = {.size = sizeof(opts), .flags = ZV_OPT_NO_HUGE};

	(void)state;
	assert_int_equal(own_region_make(&region, "test", "1M", (struct gpa){GPA}, &opts), 0);
	slots = alive_slots(region.map->addr, region.size);
	on_a_thread(lives);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_comes_later_is_used_while_it_is_there),
		cmocka_unit_test(the_kernel_tells_of_a_death_there),
		cmocka_unit_test(memory_of_its_own_is_used_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
