/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a mapping cached?
 *
 * Memory of a BAR may be mapped uncached, whatever it is made of: the kernel asks for that, and
 * where the hypervisor keeps to it (KVM on AMD, devices that are passed through) each load goes to
 * memory. Channels poll shared words, so they would be slower there than virtqueues. No interface
 * tells, so it is measured: loads whose address depends on the load before, from lines that were
 * loaded a moment ago, take what the first cache takes, or what memory takes.
 */
#ifndef ZV_LATENCY_H
#define ZV_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One load, in picoseconds. */
struct load_latency {
	uint32_t here;	   /* in the mapping */
	uint32_t ordinary; /* in ordinary memory, in the same moment */
};

/*
 * Loads from a few lines of the @size bytes at @addr, at least 4096, and from private memory in
 * turn, and keeps the smallest of several figures, because an interrupt or a peer that writes to
 * these very lines makes them larger and nothing makes them smaller. Nothing is written. Takes a
 * millisecond, and with slow memory no longer than 50.
 */
void load_latency_measure(struct load_latency *l, const void *addr, size_t size);

/*
 * A cached load takes as long as one from ordinary memory, two or three times as long when a figure
 * is bad; an uncached one 50 ns and more where the other takes one or two.
 */
static inline bool load_latency_is_cached(const struct load_latency *l)
{
	return l->here <= 8ull * l->ordinary + 20000;
}

#endif
