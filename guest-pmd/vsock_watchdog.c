/* SPDX-License-Identifier: BSD-3-Clause */
#include "vsock_watchdog.h"

#include "vsock_drv.h"
#include "vsock_priv.h"

#include <errno.h>

#define NO_PROBE UINT32_MAX

void vsock_watchdog_on(struct vsock_pair *p)
{
	p->watchdog.on = p->watchdog.first = true;
	eventfd_signal(p->watchdog.fd);
}

void vsock_watchdog_reset(struct vsock_pair *p)
{
	p->watchdog = (struct vsock_watchdog){.fd = p->watchdog.fd,
					      .on = p->watchdog.fd < 0,
					      .idle_at = virtq_published(&p->tx),
					      .probe = NO_PROBE};
}

bool vsock_probe(struct vsock_pair *p, const struct vsock_hdr *hdr)
{
	uint16_t id;

	if (!hot_tx_free(&p->hot_tx))
		return false;
	id = hot_tx_take(&p->hot_tx, 0);
	vsock_hdr_put(p->tx_bufs.base + (size_t)id * p->tx_bufs.stride + VSOCK_HDR_OFF, hdr);
	p->layout->post(&p->tx, id, VSOCK_HDR_LEN);
	if (p->layout->publish(&p->tx))
		vsock_kick(p, &p->kick_tx);
	return true;
}

int vsock_probe_taken(struct vsock_pair *p)
{
	uint16_t id;
	uint32_t ignored;

	while (p->layout->ready(&p->tx, 1) && p->layout->take(&p->tx, false, &id, &ignored))
		hot_tx_put(&p->hot_tx, id, virtq_in_flight(&p->tx));
	if (virtq_fault(&p->tx))
		return -EPROTO;
	return virtq_in_flight(&p->tx) == 0;
}

/* A packet without payload is not back. */
static bool is_marked(const struct virtq *tx)
{
	for (uint32_t i = 0; i < virtq_size(tx); i++)
		if (virtq_has(tx, (uint16_t)i) && virtq_len(tx, (uint16_t)i) == VSOCK_HDR_LEN)
			return true;
	return false;
}

/* The device may be waiting for us. */
static bool needs_us(struct vsock_pair *p)
{
	return p->layout->ready(&p->rx, 1) || virtq_with_device(&p->rx) == 0;
}

/* Everything that was sent has been taken. */
static enum vsock_watchdog_state enter_idle(struct vsock_pair *p)
{
	p->watchdog.on = false;
	p->watchdog.idle_at = virtq_published(&p->tx);
	p->watchdog.probe = NO_PROBE;
	return VSOCK_WATCHDOG_IDLE;
}

enum vsock_watchdog_state vsock_watchdog_check(struct vsock_pair *p, const struct vsock_hdr *probe,
					       bool counts, unsigned looks)
{
	struct vsock_watchdog *w = &p->watchdog;
	bool moved, marked = w->marked;

	(void)vsock_pair_unsent(p);
	if (!p->tq.up)
		return VSOCK_WATCHDOG_IDLE; /* the next session begins anew */
	moved = w->first || virtq_taken(&p->tx) != w->back;
	w->first = false;
	w->back = virtq_taken(&p->tx);
	w->marked = is_marked(&p->tx);
	if (moved) {
		w->still = 0;
		return VSOCK_WATCHDOG_PENDING;
	}
	if (!w->marked) {
		if (virtq_in_flight(&p->tx) == 0 || w->probe == virtq_published(&p->tx))
			return enter_idle(p);
		w->marked = vsock_probe(p, probe);
		w->probe = virtq_published(&p->tx);
		w->still = 0;
		return VSOCK_WATCHDOG_PENDING;
	}
	if (marked && counts && !needs_us(p))
		w->still++;
	return w->still < looks ? VSOCK_WATCHDOG_PENDING : VSOCK_WATCHDOG_STUCK;
}
