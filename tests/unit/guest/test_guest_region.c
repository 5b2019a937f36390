/* SPDX-License-Identifier: BSD-3-Clause */
/* Regions that a backend announces: mapped once by the control thread, held, forgotten, lost. */
#include "fake_link.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static const struct ctrl_region one = {.id = 1, .size = 8192, .gpa = CTRL_BY_FD},
				two = {.id = 2, .size = 4096, .gpa = 0x10000};

static int setup(void **state)
{
	(void)reset(state);
	testbed.regions = 1;
	return 0;
}

/* Asks until it is decided; the queue is woken when it is. */
static int mapped(struct transport_dev *d, unsigned queue, const struct ctrl_region *r,
		  struct region_map **out)
{
	struct pollfd p = {.fd = d->ops->fd(d->ops->queue(d, queue)), .events = POLLIN};
	int ret;

	while ((ret = d->ops->regions->map(d, queue, r, out)) == -EINPROGRESS) {
		assert_int_equal(poll(&p, 1, 30000), 1);
		(void)usleep(1000); /* it stays readable: nobody disarms here */
	}
	return ret;
}

static void a_region_is_mapped_once_for_all_queues(void **state)
{
	struct region_map *a, *b, *c;
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 2), 0);
	assert_int_equal(mapped(d, 0, &one, &a), 0);
	assert_int_equal(mapped(d, 1, &one, &b), 0);
	assert_ptr_equal(a, b);
	assert_int_equal(a->size, 8192);
	memset(a->addr, 1, a->size);
	assert_int_equal(mapped(d, 1, &two, &c), 0);
	assert_ptr_not_equal(a, c);
	assert_int_equal(get(&testbed.maps), 2);
	region_map_put(b);
	region_map_put(c);
	guest_dev_close(d);
	memset(a->addr, 2, a->size); /* who holds it has it, whatever becomes of the device */
	region_map_put(a);
}

static void what_cannot_be_mapped_is_declined(void **state)
{
	struct region_map *m;
	struct transport_dev *d;

	(void)state;
	testbed.map_err = -EACCES;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	assert_int_equal(mapped(d, 0, &one, &m), -EACCES);
	assert_int_equal(mapped(d, 0, &one, &m), -EACCES);
	assert_int_equal(get(&testbed.maps), 1);
	d->ops->regions->forget(d, 0, one.id);
	d->ops->regions->forget(d, 0, one.id); /* harmless */
	guest_dev_close(d);
}

static void what_is_forgotten_or_lost_is_mapped_anew(void **state)
{
	struct region_map *a, *b, *c;
	struct transport_dev *d;
	struct transport_queue *q;
	uint32_t session;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 1), 0);
	q = guest_dev_queue(d, 0);
	assert_int_equal(mapped(d, 0, &one, &a), 0);
	d->ops->regions->forget(d, 0, one.id);
	assert_int_equal(mapped(d, 0, &one, &b), 0);
	assert_ptr_not_equal(a->addr, b->addr);
	session = q->session;
	assert_int_equal(write(((struct fake *)d)->pipe[1], "x", 1), 1); /* the backend goes */
	await(q, session, 1);
	assert_int_equal(mapped(d, 0, &one, &c), 0);
	assert_ptr_not_equal(b->addr, c->addr);
	assert_int_equal(get(&testbed.maps), 3);
	region_map_put(a);
	region_map_put(b);
	region_map_put(c);
	guest_dev_close(d);
}

/* The session of one queue ends when another queue has the region already, or has just asked. */
static void a_queue_forgets_for_itself(void **state)
{
	struct region_map *a, *b, *c;
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0", 3), 0);
	assert_int_equal(mapped(d, 0, &one, &a), 0);
	d->ops->regions->forget(d, 1, one.id); /* which has never asked for it */
	assert_int_equal(mapped(d, 1, &one, &b), 0);
	assert_ptr_equal(a, b);
	d->ops->regions->forget(d, 0, one.id);
	assert_int_equal(mapped(d, 2, &one, &c), 0);
	assert_ptr_equal(a, c);
	assert_int_equal(get(&testbed.maps), 1);
	d->ops->regions->forget(d, 1, one.id);
	d->ops->regions->forget(d, 2, one.id);
	region_map_put(b);
	region_map_put(c);
	assert_int_equal(mapped(d, 1, &one, &b), 0); /* the last one has: it is mapped anew */
	assert_ptr_not_equal(a, b);
	assert_int_equal(get(&testbed.maps), 2);
	region_map_put(a);
	region_map_put(b);
	guest_dev_close(d);
}

static void bonded_devices_map_for_themselves(void **state)
{
	struct region_map *a, *b;
	struct transport_dev *d;

	(void)state;
	assert_int_equal(open_fake(&d, "card0,card1", 2), 0);
	assert_int_equal(mapped(d, 0, &one, &a), 0);
	assert_int_equal(mapped(d, 1, &one, &b), 0);
	assert_int_equal(get(&testbed.maps), 2);
	region_map_put(a);
	region_map_put(b);
	d->ops->regions->forget(d, 1, one.id);
	d->ops->close(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_region_is_mapped_once_for_all_queues, setup),
		cmocka_unit_test_setup(what_cannot_be_mapped_is_declined, setup),
		cmocka_unit_test_setup(what_is_forgotten_or_lost_is_mapped_anew, setup),
		cmocka_unit_test_setup(a_queue_forgets_for_itself, setup),
		cmocka_unit_test_setup(bonded_devices_map_for_themselves, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
