/* SPDX-License-Identifier: BSD-3-Clause */
/* What vsock_drv.c and vsock_setup.c share, and nobody else. */
#ifndef ZV_VSOCK_PRIV_H
#define ZV_VSOCK_PRIV_H

#include "vsock_drv.h"

/* In a buffer: the header ends where the line ends, payload begins with the next. */
#define VSOCK_HDR_OFF	  (SHM_CACHE_LINE - VSOCK_HDR_LEN)
#define VSOCK_PAYLOAD_OFF SHM_CACHE_LINE
_Static_assert(VSOCK_HDR_OFF == 20, "header and payload are contiguous");

enum tx_state {
	TX_FREE = 0, /* in the deque, or with the device */
	TX_HELD,     /* reserved by the socket layer in this session */
	TX_STALE,    /* reserved in an earlier one */
};

enum rx_state {
	RX_POSTED = 0, /* with the device, or spare */
	RX_LENT,       /* the socket layer has it */
	RX_REST,       /* in pair.rest: it holds a packet of a session that is over */
};

/*
 * The device has sent an event that the control thread has not dealt with. To be asked after the
 * load of a ring's index, before anything of that ring is used: barrier pair [T].
 */
static inline bool vsock_event_waits(const struct vsock_events *ev)
{
	return shm_load16(&ev->vq.used->idx) != __atomic_load_n(&ev->seen, __ATOMIC_ACQUIRE);
}

/* What a descriptor of a whole buffer spans: header and payload. */
static inline uint32_t vsock_room(const struct vsock_bufs *b)
{
	return VSOCK_HDR_LEN + b->payload;
}

extern const struct transport_queue_ops vsock_queue_ops;

#endif
