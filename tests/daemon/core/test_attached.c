/* SPDX-License-Identifier: BSD-3-Clause */
/* A VMM that is attached and starts no queue: when the log has a hint, and that it is one line. */
#include "core/attached.h"

#include "core/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)

static const struct cfg_guest cfg = {.role = CFG_AS_HOST}, app_cfg = {.role = CFG_APP};
static struct zv_dev_info device; /* what the library says */
static unsigned lines;

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out);
void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
	ZV_PRINTF(3, 4);

int __wrap_zv_dev_info(struct zv_dev *dev, struct zv_dev_info *out)
{
	(void)dev;
	*out = device;
	return 0;
}

void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
{
	(void)fmt;
	assert_int_equal(level, ZV_LOG_WARN);
	assert_string_equal(guest, "web");
	lines++;
}

/* Lines that the log has after a look at @at. */
static unsigned look(struct guest *g, uint64_t at)
{
	attached_check(g, at);
	return lines;
}

static int begin(void **state)
{
	static struct guest g;

	g = (struct guest){.name = "web", .cfg = &cfg};
	device = (struct zv_dev_info){.size = sizeof(device), .queues = 2};
	lines = 0;
	*state = &g;
	return 0;
}

static void each_attachment_is_told_once(void **state)
{
	struct guest *g = *state;

	assert_int_equal(look(g, 1000 * S), 0); /* nobody is attached */
	device.attached_ns = 1000 * S;
	assert_int_equal(look(g, 1001 * S), 0);
	assert_int_equal(look(g, 1030 * S - 1), 0);
	assert_int_equal(look(g, 1030 * S), 1);
	assert_int_equal(look(g, 9999 * S), 1);
	device.attached_ns = 0; /* it leaves */
	assert_int_equal(look(g, 10000 * S), 1);
	device.attached_ns = 10001 * S; /* and another one comes, */
	assert_int_equal(look(g, 10002 * S), 1);
	assert_int_equal(look(g, 10031 * S), 2);
	device.attached_ns = 10032 * S; /* whom one follows between two looks */
	assert_int_equal(look(g, 10061 * S), 2);
	assert_int_equal(look(g, 10062 * S), 3);
}

static void a_queue_that_comes_up_in_time_is_enough(void **state)
{
	struct guest *g = *state;

	device.attached_ns = 1000 * S;
	device.queues_up = 1;
	assert_int_equal(look(g, 2000 * S), 0);
	device.flags = ZV_DEV_RAN; /* the guest reboots */
	device.queues_up = 0;
	assert_int_equal(look(g, 3000 * S), 0);
	assert_null(attached_hint(g, &device, 3000 * S));
}

static void a_queue_that_comes_up_late_ends_it(void **state)
{
	struct guest *g = *state;

	device.attached_ns = 1000 * S;
	assert_int_equal(look(g, 1100 * S), 1);
	assert_non_null(attached_hint(g, &device, 1100 * S));
	device.queues_up = 1;
	assert_null(attached_hint(g, &device, 1101 * S));
}

static void applications_are_no_vms(void **state)
{
	struct guest *g = *state;

	g->cfg = &app_cfg;
	device.attached_ns = 1000 * S;
	assert_int_equal(look(g, 2000 * S), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(each_attachment_is_told_once, begin),
		cmocka_unit_test_setup(a_queue_that_comes_up_in_time_is_enough, begin),
		cmocka_unit_test_setup(a_queue_that_comes_up_late_ends_it, begin),
		cmocka_unit_test_setup(applications_are_no_vms, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
