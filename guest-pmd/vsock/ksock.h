/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A queue pair of packets over the kernel's own sockets.
 *
 * Theory of operation
 * -------------------
 * To the socket layer this is a virtio-vsock device: packets go in and come out. Behind them is no
 * ring but one kernel socket a connection, and what packets say becomes calls on it:
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
 * Receiving. Sockets are in the queue's epoll set for good, edge-triggered: an event puts the
 * connection on the ready list, where it stays until its socket has nothing more, or the layer has
 * no credit for more. Bytes are received into the queue's own buffers, which the layer lends to the
 * application. A message is received whole; what the layer has no room for yet is held.
 *
 * Sending. The layer may have KSOCK_GRANT bytes committed that the kernel has not taken; fwd_cnt
 * follows what it takes. Transmit buffers wait in the connection's list for that, and where they
 * run short the bytes of connections that are stuck move to private memory (ksock_spill), so a slow
 * reader costs no other connection a buffer.
 *
 * Messages are sent by a thread of the connection's own (ksock_msg.h), because of what Linux does
 * with one that does not fit: when it may not wait, it sends the part that does, says EAGAIN, and
 * not how much that was.
 *
 * Channels. A connection whose payload goes through shared memory (the layer grants no credit for
 * it) is a socket all the same: bytes on it are wake-ups, in both directions, and CREDIT_UPDATE to
 * the layer. ksock_ctrl.h says how it comes to its channel.
 *
 * What cannot be carried: Linux has no call that resets a connection, and shows a reset as an end
 * of file to stream sockets (virtio_transport_do_close). So RST is a close in both directions,
 * unless the kernel itself reports an error.
 */
#ifndef ZV_KSOCK_H
#define ZV_KSOCK_H

#include "ksock_net.h"
#include "proto/conn_table.h"
#include "transport.h"
#include "transport/own_region.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/queue.h>

#define KSOCK_GRANT 262144u    /* credit of the layer: bytes that wait for the kernel */
#define KSOCK_BURST 32u	       /* packets of one rx_burst */
#define KSOCK_NONE  UINT32_MAX /* token of a packet without payload */

/* ---- a connection ---- */

enum ksock_state {
	KS_CONNECTING,
	KS_REQUESTED, /* accepted from the kernel, the layer has not answered */
	KS_OPEN,
	KS_SILENT, /* the kernel has given up connecting; the layer will, by its own clock */
};

/* ksock_conn.flags */
#define KF_READY    (1u << 0) /* on q->ready */
#define KF_FLUSH    (1u << 1) /* on q->flush */
#define KF_STUCK    (1u << 2) /* on q->stuck: the kernel takes nothing now */
#define KF_EVENT    (1u << 3) /* the socket had an event */
#define KF_READABLE (1u << 4) /* a receive would find something, or the end */
#define KF_ENDING                                                                                  \
	(1u << 5)	      /* the kernel says that an end is near: a short read is not the last \
			       */
#define KF_PROBE    (1u << 6) /* something has happened that is neither bytes nor room */
#define KF_HELD_EOR (1u << 7) /* the held message ends a record */
#define KF_CHAN	    (1u << 8) /* it has a channel: bytes are wake-ups */
#define KF_WAKE	    (1u << 9) /* one is due, at the next flush */

/* ksock_conn.due: packets to give to the layer, in this order */
#define KD_REQUEST  (1u << 0)
#define KD_RESPONSE (1u << 1)
#define KD_CREDIT   (1u << 2)
#define KD_SHUTDOWN (1u << 3) /* behind what there is to receive */
#define KD_RST	    (1u << 4) /* the last one */

/* Payload that waits for the kernel. */
struct ksock_piece {
	STAILQ_ENTRY(ksock_piece) link;
	uint8_t *data;
	uint32_t len;
	uint32_t token; /* of its transmit buffer; KSOCK_NONE: private memory behind this */
};
STAILQ_HEAD(ksock_pieces, ksock_piece);

