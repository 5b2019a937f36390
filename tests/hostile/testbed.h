/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The honest half of the hostile tests: a backend process as a user would write it, with two
 * guests. The victim is whatever the test plays on its socket; the bystander is our real frontend,
 * which sends and checks data throughout. One host thread serves both queues, so that a victim that
 * stalls it, stalls the bystander too, and that is noticed.
 *
 * testbed_vm.c has the same for a victim that is a VM: the host is zvsockd and the bystander a
 * stock guest, and what is asked here is answered by the harness outside
 * (tests/vm/testbed_hostile.py).
 */
#ifndef ZV_HOSTILE_TESTBED_H
#define ZV_HOSTILE_TESTBED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zvsock.h>

#define VICTIM_CID    3u
#define BYSTANDER_CID 4u
#define BUF_ALLOC     65536u /* receive credit of the host's connections */
#define MAX_CONNS     512u   /* of the victim's queue */
#define BACKLOG	      16u
#define DGRAM_BYTES   4096u

/* What the host does on each port, on both devices. */
enum port {
	PORT_ECHO = 1,	  /* STREAM: sends back what it gets */
	PORT_SEQ = 2,	  /* SEQPACKET: the same */
	PORT_MUTE = 3,	  /* accepts, never reads */
	PORT_SINK = 4,	  /* reads, never answers */
	PORT_HOLD = 5,	  /* keeps zero-copy loans until testbed_release() */
	PORT_BACKLOG = 6, /* listens, never accepts */
	PORT_SEQ_MUTE = 7,
	PORT_CLOSED = 9,      /* nobody there */
	PORT_SOURCE = 10,     /* sends a pattern as fast as it can */
	PORT_DGRAM = 11,      /* DGRAM: sends back what it gets */
	PORT_DGRAM_MUTE = 12, /* DGRAM: is bound with DGRAM_BYTES, and never receives */
};

/* What a case needs of its testbed beyond the ports above. */
enum testbed_need {
	NEEDS_MEMORY_AT_THE_TOP = 1, /* below 2^64 */
	NEEDS_4_GIB = 2,
	NEEDS_NOTHING_AT_0 = 4,	 /* address 0 is no memory */
	NEEDS_LOANS = 8,	 /* the host application keeps what it was lent */
	NEEDS_EXACT_CREDIT = 16, /* it leaves what arrives in the connection's buffer */
	NEEDS_EVENT_RING = 64,	 /* the backend is given the event virtqueue */
	NEEDS_BACKLOG = 32,	 /* its listener's accept queue fills up */
	NEEDS_PACKED = 128,	 /* the guest can have packed rings */
	NEEDS_DGRAM = 256,	 /* the host takes datagrams */
};

extern char testbed_victim[64], testbed_bystander[64]; /* socket paths */
extern const char *testbed_program;		       /* argv[0] */
extern const unsigned
	testbed_asks; /* requests, to any port, that wait at most for the host's answer */

/* NULL, or why this testbed cannot give what a case needs (enum testbed_need, ORed). */
const char *testbed_lacks(unsigned needs);

/* EAL, sockets in a fresh directory, both devices, both threads. 0 or an exit code. */
int testbed_start(bool with_bystander);
/* Ends everything; false: something is left over. As the end of a group of tests: 0, -1. */
bool testbed_stop(void);
int testbed_group_end(void **state);

/* Counters of the victim's queue. */
struct zv_queue_stats testbed_stats(void);
uint64_t testbed_counter(size_t offset);
bool testbed_victim_up(void);
/* Waits until the victim's rings run, or no longer do. */
bool testbed_wait_up(bool up);

/* The bystander has made progress since the last call and has never seen an error. NULL or what
 * is wrong. */
const char *testbed_bystander_fault(void);

/* The host connects to @port of the victim. The outcome: 1 pending, 0 or -errno. */
void testbed_connect(uint32_t port);
int testbed_connect_result(void);
/* It ended with @err; or with any error, where the testbed cannot tell which. */
bool testbed_connect_failed(int err);

/* Loans that PORT_HOLD has; releasing them happens in the host thread before this returns. */
unsigned testbed_loans(void);
void testbed_release(void);
/* Has the host thread read every loan, and write every reserved buffer, while nobody releases
 * them. Returns a checksum. */
uint64_t testbed_touch_loans(void);
/* Reserves transmit buffers on the HOLD connection; they are written by testbed_touch_loans. */
unsigned testbed_reserve(void);

#define TESTBED_WAIT_NS 60000000000ull /* far more than anything here takes */
uint64_t testbed_now(void);	       /* ns */
/* Waits until @done(@arg), 20 s at most; false: in vain. */
bool testbed_until(bool (*done)(void *arg), void *arg);
void testbed_nap(void);
/*
 * An idle moment of a poller: gives the CPU to whoever wants it. Beside somebody who computes each
 * sched_yield costs a whole time slice, and a poller that only yields gets behind; then it naps.
 */
void testbed_idle(void);

/* /proc/self: open descriptors, mappings; bytes in use on the heap. */
unsigned testbed_fds(void);
unsigned testbed_maps(void);
uint64_t testbed_heap(void);
/* Waits until there are no more than @most descriptors: other threads close them. False: in vain.
 */
bool testbed_fds_back(unsigned most);

struct testbed_counts {
	unsigned fds, maps;
	uint64_t heap;
};
struct testbed_counts testbed_count(void);
/* Waits until there are no more descriptors and mappings than then. NULL, or what is left over. */
const char *testbed_left_over(const struct testbed_counts *before);

#endif
