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

struct conn_owner;

/* A queue of a guest. Fixed while the guest lives; fields marked [L] belong to the queue's lcore.
 */
struct guest_queue {
	struct lcore_queue lq; /* first */
	struct zv_queue *q;
	struct lcore *lc;
	struct guest *guest;
	unsigned index;
	TAILQ_HEAD(, conn_owner) owners; /* [L] of connections, made or in the making */
	unsigned n_owners;		 /* [L] read by any thread */
	bool ending;			 /* [L] being removed: none is moved to another queue */
	uint32_t rx_cap;		 /* [L] size of the guest's receive buffers, as last seen */
};

struct guest {
	struct guest *next;
	char name[CFG_NAME_MAX];
	const struct cfg_guest *cfg; /* a reload replaces it by its equal: guest_cfg() */
	struct zv_dev *dev;
	struct guest_queue queues[ZV_QUEUES_MAX];
	unsigned n_queues;
	struct endpoints *ep; /* what the endpoints keep, and count: endpoint.h */
};

/* The guest's configuration; on an lcore valid until its next round. */
static inline const struct cfg_guest *guest_cfg(const struct guest *g)
{
	return __atomic_load_n(&g->cfg, __ATOMIC_ACQUIRE);
}

struct daemon {
	struct cfg *cfg;
	struct guest *guests;
	struct lcore **lcores;
	unsigned n_lcores;
	struct control *control; /* control.h; NULL: no control socket */
	int hurry;		 /* atomic; set by a signal: daemon_drain() waits no longer */
};

/*
 * Starts lcores and all guests of @cfg, which the daemon owns from now on, whatever is returned.
 * 0, or -errno when there is no lcore or some guest could not be started (logged); then
 * daemon_stop() is still due.
 */
int daemon_start(struct daemon *d, struct cfg *cfg);

/* Adds, removes and replaces guests so that @cfg is true; others are not touched. 0, or -errno when
 * some guest could not be started (logged; the rest runs). Owns @cfg. */
int daemon_reload(struct daemon *d, struct cfg *cfg);

/* Takes no new connections, waits up to cfg->drain_ms, or until d->hurry is set, for the others.
 * Serves the control socket meanwhile. */
void daemon_drain(struct daemon *d);

/* Stops everything; connections that are left are reset. */
void daemon_stop(struct daemon *d);

#endif
