/* SPDX-License-Identifier: BSD-3-Clause */
/* What all tables of cases share: verdicts, counters, and how a table becomes a group of tests. */
#ifndef ZV_HOSTILE_SUITE_H
#define ZV_HOSTILE_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <zvsock.h>

#include <cmocka.h>

/* ---- verdicts ---- */

enum ring_fate {
	ALIVE = 0, /* goes on */
	BROKEN,	   /* counted by one, the queue is down */
	EITHER,	   /* a race decides, and both are right */
};

#define SOME (-1) /* at least one */
#define ANY  (-2)

/* ---- counters ---- */

#define CNT(f) offsetof(struct zv_queue_stats, f)

/* The counters of faults: what a case does not name may not move. */
struct fault {
	const char *name;
	size_t off;
};
extern const struct fault faults[];
extern const unsigned n_faults;

static inline uint64_t counter_at(const struct zv_queue_stats *st, size_t off)
{
	uint64_t v;

	memcpy(&v, (const char *)st + off, sizeof(v));
	return v;
}

static inline uint64_t counter_moved(const struct zv_queue_stats *before,
				     const struct zv_queue_stats *after, size_t off)
{
	return counter_at(after, off) - counter_at(before, off);
}

/* ---- tables ---- */

struct suite {
	struct CMUnitTest *t;
	unsigned n;
	char **names;
	unsigned n_names;
};

/* Adds a test for each of the @n elements at @table, of @size bytes, which begin with their names:
 * @run gets the element as its state. The test's name begins with @prefix. */
void suite_add(struct suite *s, CMUnitTestFunction run, const char *prefix, const void *table,
	       size_t size, unsigned n);
void suite_add_tests(struct suite *s, const struct CMUnitTest *t, unsigned n);
#define SUITE_TABLE(s, run, prefix, table, n)                                                      \
	suite_add(s, run, prefix, table, sizeof((table)[0]), n)

/* Runs them all, or those that the first argument names. The program's exit code. */
int suite_run(struct suite *s, const char *name, int argc, char **argv, CMFixtureFunction setup,
	      CMFixtureFunction teardown);

#endif
