/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a process needs to be the host of guests: libzvsock-host, and with it DPDK's EAL. It is
 * initialised when the first guest is started, or when applications may attach, and never if there
 * are only devices; zvsockd-guest is linked without it (no_host.c instead of as_host.c).
 */
#ifndef ZVD_AS_HOST_H
#define ZVD_AS_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct guest;
struct guest_queue;

/* 0; or -errno, after guest_fails(). May be called again. Main thread. */
int as_host_prepare(struct guest *g);

/* To be called periodically: handles the death of the guest's driver in a VM that goes on. True:
 * the driver is watched, because it lends memory. Main thread. */
bool as_host_check(const struct guest *g);

/* For the queue's lcore: lcore_queue.watch() and ->rests(). */
void as_host_watch(struct guest_queue *gq, void (*fn)(void *lq, bool enters));
void as_host_rest(struct guest_queue *gq, uint64_t ns);

#endif
