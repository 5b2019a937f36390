/* SPDX-License-Identifier: BSD-3-Clause */
/* Relays: what the host sends to a guest that takes no more; see "Ends" in relay.h. */
#include "relay_int.h"

#include <errno.h>
#include <sys/socket.h>

void relay_discard(struct relay *r)
{
	char *scratch = relay_scratch(r);
	uint32_t done = 0;

	if (!scratch) {
		relay_no_memory(r);
		return;
	}
	r->flags |= R_IN_READY;
	while (done < RELAY_QUOTA && work_may(r->owner.gq)) {
		ssize_t n = recv(r->fd, scratch, RELAY_MSG_MAX, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			relay_poll_in(r);
			return;
		}
		if (n < 0) {
			relay_host_failed(r, -errno);
			return;
		}
		if (n == 0 && (!(r->flags & RELAY_SEQPACKET) || relay_seq_at_end(r))) {
			r->flags &= (uint16_t)~R_IN_READY;
			relay_poll_hup(r);
			return;
		}
		done += work_done(r->owner.gq, (uint32_t)n);
	}
	lcore_defer(relay_lcore(r), &r->work);
}
