/* SPDX-License-Identifier: BSD-3-Clause */
/* A queue pair over rings that the test writes by hand; no DPDK, one thread. */
#ifndef DEV_FIX_H
#define DEV_FIX_H

#include "guest_fix.h"
#include "pair/vhost_pair_priv.h"

#include <stdlib.h>

#define N     64u
#define KEEP  8u
#define HDR   VSOCK_HDR_LEN
#define D     (G_GPA + G_DATA)
#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define IND   VRING_DESC_F_INDIRECT

#define FEATURES (VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_INDIRECT_DESC | DRV_LAYOUT)

struct fix {
	struct guest g;
	struct drv from, to;	   /* the rings of packets from and to the guest */
	struct guest_iommu *iommu; /* of the sessions that start; NULL: none */
	struct vhost_pair *q;
	struct transport_queue *tq;
	struct rx_pkt pkt[64];
	struct tx_slot slot[64];
	uint64_t top; /* next free byte of guest memory, as an offset */
};

static inline void fill_setup(struct fix *f, struct vhost_pair_setup *s, struct guest_mem *gm)
{
	*s = (struct vhost_pair_setup){.mem = gm, .iommu = f->iommu, .features = FEATURES};
	s->ring[VHOST_TO_GUEST] = drv_area(&f->to, f->g.gm);
	s->ring[VHOST_FROM_GUEST] = drv_area(&f->from, f->g.gm);
}

/* A payload map of its own for each session, as vu_device.c makes it. */
static inline struct guest_mem *own_map(struct fix *f)
{
	struct guest_mem_src src = guest_src(&f->g);
	struct guest_mem *gm;

	assert_int_equal(guest_mem_import(&gm, &src, 1), 0);
	return gm;
}

static inline void start(struct fix *f)
{
	struct vhost_pair_setup s;
	struct guest_mem *gm = own_map(f);

	fill_setup(f, &s, gm);
	assert_int_equal(vhost_pair_start(f->q, &s), 0);
	guest_mem_put(gm);
}

static inline void fresh(struct fix *f, uint16_t size)
{
	struct vhost_pair_bases b;

	(void)vhost_pair_stop(f->q, &b);
	drv_make(&f->to, &f->g, 0, size);
	drv_make(&f->from, &f->g, 1, size);
	f->top = G_DATA;
	start(f);
}

static inline int setup(void **state)
{
	struct fix *f = calloc(1, sizeof(*f));

	guest_make(&f->g);
	f->q = aligned_alloc(64, sizeof(*f->q));
	f->tq = &f->q->tq;
	assert_int_equal(vhost_pair_init(f->q, 0, "test"), 0);
	fresh(f, N);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fix *f = *state;
	struct vhost_pair_bases b;

	(void)vhost_pair_stop(f->q, &b);
	vhost_pair_fini(f->q);
	free(f->q);
	guest_free(&f->g);
	free(f);
	return 0;
}

/* ---- the guest sends ---- */

static inline struct vsock_hdr hdr_of(uint32_t len)
{
	return (struct vsock_hdr){3, 2, 1024, 80, len, VSOCK_TYPE_STREAM, VSOCK_OP_RW, 5, 6, 7};
}

/* Writes a packet into guest memory; its offset. Payload byte i is i + 1. */
static inline uint64_t put_packet(struct fix *f, uint32_t hdr_len, uint32_t payload)
{
	struct vsock_hdr h = hdr_of(hdr_len);
	uint64_t off = f->top;

	vsock_hdr_put(f->g.mem + off, &h);
	for (uint32_t i = 0; i < payload; i++)
		f->g.mem[off + HDR + i] = (uint8_t)(i + 1);
	f->top += HDR + payload;
	return off;
}

static inline void offer_empty(struct fix *f, uint16_t i, uint32_t len)
{
	drv_desc(&f->to, i, D + i * 0x1000ull, len, WRITE, 0);
	drv_offer(&f->to, i);
}

/* Commits @slot with @len bytes; the driver finds header and payload at chain @id. */
static inline void send_one(struct fix *f, const struct tx_slot *s, uint32_t len)
{
	struct vsock_hdr h = hdr_of(len);

	for (uint32_t i = 0; i < len; i++)
		s->data[i] = (uint8_t)(i + 1);
	f->tq->ops->tx_commit(f->tq, s->token, &h);
	f->tq->ops->publish(f->tq);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
