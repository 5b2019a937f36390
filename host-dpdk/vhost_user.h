/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user backend of one socket, on top of rte_vhost. Its two parts (vhost_user.c: messages
 * and connections; vu_device.c: memory and pairs) are the only users of rte_vhost.h.
 *
 * Theory of operation
 * -------------------
 * rte_vhost speaks the protocol; it was written for network devices, and calls back at moments
 * that suit these. This module therefore ignores new_device, destroy_device and
 * vring_state_changed: the first waits for rings that a vsock driver may never use, the last flips
 * on every SET_VRING_CALL, which a VMM sends whenever an interrupt is masked. Instead it watches
 * the messages themselves (the handlers before and after rte_vhost's own) and keeps its own
 * picture of each ring: size, addresses, kicked, enabled. A pair is loaded when both its rings are
 * complete, and stopped when one no longer is.
 *
 * Guest memory is mapped by us, twice: one map of the device for the rings, and one for each pair
 * for payload, because a pair that stops while the application holds buffers has its payload map
 * revoked (guest_mem.h), and the other pairs must not notice. So nothing of ours depends on
 * rte_vhost's own map, which comes and goes without notice; a new memory table is taken over after
 * rte_vhost has accepted it.
 *
 * All callbacks come from rte_vhost's one thread (a new connection in client mode from the one that
 * reconnects, before there are messages on it), with its ring locks held for most messages:
 * nothing here calls the functions that take them (rte_vhost_vring_call and relatives). They wait
 * for an owner to leave the library (bounded), never for the application.
 *
 * Restart under a live driver. A session that begins at a used index other than 0 meets a driver
 * that has been running with somebody before (a stopped and continued VM, a backend that died).
 * Its connections are gone here, so pair 0 then sends TRANSPORT_RESET on the event virtqueue, if
 * the frontend has handed that over.
 */
#ifndef ZV_VHOST_USER_H
#define ZV_VHOST_USER_H

#include "vsock_dev.h"

struct vu_dev;

struct vu_config {
	const char *path; /* of the socket; as server it must not exist */
	bool client;	  /* connect to the frontend, again and again, instead of listening */
	int sockmode;	  /* server: permission bits of the socket; -1: as umask has them */
	uint64_t cid;
	struct hq *const *queues; /* initialised; borrowed until vu_close */
	unsigned nqueues;
};

/* Listens or connects. 0 and *out, -ENOMEM, -EADDRINUSE or -EIO with zv_err() text. */
int vu_open(struct vu_dev **out, const struct vu_config *c);
/* Stops all pairs, closes the connection and, as server, removes the socket. */
void vu_close(struct vu_dev *d);
/* Page size of guest memory; 0 while there is none. Any thread. */
uint64_t vu_page_size(struct vu_dev *d);

#endif
