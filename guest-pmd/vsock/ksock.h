/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair over the kernel's own sockets.
 *
 * Theory of operation
 * -------------------
 * To the socket layer this is a virtio-vsock device: packets go in and come out. Behind it is no
 * ring but one kernel socket per connection, and packets are translated into calls on it:
 *
 *	from the layer				to the kernel
 *	connect(), then REQUEST			socket, bind, connect
 *	RESPONSE				nothing: the kernel has answered already
 *	RW					send, at the next publish(), many packets at once
 *	SHUTDOWN				shutdown, behind what was sent before; of both
 *						directions: close, and RST back
 *	RST					close
 *
 *	from the kernel				to the layer
 *	connected, or not			RESPONSE, RST
 *	accepted				REQUEST
 *	bytes, a message			RW
 *	end of file, EPIPE			SHUTDOWN
 *	error					RST
 *
 * Receiving. Sockets stay in the queue's epoll set, edge-triggered. An event puts the connection on
 * the ready list, where it stays until its socket is drained or the layer has no credit for more.
 * Bytes are received into the queue's own buffers, which the layer lends to the application. A
 * message is received whole; the part that the layer has no room for yet is held.
 *
 * Sending. The layer may have KSOCK_GRANT bytes committed that the kernel has not taken; fwd_cnt
 * follows what the kernel takes. Until then transmit buffers wait in the connection's list. When
 * buffers run short, the bytes of stuck connections move to private memory (ksock_spill), so a slow
 * reader costs no other connection a buffer.
 *
 * Messages are sent by a thread per connection (ksock_msg.h), because of what Linux does with a
 * message that does not fit: without waiting, it sends the part that fits and returns EAGAIN, and
 * does not tell how much that was.
 *
 * Channels. A connection whose payload goes through shared memory (the layer grants no credit for
 * it) still has a socket: bytes on it are wake-ups, in both directions, and CREDIT_UPDATE to the
 * layer. How it gets its channel: ksock_ctrl.h.
 *
 * Limitation: Linux has no call that resets a connection, and shows a reset to stream sockets as
 * end of file (virtio_transport_do_close). So RST becomes a close in both directions, unless the
 * kernel itself reports an error.
 */
#ifndef ZV_KSOCK_H
#define ZV_KSOCK_H

#include "ksock_net.h"
#include "proto/vsock/conn_table.h"
#include "transport.h"
#include "transport/own_region.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#define KSOCK_GRANT 262144u    /* credit of the layer: bytes waiting for the kernel */
#define KSOCK_BURST 32u	       /* packets of one rx_burst */
#define KSOCK_NONE  UINT32_MAX /* token of a packet without payload */

/* ---- a connection ---- */

enum ksock_state {
	KS_CONNECTING,
	KS_REQUESTED, /* accepted from the kernel, not yet answered by the layer */
	KS_OPEN,
	KS_SILENT, /* connecting has failed in the kernel; the layer's own timer will end it */
};

/* ksock_conn.flags */
#define KF_READY    (1u << 0) /* on q->ready */
#define KF_FLUSH    (1u << 1) /* on q->flush */
#define KF_STUCK    (1u << 2) /* on q->stuck: the kernel takes no data now */
#define KF_EVENT    (1u << 3) /* the socket had an event */
#define KF_READABLE (1u << 4) /* a receive would return data or end of file */
#define KF_ENDING                                                                                  \
	(1u << 5)	      /* the kernel says that an end is near: a short read is not the last \
			       */
#define KF_PROBE    (1u << 6) /* an event that is neither data nor room */
#define KF_HELD_EOR (1u << 7) /* the held message ends a record */
#define KF_CHAN	    (1u << 8) /* has a channel: bytes are wake-ups */
#define KF_WAKE	    (1u << 9) /* a wake-up is due at the next flush */

/* ksock_conn.due: packets to give to the layer, in this order */
#define KD_REQUEST  (1u << 0)
#define KD_RESPONSE (1u << 1)
#define KD_CREDIT   (1u << 2)
#define KD_SHUTDOWN (1u << 3) /* after all received data */
#define KD_RST	    (1u << 4) /* the last one */

