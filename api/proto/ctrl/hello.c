/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO on the wire: build, parse, validate (offsets: hello.h).
 *
 * The parser refuses what it can as soon as it can, so that a peer that sends garbage is not waited
 * for: the frame's fields are checked when their bytes are there, the body when it is complete.
 */
#include "hello.h"

#include "ctrl_frame.h"
#include "wire.h"

#include <errno.h>
#include <string.h>

#define MAX_PAIRS   128u
#define MIN_MAX_PKT 65536u /* what VIRTIO peers take without any HELLO */
#define OFF_NONCE   16
#define OFF_PAIR    24
#define OFF_NPAIRS  26
#define OFF_CAPS    28
#define OFF_MAX_PKT 32
#define OFF_FLAGS   36

void hello_put(void *buf, const struct hello *h)
{
	uint8_t *p = buf;

	memset(p, 0, HELLO_WIRE_LEN); /* the reserved bytes are 0 */
	ctrl_frame_put(p, h->version, h->type, HELLO_WIRE_LEN);
	wire_put64(p + OFF_NONCE, h->nonce);
	wire_put16(p + OFF_PAIR, h->pair);
	wire_put16(p + OFF_NPAIRS, h->npairs);
	wire_put32(p + OFF_CAPS, h->caps);
	wire_put32(p + OFF_MAX_PKT, h->max_pkt);
	wire_put32(p + OFF_FLAGS, h->flags);
}

int hello_get(struct hello *h, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	struct hello m = {0};
	int total = ctrl_frame_get(p, len, &m.version, &m.type);

	if (total <= 0)
		return total;
	if ((m.type != CTRL_HELLO && m.type != CTRL_HELLO_ACK) || total < (int)HELLO_WIRE_LEN)
		return -EPROTO;
	if (len < HELLO_WIRE_LEN)
		return 0;
	m.nonce = wire_get64(p + OFF_NONCE);
	m.pair = wire_get16(p + OFF_PAIR);
	m.npairs = wire_get16(p + OFF_NPAIRS);
	m.caps = wire_get32(p + OFF_CAPS);
	m.max_pkt = wire_get32(p + OFF_MAX_PKT);
	m.flags = wire_get32(p + OFF_FLAGS);
	if (!m.npairs || m.npairs > MAX_PAIRS || m.pair >= m.npairs || m.max_pkt < MIN_MAX_PKT)
		return -EPROTO;
	/* The tail of a longer message is ignored, but it must have arrived: what follows it is
	 * new. */
	if (len < (size_t)total)
		return 0;
	*h = m;
	return total;
}
