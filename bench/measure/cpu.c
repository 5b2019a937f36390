/* SPDX-License-Identifier: BSD-3-Clause */
#include "cpu.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static double ns_per_tick = 1.0;
static int cpu_list[CPU_SETSIZE];
static unsigned ncpus;

uint64_t cpu_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void cpu_clock_init(void)
{
	uint64_t n0 = cpu_now_ns(), t0 = cpu_ticks();
	struct timespec ts = {.tv_nsec = 20000000};
	uint64_t n1, t1;

	nanosleep(&ts, NULL);
	n1 = cpu_now_ns();
	t1 = cpu_ticks();
	ns_per_tick = (double)(n1 - n0) / (double)(t1 - t0);
}

uint64_t cpu_ticks_to_ns(uint64_t ticks)
{
	return (uint64_t)((double)ticks * ns_per_tick);
}

uint64_t cpu_ns_to_ticks(uint64_t ns)
{
	return (uint64_t)((double)ns / ns_per_tick);
}

static uint64_t tv_ns(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000000ull + (uint64_t)tv->tv_usec * 1000ull;
}

uint64_t cpu_used_ns(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return tv_ns(&ru.ru_utime) + tv_ns(&ru.ru_stime);
}

uint64_t cpu_rss(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long size, resident;
	uint64_t rss = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) == 2)
		rss = resident * (uint64_t)sysconf(_SC_PAGESIZE);
	fclose(f);
	return rss;
}

/* True when @a and @b are hardware threads of one core: a bad place for two spinning sides. */
static bool cpu_siblings(int a, int b)
{
	char path[96], line[256] = "";
	FILE *f;
	char *p;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
		 a);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	for (p = line; *p;) {
		int lo, hi, n = 0;

		if (sscanf(p, "%d-%d%n", &lo, &hi, &n) < 2 || n == 0) {
			if (sscanf(p, "%d%n", &lo, &n) < 1 || n == 0)
				return false;
			hi = lo;
		}
		if (b >= lo && b <= hi)
			return true;
		p += n;
		p += *p == ',';
	}
	return false;
}

unsigned cpu_init(void)
{
	cpu_set_t set;

	ncpus = 0;
	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET(i, &set))
				cpu_list[ncpus++] = i;
	/* The two sides take places 0 and 1: prefer different cores. */
	for (unsigned i = 1; i < ncpus; i++)
		if (!cpu_siblings(cpu_list[0], cpu_list[i])) {
			int tmp = cpu_list[1];

			cpu_list[1] = cpu_list[i];
			cpu_list[i] = tmp;
			break;
		}
	return ncpus;
}

unsigned cpu_count(void)
{
	return ncpus;
}

int cpu_place(enum bench_cpus how, enum bench_role role, unsigned thread)
{
	unsigned place = how == CPUS_1 ? 0 : 2 * thread + (role == ROLE_HOST ? 1 : 0);

	if (how == CPUS_FREE || ncpus == 0)
		return -1;
	if (place >= ncpus) /* more threads than CPUs: keep guest and host apart while we can */
		place = ncpus >= 2 ? place % (ncpus & ~1u) : 0;
	return cpu_list[place];
}

int cpu_pin(enum bench_cpus how, enum bench_role role, unsigned thread)
{
	int cpu = cpu_place(how, role, thread);
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

const char *cpu_model(void)
{
	static char model[128];
	char line[256];
	FILE *f;

	if (model[0])
		return model;
	snprintf(model, sizeof(model), "unknown");
	f = fopen("/proc/cpuinfo", "re");
	if (!f)
		return model;
	while (fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (!colon || strncmp(line, "model name", 10) != 0)
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(model, sizeof(model), "%.127s", colon);
		break;
	}
	fclose(f);
	return model;
}
