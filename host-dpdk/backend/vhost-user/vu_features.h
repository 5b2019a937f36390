/* SPDX-License-Identifier: BSD-3-Clause */
/* The feature bits that our vsock device offers, and the messages about bits that it does not
 * offer. */
#ifndef ZV_VU_FEATURES_H
#define ZV_VU_FEATURES_H

#include "proto/vhost_user.h"
#include "proto/vsock/vsock_device.h"

#define VU_OFFERED                                                                                 \
	(VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_INDIRECT_DESC |            \
	 VSOCK_FEATURE_EVENT_IDX | VSOCK_FEATURE_VERSION_1 | VSOCK_FEATURE_ACCESS_PLATFORM |       \
	 VSOCK_FEATURE_RING_PACKED | VU_FEATURE_PROTOCOL)

/* Without STATUS: QEMU never completes it for a vsock device. */
#define VU_PROTOCOL_OFFERED                                                                        \
	(VU_PROTOCOL_MQ | VU_PROTOCOL_REPLY_ACK | VU_PROTOCOL_BACKEND_REQ | VU_PROTOCOL_CONFIG |   \
	 VU_PROTOCOL_BACKEND_SEND_FD)

/* Protocol features unknown to rte_vhost, offered in addition by a device with VIRTIO shared
 * memory. */
#define VU_PROTOCOL_OURS VU_PROTOCOL_SHMEM

/*
 * The subset of the features @all to offer to a frontend that has negotiated the protocol features
 * @protocol so far. ACCESS_PLATFORM is only for frontends that can translate (vhost-user, "IOMMU
 * support"): this needs a backend channel, and replies. QEMU negotiates both before it asks for the
 * features that count. User-mode Linux asks first, and only once; its driver would accept
 * ACCESS_PLATFORM and then set up no ring.
 */
uint64_t vu_features_for(uint64_t all, uint64_t protocol);

/*
 * Error text for a frontend that requests feature bits @extra that were not offered: their numbers
 * and, for bits that VMMs set by themselves, the QEMU option to remove. @size of about 250 bytes is
 * enough in practice; longer text is truncated.
 */
void vu_features_text(uint64_t extra, char *buf, size_t size);

#endif
