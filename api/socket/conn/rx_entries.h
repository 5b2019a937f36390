/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The memory of a queue's receive entries (rx_loan.h).
 *
 * Theory of operation
 * -------------------
 * The peer decides how many entries there are, up to millions, and when all of them end. Other
 * queues may wait for this thread meanwhile, so nothing here is done to all entries at once: the
 * array grows by mremap(2), which moves page tables, not bytes; and once no entry is in use, its
 * memory goes back to the kernel by rx_entries_trim(), a piece at a time. Address space is kept
 * until the queue is closed.
 */
#ifndef ZV_RX_ENTRIES_H
#define ZV_RX_ENTRIES_H

#include "socket/core/state.h"

struct rx_entry {
	uint8_t *data;
	uint32_t len;
	uint32_t next; /* in the connection's list, or the free list */
	/* the buffer; valid in the entry that `holder` names */
	uint32_t holder;   /* index of the entry that holds the buffer; itself for single pieces */
	uint32_t refs;	   /* holder only: entries that use the buffer */
	uint32_t token;	   /* holder only: rx token */
	uint16_t ndesc;	   /* holder only: descriptors withheld; 0: private memory */
	uint8_t flags;	   /* ZV_EOM, ZV_EOR */
	uint64_t conn_id;  /* connection whose credit it uses; stale ids find nothing */
	uint8_t *priv;	   /* holder only: private memory, NULL for ring buffers */
	uint32_t priv_cap; /* holder only: bytes of priv */
	uint32_t extra;	   /* credit used beyond len: ZV_CAP_EMPTY_MSG */
	uint64_t serial;   /* of its loan to the application; 0: not lent */
};

#define RX_ENTRIES_KEPT 4096u /* with their memory, when none is in use */

/* Doubles the array. False: no memory, and nothing has changed. */
bool rx_entries_grow(struct rx_loans *r);

/* No entry is in use: the free list is dropped, so that the memory can go. */
void rx_entries_unused(struct rx_loans *r);

/* Gives a piece of unused memory back. True: there is more. */
bool rx_entries_trim(struct rx_loans *r);

void rx_entries_fini(struct rx_loans *r);

#endif
