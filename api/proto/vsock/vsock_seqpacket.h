/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SEQPACKET framing (VIRTIO 1.2, section 5.10.6.6.1): a message is one or more RW packets, the last
 * of which has EOM; EOR on that packet is the application's MSG_EOR. Pure arithmetic: how a message
 * is cut into packets, and what the receiver knows of the message in progress.
 */
#ifndef ZV_VSOCK_SEQPACKET_H
#define ZV_VSOCK_SEQPACKET_H

#include "vsock_hdr.h"

#include <stdbool.h>
#include <stdint.h>

/* Receiver's view of one connection. */
struct seq_rx {
	uint32_t msgs;	  /* whole messages queued and not yet read */
	uint32_t partial; /* bytes of the message whose EOM has not arrived */
};

/*
 * Takes one RW packet. False: the message would exceed @max_bytes (a peer that never sends EOM), or
 * more than @max_bytes messages would be unread (a peer that sends empty ones); nothing has
 * changed. EOR without EOM means nothing.
 */
bool seq_rx_packet(struct seq_rx *s, uint32_t len, uint32_t flags, uint32_t max_bytes);

/* One whole message has been read. */
void seq_rx_consumed(struct seq_rx *s);

/* Flags of a packet that carries the bytes up to @end of a message of @total bytes. */
static inline uint32_t seq_tx_flags(uint32_t end, uint32_t total, bool eor)
{
	if (end < total)
		return 0;
	return VSOCK_SEQ_EOM | (eor ? VSOCK_SEQ_EOR : 0);
}

#endif
