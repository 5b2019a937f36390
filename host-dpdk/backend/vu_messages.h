/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user messages that a vsock device takes: one row each, all in vu_messages.c. A row says
 * what the message must look like, whether rte_vhost has to agree, and what is done. What has no
 * row is refused, so a new message is a number in proto/vhost_user.h, a row and a function.
 *
 * vu_rules.h checks a message whole against its row, with the descriptors that came with it, before
 * anybody acts on it.
 */
#ifndef ZV_VU_MESSAGES_H
#define ZV_VU_MESSAGES_H

#include "proto/vhost_user.h"

#include <stdbool.h>

struct vu_dev;
struct vu_exchange;

struct vu_message {
	/* What it looks like. Its functions may rely on the size of the payload. */
	uint16_t size_min, size_max;		  /* of the payload, bytes */
	uint32_t (*vq)(const struct vu_msg *m);	  /* virtqueue that it names; NULL: none */
	unsigned (*nfds)(const struct vu_msg *m); /* descriptors that belong to it; NULL: none */
	/* What else must hold: NULL, or why it is refused. @mem_max as in vu_msg_refused(). */
	const char *(*check)(const struct vu_msg *m, uint64_t mem_max);

	/* rte_vhost keeps this part of the protocol's state: it is asked first (vu_rte.h). */
	bool to_rte;
	bool answered; /* always, not only when it wants a reply */
	/*
	 * Does what it says, in the control thread. When rte_vhost was asked, it has accepted, and
	 * an answer of its is in x->answer. 0: done; 1: x->answer (size, payload) is to be sent,
	 * which is what a row with `answered` must return; -errno: refused, and the log says why.
	 */
	int (*handle)(struct vu_dev *d, struct vu_exchange *x);
	/* rte_vhost has refused it: true, and the log says why; or false. NULL: false. */
	bool (*refused)(struct vu_dev *d, const struct vu_msg *m);
};

/* The row of @request, or NULL: a vsock device does not take it. */
const struct vu_message *vu_message_of(uint32_t request);

#endif
