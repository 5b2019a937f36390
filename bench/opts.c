/* SPDX-License-Identifier: BSD-3-Clause */
#include "opts.h"

#include "io/peer.h"
#include "io/zv_side.h"
#include "measure/cpu.h"

#include <argp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPT_ZERO_COPY = 256,
	OPT_COPY,
	OPT_BUSY_POLL,
	OPT_CPUS,
	OPT_BATCH,
	OPT_RX_BUF,
	OPT_RING_SIZE,
	OPT_BUF_ALLOC,
	OPT_JSON,
	OPT_NO_TOUCH,
	OPT_NO_BASELINES,
	OPT_SERVER,
	OPT_CLIENT,
	OPT_TYPE,
	OPT_CONNS,
	OPT_PEER,
	OPT_BACKEND,
};

static const struct argp_option options[] = {
	{"queues", 'q', "N", 0, "Queue pairs of the device, each with connections of its own (1)",
	 1},
	{"threads", 't', "N", 0, "Threads on each side; one may own several queues (1)", 1},
	{"cpus", OPT_CPUS, "WHERE", 0,
	 "1cpu: both sides on one CPU; 2cpu: one each; free: not pinned "
	 "(2cpu where there are two, else 1cpu)",
	 1},
	{"busy-poll", OPT_BUSY_POLL, NULL, 0, "zvsock never sleeps (default: adaptive)", 1},
	{"rx-buf", OPT_RX_BUF, "BYTES", 0, "Payload bytes of a guest receive buffer (64K)", 1},
	{"ring-size", OPT_RING_SIZE, "N", 0, "Descriptors of a ring (256)", 1},
	{"buf-alloc", OPT_BUF_ALLOC, "BYTES", 0, "Receive credit of a connection (4M)", 1},

	{"test", 'T', "TEST", 0,
	 "throughput, rtt, connrate, idle or fairness; several with commas (the first three)", 2},
	{"size", 's', "BYTES", 0,
	 "Message sizes, several with commas; the first one is used for rtt (64,4K,64K)", 2},
	{"direction", 'd', "DIR", 0, "g2h, h2g or both (both)", 2},
	{"type", OPT_TYPE, "TYPE", 0, "stream or seqpacket (stream)", 2},
	{"zero-copy", OPT_ZERO_COPY, NULL, 0, "Only the zero-copy calls", 2},
	{"copy", OPT_COPY, NULL, 0, "Only the copying calls", 2},
	{"batch", OPT_BATCH, "N", 0, "Most messages of one call, 1 to 256 (32)", 2},
	{"no-touch", OPT_NO_TOUCH, NULL, 0, "By reference: payload is neither written nor verified",
	 2},
	{"conns", OPT_CONNS, "N", 0, "Open connections of --test idle (1000)", 2},
	{"duration", 'D', "SECONDS", 0, "Time of one run of one cell (0.25)", 2},
	{"repeat", 'r', "N", 0, "Runs of each cell, interleaved (5)", 2},
	{"no-baselines", OPT_NO_BASELINES, NULL, 0, "No AF_UNIX, TCP and raw limits", 2},

	{"json", OPT_JSON, "FILE", 0, "Every run as JSON; - for standard output, without the table",
	 3},
	{"server", OPT_SERVER, "URI", 0, "Only serve tests, on this device", 3},
	{"peer", OPT_PEER, "PEER", 0,
	 "Measure a running vhost-user-vsock backend instead: [name=NAME,]vhost-user:PATH,uds=PATH "
	 "(its vhost-user socket, its hybrid Unix socket); up to 4 times, interleaved",
	 3},
	{"backend", OPT_BACKEND, "PLACE", 0,
	 "--peer with --cpus 2cpu: whose CPU the backend shares: host (default), guest, or alone "
	 "(guest "
	 "side and host program share the other one)",
	 3},
	{"client", OPT_CLIENT, "URI", 0, "Only run tests, on this device, against a --server", 3},
	{"help", 'h', NULL, 0, "This text", -1},
	{0},
};

static const char doc[] =
	"Measures zvsock between two processes over DPDK vhost-user virtqueues, every byte "
	"verified, beside AF_UNIX, TCP loopback and the raw limits of the machine in the same run."
	"\v"
	"Examples:\n"
	"  vsock-bench                                everything, under a minute\n"
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
	"\n"
	"Exit code: 0; 1 when something failed or a byte was wrong; 2 for a wrong option.";

