/* SPDX-License-Identifier: BSD-3-Clause */
/* Constants and structures of <zvsock.h>, which includes this file. */
#ifndef ZVSOCK_TYPES_H
#define ZVSOCK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct zv_dev;
struct zv_queue;
struct zv_conn;

/* ---- constants -------------------------------------------------------------------------- */

#define ZV_CID_LOCAL	   1u	      /* this machine; with daemon:, its other programs */
#define ZV_CID_HOST	   2u	      /* the host, as every guest sees it */
#define ZV_PORT_ANY	   UINT32_MAX /* zv_accept: any listener; zv_connect_from: a free port */
#define ZV_QUEUES_MAX	   16u	      /* most queue pairs of a device */
#define ZV_WAIT_QUEUES_MAX 256u	      /* zv_wait_queues: most queues of a call */

enum zv_type {
	ZV_STREAM = 1,	  /* bytes, no boundaries (SOCK_STREAM) */
	ZV_SEQPACKET = 2, /* messages, boundaries kept (SOCK_SEQPACKET) */
	ZV_DGRAM = 3,	  /* datagrams, without connection (SOCK_DGRAM): zvsock_dgram.h */
};

/* Buffer and message flags. Those of the other connection type have no effect. */
#define ZV_EOM	 (1u << 0) /* SEQPACKET: last buffer of a message */
#define ZV_EOR	 (1u << 1) /* SEQPACKET: the application's record mark (MSG_EOR); implies EOM */
#define ZV_MORE	 (1u << 2) /* zv_send, STREAM: more follows at once; may share a packet */
#define ZV_TRUNC (1u << 3) /* zv_recv: the message was longer than the buffer; the rest is lost */
#define ZV_PEEK	 (1u << 4) /* zv_recv: leave the bytes in place */

/*
 * Events. Level-triggered: reported by every zv_poll while true; only ZV_EV_CONNECT, ZV_EV_WAKE and
 * ZV_EV_DGRAM_OUT are reported once.
 */
#define ZV_EV_IN      (1u << 0) /* bytes to receive, or end of stream not yet returned by a call */
#define ZV_EV_OUT     (1u << 1) /* room to send; only after a call found too little */
#define ZV_EV_CONNECT (1u << 2) /* zv_connect has completed, see err; reported once */
#define ZV_EV_ACCEPT  (1u << 3) /* a connection waits in zv_accept; conn is NULL, port is set */
#define ZV_EV_HUP     (1u << 4) /* the peer has closed: no more data will arrive */
#define ZV_EV_ERR     (1u << 5) /* the connection is dead, see err; close it */
#define ZV_EV_EPIPE   (1u << 6) /* the peer receives no more, zv_send fails; opt-in */
#define ZV_EV_WAKE    (1u << 7) /* zv_wake was called since the last one; conn is NULL */
#define ZV_EV_SENT    (1u << 9) /* zv_mem_done has something (zvsock_mem.h); conn is NULL */
#define ZV_EV_BROKER  (1u << 8) /* ZV_OPT_BROKER: zv_broker_recv has something; conn is NULL */
/* zvsock_dgram.h; conn is NULL. Datagrams wait for port; zv_dgram_send may be tried again (once).
 */
#define ZV_EV_DGRAM	(1u << 10)
#define ZV_EV_DGRAM_OUT (1u << 11)

/* ---- structures ------------------------------------------------------------------------- */

/*
 * Options of zv_open. Set size to sizeof(struct zv_opts) and everything else to 0; a field that is
 * 0 means the default stated. New fields are added at the end, and size tells which ones are
 * present; a non-zero field that the library is too old to know is refused, as are unknown flags.
 */
