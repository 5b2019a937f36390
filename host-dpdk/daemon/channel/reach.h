/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds the region that two devices can both reach.
 *
 * Theory of operation
 * -------------------
 * zvsockd has a region of its own, for channels between applications. A guest's driver may offer
 * memory that others can map too (OFFER): that becomes the region of the guest, for its connections
 * with applications, and with guests that share the same file. zvsockd stops using it when the
 * guest loses that memory.
 *
 * How guest memory is imported is set by the code that knows the backend (reach_import_by()).
 */
#ifndef ZVD_REACH_H
#define ZVD_REACH_H

#include "region.h"

/* True: the device is an application, which gets regions as descriptors. */
bool reach_is_app(const struct guest *g);

/* The region that both can reach, with a reference for the caller; NULL: there is none. Any
 * thread. */
struct region *reach_region(const struct guest *a, const struct guest *b);

/* The region of zvsockd, with a reference for the caller; NULL: none. Any thread. */
struct region *reach_own(void);

/* Sets *gpa for zv_region: the address at which the guest has the region, if it is in the guest's
 * own memory; ZV_REGION_BY_FD otherwise: it gets a descriptor. 0; -EAGAIN: the guest does not have
 * the memory yet; -ETIMEDOUT: it did not appear in time, which has been logged. */
int reach_address(const struct guest *g, struct region *r, uint64_t *gpa);

/* A driver with number @nonce has come: the guest's region is dropped if another driver offered
 * it. */
void reach_driver(struct guest *g, uint64_t nonce);

/* The driver of the queue offers memory. Returns its region, with a reference for the caller; NULL:
 * it cannot be used, and the reason has been logged. On the queue's lcore. */
struct region *reach_offered(struct guest_queue *gq, uint64_t nonce, uint64_t gpa, uint64_t size);

/* The same for an offer by a program. A guest may have many programs; all of them share one region,
 * the first one offered, until that is gone. */
struct region *reach_offered_by_program(struct guest_queue *gq, uint64_t gpa, uint64_t size);

/* Returns true once, when the driver that lends the guest's memory has died in a VM that continues.
 * *lent: a driver lends memory. Main thread. */
bool reach_orphaned(const struct guest *g, bool *lent);

/* region_look_lent() of the guest's region. Main thread. */
void reach_look_lent(const struct guest *g, bool (*counts)(uint64_t cid, void *arg), void *arg);

/* The driver with @nonce has gone for good and no longer lends its memory. */
void reach_driver_gone(struct guest *g, uint64_t nonce);

/* ---- the main thread ---- */

/*
 * Sets the size of zvsockd's own region (0: none) and of its channels (@channel; 0: default);
 * creates or replaces the region. Regions of guest memory get channels of that size as well. True:
 * the region has changed, and broker_regions_changed() must be called on all queues.
 */
bool reach_own_size(uint64_t size, uint64_t channel);

/* The device's queues have ended: it no longer lends its memory. */
void reach_guest_end(struct guest *g);

/* Sets the function that imports memory which the driver of @queue of @dev offers as a region. It
 * returns 0 or -errno. NULL, the initial value: offers cannot be used. */
void reach_import_by(int (*how)(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
				struct region_mem *out));

#endif
