/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the control thread of a device runs the watchdogs of its pairs (vsock_watchdog.h).
 *
 * Theory of operation
 * -------------------
 * A pair that has sent something notifies the control thread, which from then on checks all pairs
 * several times per timeout, until all of them are idle. A check that comes late does not count:
 * the process, or the VM around it, was stopped, and perhaps the device with it.
 *
 * If the host's word in the region for channels says that the host has died (proto/ctrl/alive.h),
 * the timeout is not waited for: checks follow each other quickly, and two of them suffice. The
 * word alone does not suffice, because others who have the region mapped could write it. It is read
 * whenever the control thread wakes: at least once a second while checks are due, and they are as
 * long as there are connections with channels, because the socket layer then sends a packet every
 * second.
 *
 * A device that was reset because it was stuck is suspect: a VMM may start a device without a
 * backend and not report that. It is accepted again only after it has used a transmit buffer. It
 * gets more time for that in each attempt, up to the timeout, so that a slow backend is not reset
 * over and over before it can answer. Until then it is retried, like a device that cannot be
 * reached.
 *
 * None of this applies to a transport that is notified of the end of its backend: there a device
 * that uses no buffers is busy, and a reset would not help.
 */
#ifndef ZV_GUEST_WATCHDOG_H
#define ZV_GUEST_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct guest_dev;

struct guest_watchdog {
	int fd;		     /* readable: a pair has sent something; -1: no watchdog */
	uint64_t timeout_ns; /* zv_opts.tx_timeout_ns */
	uint64_t due_ns;     /* time of the next check; 0: none is needed */
	uint64_t last_ns;    /* time of the last check */
	bool died;	     /* the host's word says that it has died */
	uint64_t trial_ns;   /* time for a suspect device to use a buffer; 0: not suspect */
};

/* Before pairs are built. @timeout_ns: UINT64_MAX means never. 0 or -errno, no text. */
int guest_watchdog_init(struct guest_dev *dev, uint64_t timeout_ns);
void guest_watchdog_fini(struct guest_dev *dev);
/* To be called when the connection is lost: what the checks have found is discarded. */
void guest_watchdog_forget(struct guest_dev *dev);

/* Timeout for poll() in milliseconds, until the next check or the next read of the host's word; -1:
 * none. */
int guest_watchdog_wait(const struct guest_dev *dev);
/* To be called when the descriptor is readable: starts checking. */
void guest_watchdog_start(struct guest_dev *dev);
/* Checks if a check is due. Returns the index of a stuck pair, or -1. */
int guest_watchdog_check(struct guest_dev *dev);
/*
 * Passes the host's word; 0: there is none. Called before each sleep. The word counts only after
 * the host has announced the region: before that it may be an earlier host's.
 */
void guest_watchdog_host(struct guest_dev *dev, uint32_t word);

/* The device was stuck: it has to use a transmit buffer the next time it is started. */
void guest_watchdog_suspect(struct guest_dev *dev);
/*
 * Waits for a suspect device to use a transmit buffer; the device has the rings, and the pairs are
 * down. 0; or -errno with zv_err() text (-ETIMEDOUT; -ECANCELED: the device is being closed;
 * another: it has broken its ring).
 */
int guest_watchdog_prove(struct guest_dev *dev);

#endif
