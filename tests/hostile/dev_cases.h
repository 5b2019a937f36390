/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hostile device does to the guest's driver, and what must happen. */
#ifndef ZV_HOSTILE_DEV_CASES_H
#define ZV_HOSTILE_DEV_CASES_H

#include "gdev.h"
#include "suite.h"

/* NEIGHBOUR_TOO: the event concerns the device, all connections are reset. */
enum conn_fate { LIVES = 0, DIES, WHATEVER, NEIGHBOUR_TOO };

#define ANY_ID 0xfeedu /* the buffer that is due */

struct dev_case {
	const char *name;
	void (*act)(const struct dev_case *c);
	/* what must happen */
	enum ring_fate ring; /* BROKEN: ring_broken by one, pair 0 is down */
	enum conn_fate conn;
	size_t counter;
	int64_t count;
	int rst;	   /* RSTs that the host's port hears */
	uint32_t rst_port; /* 0: G_PORT */
	/* what the case is made of */
	bool seq, silent, hello;
	uint64_t a, b;
};

extern const struct dev_case dev_ring_cases[], dev_pkt_cases[];
extern const unsigned n_dev_ring_cases, n_dev_pkt_cases;

#endif
