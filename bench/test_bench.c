/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of the bench's own checks: a benchmark that does not detect a wrong byte proves nothing. */
#include "io/peer/peer.h"
#include "measure/cpu.h"
#include "measure/hist.h"
#include "measure/pattern.h"
#include "report/busy.h"
#include "report/stats.h"
#include "target/peer_opts.h"
#include "target/targets.h"
#include "workload/workloads.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SALT 0x1234567u

/* The definition in pattern.h, a byte at a time. */
static unsigned char byte_at(uint64_t seq, size_t off)
{
	uint64_t w = SALT + seq * PATTERN_SEQ + (off / 8) * PATTERN_WORD;

	return (unsigned char)(w >> (8 * (off % 8)));
}

static void pattern_is_as_defined(void **state)
{
	unsigned char buf[512];

	(void)state;
	srand(1);
	for (int round = 0; round < 20000; round++) {
		size_t len = (size_t)rand() % 300, off = (size_t)rand() % 100;
		size_t at = 16 + (size_t)rand() % 64;
		uint64_t seq = (uint64_t)rand() << 33 | (uint64_t)rand();

		if (round % 4 == 0) {
			len = 64;
			off = 0;
		}
		memset(buf, 0xee, sizeof(buf));
		pattern_fill(buf + at, len, SALT, seq, off);
		assert_int_equal(buf[at - 1], 0xee);
		assert_int_equal(buf[at + len], 0xee);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf[at + i], byte_at(seq, off + i));
		assert_true(pattern_check(buf + at, len, SALT, seq, off));
	}
}

static void pattern_sees_every_wrong_bit(void **state)
{
	static const size_t lens[] = {1, 7, 8, 63, 64, 65, 200};
	unsigned char buf[256];

	(void)state;
	for (unsigned l = 0; l < sizeof(lens) / sizeof(lens[0]); l++) {
		pattern_fill(buf, lens[l], SALT, 77, 0);
		for (size_t bit = 0; bit < lens[l] * 8; bit++) {
			buf[bit / 8] ^= (unsigned char)(1u << (bit % 8));
			assert_false(pattern_check(buf, lens[l], SALT, 77, 0));
			buf[bit / 8] ^= (unsigned char)(1u << (bit % 8));
		}
		assert_true(pattern_check(buf, lens[l], SALT, 77, 0));
	}
}

static void pattern_sees_another_message(void **state)
{
	unsigned char buf[64];

	(void)state;
	pattern_fill(buf, 64, SALT, 1000, 0);
	for (uint64_t seq = 0; seq < 100000; seq++)
		assert_true(pattern_check(buf, 64, SALT, seq, 0) == (seq == 1000));
	assert_false(pattern_check(buf, 64, SALT + 1, 1000, 0)); /* another connection's */
	assert_false(pattern_check(buf, 56, SALT, 1000, 8));	 /* shifted */
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void hist_is_within_a_percent(void **state)
{
	static const double qs[] = {0.5, 0.99, 0.999, 1.0};
	const size_t n = 20000;
	struct hist *h = calloc(1, sizeof(*h));
	uint64_t *v = calloc(n, sizeof(*v));

	(void)state;
	assert_non_null(h);
	assert_non_null(v);
	srand(2);
	for (int scale = 4; scale < 40; scale += 4) {
		hist_reset(h);
		for (size_t i = 0; i < n; i++) {
			v[i] = ((uint64_t)rand() << 20 ^ (uint64_t)rand()) & ((1ull << scale) - 1);
			hist_add(h, v[i]);
		}
		qsort(v, n, sizeof(*v), by_value);
		for (unsigned k = 0; k < 4; k++) {
			uint64_t exact = v[(size_t)(qs[k] * (double)n + 0.5) - 1];
			uint64_t got = hist_quantile(h, qs[k]);

			assert_true(got >= exact);
			assert_true(got - exact <= exact / 100);
		}
		assert_int_equal(h->max, v[n - 1]);
	}
	hist_reset(h);
	hist_add(h, UINT64_MAX);
	assert_true(hist_quantile(h, 0.5) == UINT64_MAX);
	free(v);
	free(h);
}

static void a_lost_message_is_an_error(void **state)
{
	struct side_stats tx = {.msgs = {10, 20}}, rx = {.msgs = {10, 19}, .last_ns = 5};
	struct bench_result res = {0};

	(void)state;
	result_from_sides(&res, &tx, &rx, 2);
	assert_int_equal(res.errors, 1);
	assert_int_equal(res.messages, 29);
	rx.msgs[1] = 20;
	rx.errors = 3;
	result_from_sides(&res, &tx, &rx, 2);
	assert_int_equal(res.errors, 3);
	assert_int_equal(res.messages, 30);
}

/* ---- --peer ---- */

static const char *const good_peers[] = {
	"vhost-user:/run/a.sock,uds=/run/a.vsock",
	"name=other,vhost-user:/run/a.sock,uds=/run/a.vsock",
	"uds=/run/a.vsock,name=other,vhost-user:/run/a.sock", /* in any order */
};

static void peers_are_read(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(good_peers) / sizeof(good_peers[0]); i++) {
		struct bench_peer p;
		char why[200] = "";

		assert_int_equal(peer_parse(&p, good_peers[i], 1, why, sizeof(why)), 0);
		assert_string_equal(p.uri, "vhost-user:/run/a.sock");
		assert_string_equal(p.uds, "/run/a.vsock");
		assert_string_equal(p.name, i ? "other" : "peer2");
	}
}

