/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's start, reloads and end. Main thread.
 *
 * A problem that keeps one guest from being started (a file in the way of its socket, a lock that
 * is held, an unknown host name, a missing device) affects that guest only: the others run, the log
 * and zvsockctl say what is wrong, and the guest is tried again at a reload and automatically,
 * first after RETRY_FIRST_MS, later every RETRY_LAST_MS.
 */
#ifndef ZVD_LIFECYCLE_H
#define ZVD_LIFECYCLE_H

#include "core/daemon.h"

/* Logs a warning if guests and applications of @cfg could have more memory mappings than the kernel
 * leaves for them. */
void daemon_check_maps(const struct cfg *cfg);

/*
 * Starts lcores and all guests of @cfg, which the daemon takes over, whatever is returned. A guest
 * that cannot be started is logged, listed in d->down, and tried again by daemon_retry(). -errno if
 * there is no lcore; daemon_stop() must still be called.
 */
int daemon_start(struct daemon *d, struct cfg *cfg);

/*
 * Adds, removes and replaces guests to match @cfg. Other guests are not touched, except that
 * devices that have gone are opened again. Guests that could not be started before are tried again.
 * Takes over @cfg. -ENOMEM: nothing has changed.
 */
int daemon_reload(struct daemon *d, struct cfg *cfg);

/* To be called every second while d->down is not empty: tries those that are due. True: some run
 * now. */
bool daemon_retry(struct daemon *d);

/* Adds the running guest @g to d->guests; removes it again, before guest_stop(). */
void daemon_add(struct daemon *d, struct guest *g);
void daemon_remove(struct daemon *d, struct guest *g);

/* To be called periodically: notices devices whose CID has changed and drivers that have died;
 * frees regions that nobody uses. True: drivers are watched; call again in SOON_MS. */
bool daemon_check(const struct daemon *d);

/* Accepts no new connections; waits up to cfg->drain_ms, or until d->hurry is set, for the others
 * to end. Serves the control socket meanwhile. */
void daemon_drain(struct daemon *d);

/* Stops everything; remaining connections are reset. */
void daemon_stop(struct daemon *d);

#endif
