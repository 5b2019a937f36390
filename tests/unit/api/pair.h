/* SPDX-License-Identifier: BSD-3-Clause */
/* A guest and a host device over the fake transport, and what every test does with them. */
#ifndef PAIR_H
#define PAIR_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "fake_transport.h"

extern struct pair {
	struct zv_dev *guest, *host;
	struct zv_queue *g, *h; /* queue 0 of each */
} P;

/* Last event seen of each connection side; filled by pump(). */
struct seen {
	uint32_t events;
	int err;
	unsigned accepts;
};
extern struct seen seen_guest, seen_host;

/* Two queues; the other options are the same on both sides. */
int pair_open(const struct zv_opts *opts);
int pair_setup(void **state);
int pair_setup_plain(void **state); /* ZV_OPT_NO_HELLO on both sides */
int pair_teardown(void **state);

/* Polls both sides until nothing moves any more. */
void pump(void);
/* A connected pair of connections on queue 0. */
void connect_pair(enum zv_type type, uint32_t port, struct zv_conn **g, struct zv_conn **h);
/* @c reserves and cancels @n buffers, one at a time: it may hold as many more from then on. */
void earn_buffers(struct zv_conn *c, unsigned n);
/* The header of a packet from the guest side of @g's connection. */
struct vsock_hdr hdr_like(struct zv_conn *g, unsigned op, uint32_t len);

#endif
