/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shm-ring-bench: a channel between two polling processes, beside what the machine can do.
 *
 * Theory of operation
 * -------------------
 * Each cell runs a sender (this process) and a receiver (a child), on a CPU each. A channel's cell
 * is followed at once by the bare loop that is its limit, so that what else happens on the machine
 * meets both; ratios are of such pairs, and what is printed is the median of all repetitions.
 *
 *   ping        two words in two cache lines, each side spins on the other's
 *   bare ring   indices in shared memory, payload in the ring's entries, published in batches
 *   bare slots  the same ring with the numbers of slots; a slot is free when the index has passed
 * it
 *
 * Payload is written in full by the sender and compared in full by the receiver, by the same
 * functions on both sides of a comparison; "by reference" it is not touched.
 */
#include "shm_access.h"
#include "shm_ring.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RTT_ROUNDS 20000u
#define BATCH_MAX  32u
#define BARE_RING  512u	  /* entries of the bare rings: as many as a channel here has */
#define SPINS	   16384u /* somebody else may need the CPU: offer it now and then */
#define REPEAT_MAX 99

/* The bare ring, and what both processes have to say to each other. */
struct shared {
	uint64_t ping __attribute__((aligned(128)));
	uint64_t pong __attribute__((aligned(128)));
	uint32_t prod __attribute__((aligned(128)));
	uint32_t cons __attribute__((aligned(128)));
	uint32_t ready __attribute__((aligned(128)));
	uint32_t stop;	 /* sent is final */
	uint32_t faulty; /* the receiver found something wrong */
	uint64_t sent;
	uint8_t lines[BARE_RING][64] __attribute__((aligned(128)));
	uint32_t slots[BARE_RING] __attribute__((aligned(128)));
};

struct cell {
	const char *name;
	uint32_t len;
	unsigned batch;
	bool touch;
	uint32_t nslots;
	void (*send)(const struct cell *c, uint64_t until);
	void (*recv)(const struct cell *c);
};

static struct shared *sh;
static struct shm_region region;
static struct shm_channel_desc desc;
static struct shm_channel *ch; /* of this process */
static uint32_t rtt_ns[RTT_ROUNDS];
static int cpu[2] = {0, 1};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
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

static inline void spin(unsigned *spins)
{
	if (++*spins < SPINS)
		return;
	*spins = 0;
	sched_yield();
}

static inline void fill(void *data, uint32_t len, uint64_t seed)
{
	uint64_t *w = data;

	for (uint32_t i = 0; i < len / 8; i++)
		w[i] = seed;
}

static inline void verify(const void *data, uint32_t len, uint64_t seed)
{
	const uint64_t *w = data;
	uint64_t bad = 0;

	for (uint32_t i = 0; i < len / 8; i++)
		bad |= w[i] ^ seed;
	if (bad)
		shm_store32(&sh->faulty, 1);
}

/* Has the receiver got all of @n? */
static bool all_of(uint64_t n)
{
	return shm_load_acquire32(&sh->stop) && n == shm_load64(&sh->sent);
}

static void say_sent(uint64_t n)
{
	shm_store64(&sh->sent, n);
	shm_store_release32(&sh->stop, 1);
}

/* ---- bare loops ---------------------------------------------------------------------------- */

static void bare_send(const struct cell *c, uint64_t until)
{
	uint32_t pos = 0, cons = 0, room = c->nslots ? c->nslots : BARE_RING;
	uint8_t *slots = region.addr;
	unsigned spins = 0;

	for (unsigned k = 0; k % 64 || now_ns() < until; k++) {
		unsigned n;

		while (pos + c->batch - cons > room) {
			spin(&spins);
			cons = shm_load_acquire32(&sh->cons);
		}
		for (n = 0; n < c->batch; n++, pos++) {
			if (!c->nslots) {
				fill(sh->lines[pos % BARE_RING], c->len, pos);
				continue;
			}
			fill(slots + (size_t)(pos % c->nslots) * c->len, c->len, pos);
			shm_store32(&sh->slots[pos % BARE_RING], pos % c->nslots);
		}
		shm_store_release32(&sh->prod, pos);
	}
	say_sent(pos);
}

static void bare_recv(const struct cell *c)
{
	uint8_t *slots = region.addr;
	uint32_t pos = 0, prod = 0;
	unsigned spins = 0;

	while (!all_of(pos)) {
		uint32_t from = pos;

		prod = shm_load_acquire32(&sh->prod);
		for (; pos != prod && pos - from < BATCH_MAX; pos++)
			if (c->nslots)
				verify(slots + (size_t)shm_load32(&sh->slots[pos % BARE_RING]) *
						       c->len,
				       c->len, pos);
			else
				verify(sh->lines[pos % BARE_RING], c->len, pos);
		if (pos != from)
			shm_store_release32(&sh->cons, pos);
		else
			spin(&spins);
	}
}

static void ping_send(const struct cell *c, uint64_t until)
{
	(void)c;
	(void)until;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		uint64_t begin = now_ns();
		unsigned spins = 0;

		shm_store_release64(&sh->ping, i);
		while (shm_load_acquire64(&sh->pong) != i)
			spin(&spins);
		rtt_ns[i - 1] = (uint32_t)(now_ns() - begin);
	}
}

static void ping_recv(const struct cell *c)
{
	(void)c;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		unsigned spins = 0;

		while (shm_load_acquire64(&sh->ping) != i)
			spin(&spins);
		shm_store_release64(&sh->pong, i);
	}
}

/* ---- channel ------------------------------------------------------------------------------- */

