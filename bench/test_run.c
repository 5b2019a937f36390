/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs that fail (core/run.h), with targets and workloads that are made up. */
#include "core/run.h"
#include "core/target.h"
#include "core/workload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define CELLS  5u
#define REPEAT 3u

/* What the made-up targets do, and have been told. */
static struct {
	int starts, start_fails_at; /* 1: the first start; 0: never */
	unsigned stops, runs[CELLS];
	bool running;
	int fails[CELLS]; /* of the cells of @processes: the result of each of their runs */
	unsigned sockets_runs;
	/* Of the two peers of @peers, the second of which dies in its cell number @dies: 0 never */
	unsigned peer_runs[2], dies, restarts;
	bool comes_back;
} fake;

static int processes_start(void **state, const struct bench_opts *o, struct bench_facts *facts,
			   struct proc_err *err)
{
	(void)o;
	(void)facts;
	assert_false(fake.running);
	if (++fake.starts == fake.start_fails_at) {
		strcpy(err->text, "no such program");
		return -ENOENT;
	}
	fake.running = true;
	*state = &fake;
	return 0;
}

static void processes_stop(void *state)
{
	assert_ptr_equal(state, &fake);
	assert_true(fake.running);
	fake.running = false;
	fake.stops++;
}

static int processes_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
			 struct bench_result *res, struct proc_err *err)
{
	int rc = fake.fails[c->variant];

	(void)o;
	assert_ptr_equal(state, &fake);
	assert_true(fake.running);
	fake.runs[c->variant]++;
	*res = (struct bench_result){.valid = true, .messages = 7};
	if (rc == -EIO)
		strcpy(err->text, "guest side: the process died");
	return rc;
}

static int sockets_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		       struct bench_result *res, struct proc_err *err)
{
	(void)o;
	(void)c;
	(void)err;
	assert_null(state);
	fake.sockets_runs++;
	*res = (struct bench_result){.valid = true, .messages = 7};
	return 0;
}

static int peers_run(void *state, const struct bench_opts *o, const struct bench_cell *c,
		     struct bench_result *res, struct proc_err *err)
{
	(void)o;
	assert_ptr_equal(state, &fake);
	assert_true(fake.running);
	*res = (struct bench_result){.valid = true, .messages = 7};
	if (++fake.peer_runs[c->peer] < fake.dies || !fake.dies || c->peer == 0)
		return 0;
	if (fake.restarts && fake.comes_back)
		return 0;
	strcpy(err->text, "guest side: the process died");
	return -EIO;
}

static int peers_restart(void *state, const struct bench_opts *o, const struct bench_cell *c,
			 struct bench_facts *f, struct proc_err *err)
{
	(void)o;
	(void)f;
	assert_ptr_equal(state, &fake);
	assert_int_equal(c->peer, 1);
	fake.restarts++;
	if (fake.comes_back)
		return 0;
	strcpy(err->text, "b: nobody listens");
	return -ECONNREFUSED;
}

static const char *never_absent(const struct bench_opts *o)
{
	(void)o;
	return NULL;
}

static const struct target processes = {.name = "processes",
					.io = IO_ZV,
					.absent = never_absent,
					.start = processes_start,
					.run = processes_run,
					.stop = processes_stop};
static const struct target sockets = {.name = "sockets",
				      .ratio = "xs",
				      .io = IO_SOCKET,
				      .absent = never_absent,
				      .run = sockets_run};
static const struct target peers = {.name = "peers",
				    .io = IO_PEER,
				    .start = processes_start,
				    .run = peers_run,
				    .stop = processes_stop,
				    .restart = peers_restart};
const struct target *const targets[] = {&processes, &sockets, &peers};
const unsigned ntargets = 3;

static const struct workload workload = {.name = "work"};

/* ---- a run of it ---- */

static struct bench_result results[CELLS + 1][REPEAT];
static struct bench_cell cells[CELLS + 1];
static struct bench_plan plan = {cells, CELLS + 1, 0};
static struct bench_facts facts;
static struct bench_run run;
static struct bench_opts opts = {.repeat = REPEAT};
static struct proc_err err;
static char said[4096];

