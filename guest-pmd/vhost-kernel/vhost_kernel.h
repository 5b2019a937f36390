/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's vsock device, /dev/vhost-vsock: an open file is one device, with one queue pair and
 * no event queue, served by a kernel thread (<linux/vhost.h>). The process that opens it acts as
 * the VMM. Programs reach the device by AF_VSOCK sockets, at its CID.
 *
 * No call waits for a peer. All return 0 or -errno with zv_err() text.
 */
#ifndef ZV_VHOST_KERNEL_H
#define ZV_VHOST_KERNEL_H

#include "virtqueue.h"

#include <stdint.h>

#define VHOST_KERNEL_PATH "/dev/vhost-vsock"

struct vhost_kernel {
	const char *path;
	uint64_t cid;
	int fd;	    /* -1: not open */
	int err_fd; /* eventfd: signalled when the kernel finds a ring broken; -1: not open */
	uint64_t features; /* as negotiated */
};

void vhost_kernel_init(struct vhost_kernel *v, const char *path, uint64_t cid);

/*
 * Opens the device, negotiates features and takes the CID. -ENOENT, -ENODEV, -ENXIO (there is no
 * device), -EACCES, -EPERM, -ENOTTY (@path is something else), -EPROTONOSUPPORT, -EADDRINUSE (the
 * CID is in use) and other system errors. Call vhost_kernel_close() after a failure, too.
 */
int vhost_kernel_open(struct vhost_kernel *v);

/* Gives it the memory at @addr, which is guest address @gpa. */
int vhost_kernel_set_memory(struct vhost_kernel *v, const void *addr, uint64_t size,
			    struct gpa gpa);

/* Hands over a fresh ring as virtqueue @index (0 or 1). */
int vhost_kernel_set_ring(struct vhost_kernel *v, unsigned index, const struct virtq_areas *ring,
			  int call_fd, int kick_fd);

/* Starts the device on the rings. */
int vhost_kernel_run(struct vhost_kernel *v);

/*
 * When this returns, the device no longer uses rings and memory, and the CID is free. Harmless when
 * closed.
 */
void vhost_kernel_close(struct vhost_kernel *v);

#endif
