/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket type is one descriptor, in a file of its own (stream.c, seqpacket.c, dgram.c), listed in
 * one table (sock_type.c) that is generated from the types a packet may have (VSOCK_TYPES,
 * vsock_hdr.h).
 *
 * The layers below call a type through its descriptor and test its properties, never its number. A
 * connection stores its descriptor (c->sock); for a packet that matches no connection it is looked
 * up by the type in the header. This is where a connectionless type (SOCK_DGRAM) differs: its
 * `unconnected` takes the payload of such packets, and it has no other verb.
 */
#ifndef ZV_SOCK_TYPE_H
#define ZV_SOCK_TYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct conn_key;
struct mem_part;
struct rx_pkt;
struct vsock_hdr;
struct zv_buf;
struct zv_conn;
struct zv_conn_info;
struct zv_queue;

/*
 * What a connection needs in addition to the verbs of its type when its payload does not travel in
 * packets (chan_state.h). All pointers are set.
 */
struct sock_path {
	/* The connection is established: payload may come and go from here on. */
	void (*opened)(struct zv_conn *c);
	/*
	 * A SHUTDOWN packet with @flags; false: the peer breaks the rules, the connection is reset.
	 */
	bool (*shut)(struct zv_conn *c, uint32_t flags);
	/* This side sends no more; a SHUTDOWN packet follows. */
	void (*end)(struct zv_conn *c);
	/* A CREDIT_UPDATE: the peer wakes this side. */
	void (*woken)(struct zv_conn *c);
	/* The connection is over: takes what has arrived, for the last time. */
	void (*over)(struct zv_conn *c);
	/* The connection is freed; loans may be left. */
	void (*free)(struct zv_conn *c);
	/* Fills in the credit fields of zv_conn_info, in terms of this path. */
	void (*info)(const struct zv_conn *c, struct zv_conn_info *info);
};

struct sock_type {
	const char *name;
	uint16_t type; /* enum zv_type, same values as VIRTIO_VSOCK_TYPE_* */

	/* ---- properties ---- */

	/* The type has no connections: no packet of it belongs to one. */
	bool connectionless;

	/* Message boundaries are kept, and a message is readable when all of it is here. */
	bool framed;
	/*
	 * Bytes of private memory that a byte of credit can cost (zv_opts.rx_memory): more than one
	 * where each packet has an entry of its own, however small it is.
	 */
	uint8_t rx_cost;
	/* Bytes of credit that a zvsock peer charges per unread packet; 0: none. */
	uint32_t pkt_overhead;
	const struct sock_path *path;	   /* NULL: payload travels in packets */
	const struct sock_type *over_chan; /* the same type over a channel; NULL: this is it */

	/* ---- verbs: arguments are checked; the caller has entered the queue and publishes ---- */

	/* zv_send: bytes sent, >= 0, or -errno. */
	ssize_t (*send)(struct zv_conn *c, const void *data, size_t len, uint32_t flags);
	/*
	 * The same for memory that the device reads in place (tx_mem.h). NULL: payload is always
	 * copied.
	 */
	ssize_t (*send_mem)(struct zv_conn *c, const struct mem_part *part, uint32_t flags);
	/* zv_buf_alloc: how many, >= 1, or -errno. */
	int (*buf_alloc)(struct zv_conn *c, struct zv_buf *bufs, unsigned n, size_t len);
	/* zv_buf_send: sends all @n, or cancels all. @n or -errno. */
	int (*buf_send)(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
	/*
	 * zv_buf_cancel: index of the first buffer not reserved on @c, or @n; all others are taken
	 * back.
	 */
	unsigned (*buf_cancel)(struct zv_conn *c, const struct zv_buf *bufs, unsigned n);
	/* Sends the packet that ZV_MORE keeps open (CF_MORE); gives it up when c->more.len is 0. */
	void (*more_end)(struct zv_conn *c);
	/*
	 * The credit that the last blocked call needs is there; buffers are left to the scheduler.
	 */
	bool (*has_room)(const struct zv_conn *c);
	/*
	 * zv_recv: bytes, >= 0, or -errno; -ECONNRESET also when the memory that they lay in is
	 * gone (rx_copy), and @c may be freed.
	 */
	ssize_t (*recv)(struct zv_conn *c, void *data, size_t len, uint32_t *flags);
	/* zv_buf_recv: how many, 0, or -errno. */
	int (*buf_recv)(struct zv_conn *c, struct zv_buf *bufs, unsigned n);
	/* Drops what is received and not read. */
	void (*rx_drop)(struct zv_conn *c);
	/*
	 * A data packet of an established connection: *flags gets ZV_EOM and ZV_EOR of its last
	 * byte. False: the peer breaks the rules, the connection is reset. NULL: packets carry only
	 * bytes, and an empty one carries nothing.
	 */
	bool (*frame)(struct zv_conn *c, const struct vsock_hdr *h, uint32_t *flags);
	/* A packet that matches no connection. Gives its buffer back, or holds it. */
	void (*unconnected)(struct zv_queue *q, struct rx_pkt *p, const struct conn_key *key);
};

/* A name for each line of VSOCK_TYPES. */
extern const struct sock_type sock_stream, sock_seqpacket, sock_dgram;
/* The same over a channel (chan_state.h). */
extern const struct sock_type chan_stream, chan_seqpacket;

/* The descriptor of a type, as in packets and enum zv_type; NULL: vsock_hdr_check() refuses it. */
const struct sock_type *sock_type_find(unsigned type);
/*
 * The same for a type that can be listened on and connected; NULL also for one without connections.
 */
const struct sock_type *sock_type_of_conns(unsigned type);

#endif
