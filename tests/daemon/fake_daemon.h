/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A daemon without lcores and devices, for the control socket and captures: its guests, connections
 * and packets are what the test says. It takes the place of the functions of the library and of the
 * lcores that control/ calls.
 *
 * A thread of its own plays the main thread and serves the control socket; lcore_call() runs
 * the function in the caller, under the lock that also guards fake_packet().
 */
#ifndef FAKE_DAEMON_H
#define FAKE_DAEMON_H

#include "core/daemon.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <zvsock.h>

#define FAKE_GUESTS 3
#define FAKE_QUEUES 2
#define FAKE_LCORES 2
#define FAKE_SLICE  300 /* connections that zv_queue_conns() shows at a time, given a cursor */

struct zv_queue {
	unsigned guest, index, n_conns;
	unsigned most_shown; /* by one call of zv_queue_conns() */
	zv_tap_fn tap;
	void *tap_ctx;
};

struct fake {
	struct daemon d;
	struct cfg cfg;
	struct cfg_guest cfgs[FAKE_GUESTS];
	struct guest guests[FAKE_GUESTS];
	struct zv_queue queues[FAKE_GUESTS][FAKE_QUEUES];
	struct lcore *lcores[FAKE_LCORES]; /* NULL; lcore_stats() looks at none */
	char dir[64], path[96];		   /* of the control socket */
	pthread_t server;
	pthread_mutex_t main; /* held by who plays the main thread */
	int stop[2];
};

/* Guests "web" (CID 3), "db" (CID 4), "a-b" (CID 5) and their daemon, which serves its socket. */
struct fake *fake_new(void);
void fake_free(struct fake *f);

/* From now on the queue has @n connections. */
void fake_conns(struct fake *f, unsigned guest, unsigned queue, unsigned n);

/* From now on a VMM is attached to the guest, since then (CLOCK_MONOTONIC), and no queue is up. */
void fake_attach(struct fake *f, unsigned guest, uint64_t since_ns);

/* A packet on a queue, as its lcore would see it. False: there is no tap. */
bool fake_packet(struct zv_queue *q, bool sent, unsigned op, const struct iovec *iov, int n);

/* Taps that are set now. */
unsigned fake_taps(const struct fake *f);

#endif
