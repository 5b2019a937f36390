/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all messages of a control connection begin with (docs/protocol.md, "HELLO"). Little endian.
 *
 *   offset size  field
 *        0    4  magic, ZV_CTRL_MAGIC
 *        4    2  version, ZV_CTRL_VERSION
 *        6    2  type, enum ctrl_type
 *        8    4  length of the whole message, up to ZV_CTRL_MAX_LEN
 *       12    4  reserved: sent as 0, ignored
 *       16       body: hello.h, ctrl_msg.h
 */
#ifndef ZV_CTRL_FRAME_H
#define ZV_CTRL_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define ZV_CTRL_MAGIC	0x4b53565au /* "ZVSK" as bytes on the wire */
#define ZV_CTRL_VERSION 1u
#define ZV_CTRL_MAX_LEN 4096u /* longer messages are refused */
#define CTRL_FRAME_LEN	16u

enum ctrl_type {
	CTRL_HELLO = 1,
	CTRL_HELLO_ACK,
	CTRL_OFFER, /* the remainder needs ZV_CAP_CHANNEL on both sides */
	CTRL_REGION,
	CTRL_REGION_ACK,
	CTRL_GRANT,
	CTRL_RELEASE,
	CTRL_CLAIM,
	CTRL_HOLDS,
};

/* Writes CTRL_FRAME_LEN bytes. */
void ctrl_frame_put(void *buf, uint16_t version, uint16_t type, uint32_t length);

/*
 * Looks at the first @len bytes of a message (private memory). Its length, CTRL_FRAME_LEN to
 * ZV_CTRL_MAX_LEN, and *version and *type; 0: more bytes are needed; -EPROTO (magic or length),
 * -EPROTONOSUPPORT (a version that this side does not know).
 */
int ctrl_frame_get(const void *buf, size_t len, uint16_t *version, uint16_t *type);

#endif
