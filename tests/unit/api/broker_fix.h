/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A broker between the two queues of a guest: the guest asks on queue 0 for a port of the host, and
 * listens on it on queue 1, to which the broker leads the connection.
 */
#ifndef BROKER_FIX_H
#define BROKER_FIX_H

#include "pair.h"
#include "zvsock_broker.h"

#define BR_PORT	  5000u
#define BR_REGION 0x1122334455667788u
#define BR_SIZE	  (1u << 20)

/* The region, and the two halves of the connection that was joined last. */
struct broker {
	uint8_t *mem;
	struct shm_channel_desc desc;
	uint32_t generation;
	struct zv_conn *ask_g, *ask_h; /* queue 0: the guest's end (role A), and the broker's */
	struct zv_conn *to_g, *to_h;   /* queue 1: role B */
};

extern struct broker B;

/* A guest that can map the region and a host with ZV_OPT_BROKER; HELLO is over. */
int broker_setup(void **state);
int broker_teardown(void **state);

struct zv_queue *broker_queue(unsigned i);
struct zv_queue *guest_queue(unsigned i);

/* The next message of the driver on queue @i must be of kind @what. */
struct zv_broker_msg broker_expect(unsigned i, uint32_t what);
/* The driver holds that end of former sessions and no other; 0: none. */
void broker_expect_holds(unsigned i, uint32_t generation);
/* There is none. */
void broker_expect_none(unsigned i);

/* Announces the region on both queues, and sees it mapped. */
void broker_announce(void);
/* Joins a connection by a channel of small rings and slots. */
void broker_join(enum zv_type type);
/* The request waits: formats the channel and returns the grant for @role. */
struct zv_grant broker_grant_for(enum shm_role role);

/* From its next session on the host's device is another one. */
void broker_another_device(void);

#endif