#define PATH_50 "/123456789/123456789/123456789/123456789/123456789"

static const struct {
	const char *arg, *says;
} bad_peers[] = {
	{"", "'' is no part"},
	{"vhost-user:/a", "no uds=PATH"},
	{"uds=/a", "no vhost-user:PATH"},
	{"vhost-user:/a,uds=/b,", "'' is no part"},
	{"vhost-user:,uds=/b", "'vhost-user:' is no part"},
	{"vhost-user:/a,uds=", "'uds=' is no part"},
	{"vhost-user:/a,uds=/b,uds=/c", "'uds=/c' is no part"},
	{"vhost-user:/a,vhost-user:/b,uds=/c", "there twice"},
	{"host:/a,uds=/b", "'host:/a' is no part"},
	{"name=,vhost-user:/a,uds=/b", "'name=' is no part"},
	{"name=a b,vhost-user:/a,uds=/b", "not 'a b'"},
	{"name=a-name-that-is-far-too-long,vhost-user:/a,uds=/b", "at most 23"},
	{"vhost-user:" PATH_50 PATH_50 PATH_50 ",uds=/b", "does not fit"},
	{"vhost-user:/a,uds=" PATH_50 PATH_50 "/12", "does not fit"}, /* without _5200 it does */
};

static void bad_peers_are_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(bad_peers) / sizeof(bad_peers[0]); i++) {
		struct bench_peer p;
		char why[200] = "";

		assert_int_equal(peer_parse(&p, bad_peers[i].arg, 0, why, sizeof(why)), -EINVAL);
		if (!strstr(why, bad_peers[i].says))
			fail_msg("'%s': '%s' has no '%s'", bad_peers[i].arg, why,
				 bad_peers[i].says);
	}
}

/* A child with a second thread stands for the backend: it is moved, and gets its CPUs back. */
static void *sleeper(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static int backend(int fd, void *arg)
{
	pthread_t tid;
	char c;

	(void)arg;
	if (pthread_create(&tid, NULL, sleeper, NULL) != 0)
		return 1;
	proc_child_send(fd, 'r');
	proc_child_wait(fd, &c);
	return 0;
}

static void a_backend_gets_its_cpus_back(void **state)
{
	cpu_set_t before, now;
	struct peer_daemon d;
	struct proc p;
	uint64_t cpu;
	char c = 0;
	int first = 0;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	while (!CPU_ISSET(first, &before))
		first++;
	assert_int_equal(proc_spawn(&p, "backend", backend, NULL), 0);
	assert_int_equal(proc_recv(&p, &c, 1, cpu_now_ns() + 30000000000ull), 1);
	peer_daemon_init(&d, p.pid);
	cpu = peer_daemon_cpu_ns(&d);
	assert_true(cpu > 0);
	assert_int_equal(peer_daemon_pin(&d, first), 0);
	assert_int_equal(d.ntasks, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sched_getaffinity(d.task[i].tid, sizeof(now), &now), 0);
		assert_int_equal(CPU_COUNT(&now), 1);
		assert_true(CPU_ISSET(first, &now));
	}
	peer_daemon_unpin(&d);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(sched_getaffinity(d.task[i].tid, sizeof(now), &now), 0);
		assert_true(CPU_EQUAL(&now, &before));
	}
	proc_kill(&p);
	assert_int_equal(peer_daemon_pin(&d, first), -ENOENT); /* it is gone */
	peer_daemon_init(&d, 0);
	assert_int_equal(peer_daemon_cpu_ns(&d), 0);
	assert_int_equal(peer_daemon_pin(&d, first), -ESRCH);
}

