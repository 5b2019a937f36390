/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds the frontend's messages and checks a backend's replies. Pure logic: no I/O. The wire
 * format is in proto/vhost_user.h.
 */
#ifndef ZV_FRONTEND_MSG_H
#define ZV_FRONTEND_MSG_H

#include "proto/vhost_user.h"
#include "proto/vm_addr.h"

/* Builders. Every byte of the message that is sent is set. */
void frontend_msg_empty(struct vu_msg *m, uint32_t request);
void frontend_msg_u64(struct vu_msg *m, uint32_t request, uint64_t value);
void frontend_msg_state(struct vu_msg *m, uint32_t request, uint32_t index, uint32_t num);
void frontend_msg_addr(struct vu_msg *m, uint32_t index, struct uva desc, struct uva avail,
		       struct uva used);
/*
 * An empty memory table; adds a region to it. @uva is its address in this process, @offset its
 * offset in its file.
 */
void frontend_msg_mem(struct vu_msg *m);
void frontend_msg_mem_add(struct vu_msg *m, struct gpa gpa, uint64_t size, struct uva uva,
			  uint64_t offset);
/* Asks for @len (<= VU_CONFIG_SIZE) bytes of config space from @offset. */
void frontend_msg_config(struct vu_msg *m, uint32_t offset, uint32_t len);

/* Why a reply is refused. */
enum frontend_fault {
	FRONTEND_OK = 0,
	FRONTEND_BAD_REQUEST, /* answers another request */
	FRONTEND_BAD_VERSION,
	FRONTEND_NOT_REPLY, /* the reply flag is missing */
	FRONTEND_BAD_SIZE,
	FRONTEND_BAD_CONFIG, /* not the part of the config space that was requested */
};

const char *frontend_fault_text(enum frontend_fault f);

/* Checks the header of a reply to @sent, of @size payload bytes. Payload need not be there yet. */
enum frontend_fault frontend_reply_check(const struct vu_msg *reply, const struct vu_msg *sent,
					 uint32_t size);

/* Checks the payload of a reply to frontend_msg_config() and copies the bytes asked for to @dst. */
enum frontend_fault frontend_reply_config(const struct vu_msg *reply, const struct vu_msg *sent,
					  void *dst);

#endif