/* The rest of a received message, and one that is being put together for sending. */
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
	uint8_t done_shut; /* that the kernel was asked for */
	/* receiving: what the layer allows */
	uint32_t buf_alloc, fwd_cnt;
	uint32_t rx_cnt;
	/* sending: what it may, by the packets that it gets */
	uint32_t tx_cnt;
	uint32_t tx_done; /* taken by the kernel: fwd_cnt */
	uint32_t tx_told;
	struct ksock_pieces out;
	struct ksock_bytes held, msg;
	struct ksock_sender *sender; /* NULL: no message was sent yet */
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
	bool up;			/* a region is in use: claims are worth while */
	uint32_t ports;			/* ksock_dev.ports, as it was when they were claimed */
	uint32_t at, len;		/* of rest[] */
	uint8_t rest[4 * CTRL_MSG_MAX]; /* claims that the kernel has not taken whole */
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
	uint8_t *long_msg; /* room for the part of a message that its buffer has not; or NULL */
	uint32_t looks;
	int epfd;
	int wake_fd; /* senders have news */
	pthread_mutex_t news_lock;
	LIST_HEAD(ksock_news, ksock_sender) news;
	struct pkt_seg seg[KSOCK_BURST];
} SHM_CACHE_ALIGNED; /* an owner each */

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
	uint32_t buf_alloc;	     /* of connections that have not got another */
	uint64_t connect_timeout_ns; /* of the layer: the kernel must not give up before */
	struct ksock_queue *q;
	size_t mem_size; /* of a queue's buffers */
	pthread_mutex_t lock;
	pthread_cond_t ended;
	struct ksock_listener *listeners;
	struct ksock_listener *gone; /* claimed, and closed since */
	uint32_t ports;		     /* changes with them; atomic */
	struct own_region own;
	unsigned senders; /* threads */
	int spare;	  /* a descriptor to give up where there are none left: see accept */
};

static inline struct ksock_queue *ksock_queue_of(struct transport_queue *tq)
{
	return (struct ksock_queue *)(void *)tq;
}

/* What epoll says of a socket: a connection's address, or a port with the lowest bit set. */
static inline uint64_t ksock_listener_tag(uint32_t port)
{
	return (uint64_t)port << 1 | 1;
}
#define KSOCK_WAKE_TAG 0u

/* ---- ksock_conn.c ---- */

/*
 * A connection with the socket @fd, which it owns from here on, also when this fails; < 0: none,
 * and RST is due. NULL: no memory, or too many.
 */
struct ksock_conn *ksock_new(struct ksock_queue *q, int fd, const struct conn_key *key,
			     unsigned type, enum ksock_state state);
/* Forgets it; what has not been sent is lost. */
void ksock_drop(struct ksock_conn *c);
void ksock_ready(struct ksock_conn *c);
void ksock_flush_later(struct ksock_conn *c);
/* The kernel takes nothing now; an event says when it does. */
void ksock_stick(struct ksock_conn *c);
void ksock_unstick(struct ksock_conn *c);
/* The connection is over for a reason that the layer learns by RST. */
void ksock_fail(struct ksock_conn *c);
/* The peer has ended @shut, and the layer is told. */
void ksock_peer_shut(struct ksock_conn *c, unsigned shut);

int ksock_connect(struct transport_queue *tq, const struct vsock_hdr *h);
/* Of @port; called for an event, may find nothing. */
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
/* Sends what it can of @c, and shuts down behind it. */
void ksock_flush(struct ksock_conn *c);
/* The kernel has taken @n bytes more. */
void ksock_taken(struct ksock_conn *c, uint32_t n);
/* The kernel has been asked for all that the layer has asked for. */
void ksock_shut_done(struct ksock_conn *c, unsigned shut);
void ksock_out_drop(struct ksock_conn *c);

/* ---- vsock_transport.c ---- */

/*
 * Opens a device over @net, which owns *@own from here on, also when this fails: the region in
 * which it may have channels, or none. 0 and *@out, or -errno with zv_err() text.
 */
int ksock_open(struct transport_dev **out, const struct ksock_net *net, struct own_region *own,
	       const struct zv_opts *opts);
void ksock_close(struct transport_dev *d);
uint64_t ksock_guest_cid(struct transport_dev *d);
uint64_t ksock_page_size(struct transport_dev *d);
struct transport_queue *ksock_queue(struct transport_dev *d, unsigned i);
int ksock_listen(struct transport_dev *d, uint32_t port, enum zv_type type, unsigned backlog);
void ksock_unlisten(struct transport_dev *d, uint32_t port);
int ksock_fd(struct transport_queue *tq);

#endif
