/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unmaps guest memory for threads that must not wait.
 *
 * munmap() takes as long as the peer likes: 55 ms for each GiB that was touched, and longer if
 * others hold the locks of the file. The owner of a queue, which gets the last token of a former
 * memory table back, and the control thread serve other guests too. So they give the map to an
 * unmapper: a push on a list and sem_post(). There is one for each device, so none waits for
 * another's. It has a thread only while there is something to unmap. An owner cannot make that
 * thread, because pthread_create() waits for mmap_lock, so one thread of the process does, which
 * otherwise sleeps. If none can be made (limit of the user or of the cgroup), it tries again until
 * one can.
 *
 * A map that waits here counts like any other (guest_mem_maps(), vhost_epochs_fit()), which bounds
 * what a device can have here. What the devices of a local user leave here when they end is charged
 * to the user (charge.h), who gets no further one while it is much (vu_user_admitted()). A frontend
 * whose next memory table would not fit beside them waits
 * (vhost_pair_unmaps()).
 */
#ifndef ZV_UNMAPPER_H
#define ZV_UNMAPPER_H

#include "guest_mem.h"

struct charge;
struct unmapper;

/* With one reference. What is added is charged to @c (NULL: to no user), also after the device has
 * ended. NULL: no memory, or no thread. Its first call makes the thread of the process, with the
 * caller's CPU affinity. */
struct unmapper *unmapper_new(struct charge *c);
struct unmapper *unmapper_get(struct unmapper *u);
/* Drops a reference. What is in it is still unmapped; nobody waits for that. NULL is allowed. */
void unmapper_put(struct unmapper *u);
/* Calls guest_mem_unmap(@m), soon. Any thread; does not wait. */
void unmapper_add(struct unmapper *u, struct guest_mem *m);
/* Drops a reference to @m; if it was the last, @u unmaps (NULL: this thread). NULL @m is allowed.
 */
void unmapper_drop(struct unmapper *u, struct guest_mem *m);
/* Tables that are not unmapped yet. Any thread; 0 for NULL. */
uint32_t unmapper_count(const struct unmapper *u);

#endif
