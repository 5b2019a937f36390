/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hostile device does to the guest's driver, and what must happen. */
#ifndef ZV_HOSTILE_DEV_CASES_H
#define ZV_HOSTILE_DEV_CASES_H

#include "gdev.h"
#include "hot_bufs.h"
#include "suite.h"

/* NEIGHBOUR_TOO: the event concerns the device, all connections are reset. */
enum conn_fate { LIVES = 0, DIES, WHATEVER, NEIGHBOUR_TOO };

enum flip_word { USED_ID, USED_LEN, HDR_LEN };

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
	/* arguments of act, each as its name says */
	unsigned op;
	uint32_t type; /* 0: the connection's */
	uint64_t cid;
	uint32_t dport;
	uint32_t flags; /* of the packet, or of the used rings */
	uint32_t fwd_cnt, fwd_cnt_then;
	uint32_t id;		/* of a used entry */
	uint32_t len;		/* bytes written, payload bytes, or what the header says of them */
	uint32_t used_len;	/* of the used entry */
	unsigned on_ring;	/* RX0, TX0, EVT */
	uint32_t steps;		/* by which an index jumps */
	uint32_t event_idx;	/* avail_event of both rings */
	uint32_t event;		/* of the event ring */
	uint32_t offset, value; /* a word of HELLO_ACK */
	enum flip_word word;	/* which word flips */
	uint32_t to;		/* between the truth and this */
	uint32_t times;		/* 0: once */
	bool two_looks;		/* of the driver */
	int err;		/* that the guest's connect ends with, positive; 0: ECONNRESET */
};

#define BREAKS	 .ring = BROKEN, .conn = WHATEVER
#define DROPPED	 .counter = CNT(rx_bad_hdr), .count = 1
#define GIVEN_UP .counter = CNT(ring_broken), .count = 1

/* A receive buffer comes back with the id and the length of the case. */
void rx_used(const struct dev_case *c);
/* The driver looks at what it has sent each HOT_RECLAIM messages. */
void look_at_tx(void);
/* The driver has dealt with what is in the event ring, or given it up, as @c says. */
void settle_events(const struct dev_case *c);

/* Of all layouts, and of one. */
extern const struct dev_case dev_ring_cases[], dev_pkt_cases[], dev_mem_cases[];
extern const struct dev_case dev_split_cases[], dev_packed_cases[];
extern const unsigned n_dev_ring_cases, n_dev_pkt_cases, n_dev_mem_cases;
extern const unsigned n_dev_split_cases, n_dev_packed_cases;

#endif
