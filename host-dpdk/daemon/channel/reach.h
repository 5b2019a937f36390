/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which region two devices can both reach.
 *
 * Theory of operation
 * -------------------
 * zvsockd has a region of its own, for applications among themselves. A guest's driver may offer
 * memory that others can map too (OFFER): that is the region of the guest, for its connections with
 * applications, and with guests that have the same file. It is given up when the guest loses it.
 *
 * How memory of a guest is had is told by whoever knows the backend (reach_import_by()).
 */
#ifndef ZVD_REACH_H
#define ZVD_REACH_H

#include "region.h"

/* The device is an application, which gets regions by their descriptors. */
bool reach_is_app(const struct guest *g);

/* Any thread. The region that both can reach, with a reference for the caller; NULL: there is none.
 */
struct region *reach_region(const struct guest *a, const struct guest *b);

/* zvsockd's own, with a reference for the caller; NULL: none. Any thread. */
struct region *reach_own(void);

/*
 * *gpa for zv_region: where the guest finds its own memory; others get a descriptor. 0; -EAGAIN: it
 * does not have it yet; -ETIMEDOUT: nor will it, and the log says so.
 */
int reach_address(const struct guest *g, struct region *r, uint64_t *gpa);

/* The driver that calls itself @nonce has come: what another one has offered is given up. */
void reach_driver(struct guest *g, uint64_t nonce);

/* The driver of the queue offers memory. Its region, with a reference for the caller; NULL: it
 * cannot be used, and the log says why. On the queue's lcore. */
struct region *reach_offered(struct guest_queue *gq, uint64_t nonce, uint64_t gpa, uint64_t size);

/* The same by a program, of which there may be many: all of a guest have one region, the first that
 * is offered, until that is gone. */
struct region *reach_offered_by_program(struct guest_queue *gq, uint64_t gpa, uint64_t size);

/* Once: the driver that lends the guest's memory has died in a VM that goes on. *lent: there is
 * one. The main thread. */
bool reach_orphaned(const struct guest *g, bool *lent);

/* That driver has gone for good, and does not lend its memory any more. */
void reach_driver_gone(struct guest *g, uint64_t nonce);

/* ---- the main thread ---- */

/*
 * zvsockd's own region is to have @size bytes, and channels of @channel (0: as it likes): made, or
 * replaced. 0: none. Regions of guests' memory get channels of that size as well. True: it is
 * another one, and broker_regions_changed() is due on all queues.
 */
bool reach_own_size(uint64_t size, uint64_t channel);

/* The device's queues have ended: it does not lend its memory any more. */
void reach_guest_end(struct guest *g);

/*
 * How memory is had that the driver of @queue of @dev offers to be a region. 0 or -errno. NULL, as
 * it is at first: not at all.
 */
void reach_import_by(int (*how)(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
				struct region_mem *out));

#endif
