/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest's IOMMU has translated so far: the table behind guest_iommu.h for vhost-user
 * (IOTLB_MSG, "IOMMU support" in its specification).
 *
 * Theory of operation
 * -------------------
 * The frontend tells translations, and takes them back, by messages that the control thread reads;
 * it changes the table while the owners of the queues are stopped, so they read it without a lock.
 * An address that is not in it is asked for: IOTLB_MISS goes out on the backend channel, once for
 * each page and access, by whoever has met it. The list of what was asked and not answered yet is
 * the one thing that several threads change, and has a lock.
 *
 * A frontend does not answer a question about an address that its IOMMU does not know. So a full
 * list forgets the oldest question that was sent: the answer, should it come, is taken all the
 * same. An INVALIDATE forgets the questions in its range as well, and rings ask again: the frontend
 * may have read them after it took the translation back.
 *
 * The table is bounded (IOTLB_MAX). A guest that has more translations in use at a time loses all
 * of them at the bound and is asked again: that is slow for it, and for nobody else.
 *
 * No guest is believed: an entry leads to an address of the frontend, and guest_mem.h decides
 * whether there is guest memory.
 */
#ifndef ZV_IOTLB_H
#define ZV_IOTLB_H

#include "guest_iommu.h"
#include "proto/vhost_user.h"

#include <pthread.h>

#define IOTLB_MAX   8192u	     /* translations of a guest */
#define IOTLB_ASKED 64u		     /* questions without an answer */
#define IOTLB_PAGE  GUEST_IOMMU_PAGE /* what is asked for: at least so many bytes */

struct iotlb_entry {
	struct iova iova;
	uint64_t last; /* offset of the last byte: size - 1 */
	struct uva uva;
	uint8_t perm; /* enum vu_iotlb_perm */
};

struct iotlb {
	struct guest_iommu io; /* first */
	/* The control thread's to change while the owners are stopped. Sorted, none overlap. */
	struct iotlb_entry *entry; /* IOTLB_MAX of them; NULL: there was none yet */
	unsigned n;
	/* Anybody's, under the lock. */
	pthread_mutex_t lock;
	int fd; /* the backend channel, a dup; -1: none */
	unsigned nasked;
	struct {
		struct iova page;
		uint8_t perm;
		bool sent;
	} asked[IOTLB_ASKED];
};

/* A table as a device has it; guest_iommu_ops.free ends it. NULL: no memory. */
struct guest_iommu *iotlb_new(void);

void iotlb_init(struct iotlb *t);
void iotlb_fini(struct iotlb *t);

/* Takes a duplicate of @fd (-1: none) as the channel to ask on. 0 or -errno. */
int iotlb_set_channel(struct iotlb *t, int fd);

/*
 * UPDATE: @size bytes (>= 1, no wrap) at @iova are at @uva. Overlapping ones are forgotten. 0;
 * -ENOMEM. The owners are stopped.
 */
int iotlb_update(struct iotlb *t, struct iova iova, uint64_t size, struct uva uva, uint8_t perm);
/* INVALIDATE: forgets entries and questions that overlap @size (>= 1) bytes. The owners are
 * stopped.
 */
void iotlb_invalidate(struct iotlb *t, struct iova iova, uint64_t size);
/* Forgets everything, what was asked as well. The owners are stopped. */
void iotlb_flush(struct iotlb *t);
/* There is neither a translation nor a question: nothing to flush. The control thread's. */
bool iotlb_is_empty(struct iotlb *t);
/* Asks again what could not be sent. */
void iotlb_ask_again(struct iotlb *t);

#endif
