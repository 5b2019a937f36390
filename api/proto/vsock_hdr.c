/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checks that need no connection, and the one packet that is built without one: RST.
 */
#include "proto/vsock_hdr.h"

enum vsock_hdr_fault vsock_hdr_check(const struct vsock_hdr *h, uint64_t own_cid, uint64_t peer_cid)
{
	/*
	 * The order decides what the peer hears, because some faults are answered by RST and some
	 * are not. The op comes first: a packet that may itself be a RST, or that is not known to
	 * be something else, must never be answered. A forged source comes before a foreign
	 * destination: its RST would go to somebody who has not asked.
	 */
	if (h->op == VSOCK_OP_INVALID || h->op > VSOCK_OP_MAX)
		return VSOCK_HDR_BAD_OP;
	if (h->type != VSOCK_TYPE_STREAM && h->type != VSOCK_TYPE_SEQPACKET)
		return VSOCK_HDR_BAD_TYPE;
	if (h->src_cid != peer_cid)
		return VSOCK_HDR_BAD_SRC;
	if (h->dst_cid != own_cid)
		return VSOCK_HDR_BAD_DST;
	if (h->len && h->op != VSOCK_OP_RW)
		return VSOCK_HDR_BAD_LEN;
	return VSOCK_HDR_OK;
}

bool vsock_cid_is_guest(uint64_t cid)
{
	return cid > VSOCK_CID_HOST && cid < VSOCK_CID_ANY32;
}

void vsock_hdr_rst_for(struct vsock_hdr *out, const struct vsock_hdr *in)
{
	/* @out may be @in: everything that is needed of @in is read before anything is written. */
	*out = (struct vsock_hdr){
		.src_cid = in->dst_cid,
		.dst_cid = in->src_cid,
		.src_port = in->dst_port,
		.dst_port = in->src_port,
		.type = in->type,
		.op = VSOCK_OP_RST,
	};
}

const char *vsock_op_name(uint16_t op)
{
	static const char *const name[VSOCK_OP_MAX + 1] = {
		[VSOCK_OP_REQUEST] = "REQUEST",
		[VSOCK_OP_RESPONSE] = "RESPONSE",
		[VSOCK_OP_RST] = "RST",
		[VSOCK_OP_SHUTDOWN] = "SHUTDOWN",
		[VSOCK_OP_RW] = "RW",
		[VSOCK_OP_CREDIT_UPDATE] = "CREDIT_UPDATE",
		[VSOCK_OP_CREDIT_REQUEST] = "CREDIT_REQUEST",
	};

	return op <= VSOCK_OP_MAX && name[op] ? name[op] : "op?";
}
