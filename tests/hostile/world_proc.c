/* SPDX-License-Identifier: BSD-3-Clause */
/* What a leak would change. */
#include "world.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

unsigned world_fds(void)
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
unsigned world_maps(void)
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

uint64_t world_heap(void)
{
	return __sanitizer_get_current_allocated_bytes();
}
#else
uint64_t world_heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}
#endif

struct world_counts world_count(void)
{
	return (struct world_counts){world_fds(), world_maps(), world_heap()};
}

static bool as_few(void *arg)
{
	const struct world_counts *c = arg;

	return world_fds() <= c->fds && world_maps() <= c->maps;
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

const char *world_left_over(const struct world_counts *before)
{
	static char text[128];
	struct world_counts c = *before;

	if (world_until(as_few, &c))
		return NULL;
	show_fds();
	(void)snprintf(text, sizeof(text), "%u descriptors, before %u; %u mappings, before %u",
		       world_fds(), c.fds, world_maps(), c.maps);
	return text;
}