static error_t parse_opt(int key, char *arg, struct argp_state *state);
static const struct argp argp = {options, parse_opt, NULL, doc, NULL, NULL, NULL};

__attribute__((format(printf, 1, 2), noreturn)) static void bad(const char *fmt, ...)
{
	va_list ap;

	fputs("vsock-bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

/* A number with an optional K, M or G, within [min, max]. */
static uint32_t number(const char *name, const char *s, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (end != s && (*end == 'K' || *end == 'k'))
		v <<= 10, end++;
	else if (end != s && (*end == 'M' || *end == 'm'))
		v <<= 20, end++;
	else if (end != s && (*end == 'G' || *end == 'g'))
		v <<= 30, end++;
	if (end == s || *end || errno || *s == '-' || v < min || v > max)
		bad("--%s takes a number from %u to %u, not '%s'", name, min, max, s);
	return (uint32_t)v;
}

static void parse_sizes(struct bench_opts *o, char *arg)
{
	char *save = NULL;

	o->nsizes = 0;
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		if (o->nsizes == sizeof(o->sizes) / sizeof(o->sizes[0]))
			bad("--size takes at most 16 sizes");
		o->sizes[o->nsizes++] = number("size", s, 1, 64u << 20);
	}
	if (o->nsizes == 0)
		bad("--size takes numbers of bytes such as 64,4K,64K");
}

static void parse_tests(struct bench_opts *o, char *arg)
{
	static const char *const names[] = {"",		"throughput", "rtt",
					    "connrate", "idle",	      "fairness"};
	char *save = NULL;

	memset(o->tests, 0, sizeof(o->tests));
	for (char *s = strtok_r(arg, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		int t = TEST_FAIRNESS;

		while (t > 0 && strcmp(s, names[t]) != 0)
			t--;
		if (t == 0)
			bad("--test takes throughput, rtt, connrate, idle or fairness, not '%s'",
			    s);
		o->tests[t] = true;
	}
}

static int choice(const char *name, const char *s, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(s, names[i]) == 0)
			return i + 1;
	if (n == 2)
		bad("--%s takes %s or %s, not '%s'", name, names[0], names[1], s);
	bad("--%s takes %s, %s or %s, not '%s'", name, names[0], names[1], names[2], s);
}

static uint64_t seconds(const char *s)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end || !(v >= 0.001 && v <= 3600.0))
		bad("--duration takes seconds from 0.001 to 3600, not '%s'", s);
	return (uint64_t)(v * 1e9);
}

static void add_peer(struct bench_opts *o, const char *arg)
{
	char why[200];

	if (o->npeers == BENCH_PEERS_MAX)
		bad("--peer can be given %u times", BENCH_PEERS_MAX);
	if (peer_parse(&o->peers[o->npeers], arg, o->npeers, why, sizeof(why)) < 0)
		bad("--peer: %s", why);
	for (unsigned i = 0; i < o->npeers; i++)
		if (strcmp(o->peers[i].name, o->peers[o->npeers].name) == 0)
			bad("--peer: two are called %s: give them different name=",
			    o->peers[i].name);
	o->npeers++;
}

/* What a hybrid Unix socket has no way to carry, and what would not be a peer's figure. */
static void check_peers(const struct bench_opts *o)
{
	if (o->server_uri || o->client_uri)
		bad("--peer measures a backend that runs already: not with --server or --client");
	if (o->seqpacket)
		bad("--peer: hybrid Unix sockets are streams, not --type seqpacket");
	if (o->queues > 1)
		bad("--peer is measured on one queue, not --queues %u", o->queues);
	if (o->tests[TEST_IDLE])
		bad("--peer: there is no --test idle of a foreign backend");
	if (o->tests[TEST_FAIRNESS])
		bad("--peer: there is no --test fairness of a foreign backend");
}

