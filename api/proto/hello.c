/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO on the wire: build, parse, validate (offsets: hello.h).
 *
 * The parser refuses what it can as soon as it can, so that a peer that sends garbage is not waited
 * for: the frame's fields are checked when their bytes are there, the body when it is complete.
 */
#include "proto/hello.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define MAX_PAIRS   128u
#define MIN_MAX_PKT 65536u /* what VIRTIO peers take without any HELLO */
#define OFF_MAGIC   0
#define OFF_VERSION 4
#define OFF_TYPE    6
#define OFF_LENGTH  8
#define FRAME_LEN   12u
#define OFF_NONCE   16
#define OFF_PAIR    24
#define OFF_NPAIRS  26
#define OFF_CAPS    28
#define OFF_MAX_PKT 32
#define OFF_FLAGS   36

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

void hello_put(void *buf, const struct hello *h)
{
	uint8_t *p = buf;

	memset(p, 0, HELLO_WIRE_LEN); /* the reserved bytes are 0 */
	put32(p + OFF_MAGIC, ZV_CTRL_MAGIC);
	put16(p + OFF_VERSION, h->version);
	put16(p + OFF_TYPE, h->type);
	put32(p + OFF_LENGTH, HELLO_WIRE_LEN);
	put64(p + OFF_NONCE, h->nonce);
	put16(p + OFF_PAIR, h->pair);
	put16(p + OFF_NPAIRS, h->npairs);
	put32(p + OFF_CAPS, h->caps);
	put32(p + OFF_MAX_PKT, h->max_pkt);
	put32(p + OFF_FLAGS, h->flags);
}

/* Bytes of the message, 0 when the frame is not complete, or -errno. */
static int frame_get(struct hello *h, const uint8_t *p, size_t len)
{
	uint32_t total;

	if (len >= OFF_VERSION && get32(p + OFF_MAGIC) != ZV_CTRL_MAGIC)
		return -EPROTO;
	if (len < OFF_TYPE)
		return 0;
	h->version = get16(p + OFF_VERSION);
	/* Nothing behind the version means anything in a version that is not known. */
	if (h->version != ZV_CTRL_VERSION)
		return -EPROTONOSUPPORT;
	if (len < FRAME_LEN)
		return 0;
	h->type = get16(p + OFF_TYPE);
	total = get32(p + OFF_LENGTH);
	if (h->type != CTRL_HELLO && h->type != CTRL_HELLO_ACK)
		return -EPROTO;
	if (total < HELLO_WIRE_LEN || total > ZV_CTRL_MAX_LEN)
		return -EPROTO;
	return (int)total;
}

int hello_get(struct hello *h, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	struct hello m = {0};
	int total = frame_get(&m, p, len);

	if (total <= 0)
		return total;
	if (len < HELLO_WIRE_LEN)
		return 0;
	m.nonce = get64(p + OFF_NONCE);
	m.pair = get16(p + OFF_PAIR);
	m.npairs = get16(p + OFF_NPAIRS);
	m.caps = get32(p + OFF_CAPS);
	m.max_pkt = get32(p + OFF_MAX_PKT);
	m.flags = get32(p + OFF_FLAGS);
	if (!m.npairs || m.npairs > MAX_PAIRS || m.pair >= m.npairs || m.max_pkt < MIN_MAX_PKT)
		return -EPROTO;
	/* The tail of a longer message is ignored, but it must have arrived: what follows it is
	 * new. */
	if (len < (size_t)total)
		return 0;
	*h = m;
	return total;
}
