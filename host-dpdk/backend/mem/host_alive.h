/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lets the drivers of a region see the death of this process although their VMs live
 * (proto/ctrl/alive.h). This is the host's part.
 *
 * Theory of operation
 * -------------------
 * The kernel changes the words when the thread that is named there ends, and finds them through
 * that thread's robust list: nodes in private memory, each at the same distance from its word. So a
 * region needs a thread of its own, which only sleeps. However the process ends, the kernel does
 * this before the process is gone; after a crash that writes a core file, when that is written.
 *
 * What guests write there cannot harm this process: the kernel follows private pointers only, and
 * compares the word with the thread's number.
 */
#ifndef ZV_HOST_ALIVE_H
#define ZV_HOST_ALIVE_H

#include <stdbool.h>

struct alive_slot;
struct host_alive;

/* For the region whose page of slots is @slots, as it is mapped here. NULL: no memory, no thread.
 */
struct host_alive *host_alive_new(struct alive_slot *slots);
/*
 * Keeps the word in slot @s of that page from now on. It does not wait: until the thread runs the
 * word is 0, if it was ALIVE_DIED.
 */
void host_alive_say(struct host_alive *a, struct alive_slot *s);
/*
 * No word is kept any more; call it before the region is unmapped. @died: the drivers are to find
 * ALIVE_DIED, otherwise 0. NULL is allowed.
 */
void host_alive_end(struct host_alive *a, bool died);

#endif
