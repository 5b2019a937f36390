/* SPDX-License-Identifier: BSD-3-Clause */
#include "guest_alive.h"

#include "proto/alive.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(ALIVE_DIED == FUTEX_OWNER_DIED, "what the kernel writes");

void guest_alive_begin(struct guest_alive *a)
{
	memset(a, 0, sizeof(*a));
	a->head.list.next = &a->head.list; /* empty */
}

static void let_go(struct guest_alive *a)
{
	a->head.list.next = &a->head.list;
	if (!a->map)
		return;
	(void)shm_swap32(a->word, (uint32_t)gettid(), 0);
	region_map_put(a->map);
	a->map = NULL;
}

void guest_alive_look(struct guest_alive *a, const struct own_region *own, uint64_t cid)
{
	struct alive_slot *s;

	if (a->map && a->cid != cid)
		let_go(a);
	if (a->map || !cid || !own_region_there(own) || own->map->size < 2 * ALIVE_BYTES)
		return;
	s = alive_find(alive_slots(own->map->addr, own->map->size), cid, 1);
	if (!s)
		return;
	a->map = region_map_hold(own->map);
	a->cid = cid;
	a->word = &s->owner;
	a->node.next = &a->head.list;
	a->head.futex_offset = (char *)a->word - (char *)&a->node;
	a->head.list.next = &a->node;
	shm_store_release32(a->word, (uint32_t)gettid());
	if (syscall(SYS_set_robust_list, &a->head, sizeof(a->head)) < 0)
		let_go(a);
}

void guest_alive_end(struct guest_alive *a)
{
	let_go(a);
}
