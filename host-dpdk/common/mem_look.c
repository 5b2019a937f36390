/* SPDX-License-Identifier: BSD-3-Clause */
#include "mem_look.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* What the kernel has counted for a thread in its life. */
struct counted {
	uint64_t at;	/* CLOCK_MONOTONIC */
	uint64_t awake; /* ns on a CPU, and runnable without one */
	uint64_t waits, faults;
};

/* Of this thread. */
static __thread struct {
	uint64_t inner;		/* slept, found by looks so far */
	struct counted last;	/* at most MEM_SLEEP_NS before the beginning of a look */
	uint64_t waits, faults; /* mem_look_suspects() */
	struct mem_account *payer;
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

/* 0 if the kernel does not say, or /proc is absent. */
static uint64_t waited_ns(void)
{
	int fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
	uint64_t ran, waited = 0;
	char text[64] = "";

	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) <= 0 ||
	    sscanf(text, "%" SCNu64 " %" SCNu64, &ran, &waited) != 2)
		waited = 0;
	(void)close(fd);
	return waited;
}

static struct counted count(uint64_t at)
{
	struct counted c = {.at = at};

	c.awake = waited_ns() + clock_ns(CLOCK_THREAD_CPUTIME_ID);
	usage(&c.waits, &c.faults);
	return c;
}

void mem_look_begin(struct mem_look *l)
{
	l->at = clock_ns(CLOCK_MONOTONIC);
	if (l->at - mine.last.at >= MEM_SLEEP_NS)
		mine.last = count(l->at);
	l->inner = mine.inner;
}

/* @any: also without a page fault. */
static uint64_t look_end(const struct mem_look *l, uint64_t *end, bool any)
{
	struct counted was = mine.last;
	uint64_t awake, slept;

	*end = clock_ns(CLOCK_MONOTONIC);
	if (*end - l->at < MEM_SLEEP_NS)
		return 0;
	mine.last = count(*end);
	awake = mine.last.awake > was.awake ? mine.last.awake - was.awake : 0;
	awake += mine.inner - l->inner;
	slept = *end - l->at > awake ? *end - l->at - awake : 0;
	if (mine.last.waits == was.waits || (mine.last.faults == was.faults && !any) ||
	    slept < MEM_SLEEP_NS)
		return 0;
	mine.inner += slept;
	return slept;
}

uint64_t mem_look_end(const struct mem_look *l, uint64_t *end)
{
	return look_end(l, end, false);
}

void mem_look_forgive(const struct mem_look *l)
{
	uint64_t end;

	(void)look_end(l, &end, true);
}

bool mem_look_suspects(void)
{
	uint64_t waits = mine.waits, faults = mine.faults;

	usage(&mine.waits, &mine.faults);
	return waits != mine.waits && faults != mine.faults;
}

/* ---- maps ---- */

void mem_payer_set(struct mem_account *a)
{
	mine.payer = a;
}

struct mem_account *mem_payer(void)
{
	return mine.payer;
}

static struct {
	unsigned calls; /* under way */
	uint64_t began; /* the first of them */
	uint64_t ended; /* the last one that was slow */
} maps;			/* atomic */

void mem_map_begin(struct mem_look *l)
{
	mem_look_begin(l);
	l->behind = __atomic_fetch_add(&maps.calls, 1, __ATOMIC_SEQ_CST) != 0;
	if (!l->behind)
		__atomic_store_n(&maps.began, l->at, __ATOMIC_SEQ_CST);
}

void mem_map_end(const struct mem_look *l, struct mem_account *a)
{
	uint64_t end, slept = look_end(l, &end, true);

	if (end - l->at >= MEM_SLEEP_NS)
		__atomic_store_n(&maps.ended, end, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&maps.calls, 1, __ATOMIC_SEQ_CST);
	if (slept && a && !l->behind)
		(void)mem_sleep_charge(&a->sleep, end, slept);
}

uint64_t mem_maps_slow(void)
{
	uint64_t began = __atomic_load_n(&maps.began, __ATOMIC_SEQ_CST);

	if (__atomic_load_n(&maps.calls, __ATOMIC_SEQ_CST) &&
	    clock_ns(CLOCK_MONOTONIC) - began >= MEM_SLEEP_NS)
		return UINT64_MAX;
	return __atomic_load_n(&maps.ended, __ATOMIC_SEQ_CST);
}
