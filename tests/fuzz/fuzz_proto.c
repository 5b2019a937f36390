/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Headers, the state machine and message framing.
 *
 * One connection and its peer, both run by vsock_conn.h's table. Each step is a local event or a
 * packet of 44 bytes from the input, with addresses put right when the input says so, because
 * otherwise nothing would get past the first check. What must hold:
 *   - a header read and written again is the same bytes, and faults are found in the stated order;
 *   - no state is left but by the table, CLOSED is final, payload is taken in CONNECTED only;
 *   - RST is never answered, not by the table and not by the answer to an answer: two machines that
 *     are handed each other's RSTs fall silent;
 *   - what seq_rx counts agrees with 64-bit counters that cannot wrap.
 */
#include "fuzz.h"
#include "proto/vsock/vsock_conn.h"
#include "proto/vsock/vsock_hdr.h"
#include "proto/vsock/vsock_seqpacket.h"

struct model {
	uint64_t own, peer;
	unsigned state;
	struct vsock_shut shut;
	struct seq_rx seq;
	uint64_t msgs, partial;
	uint32_t max;
};

static enum vsock_hdr_fault expect_fault(const struct vsock_hdr *h, const struct model *m)
{
	if (h->op < VSOCK_OP_REQUEST || h->op > VSOCK_OP_CREDIT_REQUEST)
		return VSOCK_HDR_BAD_OP;
	if (h->type < 1 || h->type > 3)
		return VSOCK_HDR_BAD_TYPE;
	if (h->src_cid != m->peer)
		return VSOCK_HDR_BAD_SRC;
	if (h->dst_cid != m->own)
		return VSOCK_HDR_BAD_DST;
	return h->len != 0 && h->op != VSOCK_OP_RW ? VSOCK_HDR_BAD_LEN : VSOCK_HDR_OK;
}

static void check_rst(const struct vsock_hdr *h)
{
	struct vsock_hdr r, alias = *h;
	uint8_t a[VSOCK_HDR_LEN], b[VSOCK_HDR_LEN];

	vsock_hdr_rst_for(&r, h);
	vsock_hdr_rst_for(&alias, &alias);
	vsock_hdr_put(a, &r);
	vsock_hdr_put(b, &alias);
	FZ_CHECK(memcmp(a, b, sizeof(a)) == 0);
	FZ_CHECK(r.op == VSOCK_OP_RST && r.len == 0 && r.type == h->type && r.flags == 0);
	FZ_CHECK(r.src_cid == h->dst_cid && r.dst_cid == h->src_cid);
	FZ_CHECK(r.src_port == h->dst_port && r.dst_port == h->src_port);
	for (unsigned s = 0; s < VC_STATES; s++) {
		struct vc_step t = vc_step(s, r.op);

		FZ_CHECK(t.action != VC_ACT_RST && t.action != VC_ACT_RST_FREE);
	}
}

static void payload(struct model *m, const struct vsock_hdr *h)
{
	bool fits = h->len <= m->max && m->partial + h->len <= m->max;
	bool eom = h->flags & VSOCK_SEQ_EOM;

	fits = fits && (!eom || m->msgs < m->max);
	FZ_CHECK(seq_rx_packet(&m->seq, h->len, h->flags, m->max) == fits);
	if (fits) {
		m->partial = eom ? 0 : m->partial + h->len;
		m->msgs += eom;
	}
	FZ_CHECK(m->seq.partial == m->partial && m->seq.msgs == m->msgs);
	FZ_CHECK(m->partial <= m->max && m->msgs <= m->max);
}

static void step(struct model *m, unsigned event, const struct vsock_hdr *h)
{
	struct vc_step s = vc_step(m->state, event);
	struct vsock_shut was = m->shut;

	FZ_CHECK(s.next < VC_STATES && s.action <= VC_ACT_RST_FREE);
	FZ_CHECK(m->state != VC_CLOSED || s.next == VC_CLOSED);
	FZ_CHECK(s.next != VC_NONE || m->state == VC_NONE);
	FZ_CHECK(s.action != VC_ACT_DATA || (m->state == VC_CONNECTED && event == VC_EV_RW));
	FZ_CHECK(s.action != VC_ACT_ESTABLISHED || m->state == VC_CONNECTING);
	FZ_CHECK(s.action != VC_ACT_ACCEPT || m->state == VC_NONE);
	FZ_CHECK(event != VC_EV_RST || (s.action != VC_ACT_RST && s.action != VC_ACT_RST_FREE));
	if (s.action == VC_ACT_DATA && vsock_shut_can_recv(&m->shut))
		payload(m, h);
	if (s.action == VC_ACT_SHUTDOWN) {
		FZ_CHECK(vsock_shut_peer(&m->shut, h->flags) == (h->flags <= VSOCK_SHUTDOWN_BOTH));
		FZ_CHECK((m->shut.peer & was.peer) == was.peer && m->shut.peer <= 3);
		FZ_CHECK(vsock_shut_done(&m->shut) == (m->shut.peer == 3));
	}
	if (s.action == VC_ACT_SEND_SHUTDOWN)
		m->shut.local = VSOCK_SHUTDOWN_BOTH;
	FZ_CHECK(!vsock_shut_done(&m->shut) || !vsock_shut_can_send(&m->shut));
	m->state = s.next;
}

static void packet(struct model *m, struct fz *z, unsigned how)
{
	uint8_t wire[VSOCK_HDR_LEN], again[VSOCK_HDR_LEN];
	enum vsock_hdr_fault fault;
	struct vsock_hdr h;

	fz_bytes(z, wire, sizeof(wire));
	vsock_hdr_get(&h, wire);
	vsock_hdr_put(again, &h);
	FZ_CHECK(memcmp(wire, again, sizeof(wire)) == 0);
	if (how & 1) {
		h.src_cid = m->peer;
		h.dst_cid = m->own;
	}
	if (how & 2) {
		h.op = (uint16_t)(h.op % (VSOCK_OP_MAX + 1));
		h.type = (uint16_t)(h.type % 4);
	}
	if (how & 4)
		h.len %= 1024;
	fault = vsock_hdr_check(&h, m->own, m->peer);
	FZ_CHECK(fault == expect_fault(&h, m));
	FZ_CHECK(vsock_op_name(h.op) != NULL);
	check_rst(&h);
	if (fault == VSOCK_HDR_OK)
		step(m, h.op, &h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct vsock_hdr none;
	struct fz z = {data, size};
	struct model m = {.own = fz_u64(&z), .peer = fz_u64(&z), .max = fz_u16(&z)};

	(void)vsock_cid_is_guest(m.peer);
	m.state = fz_below(&z, VC_STATES);
	while (z.left) {
		uint8_t op = fz_u8(&z);

		switch (op % 8) {
		case 0:
			step(&m, VC_EV_CLOSE, &none);
			break;
		case 1:
			step(&m, VC_EV_TIMEOUT, &none);
			break;
		case 2: {
			unsigned state = fz_u8(&z), event = fz_u8(&z);
			struct vc_step s = vc_step(state, event);

			FZ_CHECK((state < VC_STATES && event < VC_EVENTS && event) ||
				 (s.next == state && s.action == VC_ACT_DROP));
			FZ_CHECK(vc_state_name(state) != NULL);
			break;
		}
		case 3:
			m.msgs -= m.msgs != 0;
			seq_rx_consumed(&m.seq);
			break;
		case 4: /* a fresh connection */
			m = (struct model){.own = m.own, .peer = m.peer, .max = m.max};
			m.state = fz_below(&z, VC_STATES);
			break;
		default:
			packet(&m, &z, op / 8);
		}
	}
	return 0;
}
