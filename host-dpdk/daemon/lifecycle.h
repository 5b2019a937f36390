/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The daemon's start, reloads and end. Main thread.
 *
 * What keeps one guest from being started (a file in the way of its socket, a lock that is held, a
 * host name that nobody knows, a device that is not there) concerns that guest alone: the others
 * run, the log and zvsockctl say what is wrong, and it is tried again at a reload and by itself, at
 * first after RETRY_FIRST_MS, later every RETRY_LAST_MS.
 */
#ifndef ZVD_LIFECYCLE_H
#define ZVD_LIFECYCLE_H

#include "core/daemon.h"

/*
 * Starts lcores and all guests of @cfg, which the daemon owns from now on, whatever is returned. A
 * guest that cannot be started is logged, listed in d->down, and tried again by daemon_retry().
 * -errno when there is no lcore; then daemon_stop() is still due.
 */
int daemon_start(struct daemon *d, struct cfg *cfg);

/* Adds, removes and replaces guests so that @cfg is true; others are not touched, but for devices
 * that have gone, which are opened anew. Those that could not be started before are tried again.
 * Owns @cfg. -ENOMEM: all is as it was. */
int daemon_reload(struct daemon *d, struct cfg *cfg);

/* For each second while d->down is not empty: tries those whose time has come. True: some run. */
bool daemon_retry(struct daemon *d);

/* Adds @g, which runs, to d->guests, and takes it out again, for guest_stop(). */
void daemon_add(struct daemon *d, struct guest *g);
void daemon_remove(struct daemon *d, struct guest *g);

/* Now and then: notices devices whose CID has changed, and drivers that have died; frees regions
 * that nobody uses. True: drivers are watched, SOON_MS is when to come again. */
bool daemon_look(const struct daemon *d);

/* Takes no new connections, waits up to cfg->drain_ms, or until d->hurry is set, for the others.
 * Serves the control socket meanwhile. */
void daemon_drain(struct daemon *d);

/* Stops everything; connections that are left are reset. */
void daemon_stop(struct daemon *d);

#endif
