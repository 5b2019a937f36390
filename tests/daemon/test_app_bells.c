/* SPDX-License-Identifier: BSD-3-Clause */
/* An application that gets no bells: it is told why, and so is whoever reads the log. */
#include "apps_memory.h"

#include "channel/bells.h"
#include "channel/reach.h"
#include "core/log.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct guest app = {.name = "app-1", .n_queues = 2, .serial = 7};
static int bells; /* what bells.c says */
static unsigned lines;

int __wrap_bells_page(uint64_t serial, unsigned queue, uid_t uid, uint32_t *id, uint64_t *offset);
struct region *__wrap_reach_own(void);
void __wrap_region_put(struct region *r);
void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
	ZV_PRINTF(3, 4);

int __wrap_bells_page(uint64_t serial, unsigned queue, uid_t uid, uint32_t *id, uint64_t *offset)
{
	assert_int_equal(serial, app.serial);
	assert_true(queue < app.n_queues);
	assert_int_equal(uid, 1000);
	*id = 1;
	*offset = 0;
	return bells;
}

struct region *__wrap_reach_own(void)
{
	return (struct region *)&app; /* there is one */
}

void __wrap_region_put(struct region *r)
{
	(void)r;
}

void __wrap_log_line(enum zv_log_level level, const char *guest, const char *fmt, ...)
{
	(void)fmt;
	assert_int_equal(level, ZV_LOG_WARN);
	assert_string_equal(guest, "app-1");
	lines++;
}

static int ask(enum client_type type, unsigned queue, bool *logged, struct client_msg *m)
{
	client_msg_init(m, type);
	m->queues = (uint16_t)queue;
	return app_bells(&app, 1000, logged, m);
}

static void who_gets_no_bells_is_named_once(void **state)
{
	bool logged = false, other = false;
	struct client_msg m;

	(void)state;
	bells = 5;
	assert_int_equal(ask(CLIENT_BELL, 0, &logged, &m), 5);
	assert_int_equal(lines, 0);
	bells = -EBUSY;
	for (unsigned i = 0; i < app.n_queues; i++) {
		assert_int_equal(ask(CLIENT_BELL, i, &logged, &m), -1);
		assert_int_equal(m.result, -EBUSY);
		assert_int_equal(lines, 1);
	}
	assert_int_equal(ask(CLIENT_BELL, app.n_queues, &other, &m), -1); /* it has no such queue */
	assert_int_equal(lines, 1);
	bells = -EMFILE;
	assert_int_equal(ask(CLIENT_BELL, 0, &other, &m), -1);
	assert_int_equal(lines, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_gets_no_bells_is_named_once),
	};

	return cmocka_run_group_tests_name("app_bells", tests, NULL, NULL);
}