/* Two cells of two runs: one spins and may be short of its CPU, one does not. */
static void a_busy_machine_is_told(void **state)
{
	struct bench_result fine = {.valid = true, .messages = 1000, .elapsed_ns = 100};
	struct bench_result res[2][2];
	struct bench_cell cells[2] = {{.target = &target_raw,
				       .workload = &workload_throughput,
				       .dir = DIR_G2H,
				       .res = res[0]},
				      {.target = &target_af_unix,
				       .workload = &workload_throughput,
				       .dir = DIR_H2G,
				       .res = res[1]}};
	struct bench_plan plan = {.cells = cells, .n = 2};
	struct bench_opts o = {.repeat = 2, .threads = 1, .cpus = CPUS_2};
	struct busy b;
	char text[512] = "";
	FILE *f = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_non_null(f);
	fine.cpu_ns[ROLE_GUEST] = fine.cpu_ns[ROLE_HOST] = 81;
	for (int i = 0; i < 4; i++)
		res[i / 2][i % 2] = fine;
	res[1][0].cpu_ns[ROLE_HOST] = 1; /* sleeps: no matter */
	busy_check(&b, &plan, &o, 2);
	assert_int_equal(b.runs, 2);
	assert_int_equal(b.short_runs, 0);
	assert_int_equal(b.cells, 2);
	assert_int_equal(b.apart, 0);
	busy_warn(f, &b);
	fflush(f);
	assert_string_equal(text, "");

	res[0][1].cpu_ns[ROLE_HOST] = 40;
	res[1][1].messages = 2100;
	busy_check(&b, &plan, &o, 2);
	assert_int_equal(b.short_runs, 1);
	assert_ptr_equal(b.least_cell, &cells[0]);
	assert_int_equal(b.apart, 1);
	assert_ptr_equal(b.widest_cell, &cells[1]);
	busy_warn(f, &b);
	fclose(f);
	assert_non_null(strstr(text, "in 1 of 2 runs a side that spins got less than 80 % of its "
				     "CPU (least: 40 %, raw throughput g2h"));
	assert_non_null(strstr(text, "in 1 of 2 rows the best run is more than 2 times the worst "
				     "(most: 2.1 times, AF_UNIX throughput h2g"));

	/* Where they must share a CPU, nothing follows from that. */
	o.cpus = CPUS_1;
	busy_check(&b, &plan, &o, 2);
	assert_int_equal(b.runs, 0);
	o.cpus = CPUS_2;
	busy_check(&b, &plan, &o, 1);
	assert_int_equal(b.runs, 0);
}

/* The middle of a fairness run may pass without us: NAN would spoil the order of the others. */
static double m_own(const struct bench_result *r)
{
	return r->own[0];
}

static void a_run_without_the_figure_is_left_out(void **state)
{
	struct bench_result res[3] = {{.valid = true, .own = {3}},
				      {.valid = true, .own = {NAN}},
				      {.valid = true, .own = {1}}};
	struct bench_result none[3] = {{.valid = true, .own = {NAN}}};
	struct bench_cell c = {.res = res}, n = {.res = none};
	struct bench_opts o = {.repeat = 3};
	struct spread s = cell_spread(&c, 3, m_own);
	char text[16];

	(void)state;
	assert_int_equal(s.n, 2);
	assert_true(s.min == 1 && s.med == 2 && s.max == 3);
	assert_string_equal(med_text(text, sizeof(text), &c, 3, m_own, 1), "2.0");
	assert_string_equal(med_text(text, sizeof(text), &n, 3, m_own, 1), "-");
	assert_string_equal(ratio_text(text, sizeof(text), &o, &c, &n, m_own), "-");
	assert_string_equal(ratio_text(text, sizeof(text), &o, &n, &c, m_own), "-");
}

