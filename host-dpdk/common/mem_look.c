/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_look.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MEM_MAP_NS 20000000u /* other threads' page faults may delay a map for as long */
#define A_TICK	   20000000u /* ns; the kernel's counters of a thread are no older */

/* What the kernel has counted for a thread in its life. */
struct counted {
	uint64_t at;	/* CLOCK_MONOTONIC */
	uint64_t awake; /* ns on a CPU, and runnable without one; 0: not known */
	uint64_t waits, faults;
};

enum kind { MAPS, UNMAPS, NEITHER };

struct call;

/* Of this thread. */
static __thread struct {
	struct mem_account *payer;
	uint64_t since;		/* ... from then on */
	struct counted was;	/* less than MEM_SLEEP_NS / 2 before that */
	uint64_t waits, faults; /* mem_look_suspects() */
	struct counted awake;	/* mem_look_awake() */
	int schedstat;		/* descriptor, ... */
	bool kept;		/* ... if it stays open */
	enum kind kind;		/* of the call that it is in, ... */
	struct call *call;	/* ... and which that is; NULL: one too many */
} mine = {.kind = NEITHER};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void usage(uint64_t *waits, uint64_t *faults)
{
	struct rusage u = {0};

	(void)getrusage(RUSAGE_THREAD, &u);
	*waits = (uint64_t)u.ru_nvcsw; /* being preempted does not count */
	*faults = (uint64_t)(u.ru_minflt + u.ru_majflt);
}

/* ---- /proc/thread-self/schedstat ---- */

