/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two sides say about channels on a control connection, once both have named
 * ZV_CAP_CHANNEL (docs/protocol.md, "Channels"). Pure logic: build, parse, validate.
 *
 * Wire form: the frame of ctrl_frame.h and a body. A longer message is accepted, its tail ignored.
 *
 *   OFFER       driver  16 gpa u64, 24 size u64
 *   REGION      device  16 id u64, 24 size u64, 32 gpa u64, 40 flags u32, 44 reserved
 *   REGION_ACK  driver  16 id u64, 24 error u32 (an errno, 0: mapped), 28 reserved
 *   GRANT       device  16 region u64, 24 peer_cid u64, 32 peer_port u32, 36 local_port u32,
 *                       40 type u16, 42 role u16, 44 desc.version u32, 48 desc.generation u32,
 *                       52 reserved, 56 desc.offset u64, 64 desc.length u64, and at 72 and 112 the
 *                       two directions: entries u32, classes u32, 4 times slot_size u32, slots u32;
 *                       if there are bells, 152 bell u32, 156 ring_page u32, 160 ring_bell u32, 164
 *                       reserved
 *   RELEASE     driver  16 region u64, 24 offset u64, 32 generation u32, 36 reserved
 *   CLAIM       program 16 port u32, 20 peer_port u32, 24 peer_cid u64, 32 type u16, 34 what u16,
 *                       36 reserved
 *   HOLDS       driver  16 region u64, 24 offset u64, 32 generation u32, 36 left u32
 *
 * CLAIM is for programs on a stock driver, which have a control connection each, to ZV_PROC_PORT.
 */
#ifndef ZV_CTRL_MSG_H
#define ZV_CTRL_MSG_H

#include "ctrl_frame.h"
#include "shm_ring.h"

#define CTRL_MSG_MAX	 168u	    /* bytes of the longest message that is sent */
#define CTRL_BY_FD	 UINT64_MAX /* ctrl_region.gpa: not there; by a descriptor, otherwise */
#define CTRL_REGION_GONE (1u << 0)  /* ctrl_region.flags: no more; only id counts */
#define CTRL_ERRNO_MAX	 4095u

struct ctrl_offer {
	uint64_t gpa, size;
};

struct ctrl_region {
	uint64_t id;
	uint64_t size; /* bytes, > 0 */
	uint64_t gpa;  /* guest-physical address; CTRL_BY_FD */
	uint32_t flags;
};

struct ctrl_region_ack {
	uint64_t id;
	int32_t result; /* 0 or -errno */
};

struct ctrl_grant {
	uint64_t region;
	/* The connection, as the receiver sees it. */
	uint64_t peer_cid;
	uint32_t peer_port, local_port;
	uint16_t type; /* enum zv_type */
	uint16_t role; /* enum shm_role of the receiver */
	struct shm_channel_desc desc;
	struct ctrl_bells {
		uint32_t bell; /* which the other end rings, in this queue's page; 0: none */
		uint32_t ring_page, ring_bell; /* what wakes the other end; 0: a packet does */
	} bells;
};

/* CTRL_RELEASE, CTRL_HOLDS */
struct ctrl_release {
	uint64_t region;
	uint64_t offset; /* of the channel */
	uint32_t generation;
	uint32_t left; /* CTRL_HOLDS: how many follow; the last may name none: region 0 */
};

enum ctrl_claim_what {
	CTRL_CLAIM_CONNECT,    /* the next REQUEST from `port` to the peer is the program's */
	CTRL_CLAIM_NO_CONNECT, /* it is not going to come */
	CTRL_CLAIM_LISTEN,     /* connections to `port` are the program's */
	CTRL_CLAIM_NO_LISTEN,  /* no longer */
};

struct ctrl_claim {
	uint32_t port; /* of the guest */
	uint32_t peer_port;
	uint64_t peer_cid; /* this and peer_port: of the CONNECT ones */
	uint16_t type;	   /* enum zv_type */
	uint16_t what;	   /* enum ctrl_claim_what */
};

struct ctrl_msg {
	uint16_t type; /* enum ctrl_type, none of HELLO's */
	union {
		struct ctrl_offer offer;
		struct ctrl_region region;
		struct ctrl_region_ack region_ack;
		struct ctrl_grant grant;
		struct ctrl_release release;
		struct ctrl_claim claim;
	};
};

/* Writes a message, up to CTRL_MSG_MAX bytes; how many. */
uint32_t ctrl_msg_put(void *buf, const struct ctrl_msg *m);

/*
 * Parses @len bytes at @buf (private memory). Returns the bytes of the message (> 0; only then *m
 * is written), 0 when more are needed, or -EPROTO (frame, type, or a value out of its range; what
 * a channel looks like is shm_channel_check()'s matter), -EPROTONOSUPPORT.
 */
int ctrl_msg_get(struct ctrl_msg *m, const void *buf, size_t len);

#endif
