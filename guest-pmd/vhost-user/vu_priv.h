/* SPDX-License-Identifier: BSD-3-Clause */
/* The vhost-user device: what vu_transport.c builds and vu_control.c keeps running. */
#ifndef ZV_VU_PRIV_H
#define ZV_VU_PRIV_H

#include "frontend.h"
#include "shm_region.h"
#include "vsock_drv.h"

#include <pthread.h>

/*
 * Where the region begins in guest-physical addresses. They are not the process's own addresses, so
 * that a descriptor address and a ring address (which the protocol wants as user addresses) cannot
 * be mistaken for one another without being noticed, and not 0, which stays invalid.
 */
#define VU_GPA_BASE 0x40000000ull

struct vu_dev {
	struct transport_dev d; /* first */
	struct frontend fe;
	struct shm_region mem;
	struct vsock_pair *pair; /* d.nqueues of them */
	struct vsock_events ev;
	bool ev_used; /* the backend has the event ring */
	int stop_fd;  /* readable: the device is being closed; fe.cancel_fd is the same */
	pthread_t thread;
	bool thread_runs;
};

/*
 * Connects, shakes hands and starts all pairs on fresh rings. 0, or -errno with zv_err() text; then
 * the connection is closed and the pairs are down.
 */
int vu_bring_up(struct vu_dev *dev);

/* Starts the control thread of a device that is up. 0 or -errno with zv_err() text. */
int vu_control_start(struct vu_dev *dev);
/* Stops it and waits for it; takes no longer than one message. */
void vu_control_stop(struct vu_dev *dev);

#endif
