/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line. argp parses it, from rows of options (core/option.h): the common ones are
 * here, those of a workload or a target in its file.
 */
#include "opts.h"

#include "core/far_end.h"
#include "core/option.h"
#include "core/target.h"
#include "core/workload.h"
#include "measure/cpu.h"
#include "report/baseline.h"
#include "zvsock_types.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW_KEY 256 /* key of an option without a letter: this and its place in rows[] */

/* What the user said for himself. */
static struct {
	bool sizes, duration, tests;
} given;

/* ---- options whose value is more than a number or a name ---- */

static void parse_sizes(char *arg)
{
	struct bench_opts *o = &bench_given;
	char *save = NULL;

	o->nsizes = 0;
	given.sizes = true;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (o->nsizes == sizeof(o->sizes) / sizeof(o->sizes[0]))
			option_bad("--size takes at most 16 sizes");
		o->sizes[o->nsizes++] = option_number("size", s, 1, BENCH_MSG_MAX);
	}
	if (o->nsizes == 0)
		option_bad("--size takes numbers of bytes such as 64,4K,64K");
}

/* "throughput, rtt or connrate" */
static void workload_names(char *buf, size_t len)
{
	const char *word[64] = {NULL};

	for (unsigned i = 0; i < nworkloads; i++)
		word[i] = workloads[i]->name;
	option_join(buf, len, word, nworkloads);
}

static void parse_tests(char *arg)
{
	char *save = NULL, all[200];

	bench_given.workloads = 0;
	given.tests = true;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		unsigned i = 0;

		while (i < nworkloads && strcmp(s, workloads[i]->name) != 0)
			i++;
		if (i == nworkloads) {
			workload_names(all, sizeof(all));
			option_bad("--test takes %s, not '%s'", all, s);
		}
		bench_given.workloads |= 1ull << i;
	}
}

static void parse_seconds(char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 0.001 && v <= 3600.0))
		option_bad("--duration takes seconds from 0.001 to 3600, not '%s'", arg);
	bench_given.duration_ns = (uint64_t)(v * 1e9);
	given.duration = true;
}

static void parse_intervals(char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 0.01 && v <= 3600))
		option_bad("--intervals takes seconds from 0.01 to 3600, not '%s'", arg);
	bench_given.intervals = v;
}

static void parse_factor(char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (end == arg || *end || !(v >= 0.01 && v <= 100))
		option_bad("--factor takes a ratio from 0.01 to 100, not '%s'", arg);
	bench_given.factor = v;
}

static void parse_ring_size(char *arg)
{
	uint32_t n = option_number("ring-size", arg, 16, 32768);

	if (n & (n - 1))
		option_bad("--ring-size takes a power of two, not %u", n);
	bench_given.ring_size = n;
}

static void parse_ring(char *arg)
{
	if (!strcmp(arg, "packed"))
		bench_given.ring_flags = ZV_OPT_PACKED;
	else if (!strcmp(arg, "split"))
		bench_given.ring_flags = ZV_OPT_SPLIT;
	else
		option_bad("--ring takes split or packed, not '%s'", arg);
}

static void parse_services(char *arg)
{
	char why[200];

	if (services_parse(&bench_given, arg, why, sizeof(why)) < 0)
		option_bad("%s", why);
}

static void parse_targets(char *arg)
{
	char why[200];

	if (targets_parse(&bench_given, arg, why, sizeof(why)) < 0)
		option_bad("%s", why);
}

static void parse_paths(char *arg)
{
	char why[200];

	if (paths_parse(&bench_given, arg, why, sizeof(why)) < 0)
		option_bad("%s", why);
}

/* ---- the rows ---- */

static char test_help[280];

#define NUMBER(field, lo, hi)                                                                      \
	.kind = OPTION_NUMBER, .value = &bench_given.field, .min = (lo), .max = (hi)
#define CHOICE(field, table) .kind = OPTION_CHOICE, .value = &bench_given.field, .names = &(table)
#define ON(field)	     .kind = OPTION_ON, .value = &bench_given.field
#define OFF(field)	     .kind = OPTION_OFF, .value = &bench_given.field
#define TEXT(field)	     .kind = OPTION_TEXT, .value = &bench_given.field
#define CALL(function)	     .kind = OPTION_CALL, .call = (function)

