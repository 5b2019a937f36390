/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair of a guest with an IOMMU. Device address IO + x is byte x of guest memory, unless a
 * test moves its page, forbids it or says that its translation is not there yet.
 */
#ifndef IOMMU_FIX_H
#define IOMMU_FIX_H

#include "dev_fix.h"

#include <errno.h>
#include <poll.h>

#define IO    0x8000000000ull
#define PAGE  4096u
#define PAGES ((unsigned)(G_SIZE / PAGE))
#define BUF   (G_DATA + 0x20000) /* page-aligned, as G_DATA is */

enum page_state { KNOWN, MISSING, DENIED };

static struct table {
	struct guest_iommu io;
	struct {
		enum page_state state;
		unsigned to; /* page of guest memory */
	} page[PAGES];
	bool bytewise;	/* each byte has a translation of its own */
	unsigned asked; /* for missing ones */
	unsigned writes;
} t;

static inline int translate(struct guest_iommu *io, struct iova a, bool write, uint64_t *len,
			    struct uva *to)
{
	uint64_t off = a.v - IO, end = off + *len;
	unsigned p = (unsigned)(off / PAGE), last = p;

	assert_ptr_equal(io, &t.io);
	assert_true(*len >= 1);
	t.writes += write;
	if (off >= G_SIZE || t.page[p].state == DENIED)
		return -EFAULT;
	if (t.page[p].state == MISSING) {
		t.asked++;
		return -EAGAIN;
	}
	to->v = G_UVA + t.page[p].to * (uint64_t)PAGE + off % PAGE;
	while (last + 1 < PAGES && t.page[last + 1].state == KNOWN &&
	       t.page[last + 1].to == t.page[last].to + 1)
		last++;
	if (end > (last + 1) * (uint64_t)PAGE)
		*len = (last + 1) * (uint64_t)PAGE - off;
	*len = t.bytewise ? 1 : *len;
	return 0;
}

/* What the control thread does with an answer. */
static inline void set_page(struct fix *f, uint64_t off, enum page_state state)
{
	t.page[off / PAGE].state = state;
	t.io.changes++;
	vhost_pair_wake(f->q);
}

/* Two pages change places in device addresses. */
static inline void swap_pages(uint64_t a, uint64_t b)
{
	unsigned to = t.page[a / PAGE].to;

	t.page[a / PAGE].to = t.page[b / PAGE].to;
	t.page[b / PAGE].to = to;
}

static inline void restart(struct fix *f)
{
	t.asked = t.writes = 0;
	t.bytewise = false;
	for (unsigned i = 0; i < PAGES; i++) {
		t.page[i].state = KNOWN;
		t.page[i].to = i;
	}
	fresh(f, N);
}

static inline int io_setup(void **state)
{
	struct fix *f;

	(void)setup(state);
	f = *state;
	f->iommu = &t.io;
	t.io.translate = translate;
	restart(f);
	return 0;
}

static inline bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* A packet with @len bytes of payload at @off of guest memory; byte i is i + 1. */
static inline void packet_at(struct fix *f, uint64_t off, uint32_t len)
{
	f->top = off;
	(void)put_packet(f, len, len);
}

static inline void offer_packet(struct fix *f, uint16_t i, uint64_t off, uint32_t len)
{
	packet_at(f, off, len);
	drv_desc(&f->from, i, IO + off, HDR + len, 0, 0);
	drv_offer(&f->from, i);
}

static inline void offer_buffer(struct fix *f, uint16_t i, uint64_t off, uint32_t len)
{
	drv_desc(&f->to, i, IO + off, len, WRITE, 0);
	drv_offer(&f->to, i);
}

static inline int burst(struct fix *f)
{
	return f->tq->ops->rx_burst(f->tq, f->pkt, 64);
}

static inline unsigned reserve(struct fix *f, unsigned n)
{
	return f->tq->ops->tx_reserve(f->tq, f->slot, n, 1, 0);
}

/* The packet in f->pkt[i] is whole. Gives it back. */
static inline void check_packet(struct fix *f, int i, uint32_t len)
{
	const struct rx_pkt *p = &f->pkt[i];
	uint32_t at = 0;

	assert_int_equal(p->hdr.len, len);
	for (uint32_t s = 0; s < p->nseg; s++)
		for (uint32_t k = 0; k < p->seg[s].len; k++)
			assert_int_equal(p->seg[s].base[k], (uint8_t)(++at));
	assert_int_equal(at, len);
	f->tq->ops->rx_release(f->tq, p->token);
}

#define IO_T(fn) cmocka_unit_test_setup_teardown(fn, io_setup, teardown)

#endif
