/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user messages that a vsock device accepts, one row each, and their required format. A
 * message of a frontend is checked whole, with the descriptors that came with it, before it has any
 * effect. Pure logic, which unit tests and the fuzzer link without a device: the effect is in
 * vu_messages.c, in the handler named by the row. The type of the descriptors is checked when they
 * are used (fd_check.h).
 */
#ifndef ZV_VU_RULES_H
#define ZV_VU_RULES_H

#include "proto/vhost_user.h"

#include <stdbool.h>

/*
 * X(request, handler, format): to add a message, add a row here and its handler, a static function
 * in vu_messages.c. The format is a list of members of struct vu_rule, in the words that vu_rules.c
 * defines. TO_RTE: rte_vhost keeps this part of the protocol state and is asked first.
 *
 * A message without a row is refused. The missing requests were never offered (no protocol feature
 * for them), and some of them would give a frontend more than a vsock device should:
 * POSTCOPY_ADVISE a userfaultfd over this whole process, GET_INFLIGHT_FD unbounded memory.
 */
#define VU_MESSAGES(X)                                                                             \
	X(GET_FEATURES, get_features, NO_PAYLOAD, TO_RTE, ANSWERED)                                \
	X(SET_FEATURES, set_features, U64, TO_RTE)                                                 \
	X(GET_PROTOCOL_FEATURES, get_protocol_features, NO_PAYLOAD, TO_RTE, ANSWERED)              \
	X(SET_PROTOCOL_FEATURES, set_protocol_features, U64, CHECK(check_protocol), TO_RTE,        \
	  HIDE(VU_PROTOCOL_OURS))                                                                  \
	X(SET_OWNER, rte_only, NO_PAYLOAD, TO_RTE)                                                 \
	X(RESET_OWNER, reset_owner, NO_PAYLOAD, TO_RTE)                                            \
	X(SET_MEM_TABLE, vu_take_table, TABLE)                                                     \
	X(SET_VRING_NUM, set_vring_num, STATE, CHECK(check_num))                                   \
	X(SET_VRING_ADDR, set_vring_addr, ADDR)                                                    \
	X(SET_VRING_BASE, set_vring_base, STATE, CHECK(check_base))                                \
	X(GET_VRING_BASE, get_vring_base, STATE, ANSWERED)                                         \
	X(SET_VRING_KICK, set_vring_kick, EVENT)                                                   \
	X(SET_VRING_CALL, set_vring_call, EVENT)                                                   \
	X(SET_VRING_ERR, ignore, EVENT)                                                            \
	X(SET_VRING_ENABLE, set_vring_enable, STATE, CHECK(check_enable))                          \
	X(GET_QUEUE_NUM, get_queue_num, NO_PAYLOAD, ANSWERED)                                      \
	X(SET_BACKEND_REQ_FD, set_backend_req_fd, NO_PAYLOAD, ONE_FD)                              \
	X(IOTLB_MSG, iotlb_msg, IOTLB)                                                             \
	X(GET_CONFIG, get_config, CONFIG, ANSWERED)                                                \
	X(SET_CONFIG, ignore, CONFIG)                                                              \
	X(GET_SHMEM_CONFIG, get_shmem_config, NO_PAYLOAD, CHECK(check_shmem), ANSWERED)

struct vhost_ring_layout;

/* Values that the messages of one socket are checked against. */
struct vu_terms {
	unsigned nrings;   /* virtqueues of the device */
	uint32_t ring_max; /* maximum descriptors of a ring */
	uint64_t mem_max;  /* maximum bytes of guest memory in a table */
	uint64_t shmem;	   /* bytes of VIRTIO shared memory of the device; 0: none */
	uint64_t features; /* negotiated; 0: none yet */
	const struct vhost_ring_layout *layout; /* selected by them */
};

/* A row. Its functions may rely on the size of the payload. */
struct vu_rule {
	bool taken;				  /* in every row */
	uint16_t size_min, size_max;		  /* of the payload, bytes */
	uint32_t (*vq)(const struct vu_msg *m);	  /* virtqueue that it names; NULL: none */
	unsigned (*nfds)(const struct vu_msg *m); /* descriptors that belong to it; NULL: none */
	/* Further checks: NULL, or why it is refused. */
	const char *(*check)(const struct vu_msg *m, const struct vu_terms *t);
	bool to_rte;   /* rte_vhost is asked first (vu_rte.h) */
	uint64_t hide; /* bits of payload.u64 hidden from it, which it does not know */
	bool answered; /* always, not only when it wants a reply */
};

/* The row of @request; NULL: not accepted by a vsock device. */
const struct vu_rule *vu_rule_of(uint32_t request);

/* Checks the header alone, before the payload has come. NULL: accepted, and the payload fits into
 * struct vu_msg; otherwise the reason. */
const char *vu_head_refused(const struct vu_msg *m);
/* The same for the header of an answer. */
const char *vu_answer_refused(const struct vu_msg *m);

/*
 * Checks a whole message that came with @nfds descriptors. NULL: accepted; otherwise the reason.
 * After NULL all lengths, ring numbers and ranges in it are valid, and the number of descriptors is
 * right.
 */
const char *vu_msg_refused(const struct vu_msg *m, unsigned nfds, const struct vu_terms *t);

#endif
