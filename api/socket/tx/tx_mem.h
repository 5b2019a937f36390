/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sends from memory of the application, which the device reads in place (zvsock_mem.h).
 *
 * A call of zv_send_mem has a record (struct mem_send) from when it has taken something until the
 * application has taken its completion. Each of its packets names the record by its number, and the
 * transport says which packets the device has done with (struct transport_sent); the record is over
 * with the last of them. A call that has copied is over at once.
 */
#ifndef ZV_TX_MEM_H
#define ZV_TX_MEM_H

#include "tx.h"

struct zv_mem {
	struct zv_dev *dev;
	struct zv_mem *next; /* dev->mems */
	uint8_t *addr;
	size_t len;
	struct iova at; /* where the device has it, when it is shared */
	bool shared;
	uint32_t busy; /* records of it; atomic, of several queues' owners */
};

/* A record. */
struct mem_send {
	struct zv_mem *mem;
	void *user;
	size_t len;	 /* bytes taken */
	uint32_t pieces; /* packets that the device has */
	uint32_t next;	 /* in the list of those that are over, or of the free ones */
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

/* A record, which is not over; LOAN_NONE: no memory. */
uint32_t mem_send_new(struct zv_queue *q);
/* The call has failed: as if it had never been. */
void mem_send_drop(struct zv_queue *q, uint32_t record);
/* It has taken @len bytes of @mem. */
void mem_send_begin(struct zv_queue *q, uint32_t record, const struct mem_send *of);
/* Takes one that is over off the list. False: there is none. */
bool mem_send_take(struct zv_queue *q, struct mem_send *out);

/* There is one that is over. */
static inline bool mem_send_over(const struct zv_queue *q)
{
	return q->mem.first != LOAN_NONE;
}

/* Enters in the records what the transport has found the device to have done with. */
void mem_sends_update(struct zv_queue *q);
/* Looks for that first. */
void mem_sends_look(struct zv_queue *q);

/*
 * Sends a packet of @len bytes of @part from @done on, with the header in @s, which has been
 * reserved.
 */
void tx_mem_commit(struct zv_conn *c, const struct tx_slot *s, const struct mem_part *part,
		   size_t done, uint32_t len, uint32_t flags);

void mem_sends_init(struct zv_queue *q);
void mem_sends_fini(struct zv_queue *q);

#endif