/* ---- what is described ---- */

/* A workload or target that lacks a part would crash, or be found by nobody. */
static void descriptors_are_complete(void **state)
{
	(void)state;
	for (unsigned i = 0; i < nworkloads; i++) {
		const struct workload *wl = workloads[i];

		assert_non_null(wl->name);
		assert_non_null(wl->help);
		assert_non_null(wl->plan);
		assert_non_null(wl->json);
		assert_true(workload_can(wl, IO_ZV) || workload_can(wl, IO_PEER));
		assert_true(!workload_can(wl, IO_ZV) || (wl->table.head && wl->table.row));
		assert_true(!wl->zv.threads || !(wl->zv.warm || wl->zv.open || wl->zv.close));
		assert_true(!wl->socket.guest == !wl->socket.host);
		/* A client of sockets tells its far end what to do by a part. */
		for (unsigned d = DIR_G2H, n = 0; d <= DIR_BOTH; d++) {
			n += wl->far[d] != FAR_OWN;
			assert_true(!workload_can(wl, IO_CLIENT) || d < DIR_BOTH || n > 0);
		}
		assert_true(!wl->raw.guest == !wl->raw.host);
		assert_true(!wl->ring.guest == !wl->ring.host);
		assert_true(!wl->peer.guest == !wl->peer.host);
		if (workload_can(wl, IO_PEER)) {
			assert_true(wl->peer.port != 0);
			assert_true(wl->peer_table.head && wl->peer_table.row);
		}
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(wl->name, workloads[k]->name);
	}
	for (unsigned i = 0; i < ntargets; i++) {
		const struct target *t = targets[i];

		assert_true(t->name && t->path && t->label && t->brief && t->about);
		assert_non_null(t->run);
		/* What a machine may lack can be got. */
		assert_true(!t->missing || t->get);
		assert_true(!t->start == !t->stop);
		assert_true(!t->is_device || t->serve);
		/* What is measured heads the report; what it is compared with has a column. */
		assert_true(!t->absent || t->ratio || (t->print_run && t->print_foot));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(target_id(t), target_id(targets[k]));
	}
}

/* Without --target the usual ones; with it those that it names, whatever else is there. */
static void targets_are_chosen(void **state)
{
	struct bench_opts o = {.queues = 2, .baselines = true, .nsizes = 1, .sizes = {64}};
	char all[] = "all", two[] = "af_unix,vhost-kernel", none[] = "", bad[] = "tcp,af_unx";
	char path[] = "channel", paths[] = "virtqueue,relay", no_path[] = "", bad_path[] = "tcp";
	char why[200] = "";

	(void)state;
	assert_null(target_absent(&target_zvsock, &o));
	assert_null(target_absent(&target_tcp, &o));
	assert_string_equal(target_absent(&target_vsock_loopback, &o),
			    "measured with --target only");
	assert_ptr_equal(target_measured(&o), &target_zvsock);

	assert_int_equal(targets_parse(&o, two, why, sizeof(why)), 0);
	assert_string_equal(target_absent(&target_zvsock, &o), "not in --target");
	assert_null(target_absent(&target_af_unix, &o));
	/* One queue is all that it has, on any machine. */
	assert_non_null(target_absent(&target_vhost_kernel, &o));
	assert_null(target_measured(&o));

	assert_int_equal(targets_parse(&o, all, why, sizeof(why)), 0);
	assert_int_equal(o.targets, (1ull << ntargets) - 1);
	o.paths = 0;
	assert_int_equal(paths_parse(&o, path, why, sizeof(why)), 0);
	assert_string_equal(target_absent(&target_zvsock, &o), "not in --path");
	assert_string_equal(target_absent(&target_zvsock_relay, &o), "not in --path");
	assert_ptr_equal(target_measured(&o), &target_zvsock_channel);
	assert_null(target_absent(&target_tcp, &o));
	assert_int_equal(paths_parse(&o, paths, why, sizeof(why)), 0);
	assert_null(target_absent(&target_zvsock, &o));
	assert_int_equal(paths_parse(&o, no_path, why, sizeof(why)), -EINVAL);
	assert_int_equal(paths_parse(&o, bad_path, why, sizeof(why)), -EINVAL);
	o.paths = 0;
	assert_int_equal(targets_parse(&o, none, why, sizeof(why)), -EINVAL);
	assert_int_equal(targets_parse(&o, bad, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "af_unx"));
}