static void fresh(void)
{
	memset(&fake, 0, sizeof(fake));
	memset(&facts, 0, sizeof(facts));
	memset(results, 0, sizeof(results));
	for (unsigned i = 0; i <= CELLS; i++)
		cells[i] = (struct bench_cell){.workload = &workload,
					       .target = i < CELLS ? &processes : &sockets,
					       .msg_size = i,
					       .variant = i,
					       .res = results[i]};
}

static int go(void)
{
	int rc;

	memset(said, 0, sizeof(said));
	run = (struct bench_run){.o = &opts,
				 .plan = &plan,
				 .facts = &facts,
				 .err = &err,
				 .log = fmemopen(said, sizeof(said), "w"),
				 .cell = run_on_target};
	assert_non_null(run.log);
	rc = run_all(&run);
	run_summary(&run);
	fclose(run.log);
	assert_false(fake.running);
	return rc;
}

static unsigned lines(void)
{
	unsigned n = 0;

	for (const char *s = said; (s = strchr(s, '\n')); s++)
		n++;
	return n;
}

static void all_is_well(void **state)
{
	(void)state;
	fresh();
	assert_int_equal(go(), 0);
	assert_false(run.failed);
	assert_string_equal(said, "");
	assert_int_equal(fake.starts, 1);
	assert_int_equal(fake.sockets_runs, REPEAT);
	for (unsigned i = 0; i <= CELLS; i++)
		for (unsigned r = 0; r < REPEAT; r++)
			assert_true(results[i][r].valid);
}

/* It has a reason and no figure, and its target is fresh for the next one. */
static void one_cell_fails(void **state)
{
	(void)state;
	fresh();
	fake.fails[1] = -EIO;
	assert_int_equal(go(), 0);
	assert_true(run.failed);
	assert_string_equal(cells[1].failed, "guest side: the process died");
	assert_int_equal(cells[1].failed_run, 0);
	assert_false(results[1][0].valid);
	assert_int_equal(results[1][0].messages, 0);
	assert_int_equal(fake.runs[1], 1);
	assert_int_equal(fake.starts, 2);
	assert_int_equal(fake.stops, 2);
	for (unsigned i = 0; i <= CELLS; i++)
		if (i != 1) {
			assert_string_equal(cells[i].failed, "");
			assert_true(results[i][REPEAT - 1].valid);
		}
	assert_string_equal(facts.gone[0], "");
	assert_int_equal(lines(), 2);
	assert_non_null(strstr(said, "processes work, 1 B: guest side: the process died\n"));
	assert_non_null(strstr(said, "1 of 6 cells failed: processes work, 1 B\n"));
}

/* A dead peer: no cell waits for it any more. */
static void failures_in_a_row_end_the_target(void **state)
{
	(void)state;
	fresh();
	for (unsigned i = 1; i < CELLS; i++)
		fake.fails[i] = -ETIMEDOUT;
	assert_int_equal(go(), 0);
	assert_int_equal(fake.runs[0], 1); /* it is not run in the other rounds */
	for (unsigned i = 1; i < CELLS; i++)
		assert_int_equal(fake.runs[i], i <= RUN_FAILURES);
	assert_true(results[0][0].valid);
	assert_int_equal(fake.sockets_runs, REPEAT);
	assert_non_null(strstr(facts.gone[0], "3 failures in a row"));
	assert_non_null(strstr(said, "try again when the machine is less busy"));
	assert_non_null(strstr(said, "processes: given up after 3 failures in a row\n"));
	assert_non_null(strstr(said, "3 of 6 cells failed: processes work, 1 B; "));
	assert_non_null(strstr(said, "; 2 left out, because their target was given up\n"));
}

/* One that works in between begins the count anew. */
static void failures_apart_do_not(void **state)
{
	(void)state;
	fresh();
	fake.fails[0] = fake.fails[1] = fake.fails[3] = fake.fails[4] = -EIO;
	assert_int_equal(go(), 0);
	assert_string_equal(facts.gone[0], "");
	assert_int_equal(fake.runs[2], REPEAT);
	assert_int_equal(fake.starts, 5);
	assert_int_equal(run.failed_cells, 4);
}

/* Cells 0 to 3, each of both peers in turn, in place of those of @processes. */
static int go_with_peers(void)
{
	int rc;

	for (unsigned i = 0; i <= CELLS; i++)
		cells[i].target = i < 4 ? &peers : &sockets;
	for (unsigned i = 0; i < 4; i++)
		cells[i].peer = i % 2;
	opts.npeers = 2;
	opts.targets = 1u << 1 | 1u << 2;
	strcpy(opts.peers[0].name, "a");
	strcpy(opts.peers[1].name, "b");
	rc = go();
	opts.npeers = 0;
	opts.targets = 0;
	return rc;
}