struct zv_opts {
	size_t size;
	uint32_t queues; /* queue pairs, 1..ZV_QUEUES_MAX; default 1 */
	/* guest: descriptors of a ring, power of two, 16..32768; default 256. With daemon: all
	 * rings together have at most 131072: 4096 each with 16 queues. */
	uint32_t ring_size;
	uint32_t rx_buf; /* guest: payload bytes of a receive buffer, 64..1 MiB; default 65536 */
	uint32_t tx_buf; /* guest: payload bytes of a transmit buffer, 64..1 MiB; default 65536 */
	uint32_t buf_alloc; /* receive credit of a connection, bytes; default 262144 */
	/* Connections of a queue, including those that wait in an accept queue; up to 16777216,
	 * default 65536. Those still finishing after zv_conn_close do not count; when there are as
	 * many of these, the oldest is reset, as after close_timeout. */
	uint32_t max_conns;
	uint32_t flags; /* ZV_OPT_* */
	/* Time-outs; UINT64_MAX, or a time beyond the clock's range: never. */
	uint64_t connect_timeout_ns; /* default 2 s */
	uint64_t close_timeout_ns;   /* default 8 s */
	uint64_t hello_timeout_ns;   /* default 1 s, daemon: 10 s */
	uint64_t spin_ns;	     /* zv_wait: how long to poll before sleeping; default 50 us,
				vsock: not at all. 1 (below 1 us): it sleeps at once */
	/*
	 * Bytes that received payload may take in all connections of the device together, at least
	 * 65536; default 256 MiB, or 64 * buf_alloc * queues if that is more. When a connection is
	 * made, it is promised buf_alloc of it as receive credit (8 times that for SEQPACKET, where
	 * tiny messages cost more than their bytes), but at most a 64th of what is left, and 4096
	 * in any case. So with very many connections, later ones have smaller windows, and nothing
	 * has to be dropped. A peer that does not charge itself for each message (any but zvsock)
	 * and sends more tiny messages than its promise covers is reset once the memory is used up.
	 */
	uint64_t rx_memory;
	/*
	 * guest, vfio: and uio: (with other devices the end of a backend is noticed at once): how
	 * long the device may leave packets untaken before it is reset, like the transmit watchdog
	 * of a network driver; connections end with -ECONNRESET, listeners stay. Packets that a
	 * host program has not read have been taken, and time in which the VM or the process is
	 * stopped does not count. At least 100 ms; UINT64_MAX: never; default 5 s. While there are
	 * channels in shared memory of the VM, the end of zvsockd is noticed in about a second,
	 * unless this is UINT64_MAX. docs/guest-driver.md.
	 */
	uint64_t tx_timeout_ns;
};
#define ZV_OPT_BUSY_POLL  (1u << 0) /* zv_wait never sleeps: give the thread its own CPU */
#define ZV_OPT_NO_HUGE	  (1u << 1) /* never try hugepages */
#define ZV_OPT_NO_HELLO	  (1u << 2) /* use the plain VIRTIO protocol, without extensions */
#define ZV_OPT_NO_CHANNEL (1u << 3) /* guest: no shared memory beside the rings */
#define ZV_OPT_BROKER	  (1u << 4) /* host: the application brokers channels, zvsock_broker.h */
#define ZV_OPT_PACKED	  (1u << 5) /* guest: packed virtqueues where the device has them */
#define ZV_OPT_SPLIT	  (1u << 6) /* guest: split virtqueues always */
/*
 * host: the guest's memory may be in files on local disks. A thread that serves one of its queues
 * may then have to wait for the disk, and so may other guests that it serves.
 */
#define ZV_OPT_DISK_MEMORY (1u << 7)
#define ZV_OPT_NO_DGRAM	   (1u << 8) /* this side neither takes nor sends datagrams */

