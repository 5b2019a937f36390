/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user frontend and driver of a few lines, with full control over every byte: messages in
 * any order, with any descriptors; rings, chains and headers of any content. It never fails by
 * itself; what the backend does to it is reported, and the test judges.
 *
 * Guest memory is one memfd, cut into regions that the backend is told about:
 *
 *   A  rings and buffers                     gpa RAW_A, 1 MiB
 *   B  begins in gpa where A ends, but lies elsewhere in the file: nothing may straddle the two
 *   C  the last 64 KiB below 2^64
 *   D  4 GiB, sparse (only when asked for): lengths near 2^32 are legal there
 *
 * The same driver runs in a VM, against the device that QEMU makes of the backend (raw_vfio.c in
 * the place of raw_msg.c). Guest memory lies elsewhere there: what tables and cases call RAW_A and
 * so on, raw_gpa() turns into the address that the device is told.
 */
#ifndef ZV_HOSTILE_RAW_H
#define ZV_HOSTILE_RAW_H

#include "proto/vsock/vsock_hdr.h"
#include "shm_access.h"

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_A	     0x100000ull
#define RAW_A_SIZE   0x100000ull
#define RAW_B	     (RAW_A + RAW_A_SIZE)
#define RAW_B_SIZE   0x80000ull
#define RAW_HOLE     0x400000ull /* no region here */
#define RAW_C	     0xffffffffffff0000ull
#define RAW_C_SIZE   0x10000ull
#define RAW_D	     0x1000000000ull
#define RAW_D_SIZE   0x100000000ull
#define RAW_UVA	     0x7000000000ull /* + offset in the file */
#define RAW_B_OFF    0x200000ull
#define RAW_C_OFF    0x280000ull
#define RAW_D_OFF    0x300000ull
#define RAW_N	     64u
#define RAW_RX	     0u
#define RAW_TX	     1u
#define RAW_EVT	     2u
#define RAW_RINGS    3u
#define RAW_RX_BUFS  32u
#define RAW_RX_SIZE  4096u    /* of a receive buffer, header included */
#define RAW_TX_SIZE  8192u    /* of a transmit buffer */
#define RAW_RX_AT    0x20000u /* offsets of the buffers in A */
#define RAW_TX_AT    0x60000u
#define RAW_SCRATCH  0xe0000u /* 64 KiB for indirect tables and the like */
#define RAW_LOG	     1024u    /* packets remembered */
#define RAW_DATA     128u     /* payload bytes remembered of each */
#define RAW_FEATURES (1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 3)

#define RAW_BIG	   1u /* raw_open: region D too */
#define RAW_NO_IND 2u /* raw_open: without INDIRECT */
#define RAW_OLD	   4u /* raw_open: rings that a device has used before; with the event ring */
#define RAW_PACKED 8u /* raw_open: packed rings */
#define RAW_USED   5u /* entries of old ones */
#define RAW_EVENT  (RAW_SCRATCH + 0x7000u) /* offset of the buffer on the event ring */

enum raw_req {
	REQ_GET_FEATURES = 1,
	REQ_SET_FEATURES = 2,
	REQ_SET_OWNER = 3,
	REQ_RESET_OWNER = 4,
	REQ_SET_MEM_TABLE = 5,
	REQ_SET_LOG_BASE = 6,
	REQ_SET_VRING_NUM = 8,
	REQ_SET_VRING_ADDR = 9,
	REQ_SET_VRING_BASE = 10,
	REQ_GET_VRING_BASE = 11,
	REQ_SET_VRING_KICK = 12,
	REQ_SET_VRING_CALL = 13,
	REQ_SET_VRING_ERR = 14,
	REQ_GET_PROTOCOL = 15,
	REQ_SET_PROTOCOL = 16,
	REQ_GET_QUEUE_NUM = 17,
	REQ_SET_VRING_ENABLE = 18,
	REQ_SET_SLAVE_FD = 21,
	REQ_IOTLB = 22,
	REQ_GET_CONFIG = 24,
	REQ_SET_CONFIG = 25,
	REQ_POSTCOPY_ADVISE = 28,
	REQ_POSTCOPY_LISTEN = 29,
	REQ_GET_INFLIGHT_FD = 31,
	REQ_SET_INFLIGHT_FD = 32,
};

