/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams of the devices that zvd_fixture.h opens: what the tests of datagrams share. Failures
 * are cmocka's.
 */
#ifndef DGRAM_SIDE_H
#define DGRAM_SIDE_H

#include "zvd_fixture.h"
#include "zvsock_dgram.h"

/* For zf_until: HELLO is over on all queues of device @dev: datagrams can be sent and arrive. */
bool dg_ready(void *dev);
/* For zf_until: zvsockd is gone for @dev; it is there again, and dg_ready. */
bool dg_away(void *dev);
bool dg_back(void *dev);
/* Binds @port of @dev, which must be free; ZV_PORT_ANY: the library chooses. Returns the port. */
uint32_t dg_bind(struct zv_dev *dev, uint32_t port);
/* From @port of @dev to @peer_port of @cid. As zv_dgram_send(). */
ssize_t dg_send(struct zv_dev *dev, uint32_t port, uint64_t cid, uint32_t peer_port,
		const void *data, size_t len);

/* A datagram for @port on any queue of @dev; its payload is in dg_payload. */
struct dg_wait {
	struct zv_dev *dev;
	uint32_t port;
	struct zv_dgram_addr from;
	ssize_t len;
};
extern char dg_payload[ZV_DGRAM_MAX];

/* For zf_until, with a struct dg_wait. */
bool dg_arrived(void *arg);
/* Waits for a datagram, which must have this payload. Returns its addresses. */
struct zv_dgram_addr dg_expect(struct zv_dev *dev, uint32_t port, const void *data, size_t len);

#endif
