/* SPDX-License-Identifier: BSD-3-Clause */
/* What fuzz_dev_ring.c and the guest's halves of its rings have of each other. */
#ifndef ZV_FUZZ_DEV_RING_H
#define ZV_FUZZ_DEV_RING_H

#include "fuzz.h"
#include "guest_testbed.h"
#include "pair/vhost_pair_priv.h"

#define HELD 256u
#define SEGS 8u

struct held {
	uint32_t token;
	struct pkt_seg seg[SEGS]; /* rx: the first ones; tx: one */
	uint32_t nseg;
};

struct state {
	struct guest_testbed w;
	struct vhost_pair *q;
	struct transport_queue *tq;
	struct held rx[HELD], tx[HELD];
	unsigned nrx, ntx;
	uint64_t features;
	struct guest_iommu io;
	bool with_io;
	uint64_t missing, denied; /* by granule of 256 bytes, modulo 64 */
	uint8_t broken[2];
};

/* An address that the guest writes, good or bad. */
static inline uint64_t address(struct state *s, struct fz *z)
{
	uint8_t how = fz_u8(z);

	if (how & 0x80)
		return fz_u64(z);
	return s->w.gpa[how & 7] + fz_below(z, s->w.size[how & 7] + 1);
}

#endif
