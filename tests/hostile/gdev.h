/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device against our driver: the real `vhost-user:` frontend with two pairs in this process, a
 * scripted backend behind it, and the device's side of the rings in the test's hands. Pair 0 is
 * the victim, pair 1 is served honestly (an echo). One thread does it all, so a case is exact.
 */
#ifndef ZV_HOSTILE_GDEV_H
#define ZV_HOSTILE_GDEV_H

#include "../unit/guest/fake_backend.h"
#include "proto/hello.h"
#include "proto/vsock_hdr.h"
#include "shm_access.h"

#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <zvsock.h>

#include <cmocka.h>

#define G_CID	  42u /* the scripted backend's */
#define G_N	  64u
#define EVT_N	  8u /* buffers that the driver posts on the event ring */
#define G_BUF	  4096u
#define G_PORT	  80u /* the host's, of pair 0's connection */
#define G_LISTEN  90u /* the guest listens, and has BACKLOG connections waiting at most */
#define G_BACKLOG 4u
#define G_CREDIT  65536u /* the guest's receive buffer */
#define G_LOG	  4096u
#define RX0	  0u
#define TX0	  1u
#define EVT	  2u
#define RX1	  3u
#define TX1	  4u

struct gring {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail, used_idx;
};

struct gdev {
	struct fake_backend b;
	struct gring r[5];
	/* the guest */
	struct zv_dev *dev;
	struct zv_queue *q[2];
	struct zv_conn *c[2];
	uint32_t seen;	    /* events of c[0] since the case began */
	int32_t err;	    /* the last event's */
	bool gone;	    /* the backend has dropped the rings: not to be looked at */
	uint64_t broken[2]; /* ring_broken of each pair when the session began */
	bool silent;	    /* pair 0: REQUESTs are not answered */
	bool hello;	    /* pair 0: the control connection is accepted, HELLO is not answered */
	struct vsock_hdr ctrl;	     /* the guest's REQUEST for it */
	struct vsock_hdr log[G_LOG]; /* what the guest has sent on pair 0 */
	uint32_t nlog;
	uint32_t echoed; /* pair 1: bytes */
};

extern struct gdev G;

void gdev_start(void);
void gdev_stop(void);
/* A fresh session with a connection on each pair. */
void gdev_session(unsigned type);
/* Lets the driver start over. */
void gdev_hang_up(void);
/* The device's and the guest's turns, until both are idle. */
void gdev_pump(void);

/* ---- pair 0, the device's side ---- */

/* Takes an empty receive buffer: its number. */
uint16_t dev_take(unsigned ring);
void *dev_buf(unsigned ring, uint16_t id);
/* Writes a used entry; publishes when @show. */
void dev_used(unsigned ring, uint32_t id, uint32_t len, bool show);
void dev_used_idx(unsigned ring, uint16_t idx);
/* A header from the host for the guest's connection. */
struct vsock_hdr dev_hdr(unsigned op, uint32_t len);
/* Sends it with @have bytes of payload, and says that @used bytes were written (0: the truth). */
void dev_send(const struct vsock_hdr *h, const void *payload, uint32_t have, uint32_t used);
void dev_op(unsigned op, const void *payload, uint32_t len);
/* Packets of @op for the host's @dport since @mark in the log. */
unsigned dev_heard(uint32_t mark, unsigned op, uint32_t dport);

struct zv_queue_stats guest_stats(unsigned q);

#endif