static error_t parse_device(int key, char *arg, struct bench_opts *o)
{
	static const char *const cpus[] = {"1cpu", "2cpu", "free"};
	static const char *const backends[] = {"host", "guest", "alone"};

	switch (key) {
	case 'q':
		o->queues = number("queues", arg, 1, BENCH_QUEUES_MAX);
		return 0;
	case 't':
		o->threads = number("threads", arg, 1, BENCH_QUEUES_MAX);
		return 0;
	case OPT_CPUS:
		o->cpus = (enum bench_cpus)choice("cpus", arg, cpus, 3);
		return 0;
	case OPT_BUSY_POLL:
		o->busy_poll = true;
		return 0;
	case OPT_RX_BUF:
		o->rx_buf = number("rx-buf", arg, 64, 1u << 20);
		return 0;
	case OPT_RING_SIZE:
		o->ring_size = number("ring-size", arg, 16, 32768);
		if (o->ring_size & (o->ring_size - 1))
			bad("--ring-size takes a power of two, not %u", o->ring_size);
		return 0;
	case OPT_BUF_ALLOC:
		o->buf_alloc = number("buf-alloc", arg, 64, 1u << 30);
		return 0;
	case OPT_SERVER:
		o->server_uri = arg;
		return 0;
	case OPT_CLIENT:
		o->client_uri = arg;
		return 0;
	case OPT_BACKEND:
		o->backend = (enum bench_backend)(choice("backend", arg, backends, 3) - 1);
		return 0;
	case OPT_PEER:
		add_peer(o, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_opt(int key, char *arg, struct argp_state *state)
{
	static const char *const dirs[] = {"g2h", "h2g", "both"};
	static const char *const types[] = {"stream", "seqpacket"};
	struct bench_opts *o = state->input;

	switch (key) {
	case 'h':
		argp_help(&argp, stdout, ARGP_HELP_STD_HELP, state->argv[0]);
		exit(0);
	case 'T':
		parse_tests(o, arg);
		return 0;
	case 's':
		parse_sizes(o, arg);
		return 0;
	case 'd':
		o->dir = (enum bench_dir)choice("direction", arg, dirs, 3);
		return 0;
	case OPT_TYPE:
		o->seqpacket = choice("type", arg, types, 2) == 2;
		return 0;
	case OPT_ZERO_COPY:
		o->zero_copy = true;
		return 0;
	case OPT_COPY:
		o->copy = true;
		return 0;
	case OPT_BATCH:
		o->batch = number("batch", arg, 1, BENCH_BATCH_MAX);
		return 0;
	case OPT_NO_TOUCH:
		o->touch = false;
		return 0;
	case OPT_CONNS:
		o->conns = number("conns", arg, 1, 1000000);
		return 0;
	case 'D':
		o->duration_ns = seconds(arg);
		return 0;
	case 'r':
		o->repeat = number("repeat", arg, 1, 1000);
		return 0;
	case OPT_NO_BASELINES:
		o->baselines = false;
		return 0;
	case OPT_JSON:
		o->json = arg;
		return 0;
	case ARGP_KEY_ERROR:
		/* Only getopt's own: everything else has ended in bad(). */
		bad("unknown option, or one without its value: '%s'; --help shows what there is",
		    state->argv[state->next > 1 ? state->next - 1 : 0]);
	case ARGP_KEY_ARG:
		bad("unexpected argument '%s'; --help shows what there is", arg);
	default:
		return parse_device(key, arg, o);
	}
}

void opts_parse(struct bench_opts *o, int argc, char **argv)
{
	*o = (struct bench_opts){.queues = 1,
				 .threads = 1,
				 .repeat = 5,
				 .batch = 32,
				 .buf_alloc = 4u << 20,
				 .conns = 1000,
				 .sizes = {64, 4096, 65536},
				 .nsizes = 3,
				 .tests = {false, true, true, true, false},
				 .dir = DIR_BOTH,
				 .cpus = cpu_count() >= 2 ? CPUS_2 : CPUS_1,
				 .touch = true,
				 .baselines = true,
				 .duration_ns = 250000000};
	/* argp's own messages take two lines, and its own help falls silent without them. */
	argv[0] = (char[]){"vsock-bench"};
	argp_parse(&argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, o);
	if (!o->zero_copy && !o->copy)
		o->zero_copy = o->copy = true;
	if (o->server_uri && o->client_uri)
		bad("--server and --client are two processes: give one of them here");
	if (o->threads > o->queues)
		bad("%u threads cannot share %u queue%s: --threads is at most --queues", o->threads,
		    o->queues, o->queues == 1 ? "" : "s");
	if (o->cpus == CPUS_2 && cpu_count() < 2)
		bad("--cpus 2cpu needs two CPUs, this process may use %u", cpu_count());
	if (o->tests[TEST_IDLE] && o->conns > 50000u * o->queues)
		bad("--conns %u: at most 50000 for each queue", o->conns);
	if (o->npeers)
		check_peers(o);
	if (o->backend != BACKEND_HOST && (!o->npeers || o->cpus != CPUS_2))
		bad("--backend goes with --peer and --cpus 2cpu");
	if (o->client_uri)
		o->baselines = false;
}
