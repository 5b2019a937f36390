/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the control thread of a device runs the watchdogs of its pairs (vsock_watchdog.h).
 *
 * Theory of operation
 * -------------------
 * A pair that has sent something tells the control thread, which from then on looks at all pairs
 * several times in a timeout, until all of them are calm. A look that comes late does not count:
 * the process, or the VM around it, has stood still, and the device perhaps with it.
 *
 * A device that was reset because it was stuck is suspect: a VMM may start one without a backend
 * and not say so. It is in use again only when it has taken a packet, for which it is given more
 * and more time, up to the timeout: a backend that starves must not be reset over and over before
 * it could answer. Until then it is tried again, as a device that cannot be reached is.
 *
 * None of this is for a transport that hears of the end of its backend: there a device that takes
 * nothing is busy, and a reset would not mend it.
 */
#ifndef ZV_GUEST_WATCHDOG_H
#define ZV_GUEST_WATCHDOG_H

#include <stdbool.h>
#include <stdint.h>

struct guest_dev;

struct guest_watchdog {
	int fd;		     /* readable: a pair has sent something; -1: there is no watchdog */
	uint64_t timeout_ns; /* as zv_opts has it */
	uint64_t due_ns;     /* the next look; 0: no pair has anything to be looked at */
	uint64_t last_ns;    /* the last one */
	uint64_t
		trial_ns; /* how long a suspect device has to take a packet; 0: it is not suspect */
};

/* Before pairs are made. @timeout_ns: UINT64_MAX is never. 0 or -errno, no text. */
int guest_watchdog_init(struct guest_dev *dev, uint64_t timeout_ns);
void guest_watchdog_fini(struct guest_dev *dev);
/* The rings begin anew. */
void guest_watchdog_forget(struct guest_dev *dev);

/* Milliseconds until the next look; -1: there is none. For poll(). */
int guest_watchdog_wait(const struct guest_dev *dev);
/* The descriptor is readable: there is something to look at. */
void guest_watchdog_told(struct guest_dev *dev);
/* Looks when it is time to. The index of a pair that is stuck; -1: none is. */
int guest_watchdog_look(struct guest_dev *dev);

/* The device was stuck: it has to prove that it works, the next time it is started. */
void guest_watchdog_suspect(struct guest_dev *dev);
/*
 * Rings have been handed over, and pairs are down: has a suspect device taken a packet? 0; or
 * -errno with zv_err() text (-ETIMEDOUT; -ECANCELED: the device is being closed).
 */
int guest_watchdog_prove(struct guest_dev *dev);

#endif