/* Payload that waits for the kernel. */
struct ksock_piece {
	STAILQ_ENTRY(ksock_piece) link;
	uint8_t *data;
	uint32_t len;
	uint32_t token; /* of its transmit buffer; KSOCK_NONE: private memory follows */
};
STAILQ_HEAD(ksock_pieces, ksock_piece);

/* The rest of a received message, or a message being assembled for sending. */
struct ksock_bytes {
	uint8_t *data;
	uint32_t at, len, size;
};

struct ksock_conn {
	struct conn_node node; /* first; keys are the layer's */
	struct ksock_queue *q;
	TAILQ_ENTRY(ksock_conn) ready_link, flush_link, stuck_link;
	int fd;	       /* -1: closed, and RST is due */
	uint16_t type; /* VSOCK_TYPE_* */
	uint16_t flags;
	uint8_t state;
	uint8_t due;
	uint8_t peer_shut; /* VSOCK_SHUTDOWN_* that the layer is told */
	uint8_t want_shut; /* that the layer has asked for */
	uint8_t done_shut; /* requested from the kernel */
	/* receiving: credit granted by the layer */
	uint32_t buf_alloc, fwd_cnt;
	uint32_t rx_cnt;
	/* sending: credit granted to the layer */
	uint32_t tx_cnt;
	uint32_t tx_done; /* taken by the kernel: fwd_cnt */
	uint32_t tx_reported;
	struct ksock_pieces out;
	struct ksock_bytes held, msg;
	struct ksock_sender *sender; /* NULL: no message sent yet */
};
TAILQ_HEAD(ksock_list, ksock_conn);

/* ---- a queue, a device ---- */

/* Buffers of one direction: a stack of free ones, the hottest on top. */
struct ksock_bufs {
	uint8_t *base;
	size_t stride;
	uint32_t payload, n, nfree;
	uint32_t *free;
};

/* The control connection: ksock_ctrl.h. */
struct ksock_ctrl {
	struct ksock_conn *c;		/* NULL: none */
	bool up;			/* a region is in use, so claims make sense */
	uint32_t ports;			/* ksock_dev.ports when ports were last claimed */
	uint32_t at, len;		/* of rest[] */
	uint8_t rest[4 * CTRL_MSG_MAX]; /* claims not completely written to the kernel */
};

struct ksock_queue {
	struct transport_queue tq; /* first */
	struct ksock_dev *dev;
	struct conn_table conns;
	struct ksock_conn *last;
	struct ksock_ctrl ctrl;
	struct ksock_list ready, flush, stuck;
	struct ksock_bufs rx, tx;
	struct ksock_piece *piece; /* of each transmit buffer */
	uint8_t *long_msg;	   /* holds the part of a message beyond its buffer; or NULL */
	uint32_t bursts;
	int epfd;
	int wake_fd; /* signalled by senders that have news */
	/* ksock_region.c */
	uint64_t waits_for; /* the region that cannot be mapped yet; 0: none */
	uint64_t look_ns;   /* time of the next attempt */
	int look_fd;	    /* a timer that wakes the queue for it; -1: none yet */
	pthread_mutex_t events_lock;
	LIST_HEAD(ksock_msg_events, ksock_sender) msg_events;
	struct pkt_seg seg[KSOCK_BURST];
} SHM_CACHE_ALIGNED; /* each has its own owner thread */

struct ksock_listener {
	struct ksock_listener *next;
	uint32_t port;
	uint16_t type; /* VSOCK_TYPE_* */
	bool claimed;
	int fd;
};

struct ksock_dev {
	struct transport_dev d; /* first */
	const struct ksock_net *net;
	uint64_t cid;
	uint32_t buf_alloc;	     /* default for connections */
	uint64_t connect_timeout_ns; /* the layer's: the kernel must not give up earlier */
	struct ksock_queue *q;
	size_t mem_size; /* of a queue's buffers */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct ksock_listener *listeners;
	struct ksock_listener *gone; /* claimed, but closed since */
	uint32_t ports;		     /* changes when listeners do; atomic */
	struct own_region own;
	unsigned senders; /* threads */
	int spare;	  /* spare descriptor, closed when none are left: see accept */
};

