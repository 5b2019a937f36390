/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bytes both ways between a guest's connection and a host program's socket, each byte checked.
 */
#ifndef HOST_FLOW_H
#define HOST_FLOW_H

#include "zvd_fixture.h"

#define FLOW_BYTES (3u << 20) /* in each direction */

struct flow {
	struct zf_conn *c;
	int fd;
	uint32_t g_sent, g_got, h_sent, h_got;
	uint32_t chunk;		 /* bytes of a write */
	unsigned g_lazy, h_lazy; /* reads only one time in so many */
	unsigned turn;
	bool ok;
};

/* The byte at place @i of a flow. */
uint8_t flow_byte(uint32_t i);

/* Goes on with the struct flow @arg, for zf_until: all is there and sent, or ok is false. */
bool flow_done(void *arg);

#endif
