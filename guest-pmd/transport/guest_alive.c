/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_alive.h"

#include "proto/ctrl/alive.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(ALIVE_DIED == FUTEX_OWNER_DIED, "what the kernel writes");

void guest_alive_begin(struct guest_alive *a)
{
	size_t len;

	memset(a, 0, sizeof(*a));
	a->head.list.next = &a->head.list; /* empty */
	if (syscall(SYS_get_robust_list, 0, &a->was, &len) < 0)
		a->was = NULL;
}

/* Ends the maintenance of the word. @there: the region, and so the word, is present. */
static void let_go(struct guest_alive *a, bool there)
{
	a->head.list.next = &a->head.list;
	if (!a->map)
		return;
	if (there)
		(void)shm_swap32(&a->own->owner, (uint32_t)gettid(), 0);
	region_map_put(a->map);
	a->map = NULL;
}

void guest_alive_update(struct guest_alive *a, const struct own_region *own, uint64_t cid)
{
	bool there = own_region_present(own);
	struct alive_slot *s;

	/* Another host may have put other memory there meanwhile. */
	if (a->map && (!there || a->cid != cid || shm_load32(&a->own->owner) != (uint32_t)gettid()))
		let_go(a, there);
	if (a->map || !cid || !there || own->map->size < 2 * ALIVE_BYTES)
		return;
	s = alive_find(alive_slots(own->map->addr, own->map->size), cid, 1);
	if (!s)
		return;
	a->map = region_map_hold(own->map);
	a->cid = cid;
	a->own = s;
	a->node.next = &a->head.list;
	a->head.futex_offset = (char *)&s->owner - (char *)&a->node;
	a->head.list.next = &a->node;
	shm_store_release32(&s->owner, (uint32_t)gettid());
	if (syscall(SYS_set_robust_list, &a->head, sizeof(a->head)) < 0)
		let_go(a, true);
}

uint32_t guest_alive_host(const struct guest_alive *a)
{
	return a->map ? shm_load32(&a->own->host) : 0;
}

void guest_alive_end(struct guest_alive *a)
{
	let_go(a, true);
	(void)syscall(SYS_set_robust_list, a->was, sizeof(a->head));
}
