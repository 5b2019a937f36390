/* SPDX-License-Identifier: BSD-3-Clause */
/* Packet headers that no guest may send. */
#include "host_cases.h"

static void send(struct raw *r, struct vsock_hdr h)
{
	(void)raw_pkt_as(r, &h, "evil", h.len == 4 ? 4 : 0);
}

static void src_cid(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	h.src_cid = c->cid;
	send(r, h);
}

static void dst_cid(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	h.dst_cid = c->cid;
	send(r, h);
}

/* An op of a type (0: the connection's). */
static void op_type(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, c->op, 0);

	h.type = c->type ? (uint16_t)c->type : r->type;
	send(r, h);
}

static void zero_type(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	(void)c;
	h.type = 0;
	send(r, h);
}

static void with_payload(struct raw *r, const struct host_case *c)
{
	send(r, raw_hdr(r, c->op, 4));
}

static void len(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, c->len);

	(void)raw_pkt_as(r, &h, "evil", 4);
}

static void all_ones(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h;

	(void)c;
	h = (struct vsock_hdr){UINT64_MAX, UINT64_MAX, UINT32_MAX, UINT32_MAX, 0,
			       UINT16_MAX, UINT16_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
	send(r, h);
}

static void flags(struct raw *r, const struct host_case *c)
{
	struct vsock_hdr h = raw_hdr(r, VSOCK_OP_RW, 4);

	h.flags = c->flags;
	send(r, h);
}

#define FORGED(v)  src_cid, .counter = CNT(rx_bad_cid), .count = 1, .cid = (v)
#define FOREIGN(v) dst_cid, .counter = CNT(rx_bad_cid), .count = 1, .rst = 1, .cid = (v)
#define BAD_OP(v)  op_type, .counter = CNT(rx_bad_hdr), .count = 1, .op = (v)
#define BAD_TYPE(o, t)                                                                             \
	op_type, .counter = CNT(rx_bad_type), .count = 1, .rst = 1, .op = (o), .type = (t)
#define SURPLUS(o) with_payload, .counter = CNT(rx_bad_hdr), .count = 1, .op = (o)

const struct host_case hdr_cases[] = {
	{"source CID of another guest", FORGED(BYSTANDER_CID)},
	{"source CID 0", FORGED(0)},
	{"source CID 1", FORGED(1)},
	{"source CID 2, the host's", FORGED(2)},
	{"source CID 2^32 - 1", FORGED(UINT32_MAX)},
	{"source CID 2^64 - 1", FORGED(UINT64_MAX)},
	{"own source CID with bit 32 set", FORGED(VICTIM_CID | 1ull << 32)},
	{"destination CID of another guest", FOREIGN(BYSTANDER_CID)},
	{"destination CID 0", FOREIGN(0)},
	{"destination CID 1", FOREIGN(1)},
	{"destination CID is the sender", FOREIGN(VICTIM_CID)},
	{"destination CID 2^32 - 1", FOREIGN(UINT32_MAX)},
	{"destination CID 2^64 - 1", FOREIGN(UINT64_MAX)},
	{"destination CID 2 with bit 32 set", FOREIGN(2 | 1ull << 32)},
	{"op 0", BAD_OP(0)},
	{"op 8", BAD_OP(8)},
	{"op 65535", BAD_OP(0xffff)},
	{"type 0", zero_type, .counter = CNT(rx_bad_type), .count = 1, .rst = 1},
	{"type 3", BAD_TYPE(VSOCK_OP_REQUEST, 3)},
	{"type 65535", BAD_TYPE(VSOCK_OP_CREDIT_UPDATE, 0xffff)},
	{"RST of unknown type is not answered", op_type, .counter = CNT(rx_bad_type), .count = 1,
	 .op = VSOCK_OP_RST, .type = 3},
	{"packet of another type than its connection",
	 BAD_TYPE(VSOCK_OP_SHUTDOWN, VSOCK_TYPE_SEQPACKET)},
	{"RST of another type than its connection", op_type, .counter = CNT(rx_bad_type),
	 .count = 1, .op = VSOCK_OP_RST, .type = VSOCK_TYPE_SEQPACKET},
	{"REQUEST with payload", SURPLUS(VSOCK_OP_REQUEST)},
	{"RESPONSE with payload", SURPLUS(VSOCK_OP_RESPONSE)},
	{"RST with payload", SURPLUS(VSOCK_OP_RST)},
	{"SHUTDOWN with payload", SURPLUS(VSOCK_OP_SHUTDOWN)},
	{"CREDIT_UPDATE with payload", SURPLUS(VSOCK_OP_CREDIT_UPDATE)},
	{"CREDIT_REQUEST with payload", SURPLUS(VSOCK_OP_CREDIT_REQUEST)},
	{"header length 5 of 4", len, .counter = CNT(rx_bad_hdr), .count = 1, .len = 5},
	{"header length 2^32 - 1", len, .counter = CNT(rx_bad_hdr), .count = 1, .len = UINT32_MAX},
	{"header length that wraps with its own size", len, .counter = CNT(rx_bad_hdr), .count = 1,
	 .len = UINT32_MAX - 43},
	{"header length 0 in a longer chain", len, .len = 0},
	{"header length 2 in a longer chain", len, .rw = 1, .len = 2},
	{"header of all ones", all_ones, .counter = CNT(rx_bad_hdr), .count = 1},
	{"RW of a stream with all flags", flags, .rw = 1, .flags = UINT32_MAX},
};
const unsigned n_hdr_cases = sizeof(hdr_cases) / sizeof(hdr_cases[0]);
