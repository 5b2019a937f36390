/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which vhost-user messages a vsock device takes from its frontend, and what each must look like.
 *
 * One row a request. A message is checked whole, with the descriptors that came with it, before
 * anybody acts on it; what is not in the table is refused. Plain C without system calls, so that
 * unit tests and the fuzzer can link it alone. What the descriptors are is fd_check.h's business.
 */
#ifndef ZV_VU_RULES_H
#define ZV_VU_RULES_H

#include "proto/vhost_user.h"

#include <stdbool.h>

/* Where a message names its ring. */
enum vu_ring_at { VU_RING_NONE, VU_RING_STATE, VU_RING_U64, VU_RING_ADDR };

/* Which descriptors come with it. */
enum vu_fds {
	VU_FDS_NONE,
	VU_FDS_ONE,
	VU_FDS_EVENT,  /* one, or none when bit 8 of the payload says so */
	VU_FDS_REGIONS /* one a region of the memory table */
};

struct vu_rule {
	const char *name;
	uint16_t size_min, size_max; /* of the payload, bytes */
	uint8_t ring;		     /* enum vu_ring_at */
	uint8_t fds;		     /* enum vu_fds */
	bool answered;		     /* always, not only when it wants a reply */
	bool to_rte;		     /* rte_vhost keeps this part of the protocol's state */
};

/* The row of @request, or NULL: a vsock device does not take it. */
const struct vu_rule *vu_rule_of(uint32_t request);

/* The ring number that @m names; UINT32_MAX when it names none. */
uint32_t vu_msg_ring(const struct vu_msg *m);

/*
 * The header alone may be refused, before the payload has come. NULL, which promises that the
 * payload fits into struct vu_msg; or why it is.
 */
const char *vu_head_refused(const struct vu_msg *m);
/* The same for the header of an answer. */
const char *vu_answer_refused(const struct vu_msg *m);

/*
 * A whole message: @nfds descriptors came with it, the device has @nrings virtqueues, and a memory
 * table may have @mem_max bytes. NULL, or why it is refused. After NULL all lengths, ring numbers
 * and ranges in it can be relied on, and there are as many descriptors as it calls for.
 */
const char *vu_msg_refused(const struct vu_msg *m, unsigned nfds, unsigned nrings,
			   uint64_t mem_max);

#endif
