/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of --baseline, with recorded reports. */
#include "report/baseline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* As --json wrote them, cut to what a comparison looks at. */
#define CELL "'target':'zvsock','path':'virtqueue','type':'stream','cpus':'1cpu','queues':1"
#define THROUGHPUT(dir, gbit)                                                                      \
	"{" CELL ",'test':'throughput','msg_size':64,'zero_copy':true,'direction':'" dir           \
	"','gbit_per_s':" gbit "}"
#define RTT(p50)                                                                                   \
	"{" CELL ",'test':'rtt','direction':'both','msg_size':64,'msgs_per_s':9,"                  \
	"'rtt_ns':{'p50':" p50 "}}"
#define CONNS(n, rate)                                                                             \
	"{" CELL ",'test':'connrate','direction':'g2h','in_flight':" n ",'conns_per_s':" rate "}"
#define REPORT(runs)                                                                               \
	"{'schema':1,'version':'0.1.0','machine':{'cpu':'x','cores':2,'kernel':'6'},"              \
	"'runs':[" runs ",{'target':'tcp','absent':'why'}]}"

/* Written with ' for " above. To be freed. */
static char *json_text(const char *text)
{
	char *s = strdup(text);

	assert_non_null(s);
	for (char *c = s; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return s;
}

static json_t *load(const char *text)
{
	char *s = json_text(text);
	json_t *j = json_loads(s, 0, NULL);

	assert_non_null(j);
	free(s);
	return j;
}

/* The outcome, and what it said; to be freed. */
static struct baseline compare(const char *before, const char *now, double factor, char **said)
{
	json_t *a = load(before), *b = load(now);
	struct baseline r;
	size_t len;
	FILE *f = open_memstream(said, &len);

	assert_non_null(f);
	r = baseline_compare(f, a, b, factor);
	fclose(f);
	json_decref(a);
	json_decref(b);
	return r;
}

static const char was[] =
	REPORT(THROUGHPUT("g2h", "9.0") "," THROUGHPUT("g2h", "10.0") "," THROUGHPUT(
		"g2h", "50.0") "," THROUGHPUT("h2g", "4.0") "," RTT("1000") "," CONNS("1", "5000"));

static void medians_are_compared(void **state)
{
	/* 8.5 of 10 Gbit/s: the best run and the worst are nobody's figure. */
	static const char now[] =
		REPORT(THROUGHPUT("g2h", "8.5") "," THROUGHPUT("g2h", "8.6") "," THROUGHPUT(
			"g2h", "1.0") "," THROUGHPUT("h2g",
						     "4.4") "," RTT("800") "," CONNS("1", "5000"));
	struct baseline r;
	char *said;

	(void)state;
	r = compare(was, now, 0.8, &said);
	assert_int_equal(r.cells, 4);
	assert_int_equal(r.worse, 0);
	assert_int_equal(r.only_now, 0);
	assert_int_equal(r.only_before, 0);
	assert_non_null(strstr(said, " 0.85 Gbit/s\n"));
	assert_non_null(strstr(said, " 1.10 Gbit/s\n"));
	assert_non_null(strstr(said, " 1.25 us\n")); /* shorter is better */
	assert_non_null(strstr(said, "zvsock virtqueue connrate g2h, 1 connection"));
	assert_null(strstr(said, "another machine"));
	free(said);
}

static void what_is_below_the_factor_is_found(void **state)
{
	static const char now[] = REPORT(THROUGHPUT("g2h", "7.9") "," THROUGHPUT(
		"h2g", "4.0") "," RTT("1300") "," CONNS("1", "4000"));
	struct baseline r;
	char *said, *mark;

	(void)state;
	r = compare(was, now, 0.8, &said);
	assert_int_equal(r.cells, 4);
	assert_int_equal(r.worse, 2); /* 0.79 of the rate, 1.3 times as long; 0.80 is not below */
	mark = strstr(said, "  WORSE\n");
	assert_non_null(mark);
	assert_non_null(strstr(mark + 1, "  WORSE\n"));
	free(said);
	r = compare(was, now, 0.7, &said);
	assert_int_equal(r.worse, 0);
	free(said);
	r = compare(was, now, 1.1, &said);
	assert_int_equal(r.worse, 4);
	free(said);
}

/* A run with other options is no earlier self. */
static void other_cells_are_left_out(void **state)
{
	struct baseline r;
	char *said;

	(void)state;
	r = compare(was, REPORT(CONNS("16", "1") "," RTT("2000")), 0.8, &said);
	assert_int_equal(r.cells, 1);
	assert_int_equal(r.worse, 1);
	assert_int_equal(r.only_now, 1);
	assert_int_equal(r.only_before, 3);
	assert_non_null(strstr(said, "not compared: 1 rows of this run, 3 of the earlier one"));
	free(said);
	r = compare(REPORT(RTT("0")), REPORT(RTT("5")), 0.8, &said);
	assert_int_equal(r.cells, 0); /* a run without the figure is no measure */
	free(said);
}

static void another_machine_is_told(void **state)
{
	static const char other[] =
		"{'schema':1,'version':'0.0.9','machine':{'cpu':'y'},'runs':[" RTT("1000") "]}";
	char *said;

	(void)state;
	compare(other, was, 0.8, &said);
	assert_non_null(strstr(said, "another machine: its cpu differs"));
	assert_non_null(strstr(said, "version 0.0.9"));
	free(said);
}

/* Puts @text into the file @fd. */
static void put(int fd, const char *text)
{
	char *s = json_text(text);

	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, s, strlen(s), 0), (int)strlen(s));
	free(s);
}

static void bad_files_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "{", "[]", "{'runs':[]}", "{'schema':2,'runs':[]}", "{'schema':1,'runs':{}}"};
	char path[] = "/tmp/zv-baseline-XXXXXX", why[200];
	int fd = mkstemp(path);
	json_t *j;

	(void)state;
	assert_true(fd >= 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(fd, bad[i]);
		why[0] = '\0';
		assert_null(baseline_load(path, why, sizeof(why)));
		assert_non_null(strstr(why, path));
	}
	put(fd, was);
	j = baseline_load(path, why, sizeof(why));
	assert_non_null(j);
	json_decref(j);
	close(fd);
	unlink(path);
	assert_null(baseline_load(path, why, sizeof(why)));
	assert_non_null(strstr(why, "No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(medians_are_compared),
		cmocka_unit_test(what_is_below_the_factor_is_found),
		cmocka_unit_test(other_cells_are_left_out),
		cmocka_unit_test(another_machine_is_told),
		cmocka_unit_test(bad_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
