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

enum kind { FAULTS, MAPS, UNMAPS, KINDS };

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
	enum kind kind;		/* FAULTS: it is in no call that maps or unmaps, ... */
	struct call *call;	/* ... or in which it is; NULL: one too many */
	struct call *window;	/* otherwise, while there is a payer; NULL: not known to others */
} mine;

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

/* 0: not known. */
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
	uint64_t from, to; /* atomic */
	bool taken;	   /* atomic */
};

/* What threads do in which they may sleep: work with a peer's memory, map, unmap. */
static struct {
	struct call now[CALLS]; /* from == 0: not now */
	struct call past[PAST];
	unsigned next; /* of `past`; atomic */
} calls[KINDS];

/* NULL: there are too many. */
static struct call *take(enum kind kind)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (!__atomic_exchange_n(&calls[kind].now[i].taken, true, __ATOMIC_ACQUIRE))
			return &calls[kind].now[i];
	return NULL;
}

static void put(struct call **c)
{
	if (*c) {
		__atomic_store_n(&(*c)->from, 0, __ATOMIC_RELEASE);
		__atomic_store_n(&(*c)->taken, false, __ATOMIC_RELEASE);
	}
	*c = NULL;
}

static void begins(struct call *c, uint64_t from)
{
	if (c)
		__atomic_store_n(&c->from, from, __ATOMIC_RELEASE);
}

void mem_thread_begin(void)
{
	mine.schedstat = open_schedstat();
	mine.kept = mine.schedstat >= 0;
	mine.window = take(FAULTS);
	(void)mem_for(NULL);
}

void mem_thread_end(void)
{
	put(&mine.window);
	if (mine.kept)
		(void)close(mine.schedstat);
	mine.kept = false;
}

static uint64_t overlap(uint64_t from, uint64_t to, uint64_t since, uint64_t now)
{
	from = from > since ? from : since;
	to = to < now ? to : now;
	return to > from ? to - from : 0;
}

/* For how long between @since and @now others did that, of what began before @began. */
static uint64_t took_of(enum kind kind, uint64_t since, uint64_t now, uint64_t began)
{
	uint64_t from, most = 0, all = 0, ns;

	/* In this order: a call that ends meanwhile is found in one of them at least. */
	for (unsigned i = 0; i < CALLS; i++) {
		from = __atomic_load_n(&calls[kind].now[i].from, __ATOMIC_ACQUIRE);
		if (!from || &calls[kind].now[i] == mine.call ||
		    &calls[kind].now[i] == mine.window || from >= began)
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

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t mem_others_took(uint64_t since, uint64_t now)
{
	return max(took_of(MAPS, since, now, UINT64_MAX), took_of(FAULTS, since, now, since));
}

static uint64_t (*took)(uint64_t since, uint64_t now);

void mem_others_by(uint64_t (*fn)(uint64_t since, uint64_t now))
{
	__atomic_store_n(&took, fn, __ATOMIC_RELAXED);
}

/* Slept since mine.since, given what was counted then and now. */
static uint64_t slept(const struct counted *was, const struct counted *is)
{
	uint64_t ns = is->at - mine.since, awake = is->awake - was->awake;

	if (!was->awake || !is->awake || awake >= ns || is->waits == was->waits ||
	    (mine.kind == FAULTS && is->faults == was->faults))
		return 0;
	return ns - awake;
}

/* For how long others have kept a lock, most likely. */
static uint64_t for_others(uint64_t now)
{
	uint64_t (*fn)(uint64_t since, uint64_t until) = __atomic_load_n(&took, __ATOMIC_RELAXED);
	uint64_t ns = fn ? fn(mine.since, now) : 0;

	if (mine.kind == FAULTS)
		return max(ns, mem_others_took(mine.since, now));
	for (enum kind k = FAULTS; k < KINDS; k++)
		ns = max(ns, took_of(k, mine.since, now, mine.since));
	return ns;
}

/* Charges what was slept since mine.since. */
static void settle(uint64_t now, const struct counted *is)
{
	uint64_t ns = slept(&mine.was, is), others;

	if (ns < MEM_SLEEP_NS)
		return;
	others = for_others(now);
	if (mine.payer || mine.kind != FAULTS)
		slept_in_call(now);
	if (mine.kind != FAULTS && ns < MEM_MAP_NS)
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
	begins(mine.window, a && mine.kind == FAULTS ? now : 0);
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
	mine.awake = count(0);
	mine.awake.at = clock_ns(CLOCK_MONOTONIC);
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
	mine.call = take(kind);
	begins(mine.call, mine.since);
	begins(mine.window, 0);
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
	put(&mine.call);
	mine.kind = FAULTS;
	begins(mine.window, was ? mine.since : 0);
}