static const struct bench_option common[] = {
	{"queues", 'q', "N", OPTIONS_DEVICE,
	 "Queue pairs of the device, each with connections of its own (1)",
	 NUMBER(queues, 1, BENCH_QUEUES_MAX)},
	{"threads", 't', "N", OPTIONS_DEVICE,
	 "Threads on each side; one may own several queues (1)",
	 NUMBER(threads, 1, BENCH_QUEUES_MAX)},
	{"cpus", 0, "WHERE", OPTIONS_DEVICE,
	 "1cpu: both sides on one CPU; 2cpu: one each; free: not pinned "
	 "(2cpu; 1cpu on a machine with one CPU)",
	 CHOICE(cpus, cpus_names)},
	{"busy-poll", 0, NULL, OPTIONS_DEVICE, "zvsock never sleeps (default: adaptive)",
	 ON(busy_poll)},
	{"sleep", 0, NULL, OPTIONS_DEVICE,
	 "zvsock sleeps at once, and the raw round trip is one of eventfds", ON(sleep)},
	{"rx-buf", 0, "BYTES", OPTIONS_DEVICE, "Payload bytes of a guest receive buffer (64K)",
	 NUMBER(rx_buf, 64, 1u << 20)},
	{"tx-buf", 0, "BYTES", OPTIONS_DEVICE, "Payload bytes of a guest transmit buffer (64K)",
	 NUMBER(tx_buf, 64, 1u << 20)},
	{"ring-size", 0, "N", OPTIONS_DEVICE, "Descriptors of a ring (256)", CALL(parse_ring_size)},
	{"ring", 0, "LAYOUT", OPTIONS_DEVICE,
	 "split or packed virtqueues (what the library prefers)", CALL(parse_ring)},
	{"buf-alloc", 0, "BYTES", OPTIONS_DEVICE, "Receive credit of a connection (4M)",
	 NUMBER(buf_alloc, 64, 1u << 30)},

	{"test", 'T', "TEST", OPTIONS_TEST, test_help, CALL(parse_tests)},
	{"size", 's', "BYTES", OPTIONS_TEST,
	 "Message sizes, several with commas; the first one is used for rtt (64,4K,64K)",
	 CALL(parse_sizes)},
	{"direction", 'd', "DIR", OPTIONS_TEST, "g2h, h2g or both (both)", CHOICE(dir, dir_names)},
	{"type", 0, "TYPE", OPTIONS_TEST, "stream or seqpacket (stream)", CHOICE(type, type_names)},
	{"zero-copy", 0, NULL, OPTIONS_TEST, "Only the zero-copy calls", ON(zero_copy)},
	{"copy", 0, NULL, OPTIONS_TEST, "Only the copying calls", ON(copy)},
	{"registered", 0, NULL, OPTIONS_TEST,
	 "Also guest to host from memory that the program has registered", ON(registered)},
	{"batch", 0, "N", OPTIONS_TEST, "Maximum messages per call, 1 to 256 (32)",
	 NUMBER(batch, 1, BENCH_BATCH_MAX)},
	{"no-touch", 0, NULL, OPTIONS_TEST, "By reference: payload is neither written nor verified",
	 OFF(touch)},
	{"duration", 'D', "SECONDS", OPTIONS_TEST, "Time of one run of one cell (0.25)",
	 CALL(parse_seconds)},
	{"repeat", 'r', "N", OPTIONS_TEST, "Runs of each cell, interleaved (5)",
	 NUMBER(repeat, 1, 1000)},
	{"no-baselines", 0, NULL, OPTIONS_TEST, "No AF_UNIX, TCP and raw limits", OFF(baselines)},

	{"target", 0, "LIST", OPTIONS_RUN,
	 "Measure these targets, separated by commas, or all; unavailable ones are listed with the "
	 "reason",
	 CALL(parse_targets)},
	{"path", 0, "PATH", OPTIONS_RUN,
	 "Which of zvsock's paths: virtqueue, channel or relay; several with commas (all of them)",
	 CALL(parse_paths)},
	{"list-targets", 0, NULL, OPTIONS_RUN,
	 "What --target can name, which of it this machine has, and how to get the others",
	 ON(list_targets)},
	{"json", 0, "FILE", OPTIONS_RUN,
	 "Every run as JSON; - for standard output, without the table", TEXT(json)},
	{"intervals", 'i', "SECONDS", OPTIONS_RUN,
	 "A line every SECONDS of a transfer, as iperf3 prints them", CALL(parse_intervals)},
	{"iperf-json", 0, NULL, OPTIONS_RUN,
	 "One transfer, reported as by iperf3 -J instead of the table (10 s of 128K to the host)",
	 ON(iperf)},
	{"baseline", 0, "FILE", OPTIONS_RUN,
	 "Compare with the report of an earlier run (--json): ratios, and exit code 1 when one is "
	 "below --factor",
	 TEXT(baseline)},
	{"factor", 0, "RATIO", OPTIONS_RUN, "Lowest ratio allowed with --baseline (0.8)",
	 CALL(parse_factor)},
	{"server", 0, "URI", OPTIONS_RUN, "Only serve tests, on this device", TEXT(server_uri)},
	{"client", 0, "URI", OPTIONS_RUN,
	 "Only run tests, on this device, against a vsock-bench --server", TEXT(client_uri)},
	{"services", 0, "LIST", OPTIONS_RUN,
	 "The far end of --client is zvsockd's builtin services on these ports, such as "
	 "echo:7,discard:9,source:19, and no --server",
	 CALL(parse_services)},
};