/* Ratios to zvsock's own cells are of the same direction and calls; sockets have one of either. */
static void ratios_are_to_the_same_calls(void **state)
{
	struct bench_cell cells[] = {
		{.workload = workloads[0], .target = &target_zvsock, .dir = DIR_H2G},
		{.workload = workloads[0], .target = &target_tcp, .dir = DIR_G2H},
		{.workload = workloads[0], .target = &target_zvsock_beside, .dir = DIR_G2H},
		{.workload = workloads[0],
		 .target = &target_zvsock_beside,
		 .dir = DIR_H2G,
		 .zero_copy = true},
		{.workload = workloads[0], .target = &target_zvsock_beside, .dir = DIR_H2G},
	};
	const struct bench_plan p = {cells, sizeof(cells) / sizeof(cells[0]), 0};

	(void)state;
	assert_ptr_equal(plan_beside(&p, &cells[0], &target_tcp), &cells[1]);
	assert_ptr_equal(plan_beside(&p, &cells[0], &target_zvsock_beside), &cells[4]);
	cells[0].dir = DIR_BOTH;
	assert_null(plan_beside(&p, &cells[0], &target_zvsock_beside));
}

/* The server finds a role by its name or by its port. */
static void roles_are_told_apart(void **state)
{
	const struct zv_role *all[64];
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < nworkloads; i++)
		for (const struct zv_role *const *r = workloads[i]->zv.roles; r && *r; r++) {
			assert_in_range(n, 0, 63);
			all[n++] = *r;
		}
	for (unsigned i = 0; i < n; i++) {
		assert_non_null(all[i]->event);
		assert_true(all[i]->port || all[i]->name[0]);
		assert_in_range(strlen(all[i]->name), 0, sizeof(((struct wire_msg *)0)->role) - 1);
		assert_int_not_equal(all[i]->port, BENCH_PORT_STREAM);
		assert_int_not_equal(all[i]->port, BENCH_PORT_SEQ);
		for (unsigned k = 0; k < i; k++) {
			assert_true(!all[i]->port || all[i]->port != all[k]->port);
			assert_true(all[i]->port || strcmp(all[i]->name, all[k]->name) != 0);
		}
	}
}

/* Two options of one name or letter: argp would take the first, always. */
static void options_are_told_apart(void **state)
{
	const char *seen[64];
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < nworkloads + ntargets; i++) {
		const struct bench_options *o =
			i < nworkloads ? &workloads[i]->options : &targets[i - nworkloads]->options;

		for (unsigned k = 0; k < o->n; k++) {
			assert_in_range(n, 0, 63);
			assert_non_null(o->row[k].help);
			assert_true(o->row[k].kind == OPTION_CALL ? o->row[k].call != NULL
								  : o->row[k].value != NULL);
			for (unsigned j = 0; j < n; j++)
				assert_string_not_equal(o->row[k].name, seen[j]);
			seen[n++] = o->row[k].name;
		}
	}
	assert_true(n > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pattern_is_as_defined),
		cmocka_unit_test(pattern_sees_every_wrong_bit),
		cmocka_unit_test(pattern_sees_another_message),
		cmocka_unit_test(hist_is_within_a_percent),
		cmocka_unit_test(a_lost_message_is_an_error),
		cmocka_unit_test(peers_are_read),
		cmocka_unit_test(bad_peers_are_refused),
		cmocka_unit_test(a_backend_gets_its_cpus_back),
		cmocka_unit_test(a_busy_machine_is_told),
		cmocka_unit_test(a_run_without_the_figure_is_left_out),
		cmocka_unit_test(descriptors_are_complete),
		cmocka_unit_test(targets_are_chosen),
		cmocka_unit_test(ratios_are_to_the_same_calls),
		cmocka_unit_test(roles_are_told_apart),
		cmocka_unit_test(options_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
