/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shm-ring-bench: compares a channel between two polling processes with the limits of the machine.
 *
 * Theory of operation
 * -------------------
 * Each cell runs a sender (this process) and a receiver (a child), each on its own CPU. A channel's
 * cell is followed at once by the bare loop that is its limit, so that other load on the machine
 * affects both; ratios are taken of such pairs, and the printed figure is the median of all
 * repetitions.
 *
 *   ping        two words in two cache lines, each side spins on the other's
 *   bare ring   indices in shared memory, payload in the ring's entries, published in batches
 *   eventfd     both sides sleep in read() of one, on one CPU
 *   bare slots  the same ring with the numbers of slots; a slot is free when the index has
 *               passed it
 *
 * Payload is written in full by the sender and compared in full by the receiver, by the same
 * functions on both sides of a comparison; "by reference" it is not touched.
 */
#include "cells.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPEAT_MAX 99

struct shared *sh;
struct shm_region region;
struct shm_channel *ch;
uint32_t rtt_ns[RTT_ROUNDS];
int wake_fd[2];
int my_fd;
unsigned spins_max;

static struct shm_channel_desc desc;
static int cpu[2]; /* of sender and receiver */

void die(const char *what)
{
	(void)fprintf(stderr, "shm-ring-bench: %s\n", what);
	exit(1);
}

static void pin(int to)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)to, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("cannot run on the CPU that was asked for, see --cpus");
}

/* The first two CPUs that this process may use, or one for both. */
static void choose_cpus(void)
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("the CPUs that may be used are not known");
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET((size_t)i, &set))
			cpu[n++] = i;
	if (n == 1)
		cpu[1] = cpu[0];
}

struct result {
	double rate, p50, p99; /* messages per second, ns */
};

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void make_channel(const struct cell *c, enum shm_role role)
{
	struct shm_channel_opts opts = {.size = sizeof(opts), .wake_fd = wake_fd[!role]};

	my_fd = wake_fd[role];
	spins_max = cpu[0] == cpu[1] ? 1 : SPINS;
	if (shm_channel_attach(&ch, region.addr, region.size, &desc, role, c->sleep ? &opts : NULL))
		die("cannot attach to the channel");
	if (c->many)
		many_attach(&desc, role);
}

static void child(const struct cell *c)
{
	pin(cpu[c->sleep ? 0 : 1]);
	make_channel(c, SHM_ROLE_B);
	shm_store_release32(&sh->ready, 1);
	c->recv(c);
	sh->end_ns = now_ns();
	_exit(0);
}

static struct result run(const struct cell *c, uint64_t ns)
{
	struct result r = {0};
	uint64_t begin;
	int status;
	pid_t pid;

	memset(sh, 0, sizeof(*sh));
	shm_channel_desc_init(&desc, 0, 1);
	for (int i = 0; i < 2; i++) {
		desc.dir[i].entries = BARE_RING;
		desc.dir[i].classes = c->nslots ? 1 : 0;
		desc.dir[i].cls[0] = (struct shm_slot_class){c->len, c->nslots};
	}
	desc.length = shm_channel_bytes(&desc);
	if (shm_channel_format(region.addr, region.size, &desc))
		die("the region is too small");
	if (c->many)
		many_format(&desc);
	pid = fork();
	if (pid < 0)
		die("fork failed");
	if (!pid)
		child(c);
	make_channel(c, SHM_ROLE_A);
	while (!shm_load_acquire32(&sh->ready))
		sched_yield();
	begin = now_ns();
	c->send(c, begin + ns);
	if (waitpid(pid, &status, 0) != pid || status || sh->faulty)
		die("the receiver failed, or found a wrong byte");
	r.rate = (double)sh->sent * 1e9 / (double)(sh->end_ns - begin);
	shm_channel_detach(ch);
	if (c->many)
		many_detach();
	if (!sh->sent) {
		qsort(rtt_ns, RTT_ROUNDS, sizeof(*rtt_ns), compare_u32);
		r.p50 = rtt_ns[RTT_P50];
		r.p99 = rtt_ns[RTT_P99];
	}
	return r;
}

static int compare_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), compare_double);
	return v[n / 2];
}

