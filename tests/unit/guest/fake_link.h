/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A transport of a few lines: the connection is a pipe, and whether it can be had is up to the
 * test. So nothing here knows vhost-user.
 */
#ifndef ZV_TEST_FAKE_LINK_H
#define ZV_TEST_FAKE_LINK_H

#include "proto/vsock/vsock_device.h"
#include "raw_dev.h"
#include "transport/guest_dev.h"

#define FAKE_IOVA	   ((struct iova){0x7000000ull})
#define FAKE_TX_TIMEOUT_MS 100u

/* Written by whoever calls the link: open's thread or the control thread. Atomic. */
struct fake_record {
	uint32_t refuse; /* connect() fails with this many -errno */
	uint32_t refuse_start, refuse_map;
	uint32_t hang; /* connect() waits until the device is closed */
	uint32_t calm; /* lost() finds that nothing is lost */
	uint32_t tries, starts, disconnects, destroyed, looks;
	uint32_t registers; /* kicks are writes to registers */
	uint32_t silent;    /* the end of its backend goes unnoticed */
	uint32_t regions;   /* it knows regions: */
	uint32_t maps;	    /* how many it was asked to map, */
	int map_err;	    /* and how that ends */
	uint32_t left;	    /* devices that were closed with something in their transmit ring */
	uint32_t takes;	    /* work(): 1: packets without payload, 2: all packets */
	uint32_t patient;   /* its watchdog waits for ten minutes */
	uint32_t own;	    /* it has a region of its own */
	uint32_t told;	    /* log lines that tell of a stuck device, */
	uint32_t tried;	    /* and of one that takes nothing yet */
	uint32_t faults;    /* of the order in which the functions are called */
	uint64_t cid;
	struct guest_features has;
};
extern struct fake_record testbed;

struct fake {
	struct guest_dev g; /* first */
	int pipe[2];	    /* -1: not connected */
	pthread_mutex_t lock;
	bool started;				/* under lock: the rings are the device's */
	struct raw_ring tx;			/* of pair 0 */
	uint16_t reg[VSOCK_VQS(ZV_QUEUES_MAX)]; /* what virtqueues are kicked by */
};

static inline uint32_t get(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void set(uint32_t *word, uint32_t value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static inline void count(uint32_t *word)
{
	__atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

/* A cmocka setup: the testbed as tests expect it. */
int reset(void **state);

/*
 * The device of name @rest, with @queues pairs of 16 descriptors; several names are several devices
 * of one pair. 0 or what its open returns.
 */
int open_fake(struct transport_dev **out, const char *rest, uint32_t queues);

/* The device's work on pair 0, as testbed.takes has it. How many packets it has taken. */
unsigned fake_work(struct fake *f);

/* Waits until the queue is @up in a session other than @old, for 30 s. */
void await(struct transport_queue *q, uint32_t old, uint32_t up);
void until(uint32_t *word, uint32_t least);

#endif
