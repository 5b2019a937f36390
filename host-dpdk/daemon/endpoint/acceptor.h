/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A listening socket for programs on this machine that want to reach a guest; used by the endpoint
 * types unix and listen.
 *
 * It belongs to the lcore of queue 0, which accepts one in a round and distributes the
 * sockets over the guest's queues in turn; a queue whose rings do not run passes them on
 * (call_guest.h). When descriptors run out, accepting pauses: the backlog holds further
 * connections, and nothing spins.
 */
#ifndef ZVD_ACCEPTOR_H
#define ZVD_ACCEPTOR_H

#include "core/guest.h"

#include <sys/socket.h>

struct accepted;
/* Takes over the connection in *@a, on the lcore of a->gq. */
typedef void accepted_fn(const struct accepted *a);

/* An accepted connection of a program. */
struct accepted {
	struct guest_queue *gq;
	accepted_fn *begin;
	int fd;	       /* counts against the guest's descriptors */
	uint32_t port; /* as given to acceptor_start_*() */
	bool tcp;
	bool passed; /* descriptors can come with the data: passed.h */
};

/* No memory for it: counts, logs, closes. */
void accepted_drop(const struct accepted *a);

struct acceptor;

/*
 * Listens at @path, with the mode and owner of the guest's sockets, or at the TCP address @addr,
 * which messages call @name. @begin is called for each program, with @port. 0, or -errno after
 * guest_fails(). Main thread.
 */
int acceptor_start_unix(struct acceptor **out, struct guest *g, const char *path,
			accepted_fn *begin, uint32_t port);
int acceptor_start_tcp(struct acceptor **out, struct guest *g, const char *name,
		       const struct sockaddr *addr, socklen_t len, accepted_fn *begin,
		       uint32_t port);

/* Descriptors can come with the data of its programs: passed.h. */
bool acceptor_passed(const struct acceptor *l);

/* On return nothing more is accepted; accepted connections continue. Main thread. */
void acceptor_stop(struct acceptor *l);

#endif
