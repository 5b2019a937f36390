/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device against our driver: the real `vhost-user:` frontend with two pairs in this process, a
 * scripted backend behind it, and the device's side of the rings in the test's hands. Pair 0 is
 * the victim, pair 1 is served honestly (an echo). One thread does it all, so a case is exact.
 */
#ifndef ZV_HOSTILE_GDEV_H
#define ZV_HOSTILE_GDEV_H

#include "../unit/guest/fake_backend.h"
#include "proto/ctrl/hello.h"
#include "proto/vsock/vsock_hdr.h"
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

struct gdev_layout;

struct gring {
	/* Packed: the ring, and the driver's and the device's area of event suppression. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t size;
	uint16_t last_avail, used_idx; /* buffers taken, and given back: a packed ring's places */
	bool held;		       /* packed: the first used descriptor is not shown yet */
	uint16_t first_at;
	uint64_t first;
	struct vring_desc buf[G_N]; /* packed: by id, as they were when they were taken */
};

/* How the device's side reads and writes its rings (VIRTIO 1.2, sections 2.7 and 2.8). */
struct gdev_layout {
	const char *prefix; /* of the names of its tests */
	uint64_t feature;   /* a mask; 0: none */
	uint32_t opts;	    /* zv_opts.flags of a driver that is to have it */
	/* Bytes of the driver's and the device's area. */
	uint32_t (*driver_bytes)(uint32_t size), (*device_bytes)(uint32_t size);
	/* The first @n buffers that the device has not taken are there. */
	bool (*posted)(const struct gring *r, unsigned n);
	/* Takes one. */
	uint16_t (*take)(struct gring *r);
	/* Its descriptor. */
	const struct vring_desc *(*buf)(const struct gring *r, uint16_t id);
	/* Writes a used entry; the driver may see it from show() on. */
	void (*used)(struct gring *r, uint32_t id, uint32_t len);
	void (*show)(struct gring *r);
	/* The words of the next used entry: its length, and what the id is in, which is @id there.
	 */
	uint32_t *(*len_word)(struct gring *r);
	uint32_t *(*id_word)(struct gring *r);
	uint32_t (*id_value)(const struct gring *r, uint32_t id);
};

extern const struct gdev_layout gdev_split, gdev_packed;

struct gdev {
	struct fake_backend b;
	const struct gdev_layout *layout; /* set before gdev_session() */
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
void dev_show(unsigned ring);
/* Split rings. */
void dev_used_idx(unsigned ring, uint16_t idx);
/* Packed rings: the marks of the @n-th descriptor, used or available. */
uint16_t dev_marks(const struct gring *r, uint16_t n, bool used);
/* Writes the descriptor at the @n-th place. */
void dev_place(struct gring *r, uint16_t n, uint16_t id, uint32_t len, uint16_t flags);
/* A header from the host for the guest's connection. */
struct vsock_hdr dev_hdr(unsigned op, uint32_t len);
/* Sends it with @have bytes of payload, and says that @used bytes were written (0: the truth). */
void dev_send(const struct vsock_hdr *h, const void *payload, uint32_t have, uint32_t used);
void dev_op(unsigned op, const void *payload, uint32_t len);
/* Packets of @op for the host's @dport since @mark in the log. */
unsigned dev_heard(uint32_t mark, unsigned op, uint32_t dport);

struct zv_queue_stats guest_stats(unsigned q);

#endif
