/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The virtio-vsock driver: packets over virtqueues (VIRTIO 1.2, section 5.10.6).
 *
 * Theory of operation
 * -------------------
 * A vsock_pair is one queue pair: the struct transport_queue that the socket layer works with. A
 * transport of the guest side (vhost-user, PCI) only has to provide memory, notifications and a
 * control thread.
 *
 * Rings. The layout is negotiated in each session and set by vsock_pair_reset(), which gives the
 * queue the function table of that layout (vsock_rings.h). The data path itself is written once
 * (vsock_burst.h), over the verbs of a layout (virtqueue.h).
 *
 * Buffers. The buffers of a ring are numbered, lie at equal distances, and use their number as
 * token. The header lies at offset 20 of the first cache line, payload begins on the next line,
 * directly behind the header: one descriptor covers both, payload is cache-line aligned, and a
 * 64-byte packet is two lines.
 *
 * Not all buffers circulate all the time: see hot_bufs.h.
 *
 * Sessions. Who ends up with a buffer when a session ends:
 *   rx, with the device     posted again in the next session
 *   rx, used                kept for rx_rest: what a device has sent before it went arrives
 *   rx, lent                stays lent; posted when it is released, if a session runs by then
 *   tx, with the device     free again
 *   tx, a table             its payload is the application's again once the device can no longer
 *                           read it: after the end of a backend, a reset of the device, or when
 *                           the next session begins
 *   tx, reserved            stays reserved, and stale: a commit only gives it back, because the
 *                           packet belongs to a connection that is dead
 * vsock_pair_stop, _reset and _start are for the control thread and need the queue stopped
 * (quiesce_stop) or not yet in use. In one session's life: reset, (the device learns the rings),
 * start, ..., stop. A broken ring ends the session from inside a call; the pair then stays down
 * until the control thread resets and starts it.
 *
 * Events. The event queue belongs to the control thread. Nothing that the device sent after a
 * TRANSPORT_RESET may be taken for the old session. So rx_burst checks whether the device has used
 * more of the event queue (one word in a line that never changes otherwise), and holds packets back
 * until the control thread has handled the event.
 *
 * Hostile devices. For rings see virtqueue.h. A device also shares the eventfds, and could make a
 * read or write of them block by clearing O_NONBLOCK on the shared file description: a vhost-user
 * backend can stop the threads of its own frontend, and that cannot be prevented from this side.
 */
#ifndef ZV_VSOCK_DRV_H
#define ZV_VSOCK_DRV_H

#include "hot_bufs.h"
#include "proto/vm_addr.h"
#include "transport.h"
#include "virtq_notify.h"
#include "virtqueue.h"
#include "vsock_rings.h"
#include "vsock_watchdog.h"

#define VSOCK_BURST	 64u /* most packets per rx_burst */
#define VSOCK_TX_CTRL	 8u  /* tx buffers reserved for TX_CTRL; fewer in small rings */
#define VSOCK_EVENTS	 8u  /* event buffers */
#define VSOCK_EVENT_RING 16u /* size of the event ring */

/*
 * A queue may compare with an old count during one round of events: see used_beyond() in
 * virtqueue.h.
 */
_Static_assert(VSOCK_EVENT_RING >= 2 * VSOCK_EVENTS, "events posted again lie elsewhere");

/* Buffers of one ring. */
struct vsock_bufs {
	uint8_t *base;
	struct iova iova; /* of base */
	size_t stride;	  /* distance of buffers in bytes */
	uint32_t payload; /* payload bytes of a buffer */
};

/* Events, which the control thread must handle before new packets are taken. */
struct vsock_events {
	struct virtq vq;
	uint8_t *buf; /* VSOCK_EVENTS lines */
	struct iova iova;
	int call_fd; /* signalled by the device, and by a queue that finds an event */
	struct virtq_notify kick;
	uint16_t seen;			   /* events handled so far; atomic */
	const struct virtq_layout *layout; /* since the reset */
};

struct vsock_pair {
	struct transport_queue tq;	   /* first */
	const struct virtq_layout *layout; /* since the reset; for the control thread */

	/* receive */
	struct virtq rx SHM_CACHE_ALIGNED;
	struct vsock_bufs rx_bufs;
	uint8_t *rx_state;	       /* per buffer: enum rx_state */
	const struct vsock_events *ev; /* [C] NULL: no event queue */
	uint16_t rx_lazy; /* released buffers that may stay unpublished: burst_publish() */
	struct hot_rx hot_rx;
	uint32_t notified; /* ev->seen when the control thread was last told of more events */
	/*
	 * Wipe each header after reading it; changed only while down. For devices that return a
	 * buffer as used without having written it (vhost-device-vsock, when a connection ends with
	 * packets pending): the packet that was there before would be received once more.
	 */
	bool rx_wipe;

