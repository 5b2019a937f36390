/* SPDX-License-Identifier: BSD-3-Clause */
/* The frame of control messages; offsets: ctrl_frame.h. */
#include "ctrl_frame.h"

#include "wire.h"

#include <errno.h>

#define OFF_VERSION  4
#define OFF_TYPE     6
#define OFF_LENGTH   8
#define OFF_RESERVED 12

void ctrl_frame_put(void *buf, uint16_t version, uint16_t type, uint32_t length)
{
	uint8_t *p = buf;

	wire_put32(p, ZV_CTRL_MAGIC);
	wire_put16(p + OFF_VERSION, version);
	wire_put16(p + OFF_TYPE, type);
	wire_put32(p + OFF_LENGTH, length);
	wire_put32(p + OFF_RESERVED, 0);
}

int ctrl_frame_get(const void *buf, size_t len, uint16_t *version, uint16_t *type)
{
	const uint8_t *p = buf;
	uint32_t total;

	if (len >= OFF_VERSION && wire_get32(p) != ZV_CTRL_MAGIC)
		return -EPROTO;
	if (len < OFF_TYPE)
		return 0;
	*version = wire_get16(p + OFF_VERSION);
	/* Nothing behind the version means anything in a version that is not known. */
	if (*version != ZV_CTRL_VERSION)
		return -EPROTONOSUPPORT;
	if (len < OFF_RESERVED)
		return 0;
	*type = wire_get16(p + OFF_TYPE);
	total = wire_get32(p + OFF_LENGTH);
	return total < CTRL_FRAME_LEN || total > ZV_CTRL_MAX_LEN ? -EPROTO : (int)total;
}
