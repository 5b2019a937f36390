/* SPDX-License-Identifier: BSD-3-Clause */
/* The one packet that is built without a connection: RST. */
#include "vsock_hdr.h"

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