/* One message of @c->len bytes there, in place. */
static void put_one(const struct cell *c, uint64_t seed)
{
	unsigned spins = 0;
	struct shm_msg m;

	while (shm_channel_reserve(ch, &m, 1, c->len) != 1)
		spin(&spins);
	m.len = c->len;
	fill(m.data, c->len, seed);
	if (shm_channel_send(ch, &m, 1) != 1)
		die("a reserved place was not taken");
	shm_channel_notify(ch);
}

static void get_one(const struct cell *c, uint64_t seed, struct shm_msg *m)
{
	unsigned spins = 0;

	while (shm_channel_recv(ch, m, 1) != 1)
		spin(&spins);
	verify(m->data, c->len, seed);
}

static void chan_ping_send(const struct cell *c, uint64_t until)
{
	struct shm_msg m;

	(void)until;
	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		uint64_t begin = now_ns();

		put_one(c, i);
		get_one(c, i, &m);
		rtt_ns[i - 1] = (uint32_t)(now_ns() - begin);
		shm_channel_release(ch, &m, 1);
	}
}

static void chan_ping_recv(const struct cell *c)
{
	struct shm_msg m;

	for (uint64_t i = 1; i <= RTT_ROUNDS; i++) {
		get_one(c, i, &m);
		put_one(c, i);
		shm_channel_release(ch, &m, 1);
	}
}

static void chan_send(const struct cell *c, uint64_t until)
{
	struct shm_msg m[BATCH_MAX];
	unsigned spins = 0;
	uint64_t pos = 0;

	for (unsigned k = 0; k % 64 || now_ns() < until; k++) {
		int n, sent = 0;

		do {
			n = c->nslots ? shm_channel_alloc(ch, m, c->batch, c->len)
				      : shm_channel_reserve(ch, m, c->batch, c->len);
			if (n < 0)
				die("the channel broke");
			if (!n)
				spin(&spins);
		} while (!n);
		for (int i = 0; i < n; i++, pos++) {
			m[i].len = c->len;
			if (c->touch)
				fill(m[i].data, c->len, pos);
		}
		while (sent < n) {
			int rc = shm_channel_send(ch, m + sent, (unsigned)(n - sent));

			if (rc < 0)
				die("the channel broke");
			sent += rc;
		}
		shm_channel_notify(ch);
	}
	say_sent(pos);
}

static void chan_recv(const struct cell *c)
{
	struct shm_msg m[BATCH_MAX];
	unsigned spins = 0;
	uint64_t pos = 0;

	while (!all_of(pos)) {
		int n = shm_channel_recv(ch, m, BATCH_MAX);

		if (n < 0)
			die("the channel broke");
		for (int i = 0; i < n; i++, pos++) {
			if (c->touch)
				verify(m[i].data, m[i].len, pos);
			/* Large slots go back one by one: the sender may be waiting. */
			if (c->len >= 4096)
				shm_channel_release(ch, &m[i], 1);
		}
		if (c->len < 4096)
			shm_channel_release(ch, m, (unsigned)n);
		if (n)
			shm_channel_notify(ch);
		else
			spin(&spins);
	}
}

/* ---- running ------------------------------------------------------------------------------- */

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
	if (shm_channel_attach(&ch, region.addr, region.size, &desc, role, NULL))
		die("cannot attach to the channel");
	(void)c;
}

static void child(const struct cell *c)
{
	pin(cpu[1]);
	make_channel(c, SHM_ROLE_B);
	shm_store_release32(&sh->ready, 1);
	c->recv(c);
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
	r.rate = (double)sh->sent * 1e9 / (double)(now_ns() - begin);
	shm_channel_detach(ch);
	if (!sh->sent) {
		qsort(rtt_ns, RTT_ROUNDS, sizeof(*rtt_ns), compare_u32);
		r.p50 = rtt_ns[RTT_ROUNDS / 2];
		r.p99 = rtt_ns[RTT_ROUNDS / 100 * 99];
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
	{{"round trip, 64 B", 64, 1, true, 0, chan_ping_send, chan_ping_recv},
	 {"cache line ping-pong", 0, 1, true, 0, ping_send, ping_recv}},
	{{"64 B, batch 1", 64, 1, true, 0, chan_send, chan_recv},
	 {"bare ring", 64, 1, true, 0, bare_send, bare_recv}},
	{{"64 B, batch 32", 64, 32, true, 0, chan_send, chan_recv},
	 {"bare ring", 64, 32, true, 0, bare_send, bare_recv}},
	{{"4 KiB slots", 4096, 8, true, 64, chan_send, chan_recv},
	 {"bare slots", 4096, 8, true, 64, bare_send, bare_recv}},
	{{"64 KiB slots", 65536, 1, true, 16, chan_send, chan_recv},
	 {"bare slots", 65536, 1, true, 16, bare_send, bare_recv}},
	{{"1 MiB by reference", 1u << 20, 8, false, 16, chan_send, chan_recv},
	 {"4 KiB by reference", 4096, 8, false, 16, chan_send, chan_recv}},
};
#define CELLS (sizeof(table) / sizeof(*table))

static void report(size_t i, struct result *mine, struct result *limit, int n)
{
	double a[REPEAT_MAX], b[REPEAT_MAX], q[REPEAT_MAX];
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
	if (repeat < 1 || repeat > REPEAT_MAX || !(seconds > 0 && seconds < 1000))
		usage(2);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED || shm_region_create(&region, "shm-ring-bench", 40u << 20, 0))
		die("no memory");
	memset(region.addr, 0, region.size);
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
