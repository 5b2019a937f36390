/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transmit watchdog of a pair: does the device still take what is sent?
 *
 * Theory of operation
 * -------------------
 * A device whose backend has died may look alive: its registers answer, and nothing is used any
 * more. Network drivers have a watchdog for that, and so has this one: when the device has used no
 * transmit buffer for long, it is stuck, and a reset is what mends it.
 *
 * "Not used" alone proves nothing here. A device may take a packet of data and keep its buffer for
 * as long as nobody reads the payload, as zvsock's own host side does. It has no reason to keep a
 * packet without payload, and it takes packets in order: once such a one is back, all that was sent
 * before it has been taken. So only packets without payload are waited for. Where there is none
 * among those that are not back, the watchdog sends one, a RST of a connection that does not exist,
 * which every peer ignores (VIRTIO 1.2, section 5.10.6.5, has no use for it).
 *
 * A device may also wait for us: to answer it needs receive buffers, and it need not take packets
 * whose answers have no room (section 5.10.6.1). A look at which received packets wait for the
 * owner, or at which the device has no receive buffer, counts nothing.
 *
 * The watch costs nothing while packets flow: it begins where the owner finds nothing to do
 * (burst_watch() in vsock_burst.h), which tells the control thread once. From then on the control
 * thread looks from time to time, until all that was sent has been taken and nothing more is sent.
 * So it never runs for a pair that sends nothing, and cannot see a device that dies then.
 */
#ifndef ZV_VSOCK_WATCHDOG_H
#define ZV_VSOCK_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

/* Looks without any progress after which the device is stuck. */
#define VSOCK_WATCHDOG_LOOKS 5u

struct vsock_hdr;
struct vsock_pair;

/* Written by the owner, or by the control thread while the queue is stopped. */
struct vsock_watchdog {
	int fd;	       /* an eventfd that tells the control thread to look; -1: no watchdog */
	bool on;       /* it has been told, or there is no watchdog */
	bool first;    /* it has not looked yet */
	bool marked;   /* at the last look a packet without payload was not back */
	uint8_t still; /* looks since the last progress */
	uint16_t calm; /* published when all that was sent had been taken */
	/* At the last look. */
	uint16_t back;	/* buffers that had come back */
	uint32_t probe; /* published with the last probe; above 16 bits: there was none */
};

enum vsock_watchdog_state {
	VSOCK_WATCHDOG_CALM,  /* nothing to wait for: need not look again until told */
	VSOCK_WATCHDOG_WAITS, /* look again */
	VSOCK_WATCHDOG_STUCK,
};

/* Owner: tells the control thread. */
void vsock_watchdog_on(struct vsock_pair *p);
/* A session begins. */
void vsock_watchdog_reset(struct vsock_pair *p);

/*
 * Control thread, which has stopped the queue: takes back what the device has used, which may end
 * the session (a broken ring). @counts: this look came in time, so the device had its time too.
 * @probe: what vsock_probe() shall send.
 */
enum vsock_watchdog_state vsock_watchdog_look(struct vsock_pair *p, const struct vsock_hdr *probe,
					      bool counts);

/*
 * Control thread, which has stopped the queue: sends a packet without payload; the pair may be
 * down, if its rings are the device's. False: all buffers are in use.
 */
bool vsock_probe(struct vsock_pair *p, const struct vsock_hdr *hdr);
/*
 * For a pair that is down, after vsock_probe(): 1: the device has taken it; 0: not yet; -EPROTO:
 * the ring is broken.
 */
int vsock_probe_taken(struct vsock_pair *p);

#endif