/*
 * A buffer on loan: from zv_buf_alloc until zv_buf_send or zv_buf_cancel; from zv_buf_recv until
 * zv_buf_release. data, capacity, cookie and serial belong to the library; do not change them.
 * Copies of the structure are equivalent to the original. Each loan has its own serial number:
 * returning a buffer a second time, or to the wrong place, is refused.
 *
 * A loan stays valid whatever happens to the peer. When a guest goes, or its memory, what the host
 * has on loan stays where it is and keeps its contents, and so does what was received and not read
 * yet; only the guest no longer sees it. While a VM is paused its connections stay: nothing
 * arrives, nothing can be sent except what was reserved before (it leaves when the VM continues),
 * and time-outs of connections do not run. At that moment the memory behind a reserved buffer may
 * be replaced, at the same address, even while it is being written. Bytes that are written once
 * arrive; but a byte that is written twice, the second time with its original value, may arrive
 * with the first. Do not have devices write there (O_DIRECT, RDMA).
 */
struct zv_buf {
	void *data;   /* first payload byte */
	uint32_t len; /* payload bytes: set by you before zv_buf_send, by the library on receive */
	uint32_t capacity; /* bytes that fit (transmit); equal to len (receive) */
	uint32_t flags;	   /* ZV_EOM, ZV_EOR */
	uint32_t cookie;
	uint64_t serial;
};

struct zv_event {
	struct zv_conn *conn; /* NULL: ZV_EV_ACCEPT, _BROKER, _SENT, _DGRAM, _DGRAM_OUT, zv_wake */
	void *user;	      /* what zv_set_user stored */
	uint32_t events;      /* ZV_EV_* */
	/* ZV_EV_ACCEPT: the listening port; ZV_PORT_ANY: zv_listen_all. ZV_EV_DGRAM: the bound
	 * port; ZV_PORT_ANY: zv_dgram_bind_all */
	uint32_t port;
	int32_t err;	/* ZV_EV_CONNECT: 0 or -errno; ZV_EV_ERR: -errno */
	uint32_t queue; /* zv_wait_queues: index in its array; else 0 */
};

enum zv_peer_kind {
	ZV_PEER_UNKNOWN = 0, /* not attached, or HELLO still under way (hello_timeout_ns) */
	ZV_PEER_PLAIN,	     /* a standard virtio-vsock peer: no extensions */
	ZV_PEER_ZVSOCK,	     /* zvsock on the other side */
};

struct zv_dev_info {
	size_t size;	    /* set by the caller: sizeof(struct zv_dev_info) */
	uint64_t cid;	    /* own CID: of the guest, or ZV_CID_HOST */
	uint64_t guest_cid; /* CID of the guest of this device, on either side; 0: not known yet */
	uint32_t queues;
	uint32_t queues_up; /* pairs whose rings run now */
	uint64_t page_size; /* of the memory behind the rings and buffers; 0: the peer's, unknown */
	enum zv_peer_kind peer;
	const char *transport; /* scheme of the URI: "vhost-user", ...; static storage */
	uint32_t flags;	       /* ZV_DEV_* */
	uint32_t reserved;
	uint64_t attached_ns; /* CLOCK_MONOTONIC when a VMM attached to a device of `host:`; 0:
				 there is none, or another kind of device */
};
#define ZV_DEV_CHANNELS (1u << 0) /* the peer is zvsock and can use channels */
#define ZV_DEV_DGRAM	(1u << 1) /* the peer is zvsock, and both sides use datagrams */
#define ZV_DEV_RAN	(1u << 2) /* since attached_ns at least one pair has run */
#define ZV_DEV_BLOCKED                                                                             \
	(1u << 3) /* since it was opened, the peer has made a descriptor for waking it             \
		     block, or slow to write to */

