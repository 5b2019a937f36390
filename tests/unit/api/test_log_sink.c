/* SPDX-License-Identifier: BSD-3-Clause */
/* zv_set_log while others log: function and context belong together, and the old ones are over. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport.h"

#define WRITERS 2
#define CHANGES 2000u

const struct transport_ops *const zv_builtin_transports[] = {NULL};

struct ctx {
	zv_log_fn fn;
	uint32_t over;
};

static uint32_t lines, mixed, late, stop;

static void count(struct ctx *c, zv_log_fn fn)
{
	uint32_t *wrong = c->fn != fn ? &mixed : &late;

	__atomic_fetch_add(&lines, 1, __ATOMIC_RELAXED);
	if (c->fn != fn || __atomic_load_n(&c->over, __ATOMIC_RELAXED))
		__atomic_fetch_add(wrong, 1, __ATOMIC_RELAXED);
	sched_yield(); /* in the middle of it */
	if (__atomic_load_n(&c->over, __ATOMIC_RELAXED))
		__atomic_fetch_add(&late, 1, __ATOMIC_RELAXED);
}

static void fn_a(void *ctx, enum zv_log_level level, const char *line)
{
	(void)level, (void)line;
	count(ctx, fn_a);
}

static void fn_b(void *ctx, enum zv_log_level level, const char *line)
{
	(void)level, (void)line;
	count(ctx, fn_b);
}

static void *writer(void *arg)
{
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED))
		zv_log(ZV_LOG_INFO, "line %d", 1);
	return arg;
}

static void test_function_and_context_change_as_one(void **state)
{
	static struct ctx ctx[CHANGES];
	pthread_t t[WRITERS];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, NULL), 0);
	for (unsigned i = 0; i < CHANGES; i++) {
		ctx[i].fn = i % 2 ? fn_a : fn_b;
		zv_set_log(ctx[i].fn, &ctx[i]);
		if (i)
			__atomic_store_n(&ctx[i - 1].over, 1, __ATOMIC_RELAXED);
		if (i % 16 == 0)
			sched_yield();
	}
	while (__atomic_load_n(&lines, __ATOMIC_RELAXED) < 1000)
		sched_yield();
	zv_set_log(NULL, NULL);
	__atomic_store_n(&ctx[CHANGES - 1].over, 1, __ATOMIC_RELAXED);
	sched_yield();
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(t[i], NULL), 0);
	assert_int_equal(mixed, 0);
	assert_int_equal(late, 0);
}

static unsigned calls;

static void last_word(void *ctx, enum zv_log_level level, const char *line)
{
	(void)level;
	assert_string_equal(line, ctx);
	calls++;
	zv_set_log(NULL, NULL);
	zv_log(ZV_LOG_ERR, "nobody hears this");
}

static void test_the_function_may_end_itself(void **state)
{
	char text[] = "one 2";

	(void)state;
	zv_set_log(last_word, text);
	zv_log(ZV_LOG_ERR, "one %d", 2);
	zv_log(ZV_LOG_ERR, "nor this");
	assert_int_equal(calls, 1);
}

static void keep_line(void *ctx, enum zv_log_level level, const char *line)
{
	(void)level;
	(void)snprintf(ctx, 512, "%s", line);
}

/* Whoever collects the lines of one peer must not have to guess whose flood it was. */
static void test_what_was_left_out_is_said_with_its_subject(void **state)
{
	struct zv_log_limit limit = {0};
	char last[512], wide[512];

	(void)state;
	zv_set_log(keep_line, last);
	for (unsigned i = 0; i < 100; i++)
		zv_log_limited(&limit, ZV_LOG_WARN, "/run/guest: line %u", i);
	limit.second--; /* the next one begins */
	limit.suppressed = 90;
	zv_log_limited(&limit, ZV_LOG_WARN, "/run/guest: one more");
	assert_string_equal(last, "/run/guest: one more (and 90 lines before this one, left out as "
				  "they came too fast)");
	assert_int_equal(limit.suppressed, 0);
	/* There is room for it, however long the line. */
	memset(wide, 'w', sizeof(wide) - 1);
	wide[sizeof(wide) - 1] = 0;
	limit.suppressed = UINT32_MAX;
	zv_log_limited(&limit, ZV_LOG_WARN, "%s", wide);
	zv_set_log(NULL, NULL);
	assert_non_null(strstr(last, "w (and 4294967295 lines before this one, left out as they "
				     "came too fast)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_function_and_context_change_as_one),
		cmocka_unit_test(test_the_function_may_end_itself),
		cmocka_unit_test(test_what_was_left_out_is_said_with_its_subject),
	};

	return cmocka_run_group_tests_name("log sink", tests, NULL, NULL);
}
