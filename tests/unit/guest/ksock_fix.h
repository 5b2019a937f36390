/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client and a server, two devices of one process, with the `vsock:` transport over AF_UNIX
 * sockets (ksock_unix.h).
 */
#ifndef ZV_KSOCK_FIX_H
#define ZV_KSOCK_FIX_H

#include "ksock_unix.h"
#include "vsock/ksock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <sched.h>
#include <string.h>

#define PORT   1234u
#define SECOND 1000000000ull
#define BIG    (1u << 20)

extern struct zv_dev *client, *server;
extern struct zv_queue *cq, *sq; /* of each the first */
extern uint8_t *want, *got;	 /* BIG bytes to send, and to receive into */
extern char logged[512];	 /* the last warning */
extern struct own_region region; /* of devices that are opened; none at first */

int set_up(void **state);
int tear_down(void **state);
/* Both devices anew, with these options. */
void reopen(const struct zv_opts *c, const struct zv_opts *s);
uint64_t now(void);

/* Both sides poll until @cond; a time-out for failure only. */
#define PUMP(cond)                                                                                 \
	do {                                                                                       \
		uint64_t end_ = now() + 30 * SECOND;                                               \
		struct zv_event ev_[8];                                                            \
		while (!(cond)) {                                                                  \
			assert_true(zv_poll(cq, ev_, 8) >= 0);                                     \
			assert_true(zv_poll(sq, ev_, 8) >= 0);                                     \
			sched_yield();                                                             \
			assert_true(now() < end_);                                                 \
		}                                                                                  \
	} while (0)

/* @c has one of @events. */
bool has(struct zv_conn *c, uint32_t events);
const char *state_of(struct zv_conn *c);
/* A connection: the client's end and the server's. */
void join(enum zv_type type, struct zv_conn **c, struct zv_conn **s);
void close_both(struct zv_conn *a, struct zv_conn *b);

#endif
