/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listening socket for programs of this machine that want to reach a guest: of the endpoint types
 * unix and listen.
 *
 * It belongs to the lcore of queue 0, which accepts by one multishot request and deals the sockets
 * to the guest's queues in turn; a queue whose rings do not run passes them on (call_guest.h). When
 * descriptors run out, accepting pauses: the backlog holds the others, and nobody spins.
 */
#ifndef ZVD_ACCEPTOR_H
#define ZVD_ACCEPTOR_H

#include "core/guest.h"

#include <sys/socket.h>

struct accepted;
/* Takes over what *@a says, on the lcore of a->gq. */
typedef void accepted_fn(const struct accepted *a);

/* A program has connected. */
struct accepted {
	struct guest_queue *gq;
	accepted_fn *begin;
	int fd;	       /* counts against the guest's descriptors */
	uint32_t port; /* as acceptor_start_*() was told */
	bool tcp;
	bool passed; /* descriptors can come beside the data: passed.h */
};

/* There is no memory for it: counts, logs, closes. */
void accepted_drop(const struct accepted *a);

struct acceptor;

/*
 * Listens at @path, with the mode and owner that the guest's sockets have, or at the TCP address
 * @addr, which messages call @name; @begin gets each program, with @port. 0, or -errno and
 * guest_fails(). Main thread.
 */
int acceptor_start_unix(struct acceptor **out, struct guest *g, const char *path,
			accepted_fn *begin, uint32_t port);
int acceptor_start_tcp(struct acceptor **out, struct guest *g, const char *name,
		       const struct sockaddr *addr, socklen_t len, accepted_fn *begin,
		       uint32_t port);

/* Descriptors can come beside the data of its programs: passed.h. */
bool acceptor_passed(const struct acceptor *l);

/* On return nobody new comes; who has been accepted stays. Main thread. */
void acceptor_stop(struct acceptor *l);

#endif
