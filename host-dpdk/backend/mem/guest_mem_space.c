/* SPDX-License-Identifier: BSD-3-Clause */
/* The address space that the memory of all guests takes. */
#include "guest_mem_int.h"
#include "map_limit.h"
#include "mem_look.h"

#include <errno.h>
#include <sys/mman.h>
#include <time.h>

#define PIECE ((size_t)64 << 20) /* bytes of address space */

static uint64_t mapped; /* bytes of all maps, of all guests; atomic */
static uint32_t maps;	/* their number; atomic */

bool guest_mem_space_take(uint64_t len)
{
	uint64_t all = __atomic_add_fetch(&mapped, len, __ATOMIC_RELAXED);
	uint32_t n = __atomic_add_fetch(&maps, 1, __ATOMIC_RELAXED);

	if ((len <= GUEST_MEM_SMALL || all <= GUEST_MEM_LARGE_ALL) && n <= map_limit_peers())
		return true;
	guest_mem_space_give(len);
	return false;
}

void guest_mem_space_give(uint64_t len)
{
	__atomic_sub_fetch(&mapped, len, __ATOMIC_RELAXED);
	__atomic_sub_fetch(&maps, 1, __ATOMIC_RELAXED);
}

uint32_t guest_mem_maps(void)
{
	return __atomic_load_n(&maps, __ATOMIC_RELAXED);
}

void *guest_mem_space_map(int fd, uint64_t start, uint64_t len)
{
	void *addr = MAP_FAILED;
	struct mem_account *was;

	if (!guest_mem_space_take(len)) {
		errno = ENOMEM;
		return addr;
	}
	was = mem_map_begin(mem_payer());
	addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)start);
	mem_map_end(was);
	if (addr == MAP_FAILED)
		guest_mem_space_give(len);
	return addr;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* While the peer rests (mem_sleep.h), but no longer than it does for the last piece, which has
 * taken
 * @took. */
static void wait_for_rest(const struct mem_account *pays, uint64_t took)
{
	uint64_t ns = mem_sleep_rest(&pays->sleep, now_ns());
	struct timespec t;

	if (ns > MEM_SLEEP_PART * took)
		ns = MEM_SLEEP_PART * took;
	t = (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
	if (ns)
		(void)nanosleep(&t, NULL);
}

/* Pages may be larger than a piece. */
void guest_mem_space_unmap(uint8_t *addr, size_t len, struct mem_account *pays, bool waits)
{
	struct mem_account *was;
	uint64_t took = 0, began;
	size_t at = 0, n;
	int ret = 0;

	for (; at < len; at += n) {
		if (waits && pays)
			wait_for_rest(pays, took);
		began = now_ns();
		n = ret == 0 && len - at > PIECE ? PIECE : len - at;
		was = mem_unmap_begin(pays);
		ret = munmap(addr + at, n);
		mem_map_end(was);
		took = now_ns() - began;
		n = ret == 0 || n == len - at ? n : 0; /* all that is left, then */
	}
	guest_mem_space_give(len);
}

void guest_mem_space_drop(void *addr, size_t len)
{
	struct mem_account *was = mem_unmap_begin(mem_payer());

	(void)munmap(addr, len);
	mem_map_end(was);
	guest_mem_space_give(len);
}