/* The cells of the other one go on, in the same processes. */
static void a_peer_that_dies_takes_no_other_along(void **state)
{
	(void)state;
	fresh();
	fake.dies = 2; /* in cell 3 */
	assert_int_equal(go_with_peers(), 0);
	assert_true(run.failed);
	assert_int_equal(fake.starts, 1);
	assert_int_equal(fake.restarts, 1);
	assert_int_equal(fake.peer_runs[0], 2 * REPEAT);
	assert_int_equal(fake.peer_runs[1], 2);
	for (unsigned i = 0; i <= CELLS; i++)
		assert_int_equal(results[i][REPEAT - 1].valid,
				 cells[i].target == &sockets || cells[i].peer == 0);
	assert_string_equal(cells[0].failed, "");
	assert_string_equal(cells[2].failed, "");
	assert_string_equal(cells[3].failed, "guest side: the process died");
	assert_string_equal(cells[1].failed, "not started again: b: nobody listens");
	assert_int_equal(cells[1].failed_run, 1);
	assert_true(results[1][0].valid); /* its first run came to its end */
	assert_int_equal(lines(), 3);
	assert_non_null(strstr(said, "vsock-bench: b: given up: not started again: b: nobody"));
	assert_non_null(strstr(said, "2 of 6 cells failed: b work, 1 B; b work, 3 B\n"));
}

static void a_peer_that_comes_back_goes_on(void **state)
{
	(void)state;
	fresh();
	fake.dies = 1;
	fake.comes_back = true;
	assert_int_equal(go_with_peers(), 0);
	assert_int_equal(fake.restarts, 1);
	assert_int_equal(run.failed_cells, 1);
	assert_int_equal(fake.peer_runs[0], 2 * REPEAT);
	assert_true(results[3][REPEAT - 1].valid);
}

static void a_target_does_not_start(void **state)
{
	(void)state;
	fresh();
	fake.start_fails_at = 1;
	assert_int_equal(go(), -ENODEV);
	assert_int_equal(fake.sockets_runs, 0); /* with nothing to compare them with */
	assert_string_equal(said, "vsock-bench: processes: no such program\n");

	fresh();
	fake.start_fails_at = 1;
	opts.targets = 3;
	assert_int_equal(go(), 0);
	opts.targets = 0;
	assert_true(run.failed);
	assert_string_equal(facts.gone[0], "no such program");
	assert_int_equal(fake.runs[0], 0);
	assert_int_equal(fake.sockets_runs, REPEAT);
	assert_string_equal(said, "vsock-bench: processes: no such program\n");
}

/* After a failure; the figures from before are kept. */
static void a_target_does_not_start_again(void **state)
{
	(void)state;
	fresh();
	fake.fails[1] = -EIO;
	fake.start_fails_at = 2;
	assert_int_equal(go(), 0);
	assert_true(results[0][0].valid);
	assert_int_equal(fake.runs[2], 0);
	assert_int_equal(fake.sockets_runs, REPEAT);
	assert_string_equal(facts.gone[0], "no such program");
	assert_non_null(strstr(said, "1 of 6 cells failed: processes work, 1 B; 4 left out"));
}

static void a_signal_ends_the_run(void **state)
{
	(void)state;
	fresh();
	fake.fails[2] = -EINTR;
	assert_int_equal(go(), -EINTR);
	assert_int_equal(fake.runs[3], 0);
	assert_int_equal(fake.sockets_runs, 0);
	assert_non_null(strstr(said, "stopped by a signal"));
	assert_string_equal(cells[2].failed, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(one_cell_fails),
		cmocka_unit_test(failures_in_a_row_end_the_target),
		cmocka_unit_test(failures_apart_do_not),
		cmocka_unit_test(a_peer_that_dies_takes_no_other_along),
		cmocka_unit_test(a_peer_that_comes_back_goes_on),
		cmocka_unit_test(a_target_does_not_start),
		cmocka_unit_test(a_target_does_not_start_again),
		cmocka_unit_test(a_signal_ends_the_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
