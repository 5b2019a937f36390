/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The transmit watchdog of a pair: does the device still take what is sent?
 *
 * Theory of operation
 * -------------------
 * A device whose backend has died may look alive: its registers respond, but no buffer is used any
 * more. Like the watchdog of network drivers, this one declares a device stuck when it has used no
 * transmit buffer for long; a reset is the remedy.
 *
 * "Not used" alone proves nothing here. A device may take a data packet and keep its buffer for as
 * long as nobody reads the payload, as zvsock's own host side does. It has no reason to keep a
 * packet without payload, and it takes packets in order: once such a packet is back, everything
 * sent before it has been taken. So the watchdog waits only for packets without payload. If there
 * is none among the outstanding ones, it sends one: a RST of a connection that does not exist,
 * which every peer ignores (VIRTIO 1.2, section 5.10.6.5, has no use for it).
 *
 * A device may also be waiting for this side: to answer it needs receive buffers, and it need not
 * take packets whose answers have no room (section 5.10.6.1). So a check during which received
 * packets wait for the owner, or the device has no receive buffer, does not count.
 *
 * The watchdog costs nothing while packets flow. It starts when the owner finds nothing to do
 * (burst_watch() in vsock_burst.h) and tells the control thread once. From then on the control
 * thread checks from time to time, until everything sent has been taken and nothing more is sent.
 * So it never runs for a pair that sends nothing, and cannot detect a device that dies then.
 */
#ifndef ZV_VSOCK_WATCHDOG_H
#define ZV_VSOCK_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

/* Checks without progress after which the device is stuck; if its host is known to have died. */
#define VSOCK_WATCHDOG_CHECKS 5u
#define VSOCK_WATCHDOG_DIED   2u

struct vsock_hdr;
struct vsock_pair;

/* Written by the owner, or by the control thread while the queue is stopped. */
struct vsock_watchdog {
	int fd;		  /* an eventfd that tells the control thread to look; -1: no watchdog */
	bool on;	  /* the control thread was told, or there is no watchdog */
	bool first;	  /* it has not checked yet */
	bool marked;	  /* at the last check a packet without payload was outstanding */
	uint8_t still;	  /* checks since the last progress */
	uint16_t idle_at; /* published count when everything sent had been taken */
	/* At the last check. */
	uint16_t back;	/* buffers returned by then */
	uint32_t probe; /* published count at the last probe; above 16 bits: no probe */
};

enum vsock_watchdog_state {
	VSOCK_WATCHDOG_IDLE,	/* nothing outstanding: no check until told */
	VSOCK_WATCHDOG_PENDING, /* check again */
	VSOCK_WATCHDOG_STUCK,
};

/* Owner: tells the control thread. */
void vsock_watchdog_on(struct vsock_pair *p);
/* A session begins. */
void vsock_watchdog_reset(struct vsock_pair *p);

/*
 * Control thread, which has stopped the queue: takes back what the device has used, which may end
 * the session (a broken ring). @counts: this check came in time, so the device had its time too.
 * @probe: packet for vsock_probe() to send. @looks: VSOCK_WATCHDOG_CHECKS, or fewer.
 */
enum vsock_watchdog_state vsock_watchdog_check(struct vsock_pair *p, const struct vsock_hdr *probe,
					       bool counts, unsigned looks);

/*
 * Control thread, which has stopped the queue: sends a packet without payload. The pair may be
 * down, if the device has its rings. False: all buffers are in use.
 */
bool vsock_probe(struct vsock_pair *p, const struct vsock_hdr *hdr);
/*
 * For a pair that is down, after vsock_probe(). 1: the device has taken it; 0: not yet; -EPROTO:
 * the ring is broken.
 */
int vsock_probe_taken(struct vsock_pair *p);

#endif
