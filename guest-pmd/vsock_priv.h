/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to vsock_burst.h, vsock_drv.c and vsock_setup.c. */
#ifndef ZV_VSOCK_PRIV_H
#define ZV_VSOCK_PRIV_H

#include "vsock_drv.h"

/* In a buffer the header ends with the first cache line, and payload begins with the next. */
#define VSOCK_HDR_OFF	  (SHM_CACHE_LINE - VSOCK_HDR_LEN)
#define VSOCK_PAYLOAD_OFF SHM_CACHE_LINE
_Static_assert(VSOCK_HDR_OFF == 20, "header and payload are contiguous");

enum tx_state {
	TX_FREE = 0, /* in the deque, or with the device */
	TX_HELD,     /* reserved by the socket layer in this session */
	TX_STALE,    /* reserved in an earlier one */
	TX_TABLE,    /* with the device, as a table: payload is the application's memory */
};

enum rx_state {
	RX_POSTED = 0, /* with the device, or spare */
	RX_LENT,       /* the socket layer has it */
	RX_REST,       /* in pair.rest: it holds a packet of a session that is over */
};

static inline struct vsock_pair *vsock_pair_of(struct transport_queue *q)
{
	return (struct vsock_pair *)q; /* tq is the first member */
}

/*
 * The device has sent an event that the control thread has not handled; *seen: how many it has
 * handled. Call it after a look at a ring (ready(), arm()), before anything of that ring is used:
 * barrier pair [T].
 */
static inline __attribute__((always_inline)) bool vsock_event_waits(const struct virtq_layout *ring,
								    const struct vsock_events *ev,
								    uint16_t *seen)
{
	*seen = __atomic_load_n(&ev->seen, __ATOMIC_ACQUIRE);
	return ring->used_beyond(&ev->vq, *seen);
}

/* Bytes that the descriptor of a whole buffer covers: header and payload. */
static inline uint32_t vsock_buf_len(const struct vsock_bufs *b)
{
	return VSOCK_HDR_LEN + b->payload;
}

/*
 * The device has finished (@err 0), or will never finish, with the table that was posted as buffer
 * @id.
 */
void vsock_table_over(struct vsock_pair *p, uint16_t id, int err);
/* Ends the session: the device has broken ring @vq. */
void vsock_broken(struct vsock_pair *p, const struct virtq *vq);
/* Kicks and counts it. */
void vsock_kick(struct vsock_pair *p, const struct virtq_notify *kick);
/*
 * Tells the control thread that there are events beyond @seen, because a device need not have
 * signalled them. Once per value of @seen is enough: the control thread checks again when it is
 * done.
 */
void vsock_notify_control(struct vsock_pair *p, uint16_t seen);
/* Drains call_fd. */
void vsock_clear_call(struct vsock_pair *p);

#endif
