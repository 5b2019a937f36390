/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks of vhost-user messages. A message of a frontend is checked whole, with the descriptors
 * that came with it, against its row of vu_messages.h, before anybody acts on it. Pure logic, so
 * that unit tests and the fuzzer can call it without a device. What the descriptors are is looked
 * at when they are used (fd_check.h).
 */
#ifndef ZV_VU_RULES_H
#define ZV_VU_RULES_H

#include "vu_messages.h"

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
