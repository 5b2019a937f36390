/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hostile guest does to the host, and what must happen: the tables' columns. */
#ifndef ZV_HOSTILE_HOST_CASES_H
#define ZV_HOSTILE_HOST_CASES_H

#include "raw_layout.h"
#include "suite.h"
#include "testbed.h"

enum conn_fate { LIVES = 0, DIES, WHATEVER };

struct desc {
	uint64_t gpa;
	uint32_t len;
	uint16_t flags, next;
};

struct host_case {
	const char *name;
	void (*act)(struct raw *r, const struct host_case *c); /* NULL: offer the chain below */
	/* what must happen */
	enum ring_fate ring;
	enum conn_fate conn; /* of the case's own connection */
	size_t counter;	     /* the one that counts it (offset); no other fault counter may move */
	int64_t count;	     /* by how much; SOME, ANY (then others may move too) */
	int rst;	     /* RSTs that the case's address pair hears */
	int rw;		     /* packets of data that it hears */
	/* what the case is made of */
	unsigned needs; /* of its testbed (enum testbed_need) */
	unsigned port;	/* its connection's; 0: PORT_ECHO */
	unsigned raw_flags;
	bool rx;	    /* the chain goes to the receive ring */
	uint16_t head;	    /* 0: D0 */
	struct desc d[3];   /* ring descriptors D0, D0 + 1, ... */
	struct desc ind[3]; /* the table at T0 */
	/* arguments of act, each as its name says */
	unsigned op;
	uint32_t type; /* 0: the connection's */
	uint64_t cid;
	uint32_t sport, dport;
	uint32_t flags; /* of the packet */
	uint32_t fwd_cnt;
	uint32_t len;		/* payload bytes, or what the header says of them */
	uint32_t piece;		/* of these, in one packet */
	uint32_t offset, value; /* a word of HELLO */
	uint64_t from, to;	/* a word in shared memory flips between these */
	uint32_t steps;		/* by which an index jumps */
	uint32_t times;		/* 0: once */
	bool eom;
	bool index_too; /* a variant: of act, which says what it is */
	int err;	/* that the host's connect ends with, positive; 0: ECONNRESET */
};

#define D0	40u			       /* ids that honest packets do not use */
#define T0	(RAW_A + RAW_SCRATCH)	       /* an indirect table */
#define T1	(RAW_A + RAW_SCRATCH + 0x5000) /* another, all zero */
#define PKT	(RAW_A + RAW_SCRATCH + 0x8000) /* a good packet: data for the case's connection */
#define PKT_LEN 48u
#define PKT_OFF (RAW_SCRATCH + 0x8000u)

#define NX  VRING_DESC_F_NEXT
#define WR  VRING_DESC_F_WRITE
#define IND VRING_DESC_F_INDIRECT

/* Verdicts and chains. */
#define BREAKS		 .ring = BROKEN, .conn = WHATEVER, .rst = ANY, .rw = ANY
#define DROPPED		 .counter = CNT(rx_bad_hdr), .count = 1
#define TAKEN		 .rw = 1
#define ONE(g, l, f)	 .d = {{g, l, f, 0}}
#define TWO(l0, g, l, f) .d = {{PKT, l0, NX, D0 + 1}, {g, l, f, 0}}
#define TABLE(l)	 ONE(T0, l, IND)

/* Of all layouts, and of one. */
extern const struct host_case ring_cases[], race_cases[], hdr_cases[], conn_cases[], hello_cases[],
	dgram_cases[];
extern const struct host_case split_cases[], split_race_cases[], packed_cases[],
	packed_race_cases[];
extern const unsigned n_ring_cases, n_race_cases, n_hdr_cases, n_conn_cases, n_hello_cases,
	n_dgram_cases;
extern const unsigned n_split_cases, n_split_race_cases, n_packed_cases, n_packed_race_cases;

/* Writes the good packet to PKT. */
void put_good_packet(struct raw *r);
/* Makes the host use up the good receive buffers, so that what was offered last is next. */
void use_rx(struct raw *r);
/* Offers a chain of the transmit ring. */
void offer(struct raw *r, uint16_t head);
/* Entry @i of the indirect table at T0. */
void put_entry(struct raw *r, unsigned i, const struct desc *d);
void offer_chain(struct raw *r, const struct host_case *c);

#endif