struct raw_layout; /* raw_layout.h */

struct raw_ring {
	/* Packed: the ring, and the driver's and the device's area of event suppression. */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t avail_idx, used_seen; /* chains offered and taken back */
	int kick, call;
	volatile uint16_t *doorbell; /* NULL: kick */
	/* Packed: where the next descriptor goes, and where the next used one comes. */
	uint16_t at, used_at;
	bool wrap, used_wrap;
	bool held; /* the word of the first descriptor since the last publish */
	uint16_t first_at;
	uint64_t first;
	struct vring_desc chain[RAW_N]; /* descriptors, addresses as the device is told */
	uint16_t places[RAW_N];		/* of the chain that begins with this one */
};

struct raw_pkt {
	struct vsock_hdr h;
	uint32_t used_len;
	uint8_t data[RAW_DATA];
};

/* Addresses [at, at + size) of the cases are [to, to + size) for the device. */
struct raw_window {
	uint64_t at, size, to;
};
#define RAW_WINDOWS 4u

struct raw {
	int sock, memfd;
	struct raw_window window[RAW_WINDOWS];
	unsigned flags;
	const struct raw_layout *layout;
	uint64_t cid;
	uint8_t *mem; /* A, B and C, by offset in the file */
	struct raw_ring ring[RAW_RINGS];
	bool tx_busy[RAW_N];
	bool no_repost; /* keep receive buffers */
	struct raw_pkt log[RAW_LOG];
	uint32_t npkts;	   /* received in all; log[npkts % RAW_LOG] is next */
	uint32_t bad_used; /* used entries that no honest device writes */
	/* the case's own connection */
	uint32_t sport, dport;
	uint16_t type;
	uint32_t next_port;
	bool (*alive)(void); /* NULL, or: false, nothing will come any more */
};

struct raw_region {
	uint64_t gpa, size, uva, offset;
};

/* ---- messages ---- */

/* Before the first use: no descriptor is open, no memory mapped. */
void raw_init(struct raw *r);
/* Connects the socket; nothing else. False: refused. */
bool raw_dial(struct raw *r, const char *path, uint64_t cid, unsigned flags);
/* Sends a message with @nfd descriptors; @size goes into the header, @len bytes follow. */
bool raw_send_as(struct raw *r, uint32_t req, uint32_t flags, uint32_t size, const void *payload,
		 uint32_t len, const int *fds, unsigned nfd);
bool raw_send(struct raw *r, uint32_t req, const void *payload, uint32_t len, int fd);
/* Sends with NEED_REPLY; the answer's u64, or -1 when the backend hangs up. */
int64_t raw_ask(struct raw *r, uint32_t req, const void *payload, uint32_t len, const int *fds,
		unsigned nfd);
/* A request that has an answer: its length, -1 when the backend hangs up. *nfd: descriptors that
 * came with it (they are closed). */
int raw_query(struct raw *r, uint32_t req, const void *payload, uint32_t len, int fd, void *answer,
	      uint32_t max, unsigned *nfd);
#define RAW_NEED_REPLY 8u
/* The same with @flags in the header. */
int raw_query_as(struct raw *r, uint32_t req, uint32_t flags, const void *payload, uint32_t len,
		 int fd, void *answer, uint32_t max, unsigned *nfd);
int64_t raw_state(struct raw *r, uint32_t req, uint32_t ring, uint32_t num);
int64_t raw_addr(struct raw *r, unsigned ring);
int64_t raw_mem_table(struct raw *r, const struct raw_region *reg, unsigned n);
/* True when the backend hangs up (within 10 s). */
bool raw_hung_up(struct raw *r);

