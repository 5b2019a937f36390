/* SPDX-License-Identifier: BSD-3-Clause */
/* One pair, and a device side that the test plays itself over the same memory. */
#ifndef ZV_TEST_DRV_FIX_H
#define ZV_TEST_DRV_FIX_H

#include "raw_dev.h"
#include "vsock_drv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IOVA	((struct iova){0x40000000ull}) /* of the buffers */
#define IOVA_EV ((struct iova){0x1000ull})     /* of the event buffers */

struct fixture {
	struct vsock_pair *p;
	struct transport_queue *q;
	struct raw_ring rx, tx, ev_ring; /* the device's side */
	struct vsock_events ev;
	uint8_t *mem; /* buffers */
	void *rings[3];
	uint8_t *ev_buf;
	uint32_t n;
};

/* The layout that fixtures have from now on; vsock_rings_split at first. */
void fix_layout(const struct vsock_rings *rings);

/* A pair of @n descriptors a ring, in its first session; with an event queue if @events. */
void setup(struct fixture *f, uint32_t n, uint32_t payload, bool events);
void teardown(struct fixture *f);
/* The next session, on fresh rings and without an event queue. */
void restart(struct fixture *f);

/* The buffer at device address @iova. */
uint8_t *va(const struct fixture *f, uint64_t iova);
bool readable(int fd);

/* The device writes a packet of @len payload bytes, all @fill, into receive buffer @id. */
void dev_fill(struct fixture *f, uint16_t id, uint32_t len, uint8_t fill);
/* The same with the next receive buffer. False: there is none. @flush: publishes it. */
bool dev_send(struct fixture *f, uint32_t len, uint8_t fill, bool flush);
/* The device takes a packet; returns its payload's length, -1: none. */
int dev_recv(struct fixture *f, uint8_t *fill, bool give_back);
/* The driver's user fills a reserved slot and commits it. */
void drv_commit(struct fixture *f, const struct tx_slot *s, uint32_t len, uint8_t fill);

#endif
