/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HELLO: how two zvsock sides find each other in band (docs/protocol.md, "HELLO").
 *
 * The guest opens an ordinary STREAM connection to CID 2, port ZV_CTRL_PORT, on every pair, from a
 * source port below 1024, and sends one HELLO; the host answers one HELLO_ACK. Nothing else is
 * private: no feature bit, no config space. Pure logic: build, parse, validate.
 *
 * Wire form: the frame of ctrl_frame.h, length HELLO_WIRE_LEN..ZV_CTRL_MAX_LEN, and the body. A
 * receiver accepts a longer message of a version it knows and ignores the tail, so fields can be
 * added.
 *
 *   offset size  field
 *       16    8  nonce
 *       24    2  pair
 *       26    2  npairs, 1..128
 *       28    4  caps, ZV_CAP_*; unknown bits are kept
 *       32    4  max_pkt, at least 65536
 *       36    4  flags, ZV_HELLO_*; unknown bits are kept
 *       40    4  reserved: sent as 0, ignored
 */
#ifndef ZV_HELLO_H
#define ZV_HELLO_H

#include "ctrl_frame.h"

#define ZV_CTRL_PORT	  0x7a76736bu /* "zvsk" */
#define ZV_PROC_PORT	  0x7a76736cu /* "zvsl": of programs on a stock driver, ctrl_msg.h */
#define ZV_CTRL_SRC_LIMIT 1024u	      /* HELLO counts only from source ports below this */

/* Capabilities: the connection uses what both sides named. */
#define ZV_CAP_BIG_PKT	 (1u << 0) /* packets above 64 KiB, up to max_pkt */
#define ZV_CAP_MANY_PKTS (1u << 1) /* no per-packet charge against buf_alloc */
#define ZV_CAP_EMPTY_MSG (1u << 2) /* an RW packet without payload counts as one byte of credit */
#define ZV_CAP_CHANNEL	 (1u << 3) /* payload may go through channels in shared memory */
#define ZV_CAP_DGRAM	 (1u << 4) /* packets of type DGRAM are welcome */

/* HELLO flags. */
#define ZV_HELLO_INCOMING (1u << 0) /* this pair takes connections that the peer opens */

#define HELLO_WIRE_LEN 44u

struct hello {
	uint16_t type; /* CTRL_HELLO or CTRL_HELLO_ACK */
	uint16_t version;
	uint64_t nonce;	  /* one per opened device: shows in logs which pairs belong together */
	uint16_t pair;	  /* index of the pair that carries this message */
	uint16_t npairs;  /* pairs the sender has */
	uint32_t caps;	  /* ZV_CAP_* */
	uint32_t max_pkt; /* largest payload of one packet the sender takes, bytes */
	uint32_t flags;	  /* ZV_HELLO_* */
};

/* Writes HELLO_WIRE_LEN bytes to @buf. All fields of @h are sent as they are, version included. */
void hello_put(void *buf, const struct hello *h);

/*
 * Parses @len bytes at @buf (private memory). Returns the bytes of the message (> 0; only then *h
 * is written), 0 when more are needed, or -EPROTO (bad magic, length out of range, unknown type,
 * pair >= npairs, npairs 0 or above 128, max_pkt below 64 KiB) or -EPROTONOSUPPORT (a version this
 * side does not know).
 */
int hello_get(struct hello *h, const void *buf, size_t len);

#endif
