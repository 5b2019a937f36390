/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What applications of the host and zvsockd say to each other on zvsockd's client socket
 * (docs/protocol.md, "Client socket").
 *
 * A Unix socket of type SOCK_SEQPACKET. Each message is one struct client_msg in the byte order of
 * the machine; the application asks, and each question has one answer of the same type, in order.
 * Descriptors go with answers only. Whoever closes the socket ends the attachment: the device is
 * gone, its connections are reset and its ports are free.
 *
 *   ATTACH    queues, text (a name for lists) -> cid, queues and one descriptor: a connected stream
 *             socket on which the application is the vhost-user frontend of a virtio-vsock device.
 *             First, and once.
 *   LISTEN    port, sock_type -> connections to this port of the host come to this device, or its
 * datagrams, which are another port.
 *   UNLISTEN  port, sock_type -> no longer.
 *   REGION    region (an id that zvsockd has announced on one of the device's queues) -> size,
 * offset and one descriptor: memory whose size nobody can change.
 *   BELLS     -> size and one descriptor: memory with pages of bells, one for each queue that asks.
 *   BELL      queues (the index of a queue) -> page (its id), offset (in that memory) and one
 * descriptor: an eventfd, an event of which wakes the queue. It need not be read.
 *   RING      page (of a queue of another application of the same user) -> offset and one
 * descriptor: the eventfd that wakes it.
 *
 * Pure logic: nothing here makes a system call.
 */
#ifndef ZV_CLIENT_MSG_H
#define ZV_CLIENT_MSG_H

#include <stddef.h>
#include <stdint.h>

#define CLIENT_MAGIC   0x4c43565au /* "ZVCL" in memory of a little-endian machine */
#define CLIENT_VERSION 1u
#define CLIENT_TEXT    208u
#define CLIENT_DGRAM   3u /* as sock_type: the port's datagrams */

/* An entry a question: name, number, what it is called in messages. */
#define CLIENT_TYPES(X)                                                                            \
	X(ATTACH, 1, "attach")                                                                     \
	X(LISTEN, 2, "listen")                                                                     \
	X(UNLISTEN, 3, "unlisten")                                                                 \
	X(REGION, 4, "region")                                                                     \
	X(BELLS, 5, "bells")                                                                       \
	X(BELL, 6, "bell")                                                                         \
	X(RING, 7, "ring")

enum client_type {
#define X(name, number, text) CLIENT_##name = (number),
	CLIENT_TYPES(X)
#undef X
};

struct client_msg {
	uint32_t magic;
	uint16_t version;
	uint16_t type;	/* enum client_type */
	int32_t result; /* of an answer: 0 or -errno; of a question 0 */
	union {
		uint32_t port;
		uint32_t page; /* BELL, RING: never used before */
	};
	union {
		uint64_t cid;
		uint64_t region; /* of a REGION question and its answer: the id */
	};
	uint16_t queues;
	uint16_t sock_type;	/* enum zv_type, or CLIENT_DGRAM */
	uint32_t reserved;	/* 0 */
	uint64_t size;		/* of the answers to REGION, BELLS: bytes of the memory, */
	uint64_t offset;	/* and where it, or the page, begins in the descriptor's file */
	char text[CLIENT_TEXT]; /* ends with a 0; of an answer with a result: what is wrong */
};
_Static_assert(sizeof(struct client_msg) == 256, "the wire form has no holes");

/* Begins a message: everything that is not set is 0. */
void client_msg_init(struct client_msg *m, enum client_type type);

/* Copies as much of @text as fits; what is not printable ASCII becomes '?'. @text may be m->text.
 */
void client_msg_text(struct client_msg *m, const char *text);

/*
 * NULL: the @len bytes at @m (private memory, aligned) are a message of this version, and m->text
 * is a string. Otherwise what is wrong with it.
 */
const char *client_msg_refused(const struct client_msg *m, size_t len);

/* "attach"...; NULL: there is no such type. */
const char *client_type_name(unsigned type);

#endif
