/* SPDX-License-Identifier: BSD-3-Clause */
/* The feature bits that a vsock device of ours offers, and what is said of those it does not. */
#ifndef ZV_VU_FEATURES_H
#define ZV_VU_FEATURES_H

#include "proto/vhost_user.h"
#include "proto/vsock_device.h"

#define VU_OFFERED                                                                                 \
	(VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_INDIRECT_DESC |            \
	 VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_VERSION_1 | VSOCK_FEATURE_ACCESS_PLATFORM |       \
	 VSOCK_FEATURE_RING_PACKED | VU_FEATURE_PROTOCOL)

/* Without STATUS: QEMU never completes it for a vsock device. */
#define VU_PROTOCOL_OFFERED                                                                        \
	(VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_BACKEND_REQ | VU_PROTOCOL_CONFIG |   \
	 VU_PROTOCOL_BACKEND_SEND_FD)

/* Those that rte_vhost knows nothing of. A device with VIRTIO shared memory offers them as well. */
#define VU_PROTOCOL_OURS VU_PROTOCOL_SHMEM

/*
 * The features of @all that a frontend is told, which has negotiated the protocol features
 * @protocol so far. ACCESS_PLATFORM is for those that can translate (vhost-user, "IOMMU support"):
 * it takes a channel to ask on, and replies. QEMU negotiates both before it asks for the features
 * that count. User-mode Linux asks first, and only once; its driver would accept ACCESS_PLATFORM
 * and then set no ring up.
 */
uint64_t vu_features_for(uint64_t all, uint64_t protocol);

/*
 * What to say when a frontend wants feature bits that were not offered, @extra: their numbers, and
 * for those that VMMs set by themselves the option of QEMU that must go. @size of about 250 bytes
 * is enough for what happens in practice; what does not fit is cut.
 */
void vu_features_text(uint64_t extra, char *buf, size_t size);

#endif