static const struct bench_option **rows;
static struct argp_option *argp_rows; /* the same, --help and the end */
static unsigned nrows;

static void add_rows(const struct bench_options *options)
{
	for (unsigned i = 0; i < options->n; i++, nrows++) {
		const struct bench_option *r = rows[nrows] = &options->row[i];

		argp_rows[nrows] = (struct argp_option){
			r->name,      r->key ? r->key : ROW_KEY + (int)nrows, r->arg, 0, r->help,
			(int)r->group};
	}
}

static void collect_rows(void)
{
	const struct bench_options ours = BENCH_OPTIONS(common);
	unsigned n = ours.n;

	for (unsigned i = 0; i < nworkloads; i++)
		n += workloads[i]->options.n;
	for (unsigned i = 0; i < ntargets; i++)
		n += targets[i]->options.n;
	rows = calloc(n, sizeof(*rows));
	argp_rows = calloc(n + 2, sizeof(*argp_rows));
	if (!rows || !argp_rows)
		option_bad("no memory for the options");
	add_rows(&ours);
	for (unsigned i = 0; i < nworkloads; i++)
		add_rows(&workloads[i]->options);
	for (unsigned i = 0; i < ntargets; i++)
		add_rows(&targets[i]->options);
	argp_rows[nrows] = (struct argp_option){"help", 'h', NULL, 0, "This text", -1};
}

/* "throughput, rtt or connrate; several with commas (throughput,rtt)" */
static void write_test_help(void)
{
	char all[120], usual[120] = "";

	workload_names(all, sizeof(all));
	for (unsigned i = 0; i < nworkloads; i++)
		if (workloads[i]->by_default)
			snprintf(usual + strlen(usual), sizeof(usual) - strlen(usual), "%s%s",
				 usual[0] ? "," : "", workloads[i]->name);
	snprintf(test_help, sizeof(test_help), "%s; several with commas (%s)", all, usual);
}

/* ---- argp ---- */

static const char doc[] =
	"Measures zvsock between two processes over DPDK vhost-user virtqueues, every byte "
	"verified, beside AF_UNIX, TCP loopback and the raw limits of the machine in the same run."
	"\v"
	"Commands:\n"
	"  compare     all that this machine has beside zvsock, as a report with figures; --help\n"
	"  cost        instructions of a message over connections and queues; --help\n"
	"\n"
	"Examples:\n"
	"  vsock-bench                                everything, two minutes\n"
	"  vsock-bench --queues 4                     four queue pairs, one thread a side\n"
	"  vsock-bench --busy-poll --cpus 2cpu        the fastest: both sides spin\n"
	"  vsock-bench --test throughput --size 64K --direction h2g --duration 5\n"
	"  vsock-bench --test rtt --cpus 1cpu         everything on one CPU\n"
	"  vsock-bench --test idle --conns 10000 --duration 5\n"
	"  vsock-bench --test fairness --cpus 2cpu    what one connection does to the others\n"
	"  vsock-bench --json - | jq '.runs[] | {target,test,msg_size,gbit_per_s}'\n"
	"  vsock-bench --peer name=zvsockd,vhost-user:vm0.sock,uds=vm0.vsock \\\n"
	"              --peer name=other,vhost-user:o.sock,uds=o.vsock --rx-buf 4K --size 64\n"
	"  In two terminals:\n"
	"  vsock-bench --server host:/tmp/zv.sock,cid=3\n"
	"  vsock-bench --client vhost-user:/tmp/zv.sock\n"
	"  In a guest, its kernel's driver against zvsockd with builtin = echo:7, discard:9:\n"
	"  vsock-bench --client af_vsock:2 --services echo:7,discard:9 --direction g2h\n"
	"\n"
	"Exit code: 0; 1 when something failed or a byte was wrong; 2 for a wrong option.";

/* The part of --help behind the options begins with the tests. */
static char *help_filter(int key, const char *text, void *input)
{
	char *all = NULL;
	size_t len;
	FILE *f;

	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC || !text || !(f = open_memstream(&all, &len)))
		return (char *)text;
	fputs("Tests:\n", f);
	for (unsigned i = 0; i < nworkloads; i++)
		fprintf(f, "  %-11s %s\n", workloads[i]->name, workloads[i]->help);
	fprintf(f, "\n%s", text);
	return fclose(f) == 0 ? all : (char *)text;
}

