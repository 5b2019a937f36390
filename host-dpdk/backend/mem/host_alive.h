/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lets the drivers of a region notice the death of this process although their VMs continue
 * (proto/ctrl/alive.h). This is the host's part.
 *
 * Theory of operation
 * -------------------
 * Each driver's slot in the region has a word in which this process stores the number of a thread.
 * When that thread ends, the kernel replaces the number by ALIVE_DIED. It finds the words through
 * the thread's robust list: nodes in private memory, each at the same distance from its word. Since
 * that distance is the same for a whole list, each region needs a thread of its own, which only
 * sleeps. However the process ends, the kernel does this before the process is gone; after a crash
 * that writes a core file, when that is written.
 *
 * What guests write there cannot harm this process: the kernel follows private pointers only, and
 * compares the word with the thread's number.
 */
#ifndef ZV_HOST_ALIVE_H
#define ZV_HOST_ALIVE_H

#include <stdbool.h>

struct alive_slot;
struct host_alive;

/* @slots: the page of slots of the region, as it is mapped here. NULL: no memory, or no thread. */
struct host_alive *host_alive_new(struct alive_slot *slots);
/*
 * Maintains the word in slot @s of that page from now on. Does not wait for the thread: until it
 * runs, an ALIVE_DIED in the word is replaced by 0.
 */
void host_alive_maintain(struct host_alive *a, struct alive_slot *s);
/*
 * Maintains all words that @before maintains, which is about to end and has the same page mapped
 * elsewhere. As above, it does not wait for the thread.
 */
void host_alive_take_over(struct host_alive *a, struct host_alive *before);
/*
 * Ends the maintenance of all words; call it before the region is unmapped. @died: leaves
 * ALIVE_DIED in them for the drivers, otherwise 0. NULL is allowed.
 */
void host_alive_end(struct host_alive *a, bool died);

#endif