static int open_schedstat(void)
{
	return open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void mem_thread_begin(void)
{
	mine.schedstat = open_schedstat();
	mine.kept = mine.schedstat >= 0;
	(void)mem_for(NULL);
}

void mem_thread_end(void)
{
	if (mine.kept)
		(void)close(mine.schedstat);
	mine.kept = false;
}

static uint64_t awake_ns(void)
{
	uint64_t ran, waited, cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	int err = errno, fd = mine.kept ? mine.schedstat : open_schedstat();
	char text[64];
	ssize_t len;

	len = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (fd >= 0 && !mine.kept)
		(void)close(fd);
	text[len > 0 ? len : 0] = 0;
	if (sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
		cpu = ran = waited = 0;
	errno = err; /* of what was done for the peer */
	/* A kernel that does not count says zero; so does any at first. */
	return ran || cpu < A_TICK ? cpu + waited : 0;
}

/* ---- who pays ---- */

static struct counted count(uint64_t at)
{
	struct counted c = {.at = at, .awake = awake_ns()};

	usage(&c.waits, &c.faults);
	return c;
}

#define CALLS 64u /* under way that are known */
#define PAST  16u /* that have slept, and are known */

struct call {
	uint64_t from, to; /* from == 0: free; atomic */
};

/* Those that map, and those that unmap. */
static struct {
	struct call now[CALLS], past[PAST];
	unsigned next; /* of `past`; atomic */
} calls[NEITHER];

static uint64_t overlap(uint64_t from, uint64_t to, uint64_t since, uint64_t now)
{
	from = from > since ? from : since;
	to = to < now ? to : now;
	return to > from ? to - from : 0;
}

/* As mem_maps_took(), of one of `calls`, and only of other threads' that began before @began. */
static uint64_t took_of(unsigned kind, uint64_t since, uint64_t now, uint64_t began)
{
	uint64_t from, most = 0, all = 0, ns;

	/* In this order: a call that ends meanwhile is found in one of them at least. */
	for (unsigned i = 0; i < CALLS; i++) {
		from = __atomic_load_n(&calls[kind].now[i].from, __ATOMIC_ACQUIRE);
		if (!from || &calls[kind].now[i] == mine.call || from >= began)
			continue;
		ns = overlap(from, now, since, now);
		most = ns > most ? ns : most;
	}
	for (unsigned i = 0; i < PAST; i++) {
		from = __atomic_load_n(&calls[kind].past[i].from, __ATOMIC_RELAXED);
		if (from && from < began)
			all += overlap(from,
				       __atomic_load_n(&calls[kind].past[i].to, __ATOMIC_RELAXED),
				       since, now);
	}
	return most + all;
}

static void slept_in_call(uint64_t now)
{
	unsigned i = __atomic_fetch_add(&calls[mine.kind].next, 1, __ATOMIC_RELAXED) % PAST;

	__atomic_store_n(&calls[mine.kind].past[i].from, mine.since, __ATOMIC_RELAXED);
	__atomic_store_n(&calls[mine.kind].past[i].to, now, __ATOMIC_RELAXED);
}

uint64_t mem_maps_took(uint64_t since, uint64_t now)
{
	return took_of(MAPS, since, now, UINT64_MAX);
}

static uint64_t (*took)(uint64_t since, uint64_t now) = mem_maps_took;

void mem_maps_by(uint64_t (*fn)(uint64_t since, uint64_t now))
{
	__atomic_store_n(&took, fn, __ATOMIC_RELAXED);
}

/* Slept since mine.since, given what was counted then and now. */
static uint64_t slept(const struct counted *was, const struct counted *is)
{
	uint64_t ns = is->at - mine.since, awake = is->awake - was->awake;

	if (!was->awake || !is->awake || awake >= ns || is->waits == was->waits ||
	    (mine.kind == NEITHER && is->faults == was->faults))
		return 0;
	return ns - awake;
}

/* What of that was for another thread's call. */
static uint64_t for_others(uint64_t now)
{
	uint64_t maps, unmaps;

	if (mine.kind == NEITHER)
		return __atomic_load_n(&took, __ATOMIC_RELAXED)(mine.since, now);
	maps = took_of(MAPS, mine.since, now, mine.since);
	unmaps = took_of(UNMAPS, mine.since, now, mine.since);
	return maps > unmaps ? maps : unmaps;
}

/* Charges what was slept since mine.since. */
static void settle(uint64_t now, const struct counted *is)
{
	uint64_t ns = slept(&mine.was, is), others;

	if (ns < MEM_SLEEP_NS)
		return;
	others = for_others(now);
	if (mine.kind != NEITHER)
		slept_in_call(now);
	if (mine.kind != NEITHER && ns < MEM_MAP_NS)
		return;
	if (mine.payer && ns > others)
		mem_sleep_charge(&mine.payer->sleep, now, ns - others);
}

struct mem_account *mem_for(struct mem_account *a)
{
	struct mem_account *former = mine.payer;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	struct counted is;

	if (now - mine.was.at >= MEM_SLEEP_NS / 2) {
		is = count(now);
		settle(now, &is);
		mine.was = is;
		now = clock_ns(CLOCK_MONOTONIC);
	}
	mine.payer = a;
	mine.since = now;
	return former;
}

struct mem_account *mem_payer(void)
{
	return mine.payer;
}

bool mem_look_suspects(void)
{
	uint64_t waits = mine.waits, faults = mine.faults;

	usage(&mine.waits, &mine.faults);
	return waits != mine.waits && faults != mine.faults;
}

void mem_look_awake(void)
{
	mine.awake = count(clock_ns(CLOCK_MONOTONIC));
}

uint64_t mem_look_slept(void)
{
	const struct counted was = mine.awake;
	uint64_t ns, awake;

	mem_look_awake();
	ns = mine.awake.at - was.at;
	awake = mine.awake.awake - was.awake;
	if (!was.awake || !mine.awake.awake || awake >= ns || was.waits == mine.awake.waits ||
	    was.faults == mine.awake.faults)
		return 0;
	return ns - awake;
}

/* ---- maps ---- */

static struct mem_account *begin(struct mem_account *a, enum kind kind)
{
	struct mem_account *was = mem_for(a);

	mine.kind = kind;
	for (unsigned i = 0; i < CALLS && !mine.call; i++) {
		uint64_t free = 0;

		if (__atomic_compare_exchange_n(&calls[kind].now[i].from, &free, mine.since, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			mine.call = &calls[kind].now[i];
	}
	return was;
}

struct mem_account *mem_map_begin(struct mem_account *a)
{
	return begin(a, MAPS);
}

struct mem_account *mem_unmap_begin(struct mem_account *a)
{
	return begin(a, UNMAPS);
}

void mem_map_end(struct mem_account *was)
{
	(void)mem_for(was);
	if (mine.call)
		__atomic_store_n(&mine.call->from, 0, __ATOMIC_RELEASE);
	mine.call = NULL;
	mine.kind = NEITHER;
}
