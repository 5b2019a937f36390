/* SPDX-License-Identifier: BSD-3-Clause */
/* What a hostile guest does to the host, and what must happen: the tables' columns. */
#ifndef ZV_HOSTILE_HOST_CASES_H
#define ZV_HOSTILE_HOST_CASES_H

#include "raw.h"
#include "suite.h"
#include "world.h"

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
	unsigned port; /* its connection's; 0: PORT_ECHO */
	unsigned raw_flags;
	bool rx;	    /* the chain goes to the receive ring */
	uint16_t head;	    /* 0: D0 */
	struct desc d[3];   /* ring descriptors D0, D0 + 1, ... */
	struct desc ind[3]; /* the table at T0 */
	uint64_t a, b;	    /* arguments of act */
	struct vsock_hdr h; /* fields of the header, by act's taste */
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

extern const struct host_case ring_cases[], race_cases[], hdr_cases[], conn_cases[], hello_cases[];
extern const unsigned n_ring_cases, n_race_cases, n_hdr_cases, n_conn_cases, n_hello_cases;

/* Writes the good packet to PKT. */
void put_good_packet(struct raw *r);
/* Offers a chain of the transmit ring. */
void offer(struct raw *r, uint16_t head);
void offer_chain(struct raw *r, const struct host_case *c);

#endif
