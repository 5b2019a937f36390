/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef ZV_EAL_H
#define ZV_EAL_H

#include <sys/queue.h>

/*
 * Initialises EAL, unless that has been done; its log lines go to zv_log(). 0, -ENOMEM or -EIO
 * with zv_err() text. Idempotent; any thread.
 */
int eal_start(void);

/* A device of rte_vhost. DPDK log lines that contain its path in brackets are passed on as lines of
 * @name, so they count as those of the guest that caused them: "NAME: dpdk: ...". */
struct eal_device {
	const char *path; /* as rte_vhost knows it */
	const char *name;
	TAILQ_ENTRY(eal_device) link;
};

/* @d and its strings must stay valid until eal_device_remove(). Any thread. */
void eal_device_add(struct eal_device *d);
void eal_device_remove(struct eal_device *d);

#endif
