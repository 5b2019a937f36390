/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls (interrupts) to a guest: the eventfd of SET_VRING_CALL. */
#ifndef ZV_VHOST_CALL_H
#define ZV_VHOST_CALL_H

#include <stdbool.h>

struct vhost_call {
	int fd; /* ours; -1: the driver polls */
};

/*
 * What a frontend gives as an eventfd may be anything. A write to a pipe or socket that nobody
 * reads would raise SIGPIPE; to poll a file of the frontend's own file system, or an epoll set
 * whose lock somebody holds, may take as long as the frontend likes. So nothing else is taken.
 */

/* *out: a dup of @fd; -1 for -1. 0; -errno, and -1: -EINVAL for what is no eventfd. */
int vhost_event_dup(int fd, int *out);
/* *c: a dup of @fd that never blocks. As vhost_event_dup(). */
int vhost_call_dup(int fd, struct vhost_call *c);
void vhost_call_close(struct vhost_call *c);
/* Calls the guest. False: there is no descriptor. */
bool vhost_call_send(const struct vhost_call *c);

#endif
