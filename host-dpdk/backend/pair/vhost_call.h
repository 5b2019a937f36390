/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls (interrupts) to a guest: the descriptor of SET_VRING_CALL. */
#ifndef ZV_VHOST_CALL_H
#define ZV_VHOST_CALL_H

#include "wake_cost.h"

#include <stdbool.h>

struct call_watch;

struct vhost_call {
	int fd;			  /* our dup; -1: the driver polls */
	struct call_watch *watch; /* for an eventfd; NULL: a socket */
	struct wake_limit *limit; /* the device's */
	struct wake_cost cost;	  /* the caller's */
	bool rests;		  /* calls have used up the limit: none until it has refilled */
	bool owed;		  /* the guest is to be called after that */
};

/*
 * A frontend may send anything as an eventfd. A write to a pipe that nobody reads would raise
 * SIGPIPE; polling a file of the frontend's own file system, or an epoll set whose lock somebody
 * holds, may take as long as the frontend likes. So only eventfds are accepted, with one exception:
 * User-mode Linux is called on one end of a pair of stream sockets, and reads words of 8 bytes from
 * the other end, as from an eventfd. Such an end is accepted if it can be made write-only
 * (fd_write_only). We limit what is queued there (VHOST_CALL_QUEUED), because the frontend may set
 * the socket buffer to any size.
 */

/* No more words are sent beyond this many bytes of socket memory: about 20 words are queued
 * then. */
#define VHOST_CALL_QUEUED 16384

/*
 * How many wait for the descriptor is up to the frontend too, and each call wakes them all
 * (wake_cost.h). While the limit for that is used up, calls on a slow descriptor are put off: the
 * guest is called late, however often it was to be called. It is not cut off, because the machine
 * may be what is slow: where a hypervisor takes its CPUs without saying so, that looks the same.
 */

/* *out: a dup of @fd; -1 for -1. 0; or -errno with *out = -1: -EINVAL if it is no eventfd. */
int vhost_event_dup(int fd, int *out);
/* *c: a dup of @fd on which calls do not block for long (call_watch.h). 0; or -errno without a
 * descriptor in *c: -EINVAL if it is neither an eventfd nor such a socket. */
int vhost_call_dup(int fd, struct wake_limit *limit, struct vhost_call *c);
/* Ends calls, and returns the descriptor (-1: none) for the caller to close, which may take long
 * (fd_closer.h). */
int vhost_call_end(struct vhost_call *c);
/* Calls the guest. False: there is no descriptor, or it blocks, or the call is put off (c->owed):
 * to be tried again in a while. */
bool vhost_call_send(struct vhost_call *c);
/* The same, and it is not put off: for calls that the frontend can provoke once a session. */
bool vhost_call_send_now(struct vhost_call *c);
/* The frontend has made it block: it is not used for calls any more. */
bool vhost_call_blocks(const struct vhost_call *c);

#endif
