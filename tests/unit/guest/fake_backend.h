/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vhost-user backend in a thread: answers what a frontend asks, keeps what it is told, and
 * misbehaves on demand. It maps the memory and knows the rings, so a test can play the device.
 * Memory tables that follow keep the first region where it is.
 */
#ifndef ZV_TEST_FAKE_BACKEND_H
#define ZV_TEST_FAKE_BACKEND_H

#include "vhost-user/frontend_msg.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FAKE_RINGS 33
#define FAKE_MEM   8u /* regions */

enum fake_trick {
	FAKE_GOOD = 0,
	FAKE_EOF,	 /* closes instead of an answer */
	FAKE_SILENT,	 /* does not answer */
	FAKE_WRONG_ID,	 /* answers another request */
	FAKE_NOT_REPLY,	 /* without the reply flag */
	FAKE_SHORT_SIZE, /* announces too little */
	FAKE_HUGE_SIZE,	 /* announces far too much */
	FAKE_TRUNCATED,	 /* closes in the middle of the answer */
	FAKE_DRIBBLE,	 /* sends byte by byte: legal */
	FAKE_REFUSE,	 /* answers 1 where 0 is success */
};

struct fake_ring {
	uint32_t num, base;
	struct vu_vring_addr addr;
	int call_fd, kick_fd;
	int enabled;
};

struct fake_backend {
	/* script; set before fake_start, or while nobody is connected */
	uint64_t features, protocol, queues;
	uint32_t rings; /* hangs up when told of a ring beyond these */
	_Atomic uint64_t cid;
	uint32_t trick_at; /* request number; 0: never */
	enum fake_trick trick;
	bool lets_go_late; /* after the frontend's end, with a last look at ring 1 */
	/* what it has learnt; read after fake_wait_ready */
	uint64_t acked, acked_protocol;
	struct vu_region mem;
	uint8_t *map;
	size_t map_size;
	struct {
		struct vu_region mem;
		uint8_t *map;
	} more[FAKE_MEM - 1]; /* regions behind the first, which has the rings */
	unsigned n_more;
	struct fake_ring ring[FAKE_RINGS];
	unsigned requests[64];	/* how often each was received */
	_Atomic int last_avail; /* that look: the avail index, split rings */
	/* machinery */
	pthread_mutex_t lock; /* over what it has learnt */
	char path[108];
	int listen_fd;
	_Atomic int fd;		 /* the connection; -1: none */
	atomic_uint ready;	 /* handshakes completed */
	atomic_uint disconnects; /* connections that ended */
	atomic_bool quit;
	pthread_t thread;
};

/* A good backend, not yet running, with the features of ours. */
void fake_init(struct fake_backend *b, const char *path);
/* Listens and serves. */
void fake_start(struct fake_backend *b);
/* Ends the thread, removes the socket. The object may be started again. */
void fake_stop(struct fake_backend *b);
/* Waits until @n handshakes have been completed in all (30 s at most). False: in vain. */
bool fake_wait_ready(struct fake_backend *b, unsigned n);
/* Hangs up on the frontend. */
void fake_hang_up(struct fake_backend *b);
/* From now on plays @trick at request @at. */
void fake_play(struct fake_backend *b, uint32_t at, enum fake_trick trick);
/* Signals the callfd of ring @i. */
void fake_signal(struct fake_backend *b, unsigned i);
/* A copy of ring @i. */
struct fake_ring fake_get_ring(struct fake_backend *b, unsigned i);
/* A ring address (user address of the frontend), or a guest address, in the backend's mapping. */
void *fake_user_va(struct fake_backend *b, uint64_t uaddr, size_t len);
void *fake_gpa_va(struct fake_backend *b, uint64_t gpa, size_t len);

#endif
