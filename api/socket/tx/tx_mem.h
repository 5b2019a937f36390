/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending from memory of the application, which the device reads in place (zvsock_mem.h).
 *
 * A call of zv_send_mem has a record (struct mem_send) from the time it has taken data until the
 * application has taken its completion. Each of its packets carries the number of the record, and
 * the transport reports which packets the device has finished with (struct transport_sent). The
 * record is complete when the last of them is finished. A call that copied its data is complete at
 * once.
 */
#ifndef ZV_TX_MEM_H
#define ZV_TX_MEM_H

#include "tx.h"

struct zv_mem {
	struct zv_dev *dev;
	struct zv_mem *next; /* dev->mems */
	uint8_t *addr;
	size_t len;
	struct iova at; /* its address for the device, when it is shared */
	bool shared;
	uint32_t busy; /* records that use it; atomic, changed by the owners of several queues */
};

/* A record. */
struct mem_send {
	struct zv_mem *mem;
	void *user;
	size_t len;	 /* bytes taken */
	uint32_t pieces; /* packets that the device has */
	uint32_t next;	 /* in the list of completed or of free records */
	int32_t err;
	uint32_t flags; /* ZV_MEM_* */
};

/* What a call sends. */
struct mem_part {
	const uint8_t *data;
	struct iova at; /* the same for the device */
	size_t len;
	uint32_t record;
};

/* Allocates a record, not complete; LOAN_NONE: no memory. */
uint32_t mem_send_new(struct zv_queue *q);
/* Frees the record of a call that has failed. */
void mem_send_drop(struct zv_queue *q, uint32_t record);
/* Fills the record in when the call has taken data. */
void mem_send_begin(struct zv_queue *q, uint32_t record, const struct mem_send *of);
/* Takes a completed record off the list. False: there is none. */
bool mem_send_take(struct zv_queue *q, struct mem_send *out);

/* There is a completed record. */
static inline bool mem_send_over(const struct zv_queue *q)
{
	return q->mem.first != LOAN_NONE;
}

/* Updates the records with what the transport reports the device to have finished. */
void mem_sends_update(struct zv_queue *q);
/* The same, but makes the transport check first. */
void mem_sends_check(struct zv_queue *q);

/*
 * Sends a packet with @len bytes of @part from offset @done on; the header goes into @s, which is
 * reserved.
 */
void tx_mem_commit(struct zv_conn *c, const struct tx_slot *s, const struct mem_part *part,
		   size_t done, uint32_t len, uint32_t flags);

void mem_sends_init(struct zv_queue *q);
void mem_sends_fini(struct zv_queue *q);

#endif
