/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-vsock packet header: copy in, validate, build (VIRTIO 1.2, section 5.10.6).
 *
 * Pure logic: no system call, no allocation. The wire structure is struct virtio_vsock_hdr of
 * <linux/virtio_vsock.h>: 44 bytes, little endian, packed. struct vsock_hdr is the private copy in
 * CPU byte order; nothing but these functions knows the wire layout.
 */
#ifndef ZV_VSOCK_HDR_H
#define ZV_VSOCK_HDR_H

#include "shm_access.h"

#include <endian.h>
#include <linux/virtio_vsock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VSOCK_HDR_LEN 44
_Static_assert(sizeof(struct virtio_vsock_hdr) == VSOCK_HDR_LEN, "wire header is 44 bytes");

/* Well-known and reserved CIDs (VIRTIO 1.2, section 5.10.4). */
#define VSOCK_CID_HYPERVISOR 0ULL
#define VSOCK_CID_LOCAL	     1ULL
#define VSOCK_CID_HOST	     2ULL
#define VSOCK_CID_ANY32	     0xffffffffULL
#define VSOCK_CID_ANY	     UINT64_MAX

/*
 * The names of this header file: older <linux/virtio_vsock.h> lack some of them. DGRAM is not in
 * VIRTIO 1.2; the number is that of the proposals for Linux and VIRTIO (docs/protocol.md,
 * "Datagrams").
 */
enum vsock_type { VSOCK_TYPE_STREAM = 1, VSOCK_TYPE_SEQPACKET = 2, VSOCK_TYPE_DGRAM = 3 };

/*
 * The types that a packet may have: number and name. The socket layer makes its table of
 * descriptors (struct sock_type) of the same list, so no type passes vsock_hdr_check() without one.
 */
#define VSOCK_TYPES(X)                                                                             \
	X(VSOCK_TYPE_STREAM, stream)                                                               \
	X(VSOCK_TYPE_SEQPACKET, seqpacket)                                                         \
	X(VSOCK_TYPE_DGRAM, dgram)

static inline bool vsock_type_known(unsigned type)
{
#define VSOCK_TYPE_IS(number, name) (type) == (number) ||
	return VSOCK_TYPES(VSOCK_TYPE_IS) false;
#undef VSOCK_TYPE_IS
}

enum vsock_op {
	VSOCK_OP_INVALID = 0,
	VSOCK_OP_REQUEST = 1,
	VSOCK_OP_RESPONSE = 2,
	VSOCK_OP_RST = 3,
	VSOCK_OP_SHUTDOWN = 4,
	VSOCK_OP_RW = 5,
	VSOCK_OP_CREDIT_UPDATE = 6,
	VSOCK_OP_CREDIT_REQUEST = 7,
	VSOCK_OP_MAX = 7,
};

#define VSOCK_SHUTDOWN_RCV  1u /* the sender will not receive any more */
#define VSOCK_SHUTDOWN_SEND 2u /* the sender will not send any more */
#define VSOCK_SHUTDOWN_BOTH 3u
#define VSOCK_SEQ_EOM	    1u
#define VSOCK_SEQ_EOR	    2u

struct vsock_hdr {
	uint64_t src_cid;
	uint64_t dst_cid;
	uint32_t src_port;
	uint32_t dst_port;
	uint32_t len; /* payload bytes after the header */
	uint16_t type;
	uint16_t op;
	uint32_t flags;
	uint32_t buf_alloc;
	uint32_t fwd_cnt;
};

/*
 * Copies a header of VSOCK_HDR_LEN bytes, at any alignment, from memory that a peer may change:
 * six loads, each of them once, in the wire's order of fields.
 */
