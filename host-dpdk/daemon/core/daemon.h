/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * zvsockd as a whole: guests, and the lcores that serve them.
 *
 * Theory of operation
 * -------------------
 * The main thread owns the configuration, the list of guests, signals and the control socket. It
 * adds and removes guests, at start and on SIGHUP (lifecycle.h), and is never on the data path. A
 * guest is one zv_dev (URI host:, the backend in this process; or, for [device NAME], the device of
 * which this process is the guest) whose queues are distributed over the lcores; a queue and its
 * connections are accessed only by the thread of its lcore (lcore.h). Each connection has an owner
 * that gets its events (owner.h): a relay, a splice or a service, created by an endpoint when the
 * guest's REQUEST arrives or a host program connects.
 *
 * This folder includes no header of relays, splices or endpoints: it calls the functions that are
 * passed to it, and stores what relays and flows need for each queue and lcore (struct guest_queue:
 * shares to to_guest_cap; lcore_local()) without interpreting it.
 */
#ifndef ZVD_DAEMON_H
#define ZVD_DAEMON_H

#include "guest.h"

/* Where to report how a connection has ended, with one of two lines: in order in both directions,
 * or cut off by a reset. */
struct end_report {
	int fd;
	const char *complete, *aborted; /* static */
};

/* A configured guest that could not be started, and is tried again. */
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

/* Main thread only. */
struct daemon {
	struct cfg *cfg;
	struct guest *guests, **guests_end; /* where the next one goes */
	struct guest_down *down;
	unsigned n_guests, n_down;
	struct lcore **lcores;
	unsigned *lcore_queues; /* queues of each lcore */
	unsigned n_lcores;
	struct control *control; /* control/control.h; NULL: no control socket */
	struct apps *apps;	 /* apps.h; NULL: no client socket */
	/* "connect" of the control socket: endpoint/handover.h; NULL: no longer accepted. */
	int (*join)(struct guest *g, uint32_t port, int fd, const struct end_report *report);
	/* The @n-th port that an application has taken: endpoint/endpoint_app.h. */
	const char *(*app_port)(const struct guest *app, unsigned n, uint32_t *port);
	int skip_drain; /* atomic; set by a signal: daemon_drain() returns */
};

#endif
