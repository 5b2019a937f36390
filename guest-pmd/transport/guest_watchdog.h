/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the control thread of a device runs the watchdogs of its pairs (vsock_watchdog.h).
 *
 * Theory of operation
 * -------------------
 * A pair that has sent something tells the control thread, which from then on checks all pairs
 * several times per timeout, until all of them are calm. A check that comes late does not count:
 * the process, or the VM around it, was stopped, and perhaps the device with it.
 *
 * If the host has left word of its death in the region for channels (proto/ctrl/alive.h), the
 * timeout is not waited for: the checks follow each other quickly, and two of them suffice. The
 * word alone does not suffice, because others who have the region mapped could write it. It is read
 * when the pairs are checked, which is once a second while there are connections with channels.
 *
 * A device that was reset because it was stuck is suspect: a VMM may start one without a backend
 * and not say so. It is used again only when it has taken a packet. It gets more time for that in
 * each attempt, up to the timeout, so that a slow backend is not reset over and over before it can
 * answer. Until then it is retried, like a device that cannot be reached.
 *
 * None of this applies to a transport that learns of the end of its backend: there a device that
 * takes nothing is busy, and a reset would not help.
 */
#ifndef ZV_GUEST_WATCHDOG_H
#define ZV_GUEST_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct guest_dev;

struct guest_watchdog {
	int fd;		     /* readable: a pair has sent something; -1: no watchdog */
	uint64_t timeout_ns; /* as zv_opts has it */
	uint64_t due_ns;     /* next check; 0: none is needed */
	uint64_t last_ns;    /* last check */
	bool died;	     /* the host has left word of its death */
	uint64_t
		trial_ns; /* how long a suspect device has to take a packet; 0: it is not suspect */
};

/* Before pairs are made. @timeout_ns: UINT64_MAX is never. 0 or -errno, no text. */
int guest_watchdog_init(struct guest_dev *dev, uint64_t timeout_ns);
void guest_watchdog_fini(struct guest_dev *dev);
/* The rings start afresh. */
void guest_watchdog_forget(struct guest_dev *dev);

/* Milliseconds until the next check, or look at the host's word, for poll(); -1: none. */
int guest_watchdog_wait(const struct guest_dev *dev);
/* To be called when the descriptor is readable: starts checking. */
void guest_watchdog_start(struct guest_dev *dev);
/* Checks when it is time. Returns the index of a stuck pair, or -1. */
int guest_watchdog_check(struct guest_dev *dev);
/*
 * The host's word is @word now; 0: there is none. Called before each sleep. It counts once the host
 * has announced the region, because it may be that of an earlier host until then.
 */
void guest_watchdog_host(struct guest_dev *dev, uint32_t word);

/* The device was stuck: it has to take a packet the next time it is started. */
void guest_watchdog_suspect(struct guest_dev *dev);
/*
 * Waits for a suspect device to take a packet; the rings are handed over, the pairs are down. 0; or
 * -errno with zv_err() text (-ETIMEDOUT; -ECANCELED: the device is being closed).
 */
int guest_watchdog_prove(struct guest_dev *dev);

#endif