static inline void vsock_hdr_get(struct vsock_hdr *h, const void *wire)
{
	const uint8_t *p = wire;
	uint64_t src = le64toh(shm_load64_any(p)), dst = le64toh(shm_load64_any(p + 8));
	uint64_t ports = le64toh(shm_load64_any(p + 16)), what = le64toh(shm_load64_any(p + 24));
	uint64_t more = le64toh(shm_load64_any(p + 32));

	h->src_cid = src;
	h->dst_cid = dst;
	h->src_port = (uint32_t)ports;
	h->dst_port = (uint32_t)(ports >> 32);
	h->len = (uint32_t)what;
	h->type = (uint16_t)(what >> 32);
	h->op = (uint16_t)(what >> 48);
	h->flags = (uint32_t)more;
	h->buf_alloc = (uint32_t)(more >> 32);
	h->fwd_cnt = le32toh(shm_load32_any(p + 40));
}
#define AT(field, at)                                                                              \
	_Static_assert(offsetof(struct virtio_vsock_hdr, field) == (at), "as vsock_hdr_get reads")
AT(src_cid, 0);
AT(dst_cid, 8);
AT(src_port, 16);
AT(dst_port, 20);
AT(len, 24);
AT(type, 28);
AT(op, 30);
AT(flags, 32);
AT(buf_alloc, 36);
AT(fwd_cnt, 40);
#undef AT

/* Writes the wire form, VSOCK_HDR_LEN bytes at any alignment. */
static inline void vsock_hdr_put(void *wire, const struct vsock_hdr *h)
{
	struct virtio_vsock_hdr w = {
		.src_cid = htole64(h->src_cid),
		.dst_cid = htole64(h->dst_cid),
		.src_port = htole32(h->src_port),
		.dst_port = htole32(h->dst_port),
		.len = htole32(h->len),
		.type = htole16(h->type),
		.op = htole16(h->op),
		.flags = htole32(h->flags),
		.buf_alloc = htole32(h->buf_alloc),
		.fwd_cnt = htole32(h->fwd_cnt),
	};

	memcpy(wire, &w, sizeof(w));
}

/* Why a received header is refused; the order is that of the checks. */
enum vsock_hdr_fault {
	VSOCK_HDR_OK = 0,
	VSOCK_HDR_BAD_OP,   /* op 0 or above 7: drop */
	VSOCK_HDR_BAD_TYPE, /* none of VSOCK_TYPES: RST (section 5.10.6.4.2) */
	VSOCK_HDR_BAD_SRC,  /* src_cid is not the sender's own: drop */
	VSOCK_HDR_BAD_DST,  /* dst_cid is not ours: RST */
	VSOCK_HDR_BAD_LEN,  /* payload on an op that has none: drop */
};

/*
 * Checks everything that does not depend on a connection. @peer_cid: what src_cid must be;
 * @own_cid: what dst_cid must be. Bounding len by the descriptor chain is the ring's work.
 */
static inline enum vsock_hdr_fault vsock_hdr_check(const struct vsock_hdr *h, uint64_t own_cid,
						   uint64_t peer_cid)
{
	/*
	 * The order decides what the peer hears, because some faults are answered by RST and some
	 * are not. The op comes first: a packet that may itself be a RST, or that is not known to
	 * be something else, must never be answered. A forged source comes before a foreign
	 * destination: its RST would go to somebody who has not asked.
	 */
	if (h->op == VSOCK_OP_INVALID || h->op > VSOCK_OP_MAX)
		return VSOCK_HDR_BAD_OP;
	if (!vsock_type_known(h->type))
		return VSOCK_HDR_BAD_TYPE;
	if (h->src_cid != peer_cid)
		return VSOCK_HDR_BAD_SRC;
	if (h->dst_cid != own_cid)
		return VSOCK_HDR_BAD_DST;
	if (h->len && h->op != VSOCK_OP_RW)
		return VSOCK_HDR_BAD_LEN;
	return VSOCK_HDR_OK;
}

/* True when a CID can name a guest: not 0, 1, 2, 0xffffffff, above 32 bits (Linux) or 2^64-1. */
static inline bool vsock_cid_is_guest(uint64_t cid)
{
	return cid > VSOCK_CID_HOST && cid < VSOCK_CID_ANY32;
}

/* Builds the RST that answers @in: addresses swapped, type kept, no payload, no credit. */
void vsock_hdr_rst_for(struct vsock_hdr *out, const struct vsock_hdr *in);

/* "REQUEST", "RW"...; "op?" for an unknown one. For logs. */
const char *vsock_op_name(uint16_t op);

#endif
