/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lets the host notice the death of this process although the VM continues, and reads the host's
 * word (proto/ctrl/alive.h). This is the driver's part; only the control thread uses it.
 */
#ifndef ZV_GUEST_ALIVE_H
#define ZV_GUEST_ALIVE_H

#include "own_region.h"

#include <linux/futex.h>

struct alive_slot;

struct guest_alive {
	struct robust_list_head head;
	struct robust_list node;      /* for `owner` in the slot */
	struct robust_list_head *was; /* the thread's own list, restored at the end */
	struct region_map *map;	      /* NULL: no word is maintained */
	uint64_t cid;
	struct alive_slot *own; /* of @cid */
};

/*
 * To be called before guest_alive_update(). Until guest_alive_end() the C library has no robust
 * list in this thread, so the thread must not use robust mutexes.
 */
void guest_alive_begin(struct guest_alive *a);
/* Maintains the word for @cid in the region while that is present (own_region_present()). */
void guest_alive_update(struct guest_alive *a, const struct own_region *own, uint64_t cid);
/* The host's word; 0: there is none. ALIVE_DIED: its process has died. */
uint32_t guest_alive_host(const struct guest_alive *a);
/* To be called before the thread ends in order: the kernel no longer uses *a. */
void guest_alive_end(struct guest_alive *a);

#endif
