/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bell pages of an application's queues, and those of the peers that it rings, as zvsockd
 * provides them on the client socket (proto/local/client_msg.h).
 *
 * A queue's own page is requested with the first region. A peer's page is requested when a queue
 * wants to ring there for the first time. That queue's owner must not block: it gets -EINPROGRESS,
 * sends a packet instead, and tries again the next time.
 *
 * Threads: owners of queues call daemon_bells_own() and daemon_bells_ringer(), the device's control
 * thread calls the others.
 */
#ifndef ZV_DAEMON_BELLS_H
#define ZV_DAEMON_BELLS_H

#include "client_sock.h"
#include "transport.h"

struct peer_page;

struct daemon_bells {
	pthread_mutex_t lock;	 /* protects the fields below */
	struct region_map *file; /* maps all pages; NULL: none */
	struct bell_map *own[ZV_QUEUES_MAX];
	struct peer_page *peers;
	unsigned n_peers;
};

void daemon_bells_init(struct daemon_bells *b);
void daemon_bells_fini(struct daemon_bells *b);

/*
 * Requests the pages of @n queues, unless that was done before. What is not available is left out.
 */
void daemon_bells_attach(struct daemon_bells *b, struct client_sock *s, unsigned n, int cancel_fd);
/* Requests the pages that calls of daemon_bells_ringer() are waiting for. */
void daemon_bells_serve(struct daemon_bells *b, struct client_sock *s, int cancel_fd);
/* zvsockd is gone: forgets the pages it gave; those who hold them keep them. */
void daemon_bells_lost(struct daemon_bells *b);

/*
 * For transport_region_ops.bells and .ringer. @wake_fd: eventfd of the thread that calls
 * daemon_bells_serve().
 */
struct bell_map *daemon_bells_own(struct daemon_bells *b, unsigned queue);
int daemon_bells_ringer(struct daemon_bells *b, uint32_t id, int wake_fd, struct bell_map **out);

#endif
