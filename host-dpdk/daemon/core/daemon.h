/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockd as a whole: guests, and the lcores that serve them.
 *
 * Theory of operation
 * -------------------
 * The main thread owns the configuration, the list of guests, signals and the control socket. It
 * adds and removes guests, at start and on SIGHUP (lifecycle.h), and is never on the data path. A
 * guest is one zv_dev (URI host:, the backend in this process; or, for [device NAME], the device of
 * which this process is the guest) whose queues are dealt out to the lcores; a queue and its
 * connections are touched by its lcore's thread alone (lcore.h). Each connection has an owner,
 * which gets its events (owner.h): a relay, a splice or a service, made by an endpoint when the
 * guest's REQUEST arrives, or when a host program connects.
 *
 * This folder includes nothing of those: it calls the functions that are given to it, and keeps
 * what relays and flows need of each queue and lcore (struct guest_queue: shares to to_guest_cap;
 * lcore_local()) without looking at it.
 */
#ifndef ZVD_DAEMON_H
#define ZVD_DAEMON_H

#include "guest.h"

/* Whom to tell how a connection has ended, by one of two lines: in order in both directions, or
 * cut off by a reset. */
struct end_told {
	int fd;
	const char *whole, *cut; /* static */
};

/* A guest of the configuration that could not be started, and is tried again. */
struct guest_down {
	struct guest_down *next;
	const struct cfg_guest *cfg;
	uint64_t next_ms; /* CLOCK_MONOTONIC */
	unsigned wait_ms; /* doubled with each try */
	bool named;	  /* it lacked an address: cfg_trouble() */
	char why[GUEST_WHY_MAX];
};

struct control;
struct apps;

/* The main thread's. */
struct daemon {
	struct cfg *cfg;
	struct guest *guests, **guests_end; /* where the next one goes */
	struct guest_down *down;
	unsigned n_guests, n_down;
	struct lcore **lcores;
	unsigned *lcore_queues; /* of each lcore */
	unsigned n_lcores;
	struct control *control; /* control/control.h; NULL: no control socket */
	struct apps *apps;	 /* apps.h; NULL: no client socket */
	/* "connect" of the control socket: endpoint/given.h; NULL: not any more. */
	int (*join)(struct guest *g, uint32_t port, int fd, const struct end_told *told);
	int hurry; /* atomic; set by a signal: daemon_drain() waits no longer */
};

#endif
