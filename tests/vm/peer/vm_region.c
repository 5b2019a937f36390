/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vm_region WHICH [TEXT]: opens the region of this VM as the driver does, says what it is, and
 * writes TEXT to its beginning and its end.
 *
 * vm_region WHICH --scribble: writes noise all over it until it is killed.
 */
#include "region/vm_region.h"
#include "zvsock.h"

#include <stdio.h>
#include <string.h>

/* Words of noise at places of noise, and now and then a small number, as an index could have. */
static _Noreturn void scribble(const struct vm_region *r)
{
	volatile uint32_t *words = r->addr;
	uint64_t n = r->size / sizeof(*words), x = 0x9e3779b97f4a7c15u;

	(void)puts("scribbling");
	(void)fflush(stdout);
	for (;;) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		words[(x >> 20) % n] = x & 1 ? (uint32_t)(x >> 32) : (uint32_t)(x >> 1) % 1024;
	}
}

int main(int argc, char **argv)
{
	struct vm_region r;
	const struct vm_region_env place = {.root = ""};
	int ret = argc >= 2 ? vm_region_open(&r, argv[1], &place) : -1;
	size_t len = argc >= 3 ? strlen(argv[2]) : 0;

	if (ret) {
		(void)fprintf(stderr, "vm_region: %s\n", argc < 2 ? "which?" : zv_error_text());
		return 1;
	}
	(void)printf("%s %s size=%llu gpa=0x%llx page=%llu load=%u.%03u ordinary=%u.%03u ns\n",
		     r.kind->name, r.name, (unsigned long long)r.size, (unsigned long long)r.gpa.v,
		     (unsigned long long)r.page_size, r.latency.here / 1000, r.latency.here % 1000,
		     r.latency.ordinary / 1000, r.latency.ordinary % 1000);
	if (len && strcmp(argv[2], "--scribble") == 0)
		scribble(&r);
	memcpy(r.addr, len ? argv[2] : "", len);
	memcpy((char *)r.addr + r.size - len, len ? argv[2] : "", len);
	vm_region_close(&r);
	return 0;
}
