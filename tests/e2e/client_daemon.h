/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread that is zvsockd as far as the client socket is concerned, and serves the application's
 * device through `host:fd=N`.
 */
#ifndef ZV_TEST_CLIENT_DAEMON_H
#define ZV_TEST_CLIENT_DAEMON_H

#include "proto/local/client_msg.h"

#include <pthread.h>
#include <shm_ring.h>
#include <stdint.h>
#include <zvsock.h>

#define TAKEN_PORT  99u
#define REGION_ID   0x1234567812345678u
#define REGION_SIZE (4u << 20)

extern char cd_path[64]; /* of the client socket; the test's to choose */

/* What answers there: one application at a time, until `fd` is shut down. */
extern struct broker {
	pthread_t thread;
	int listener;
	int fd; /* the application's; -1: none; atomic */
	pthread_mutex_t lock;
	struct zv_dev *dev; /* serves it; written under the lock, atomic */
	struct zv_dev *old; /* served its predecessor; under the lock */
	uint32_t attached, listened, unlistened, last_port; /* atomic */
	struct shm_region region; /* whose descriptor is asked for; addr NULL: there is none */
	uint32_t asked;		  /* for it; atomic */
	int silent; /* 1: gives away sockets at whose other end, kept here then, nobody answers;
		       atomic */
	char name[CLIENT_TEXT];
} broker;

static inline uint32_t seen(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* The device that serves the application; NULL: there is none. */
static inline struct zv_dev *served(void)
{
	return __atomic_load_n(&broker.dev, __ATOMIC_ACQUIRE);
}

/* zvsockd is killed: what it served hangs up. */
void daemon_dies(void);

/* For cmocka. */
int setup(void **state);
int teardown(void **state);

#endif