/* A channel's cell and its limit. */
static const struct {
	struct cell c, limit;
} table[] = {
	{{"round trip, 64 B", 64, 1, true, 0, false, false, chan_ping_send, chan_ping_recv},
	 {"cache line ping-pong", 0, 1, true, 0, false, false, ping_send, ping_recv}},
	{{"wake-up, one CPU", 64, 1, true, 0, true, false, chan_ping_send, chan_ping_recv},
	 {"eventfd, round trip", 0, 1, true, 0, true, false, eventfd_send, eventfd_recv}},
	{{"64 B, batch 1", 64, 1, true, 0, false, false, chan_send, chan_recv},
	 {"bare ring", 64, 1, true, 0, false, false, bare_send, bare_recv}},
	{{"64 B, batch 32", 64, 32, true, 0, false, false, chan_send, chan_recv},
	 {"bare ring", 64, 32, true, 0, false, false, bare_send, bare_recv}},
	{{"4 KiB slots", 4096, 8, true, 64, false, false, chan_send, chan_recv},
	 {"bare slots", 4096, 8, true, 64, false, false, bare_send, bare_recv}},
	{{"64 KiB slots", 65536, 1, true, 16, false, false, chan_send, chan_recv},
	 {"bare slots", 65536, 1, true, 16, false, false, bare_send, bare_recv}},
	{{"1 MiB by reference", 1u << 20, 8, false, 16, false, false, chan_send, chan_recv},
	 {"4 KiB by reference", 4096, 8, false, 16, false, false, chan_send, chan_recv}},
	{{"one of 1,000, 64 B", 64, 1, true, 0, false, true, chan_send, chan_recv},
	 {"alone, 64 B", 64, 1, true, 0, false, false, chan_send, chan_recv}},
};
#define CELLS (sizeof(table) / sizeof(*table))

static void report(size_t i, struct result *mine, struct result *limit, int n)
{
	double a[REPEAT_MAX] = {0}, b[REPEAT_MAX] = {0}, q[REPEAT_MAX] = {0};
	bool rtt = mine[0].p50 > 0;

	for (int k = 0; k < n; k++) {
		a[k] = rtt ? mine[k].p50 : mine[k].rate / 1e6;
		b[k] = rtt ? limit[k].p50 : limit[k].rate / 1e6;
		q[k] = a[k] / b[k];
	}
	printf("%-20s %9.3f %s   %-22s %9.3f   ratio %.2f\n", table[i].c.name, median(a, n),
	       rtt ? "ns " : "M/s", table[i].limit.name, median(b, n), median(q, n));
	if (!rtt)
		return;
	for (int k = 0; k < n; k++) {
		a[k] = mine[k].p99;
		b[k] = limit[k].p99;
		q[k] = a[k] / b[k];
	}
	printf("%-20s %9.3f ns    %-22s %9.3f   ratio %.2f\n", "  99th percentile", median(a, n),
	       "", median(b, n), median(q, n));
}

static void usage(int rc)
{
	(void)fprintf(rc ? stderr : stdout,
		      "usage: shm-ring-bench [--duration SECONDS] [--repeat N] [--cpus A,B] "
		      "[--cell NUMBER]\n");
	exit(rc);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"duration", required_argument, NULL, 'd'},
						{"repeat", required_argument, NULL, 'r'},
						{"cpus", required_argument, NULL, 'c'},
						{"cell", required_argument, NULL, 'n'},
						{"help", no_argument, NULL, 'h'},
						{0}};
	static struct result mine[CELLS][REPEAT_MAX], limit[CELLS][REPEAT_MAX];
	double seconds = 0.2;
	int repeat = 5, opt, only = 0;

	choose_cpus();
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'd')
			seconds = strtod(optarg, NULL);
		else if (opt == 'r')
			repeat = atoi(optarg);
		else if (opt == 'n')
			only = atoi(optarg);
		else if (opt != 'c' || sscanf(optarg, "%d,%d", &cpu[0], &cpu[1]) != 2)
			usage(opt == 'h' ? 0 : 2);
	}
	if (optind != argc || repeat < 1 || repeat > REPEAT_MAX ||
	    !(seconds > 0 && seconds < 1000) || only < 0 || only > (int)CELLS)
		usage(2);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED || shm_region_create(&region, "shm-ring-bench", 40u << 20, 0))
		die("no memory");
	memset(region.addr, 0, region.size);
	for (int i = 0; i < 2; i++)
		if ((wake_fd[i] = eventfd(0, EFD_CLOEXEC)) < 0)
			die("no eventfd");
	pin(cpu[0]);
	printf("pages of %zu KiB, CPUs %d and %d, medians of %d\n", region.page_size / 1024, cpu[0],
	       cpu[1], repeat);
	for (int k = 0; k < repeat; k++)
		for (size_t i = 0; i < CELLS; i++) {
			if (only && i != (size_t)only - 1)
				continue;
			mine[i][k] = run(&table[i].c, (uint64_t)(seconds * 1e9));
			limit[i][k] = run(&table[i].limit, (uint64_t)(seconds * 1e9));
		}
	for (size_t i = 0; i < CELLS; i++)
		if (!only || i == (size_t)only - 1)
			report(i, mine[i], limit[i], repeat);
	shm_region_destroy(&region);
	return 0;
}
