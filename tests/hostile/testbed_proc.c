/* SPDX-License-Identifier: BSD-3-Clause */
/* What a leak would change. */
#include "testbed.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

unsigned testbed_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* Stacks and malloc's arenas come and go with threads; what is ours is shared memory. */
unsigned testbed_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512], perms[8];
	unsigned n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += sscanf(line, "%*s %7s", perms) == 1 && perms[3] == 's';
	if (f)
		fclose(f);
	return n;
}

#if defined(__SANITIZE_ADDRESS__)
/* gcc ships the function without a header. */
size_t __sanitizer_get_current_allocated_bytes(void);

uint64_t testbed_heap(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#else
uint64_t testbed_heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}
#endif

struct testbed_counts testbed_count(void)
{
	return (struct testbed_counts){testbed_fds(), testbed_maps(), testbed_heap()};
}

static bool as_few(void *arg)
{
	const struct testbed_counts *c = arg;

	return testbed_fds() <= c->fds && testbed_maps() <= c->maps;
}

/* Which ones are open: what is left over is among them. */
static void show_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	char target[128];
	struct dirent *e;

	while (d && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target));

		if (n > 0)
			(void)fprintf(stderr, "descriptor %s: %.*s\n", e->d_name, (int)n, target);
	}
	if (d)
		closedir(d);
}

static bool few_fds(void *most)
{
	return testbed_fds() <= *(const unsigned *)most;
}

bool testbed_fds_back(unsigned most)
{
	if (testbed_until(few_fds, &most))
		return true;
	show_fds();
	(void)fprintf(stderr, "%u descriptors; at most %u should be left\n", testbed_fds(), most);
	return false;
}

const char *testbed_left_over(const struct testbed_counts *before)
{
	static char text[128];
	struct testbed_counts c = *before;

	if (testbed_until(as_few, &c))
		return NULL;
	show_fds();
	(void)snprintf(text, sizeof(text), "%u descriptors, before %u; %u mappings, before %u",
		       testbed_fds(), c.fds, testbed_maps(), c.maps);
	return text;
}
