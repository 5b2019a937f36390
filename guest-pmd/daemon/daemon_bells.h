/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bells of an application's queues, and what it takes to ring those of others, as zvsockd gives
 * them on the client socket (proto/client_msg.h).
 *
 * A queue's page is asked for with the first region. Another queue's is asked for when one of ours
 * wants to ring there for the first time, which happens while its owner must not wait: it is told
 * -EINPROGRESS, sends a packet instead, and asks again the next time.
 *
 * Threads: owners of queues call daemon_bells_own() and daemon_bells_ringer(), the device's control
 * thread the others.
 */
#ifndef ZV_DAEMON_BELLS_H
#define ZV_DAEMON_BELLS_H

#include "client_sock.h"
#include "transport.h"

struct peer_page;

struct daemon_bells {
	pthread_mutex_t lock;	 /* of what follows */
	struct region_map *file; /* with all pages; NULL: none */
	struct bell_map *own[ZV_QUEUES_MAX];
	struct peer_page *peers;
	unsigned n_peers;
};

void daemon_bells_init(struct daemon_bells *b);
void daemon_bells_fini(struct daemon_bells *b);

/* Asks for the pages of @n queues, unless that has been done. What cannot be had is left out. */
void daemon_bells_attach(struct daemon_bells *b, struct client_sock *s, unsigned n, int cancel_fd);
/* Asks for what daemon_bells_ringer() was asked for. */
void daemon_bells_serve(struct daemon_bells *b, struct client_sock *s, int cancel_fd);
/* zvsockd is gone: what it gave is forgotten, except by those who hold it. */
void daemon_bells_lost(struct daemon_bells *b);

/* As transport_region_ops.bells, .ringer. @wake_fd: an eventfd of who calls daemon_bells_serve().
 */
struct bell_map *daemon_bells_own(struct daemon_bells *b, unsigned queue);
int daemon_bells_ringer(struct daemon_bells *b, uint32_t id, int wake_fd, struct bell_map **out);

#endif