	struct vsock_rest {
		uint32_t len; /* written by the device */
		uint16_t id;
	} * rest; /* ring-size entries for packets of ended sessions: rest[rest_head..) */
	uint32_t rest_head, rest_n;

	/* transmit */
	struct virtq tx SHM_CACHE_ALIGNED;
	struct vsock_bufs tx_bufs;
	struct hot_tx hot_tx;  /* the free buffers */
	uint32_t ctrl_reserve; /* buffers reserved for TX_CTRL */
	struct vsock_watchdog watchdog;
	uint8_t *tx_state; /* per buffer: enum tx_state */
	uint32_t *cookie;  /* per buffer with a table: cookie of tx_commit_mem */

	/* notifications; owned by the transport */
	int call_fd; /* both rings' interrupts and the control thread's wake-ups */
	struct virtq_notify kick_rx, kick_tx;

	struct pkt_seg seg[VSOCK_BURST];
};

/*
 * Configuration of a pair. Memory must stay until vsock_pair_fini() and until every token is back.
 */
struct vsock_pair_conf {
	uint32_t ring_size;		    /* a power of two, 16..32768 */
	void *rx_ring, *tx_ring;	    /* vsock_rings_bytes() each, VIRTQ_ALIGN aligned */
	struct vsock_bufs rx_bufs, tx_bufs; /* ring_size buffers each, cache-line aligned */
	int call_fd;			    /* eventfd, non-blocking */
	struct virtq_notify kick_rx, kick_tx;
};

/* Distance of buffers with @payload bytes; see the comment at its definition. */
size_t vsock_stride(uint32_t payload);

/* Prepares a pair; it is down. 0, -EINVAL, -ENOMEM. */
int vsock_pair_init(struct vsock_pair *p, const struct vsock_pair_conf *conf);
void vsock_pair_fini(struct vsock_pair *p);

/*
 * The device can no longer read memory of this side: completes its sends of application memory. The
 * pair is down. vsock_pair_reset() does the same.
 */
void vsock_pair_let_go(struct vsock_pair *p);
/* Ends the session; the pair is down. */
void vsock_pair_stop(struct vsock_pair *p);
/*
 * Makes fresh, empty rings with the layout and functions of @rings. The pair is down, and the
 * device no longer uses the rings.
 */
void vsock_pair_reset(struct vsock_pair *p, const struct vsock_rings *rings, bool event_idx);
/*
 * Starts a session: posts the receive buffers and kicks. The device must know the rings, and
 * p->tq.sent.on must be set.
 */
void vsock_pair_start(struct vsock_pair *p, const struct vsock_events *ev);
/* Ends the session and begins another on the same rings: for TRANSPORT_RESET. */
void vsock_pair_renew(struct vsock_pair *p);
/* Packets that the device has not taken yet. Called by the owner. */
unsigned vsock_pair_unsent(struct vsock_pair *p);
/* Makes tq fd readable. Any thread. */
void vsock_pair_wake(const struct vsock_pair *p);

/*
 * @ring: vsock_rings_bytes() for VSOCK_EVENT_RING entries; @buf: VSOCK_EVENTS cache lines, which
 * the device has at @iova. 0 or -ENOMEM.
 */
int vsock_events_init(struct vsock_events *ev, void *ring, void *buf, struct iova iova, int call_fd,
		      struct virtq_notify kick);
void vsock_events_fini(struct vsock_events *ev);
/* As vsock_pair_reset(). A device has one layout for all of its rings. */
void vsock_events_reset(struct vsock_events *ev, const struct vsock_rings *rings, bool event_idx);
/* Posts all buffers, kicks, and keeps the ring armed for good. */
void vsock_events_start(struct vsock_events *ev);
/*
 * Takes the events that the device has sent. Returns the number of TRANSPORT_RESETs, or -EPROTO:
 * the ring is broken. vsock_events_done() must follow when it returned >= 0.
 */
int vsock_events_take(struct vsock_events *ev);
/* Posts the taken buffers again, and lets queues receive again. */
void vsock_events_done(struct vsock_events *ev);

/* For struct transport_queue_ops, of any layout; vsock_fd for struct transport_ops. */
void vsock_tx_cancel(struct transport_queue *q, uint32_t token);
unsigned vsock_tx_max(struct transport_queue *q);
int vsock_fd(struct transport_queue *q);

#endif
