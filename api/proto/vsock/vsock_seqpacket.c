/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiver's count of messages. Two things a peer could otherwise grow without end are bounded
 * here: a message whose EOM never comes, and empty messages, which cost it no credit.
 */
#include "vsock_seqpacket.h"

bool seq_rx_packet(struct seq_rx *s, uint32_t len, uint32_t flags, uint32_t max_bytes)
{
	if (len > max_bytes || s->partial > max_bytes - len)
		return false;
	if (!(flags & VSOCK_SEQ_EOM)) {
		/* EOR alone ends nothing: it is a property of the packet that has EOM. */
		s->partial += len;
		return true;
	}
	/* Messages with payload cannot be more than bytes of credit. */
	if (s->msgs >= max_bytes)
		return false;
	s->partial = 0;
	s->msgs++;
	return true;
}

void seq_rx_consumed(struct seq_rx *s)
{
	if (s->msgs)
		s->msgs--;
}
