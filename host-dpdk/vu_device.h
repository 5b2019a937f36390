/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is known of one socket's frontend, and the steps from there to running pairs. Between
 * vhost_user.c, which listens to messages, and vsock_dev.c, which moves packets. Everything here is
 * called with vu_dev.lock held.
 */
#ifndef ZV_VU_DEVICE_H
#define ZV_VU_DEVICE_H

#include "vhost_user.h"

#include <linux/vhost.h>
#include <pthread.h>

#define VU_RINGS    (1 + 2 * ZV_QUEUES_MAX)
#define VU_RING_EVT 2u

/* What the frontend has said about a ring. */
struct vu_ring {
	uint32_t num;
	struct vhost_vring_addr addr;
	bool have_addr, kicked, enabled;
};

/* What a pair was loaded with: a change means a new session. */
struct vu_loaded {
	uint64_t features;
	uint64_t where[2][3]; /* desc, avail, used as frontend addresses */
	uint32_t num[2];
};

struct vu_dev {
	pthread_mutex_t lock; /* vhost thread against vu_close */
	bool closing;
	struct zv_log_limit log; /* what the frontend can cause */
	int vid;		 /* -1: no frontend */
	int next_vid;		 /* a second one, which has not said anything; -1: none */
	bool spoken;		 /* the frontend has said something */
	char *path;
	uint64_t cid;
	struct hq *const *queues;
	unsigned nqueues;
	struct vu_dev *next; /* in `devices` */

	uint64_t features;
	struct vu_ring ring[VU_RINGS];
	struct vu_loaded loaded[ZV_QUEUES_MAX];
	struct guest_mem_src src[GUEST_MEM_REGIONS]; /* fds are dups of ours */
	unsigned nsrc;
	struct guest_mem_src given[GUEST_MEM_REGIONS]; /* of a SET_MEM_TABLE under way; dups too */
	unsigned ngiven;
	struct guest_mem *rings;      /* NULL: no memory table */
	int watch[GUEST_MEM_REGIONS]; /* sigbus.h: rte_vhost's own map */
	unsigned nwatch;
	uint32_t rte_fault; /* not looked at: our own map breaks the queues */
	uint64_t page_size;
	bool reset_due; /* a TRANSPORT_RESET waits for the event ring */
	bool evt_loaded;
	struct dvring evt;
	int evt_call; /* dup'ed, -1: none */
};

/* Virtqueues: 0 rx, 1 tx, 2 event; pair i >= 1 has 1 + 2i and 2 + 2i. */
static inline unsigned ring_no(unsigned pair, enum hq_ring ring)
{
	return pair ? 1 + 2 * pair + ring : ring;
}

/* False: not a ring of a pair. */
static inline bool ring_pair(unsigned no, unsigned *pair, enum hq_ring *ring)
{
	if (no == VU_RING_EVT)
		return false;
	*pair = no < 2 ? 0 : (no - 1) / 2;
	*ring = (no < 2 ? no : (no - 1) % 2) ? HQ_GUEST_TX : HQ_GUEST_RX;
	return true;
}

/* Brings what ring @no belongs to (a pair, the event ring) to the state that was asked for. */
void vu_ring_update(struct vu_dev *d, unsigned no);

/* Takes a dup of the event ring's call descriptor (-1: none). 0 or -errno. */
int vu_set_event_call(struct vu_dev *d, int fd);

/* Forgets what came with a SET_MEM_TABLE that was not taken. */
void vu_forget_given(struct vu_dev *d);

/* SET_MEM_TABLE has been accepted: the same sessions go on in new maps. 0 or -errno. */
int vu_take_table(struct vu_dev *d);

/* Ends the protection of rte_vhost's own map, before it is unmapped. */
void vu_unwatch(struct vu_dev *d);

/* Everything of the frontend is gone or about to go. */
void vu_forget_frontend(struct vu_dev *d);

#endif