struct zv_conn_info {
	size_t size; /* set by the caller: sizeof(struct zv_conn_info) */
	uint64_t local_cid, peer_cid;
	uint32_t local_port, peer_port;
	enum zv_type type;
	uint32_t queue;		     /* index of its queue */
	uint32_t tx_credit;	     /* payload bytes that credit lets it send now, beyond what is
					reserved; 0 when it cannot send */
	uint32_t rx_unread;	     /* payload bytes received and not consumed */
	const char *state;	     /* "connected", ...; static storage */
	uint64_t tx_bytes, rx_bytes; /* payload since the connection was made */
	uint64_t opened_ns;	     /* CLOCK_MONOTONIC when it began: REQUEST sent or received */
	uint32_t peer_buf_alloc;     /* the peer's receive buffer, bytes */
	uint32_t tx_unacked; /* payload bytes sent that the peer has not reported as consumed */
	uint32_t flags;	     /* ZV_CONN_* */
	uint32_t reserved;
	void *user; /* as set by zv_set_user, also after zv_conn_close; NULL: never set */
};
#define ZV_CONN_INCOMING (1u << 0) /* the peer asked for it */
#define ZV_CONN_CHANNEL	 (1u << 1) /* its payload goes through shared memory: it has a channel */

/* Counters of a queue since zv_open. Every cause of a drop, a reset or a broken ring has one. */
struct zv_queue_stats {
	uint64_t rx_packets, rx_bytes; /* received, all ops; payload bytes */
	uint64_t tx_packets, tx_bytes; /* sent, all ops; payload bytes */
	uint64_t rx_copied;    /* packets copied to private memory because of the loan limits */
	uint64_t tx_no_buffer; /* reservations that found no buffer */
	uint64_t tx_no_credit; /* reservations that found no credit */
	uint64_t kicks;	       /* notifications sent to the peer */
	uint64_t wakeups;      /* times this side slept and was woken */
	uint64_t conns_opened, conns_accepted, conns_refused, conns_reset, conns_timedout;
	uint64_t rst_sent,
		rst_dropped;	/* RST; replies to stray packets lost because too many waited */
	uint64_t rx_bad_hdr;	/* header too short, unknown op, len beyond the chain */
	uint64_t rx_bad_cid;	/* forged source or foreign destination CID */
	uint64_t rx_bad_type;	/* unknown socket type, or not the connection's */
	uint64_t rx_no_conn;	/* packets for no connection or listener */
	uint64_t rx_bad_state;	/* packets that the state does not allow */
	uint64_t rx_overrun;	/* payload beyond our credit: connection reset */
	uint64_t rx_bad_credit; /* fwd_cnt running backwards or ahead: ignored */
	uint64_t rx_bad_chain;	/* descriptor chains refused: ring broken */
	uint64_t ring_broken;	/* times a ring of this queue was declared broken */
	uint64_t sessions;	/* times the rings were started */
	uint64_t rx_late; /* not an error: packets for connections that just ended, RST for unknown
			     ones */
	uint64_t rx_promised;	/* now: bytes of rx_memory promised to open connections */
	uint64_t rx_private;	/* now: bytes of private memory with received payload */
	uint64_t chans;		/* now: connections whose payload goes through shared memory */
	uint64_t chan_broken;	/* peers that broke their channel: connection reset */
	uint64_t chan_rings;	/* direct wake-ups of the other end of a channel */
	uint64_t dgram_dropped; /* datagrams dropped: the queue of their port was full */
	uint64_t dgram_unbound; /* datagrams to a port that nobody has bound */
	uint64_t loan_limit; /* sessions ended or not started: loans keep too much memory mapped */
	uint64_t reserved[3];
};

enum zv_log_level { ZV_LOG_ERR = 1, ZV_LOG_WARN, ZV_LOG_INFO, ZV_LOG_DEBUG };
typedef void (*zv_log_fn)(void *ctx, enum zv_log_level level, const char *line);

/*
 * Receives one packet. @hdr: its 44 bytes as on the wire (little endian), a private copy. @iov: the
 * @n pieces of its payload, in place; 0 if it has none. A hostile peer may change payload that it
 * has sent while you look at it. Everything is valid during the call only.
 */
struct iovec; /* <sys/uio.h> */
typedef void (*zv_tap_fn)(void *ctx, bool sent, const void *hdr, const struct iovec *iov, int n);

#ifdef __cplusplus
}
#endif

#endif