static inline struct ksock_queue *ksock_queue_of(struct transport_queue *tq)
{
	return (struct ksock_queue *)(void *)tq;
}

/* epoll data of a socket: a connection's address, or a port with the lowest bit set. */
static inline uint64_t ksock_listener_tag(uint32_t port)
{
	return (uint64_t)port << 1 | 1;
}
#define KSOCK_WAKE_TAG 0u

/* ---- ksock_conn.c ---- */

/*
 * Makes a connection that owns the socket @fd from here on, also on failure; @fd < 0: no socket,
 * and RST is due. NULL: no memory, or too many.
 */
struct ksock_conn *ksock_new(struct ksock_queue *q, int fd, const struct conn_key *key,
			     unsigned type, enum ksock_state state);
/* Frees @c; unsent data is lost. */
void ksock_drop(struct ksock_conn *c);
void ksock_ready(struct ksock_conn *c);
void ksock_flush_later(struct ksock_conn *c);
/* The kernel takes no data now; an event tells when it does. */
void ksock_stick(struct ksock_conn *c);
void ksock_unstick(struct ksock_conn *c);
/* Ends the connection; the layer is told by RST. */
void ksock_fail(struct ksock_conn *c);
/* The peer has shut down @shut: tells the layer. */
void ksock_peer_shut(struct ksock_conn *c, unsigned shut);

int ksock_connect(struct transport_queue *tq, const struct vsock_hdr *h);
/* Accepts a connection of @port after an event, if there is one. */
void ksock_accept(struct ksock_queue *q, uint32_t port);

/* ---- ksock_rx.c ---- */

int ksock_rx_burst(struct transport_queue *tq, struct rx_pkt *pkts, unsigned max);
void ksock_rx_release(struct transport_queue *tq, uint32_t token);
int ksock_arm(struct transport_queue *tq, unsigned room);
void ksock_disarm(struct transport_queue *tq, bool rung);

/* ---- ksock_tx.c ---- */

unsigned ksock_tx_reserve(struct transport_queue *tq, struct tx_slot *slots, unsigned n,
			  uint32_t len, unsigned flags);
void ksock_tx_commit(struct transport_queue *tq, uint32_t token, const struct vsock_hdr *h);
void ksock_tx_cancel(struct transport_queue *tq, uint32_t token);
void ksock_publish(struct transport_queue *tq);
unsigned ksock_tx_max(struct transport_queue *tq);
unsigned ksock_tx_ready(struct transport_queue *tq);
/* Sends what it can of @c, and then does a requested shutdown. */
void ksock_flush(struct ksock_conn *c);
/* The kernel has taken @n more bytes. */
void ksock_taken(struct ksock_conn *c, uint32_t n);
/* All shutdowns requested by the layer were requested from the kernel. */
void ksock_shut_done(struct ksock_conn *c, unsigned shut);
void ksock_out_drop(struct ksock_conn *c);

/* ---- vsock_transport.c ---- */

/*
 * Opens a device over @net, which owns *@own from here on, also on failure: the region for its
 * channels, or none. 0 and *@out, or -errno with zv_err() text.
 */
int ksock_open(struct transport_dev **out, const struct ksock_net *net, struct own_region *own,
	       const struct zv_opts *opts);
void ksock_close(struct transport_dev *d);
uint64_t ksock_guest_cid(struct transport_dev *d);
uint64_t ksock_page_size(struct transport_dev *d);
struct transport_queue *ksock_queue(struct transport_dev *d, unsigned i);
int ksock_listen(struct transport_dev *d, uint32_t port, unsigned type, unsigned backlog);
void ksock_unlisten(struct transport_dev *d, uint32_t port, unsigned type);
int ksock_fd(struct transport_queue *tq);

#endif
