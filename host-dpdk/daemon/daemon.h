/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockd as a whole: guests, and the lcores that serve them.
 *
 * Theory of operation
 * -------------------
 * The main thread owns the configuration, the list of guests, signals and the control socket. It
 * adds and removes guests, at start and on SIGHUP, and is never on the data path. A guest is one
 * zv_dev (URI host:, the backend in this process) whose queues are dealt out to the lcores; a queue
 * and its connections are touched by its lcore's thread alone. Which endpoint serves a connection
 * is decided when the guest's REQUEST arrives (endpoint.h); a host program's connection begins at a
 * listening socket of the guest.
 */
#ifndef ZVD_DAEMON_H
#define ZVD_DAEMON_H

#include "config.h"
#include "lcore.h"

struct zv_dev;
struct zv_queue;

#define DAEMON_QUEUES_MAX 16u

/* A guest that is being served. The main thread's; fields marked [L] belong to the queue's lcore. */
struct guest_queue {
	struct guest *guest;
	struct zv_queue *q;
	struct lcore *lc; /* fixed while the guest lives */
	unsigned index;
};

struct guest {
	struct guest *next;
	const struct cfg_guest *cfg;
	struct zv_dev *dev;
	struct guest_queue queues[DAEMON_QUEUES_MAX];
	unsigned n_queues;
	struct endpoints *ep; /* listening sockets, resolved targets, counters: endpoint.h */
};

struct daemon {
	struct cfg *cfg;
	struct guest *guests;
	struct lcore **lcores;
	unsigned n_lcores;
};

/* Starts lcores and all guests of @cfg, which the daemon owns from now on, whatever is returned. */
int daemon_start(struct daemon *d, struct cfg *cfg);

/* Adds, removes and replaces guests so that @cfg is true; others are not touched. 0, or -errno when
 * some guest could not be started (logged; the rest runs). Owns @cfg. */
int daemon_reload(struct daemon *d, struct cfg *cfg);

/* Takes no new connections, waits up to cfg->drain_ms for the others, stops everything. */
void daemon_stop(struct daemon *d);

#endif