static error_t parse_opt(int key, char *arg, struct argp_state *state);
static struct argp argp = {NULL, parse_opt, NULL, doc, NULL, help_filter, NULL};

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'h':
		argp_help(&argp, stdout, ARGP_HELP_STD_HELP, state->argv[0]);
		exit(0);
	case ARGP_KEY_ERROR:
		/* Only getopt's own: everything else has ended in option_bad(). */
		option_bad("unknown option, or one without its value: '%s'; --help shows what "
			   "there is",
			   state->argv[state->next > 1 ? state->next - 1 : 0]);
	case ARGP_KEY_ARG:
		option_bad("unexpected argument '%s'; --help shows what there is", arg);
	default:
		break;
	}
	for (unsigned i = 0; i < nrows; i++)
		if (argp_rows[i].key == key) {
			option_set(rows[i], arg);
			return 0;
		}
	return ARGP_ERR_UNKNOWN;
}

/* ---- one transfer, as iperf3 has it ---- */

static unsigned throughput_index(void)
{
	unsigned i = 0;

	while (strcmp(workloads[i]->name, "throughput") != 0)
		i++;
	return i;
}

/* What is left open is iperf3's own default. */
static void complete_iperf(struct bench_opts *o)
{
	if (o->json)
		option_bad("--iperf-json and --json are two forms of one report: give one of them");
	if (o->workloads & ~(1ull << throughput_index()) && given.tests)
		option_bad("--iperf-json is of --test throughput");
	o->workloads = 1ull << throughput_index();
	if (!given.sizes)
		o->sizes[0] = 131072;
	o->nsizes = 1;
	if (!given.duration)
		o->duration_ns = 10000000000ull;
	if (o->dir == DIR_BOTH)
		o->dir = DIR_G2H;
	o->copy |= !o->zero_copy;
	o->zero_copy &= !o->copy;
	o->intervals = o->intervals > 0 ? o->intervals : 1;
	o->repeat = 1;
	o->baselines = false;
	if (!o->targets && !o->paths) /* the first of the table is zvsock by its rings */
		o->paths = 1;
}

/* ---- do they fit together? ---- */

static void check_common(const struct bench_opts *o)
{
	if (o->server_uri && o->client_uri)
		option_bad("--server and --client are two processes: give one of them here");
	if (o->targets && (o->server_uri || o->client_uri))
		option_bad("--target measures within this machine: not with --server or --client");
	if (o->threads > o->queues)
		option_bad("%u threads cannot share %u queue%s: --threads is at most --queues",
			   o->threads, o->queues, o->queues == 1 ? "" : "s");
	if (o->cpus == CPUS_2 && cpu_count() < 2)
		option_bad("--cpus 2cpu needs two CPUs, this process may use %u", cpu_count());
}

static void check_own(const struct bench_opts *o)
{
	char why[200] = "";

	if (services_check(o, why, sizeof(why)) < 0)
		option_bad("%s", why);
	for (unsigned i = 0; i < nworkloads; i++)
		if (o->workloads >> i & 1 && workloads[i]->check &&
		    workloads[i]->check(o, why, sizeof(why)) < 0)
			option_bad("%s", why);
	for (unsigned i = 0; i < ntargets; i++)
		if (targets[i]->check && targets[i]->check(o, why, sizeof(why)) < 0)
			option_bad("%s", why);
}

const struct bench_opts *opts_parse(int argc, char **argv)
{
	struct bench_opts *o = &bench_given;

	*o = (struct bench_opts){.queues = 1,
				 .threads = 1,
				 .repeat = 5,
				 .batch = 32,
				 .buf_alloc = 4u << 20,
				 .sizes = {64, 4096, 65536},
				 .nsizes = 3,
				 .dir = DIR_BOTH,
				 .cpus = cpu_count() >= 2 ? CPUS_2 : CPUS_1,
				 .touch = true,
				 .baselines = true,
				 .factor = BASELINE_FACTOR,
				 .duration_ns = 250000000};
	for (unsigned i = 0; i < nworkloads; i++)
		o->workloads |= (uint64_t)workloads[i]->by_default << i;
	collect_rows();
	write_test_help();
	argp.options = argp_rows;
	/* argp's own messages take two lines, and its own help falls silent without them. */
	argv[0] = (char[]){"vsock-bench"};
	argp_parse(&argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, NULL);
	for (unsigned i = 0; i < ntargets; i++)
		if (targets[i]->prepare)
			targets[i]->prepare(o);
	if (o->list_targets) {
		targets_list(stdout, o);
		exit(0);
	}
	if (o->iperf)
		complete_iperf(o);
	if (!o->zero_copy && !o->copy)
		o->zero_copy = o->copy = true;
	check_common(o);
	check_own(o);
	if (o->client_uri)
		o->baselines = false;
	return o;
}
