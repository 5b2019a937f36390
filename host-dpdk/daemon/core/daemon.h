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
 *
 * What keeps one guest from being started (a file in the way of its socket, a lock that is held, a
 * host name that nobody knows) is that guest's trouble alone: the others run, the log and zvsockctl
 * say what is wrong, and it is tried again at a reload and by itself, at first after
 * RETRY_FIRST_MS, later every RETRY_LAST_MS.
 */
#ifndef ZVD_DAEMON_H
#define ZVD_DAEMON_H

#include "config/config.h"
#include "lcore.h"

#define GUEST_WHY_MAX 640u

struct conn_owner;

/* A queue of a guest. Fixed while the guest lives; fields marked [L] belong to the queue's lcore.
 */
struct guest_queue {
	struct lcore_queue lq; /* first */
	struct zv_queue *q;
	struct lcore *lc;
	unsigned lcore; /* its number */
	struct guest *guest;
	unsigned index;
	TAILQ_HEAD(, conn_owner) owners; /* [L] of connections, made or in the making */
	unsigned n_owners;		 /* [L] read by any thread */
	bool ending;			 /* [L] being removed: none is moved to another queue */
	void *shares;			 /* [L] of siblings, and their sum: share.h */
	uint32_t n_shared;
	uint64_t round;	 /* [L] of the lcore, and the work that is left in it: */
	int64_t left;	 /* [L] work.h */
	uint32_t rx_cap; /* [L] size of the guest's receive buffers, as last seen */
};

struct guest {
	struct guest *next;
	char name[CFG_NAME_MAX];
	const struct cfg_guest *cfg; /* a reload replaces it by its equal: guest_cfg() */
	struct zv_dev *dev;
	struct guest_queue queues[ZV_QUEUES_MAX];
	unsigned n_queues;
	char *why;	      /* while it is being started: GUEST_WHY_MAX bytes for guest_fails() */
	struct endpoints *ep; /* what the endpoints keep, and count: endpoint.h */
};

/* The guest's configuration; on an lcore valid until its next round. */
static inline const struct cfg_guest *guest_cfg(const struct guest *g)
{
	return __atomic_load_n(&g->cfg, __ATOMIC_ACQUIRE);
}

/* Notes why the guest cannot be started: what, where, how to mend it. The first reason counts. */
void guest_fails(struct guest *g, const char *fmt, ...) ZV_PRINTF(2, 3);

/* A guest of the configuration that could not be started, and is tried again. */
struct guest_down {
	struct guest_down *next;
	const struct cfg_guest *cfg;
	uint64_t next_ms; /* CLOCK_MONOTONIC */
	unsigned wait_ms; /* doubled with each try */
	bool named;	  /* it lacked an address (lookup.h) */
	char why[GUEST_WHY_MAX];
};

struct daemon {
	struct cfg *cfg;
	struct guest *guests, **guests_end; /* where the next one goes */
	struct guest_down *down;
	unsigned n_guests, n_down;
	struct lcore **lcores;
	unsigned *lcore_queues; /* of each lcore */
	unsigned n_lcores;
	struct control *control; /* control.h; NULL: no control socket */
	int hurry;		 /* atomic; set by a signal: daemon_drain() waits no longer */
};

/*
 * Starts lcores and all guests of @cfg, which the daemon owns from now on, whatever is returned. A
 * guest that cannot be started is logged, listed in d->down, and tried again by daemon_retry().
 * -errno when there is no lcore; then daemon_stop() is still due.
 */
int daemon_start(struct daemon *d, struct cfg *cfg);

/* Adds, removes and replaces guests so that @cfg is true; others are not touched. Those that could
 * not be started before are tried again. Owns @cfg. -ENOMEM: all is as it was. */
int daemon_reload(struct daemon *d, struct cfg *cfg);

/* For each second while d->down is not empty: tries those whose time has come. True: some run. */
bool daemon_retry(struct daemon *d);

/* Takes no new connections, waits up to cfg->drain_ms, or until d->hurry is set, for the others.
 * Serves the control socket meanwhile. */
void daemon_drain(struct daemon *d);

/* Stops everything; connections that are left are reset. */
void daemon_stop(struct daemon *d);

#endif
