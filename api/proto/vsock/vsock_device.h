/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the driver and the device of a virtio-vsock device agree on, however they reach each other:
 * feature bits and virtqueues (VIRTIO 1.2, sections 5.10.2, 5.10.3 and 6; docs/protocol.md,
 * section 1). Constants and pure functions.
 */
#ifndef ZV_VSOCK_DEVICE_H
#define ZV_VSOCK_DEVICE_H

#include <stdbool.h>
#include <stdint.h>

/* Feature bits, as masks. */
#define VSOCK_FEATURE_STREAM	      (1ULL << 0)
#define VSOCK_FEATURE_SEQPACKET	      (1ULL << 1)
#define VSOCK_FEATURE_INDIRECT_DESC   (1ULL << 28)
#define VSOCK_FEATURE_EVENT_IDX	      (1ULL << 29)
#define VSOCK_FEATURE_VERSION_1	      (1ULL << 32)
#define VSOCK_FEATURE_ACCESS_PLATFORM (1ULL << 33)
#define VSOCK_FEATURE_RING_PACKED     (1ULL << 34)
#define VSOCK_FEATURE_IN_ORDER	      (1ULL << 35)
#define VSOCK_FEATURE_RING_RESET      (1ULL << 40)

/*
 * Virtqueues. 0, 1 and 2 are those of the standard device: rx and tx of pair 0 and the event queue;
 * pair i >= 1 has 1 + 2i and 2 + 2i. "rx" and "tx" are the driver's words.
 */
#define VSOCK_VQ_RX    0u
#define VSOCK_VQ_TX    1u
#define VSOCK_VQ_EVENT 2u
#define VSOCK_VQ_MIN   3u /* that every vsock device has */

/* Virtqueues of a device with @pairs queue pairs. */
#define VSOCK_VQS(pairs) (1u + 2u * (pairs))

/*
 * The VIRTIO shared memory region that a device of zvsockd may have (VIRTIO 1.2, 2.10): memory for
 * channels (docs/protocol.md, section 6).
 */
#define VSOCK_SHM_ID 0u

/* The number of a pair's virtqueue; @ring is VSOCK_VQ_RX or VSOCK_VQ_TX. */
static inline unsigned vsock_vq(unsigned pair, unsigned ring)
{
	return pair ? 1 + 2 * pair + ring : ring;
}

/* The inverse: which ring of which pair virtqueue @vq is. False: it is the event queue. */
static inline bool vsock_vq_pair(unsigned vq, unsigned *pair, unsigned *ring)
{
	if (vq == VSOCK_VQ_EVENT)
		return false;
	*pair = vq < VSOCK_VQ_EVENT ? 0 : (vq - 1) / 2;
	*ring = vq < VSOCK_VQ_EVENT ? vq : (vq - 1) % 2;
	return true;
}

/* Queue pairs of a device with @vqs virtqueues; 0 when it has fewer than a vsock device needs. */
static inline uint64_t vsock_vq_pairs(uint64_t vqs)
{
	return vqs < VSOCK_VQ_MIN ? 0 : (vqs - 1) / 2;
}

#endif