/* ---- a whole session ---- */

/* Memory and eventfds of the rings; raw_handshake does it. */
bool raw_memory(struct raw *r);
/* Handshake up to and including the memory table. */
bool raw_handshake(struct raw *r);
/* Fresh rings, receive buffers posted, both enabled. */
bool raw_start(struct raw *r);
bool raw_open(struct raw *r, const char *path, uint64_t cid, unsigned flags);
void raw_close(struct raw *r);
/* Empty rings, receive buffers posted. */
void raw_rings_reset(struct raw *r);

/* ---- rings ---- */

static inline uint64_t raw_gpa(const struct raw *r, uint64_t gpa)
{
	for (unsigned i = 0; i < RAW_WINDOWS; i++)
		if (gpa - r->window[i].at < r->window[i].size)
			return gpa - r->window[i].at + r->window[i].to;
	return gpa;
}
static inline void *raw_at(struct raw *r, uint64_t off)
{
	return r->mem + off;
}
/* Writes a descriptor; @gpa as the cases have it. */
void raw_desc_at(const struct raw *r, struct vring_desc *d, uint64_t gpa, uint32_t len,
		 unsigned flags, unsigned next);
void raw_desc(struct raw *r, unsigned ring, unsigned i, uint64_t gpa, uint32_t len, unsigned flags,
	      unsigned next);
/* Offers the chain that begins with descriptor @head, without publishing. */
void raw_offer(struct raw *r, unsigned ring, uint16_t head);
void raw_publish(struct raw *r, unsigned ring);
void raw_kick(struct raw *r, unsigned ring);
/* Split rings: publishes @idx, whatever it is, and kicks. */
void raw_publish_idx(struct raw *r, unsigned ring, uint16_t idx);
/* Takes what the device has used. */
void raw_pump(struct raw *r);
void raw_pump_rx(struct raw *r); /* of the receive ring only */
/*
 * Waits until the device has given back all transmit chains. A case that writes descriptors or used
 * entries of its own needs that: an answer may be seen before the chain of its question is, and the
 * id that comes back later would count as that of the case's chain. False: it keeps one.
 */
bool raw_settle(struct raw *r);
/* A free transmit descriptor (its buffer: RAW_TX_AT + i * RAW_TX_SIZE), waiting for one. -1: none.
 */
int raw_tx_free(struct raw *r);
void raw_post_rx(struct raw *r, unsigned i);

/* ---- packets ---- */

struct vsock_hdr raw_hdr(const struct raw *r, unsigned op, uint32_t len);
/* Sends header and payload in one descriptor. @have: payload bytes really there. */
bool raw_pkt_as(struct raw *r, const struct vsock_hdr *h, const void *payload, uint32_t have);
bool raw_pkt(struct raw *r, unsigned op, const void *payload, uint32_t len);
/* Position in the log: packets from here on are looked at. */
static inline uint32_t raw_mark(const struct raw *r)
{
	return r->npkts;
}
/* Packets since @mark with @op (0: any) from our connection's peer port to its own port. */
unsigned raw_count(const struct raw *r, uint32_t mark, unsigned op, uint32_t sport, uint32_t dport);
/* Waits for such a packet. NULL: none within 10 s. */
const struct raw_pkt *raw_wait(struct raw *r, uint32_t mark, unsigned op, uint32_t sport,
			       uint32_t dport);
/* Opens a connection to @dport; from a fresh port when sport is 0. */
bool raw_connect(struct raw *r, uint32_t sport, uint32_t dport, unsigned type);
/* Sends @len <= RAW_DATA bytes and expects them back. */
bool raw_echo(struct raw *r, const void *data, uint32_t len);
/* Everything sent before has been dealt with. False: the queue is dead. */
bool raw_sync(struct raw *r);

/* Far more than anything takes; only a failure waits that long. */
#define RAW_PATIENCE_MS 60000u
uint64_t raw_now_ms(void);

#endif
