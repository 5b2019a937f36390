/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Table of the translations of a guest's IOMMU known so far: the implementation of guest_iommu.h
 * for vhost-user (IOTLB_MSG, "IOMMU support" in its specification).
 *
 * Theory of operation
 * -------------------
 * The frontend sends and withdraws translations in messages that the control thread reads. That
 * thread changes the table while the owners of the queues are stopped, so they read it without a
 * lock. An address that is not in the table is requested: whoever meets it sends IOTLB_MISS on the
 * backend channel, once for each page and access. The list of unanswered requests is the only thing
 * that several threads change, and has a lock.
 *
 * A frontend does not answer a request for an address that its IOMMU does not know. So a full list
 * forgets the oldest request that was sent; an answer that still comes is accepted anyway. An
 * INVALIDATE also forgets the requests in its range, and rings ask again, because the frontend may
 * have read the requests after it withdrew the translation.
 *
 * A frontend that has made sending slow (wake_cost.h) is sent nothing for a while. What is not
 * known then counts as not mapped, and breaks the ring: a request that is not sent has no answer,
 * after which the ring would try again. A request that was there before stays, because another ring
 * waits for its answer.
 *
 * The table is bounded (IOTLB_MAX). A guest that uses more translations at a time loses all of them
 * at the bound, and they are requested again: that is slow for this guest only.
 *
 * No guest is trusted: an entry leads to an address of the frontend, and guest_mem.h decides
 * whether there is guest memory.
 */
#ifndef ZV_IOTLB_H
#define ZV_IOTLB_H

#include "guest_iommu.h"
#include "proto/vhost_user.h"
#include "wake_cost.h"

#include <pthread.h>

#define IOTLB_MAX   8192u	     /* translations per guest */
#define IOTLB_ASKED 64u		     /* unanswered requests */
#define IOTLB_PAGE  GUEST_IOMMU_PAGE /* minimum size of a request, in bytes */

struct iotlb_entry {
	struct iova iova;
	uint64_t last; /* offset of the last byte: size - 1 */
	struct uva uva;
	uint8_t perm; /* enum vu_iotlb_perm */
};

struct iotlb {
	struct guest_iommu io; /* first */
	/* Changed by the control thread only, while the owners are stopped. Sorted, no overlaps. */
	struct iotlb_entry *entry; /* IOTLB_MAX entries; NULL: there was none yet */
	unsigned n;
	/* Any thread, under the lock. */
	pthread_mutex_t lock;
	int fd; /* the backend channel, the caller's; -1: none */
	struct wake_cost cost;
	struct wake_limit wakes;
	unsigned nasked;
	struct {
		struct iova page;
		uint8_t perm;
		bool sent;
	} asked[IOTLB_ASKED];
};

/* A new table for a device; guest_iommu_ops.free ends it. NULL: no memory. */
struct guest_iommu *iotlb_new(void);

void iotlb_init(struct iotlb *t);
void iotlb_fini(struct iotlb *t);

/* Sets @fd (-1: none) as the channel for requests. It must stay open until the next call. */
void iotlb_set_channel(struct iotlb *t, int fd);

/* UPDATE: maps @size bytes (>= 1, no wrap) at @iova to @uva. Overlapping entries are forgotten. 0;
 * -ENOMEM. The owners are stopped. */
int iotlb_update(struct iotlb *t, struct iova iova, uint64_t size, struct uva uva, uint8_t perm);
/* INVALIDATE: forgets entries and requests that overlap @size (>= 1) bytes. The owners are
 * stopped. */
void iotlb_invalidate(struct iotlb *t, struct iova iova, uint64_t size);
/* Forgets all translations and requests. The owners are stopped. */
void iotlb_flush(struct iotlb *t);
/* True: there is no translation and no request, so nothing to flush. Control thread. */
bool iotlb_is_empty(struct iotlb *t);
/* Retries requests that could not be sent. */
void iotlb_ask_again(struct iotlb *t);

#endif
