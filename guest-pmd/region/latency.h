/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is a mapping cached?
 *
 * Memory of a BAR may be mapped uncached, whatever is behind it: the kernel asks for that, and
 * where the hypervisor honours it (KVM on AMD, passed-through devices) each load goes to memory.
 * Channels poll shared words, so there they would be slower than virtqueues. No interface tells, so
 * it is measured: dependent loads from lines that were loaded a moment ago take either the latency
 * of the first-level cache or that of memory.
 */
#ifndef ZV_LATENCY_H
#define ZV_LATENCY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One load, in picoseconds. */
struct load_latency {
	uint32_t here;	   /* in the mapping */
	uint32_t ordinary; /* in ordinary memory, measured at the same time */
};

/*
 * Measures loads from a few lines of the @size bytes at @addr, at least 4096, and from private
 * memory, alternately. Keeps the smallest of several results, because an interrupt or a peer that
 * writes to these lines makes them larger and nothing makes them smaller. Writes nothing. Takes a
 * millisecond; at most 50 with slow memory.
 */
void load_latency_measure(struct load_latency *l, const void *addr, size_t size);

/*
 * A cached load takes as long as one from ordinary memory, two or three times as long in a bad
 * measurement; an uncached one takes 50 ns and more where the other takes one or two.
 */
static inline bool load_latency_is_cached(const struct load_latency *l)
{
	return l->here <= 8ull * l->ordinary + 20000;
}

#endif
