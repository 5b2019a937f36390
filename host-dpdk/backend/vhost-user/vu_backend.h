/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vhost-user backend of one socket: turns the messages of its frontend into running pairs.
 *
 * Theory of operation
 * -------------------
 * 	vu_server    sockets and connections of all devices (vu_conn, vu_stream, vu_rules)
 * 	vu_messages  what each message means for the device; vu_rules: what it must look like
 * 	vu_device    the device's memory and rings, pairs up and down
 * 	vu_shmem     VIRTIO shared memory that the frontend is given
 * 	vu_rte       features: rte_vhost, behind a private socket
 *
 * The state of each ring is recorded: size, addresses, kicked, enabled. A pair is loaded when both
 * its rings are complete, and stopped when one no longer is. Only messages of the frontend change
 * this state. Rings that a vsock driver does not set up (the event ring with QEMU, further pairs
 * with Linux) are never waited for.
 *
 * Guest memory is mapped once for the rings of the device and once for the payload of each pair:
 * when a pair stops while the application holds buffers, its payload map is revoked (guest_mem.h),
 * and the other pairs must not be affected. rte_vhost maps none of it.
 *
 * Everything runs in the control thread (vu_server.h). It waits for an owner to leave the library
 * (bounded), never for the application.
 *
 * Pauses. A VMM stops the rings (GET_VRING_BASE, or SET_VRING_ENABLE 0) both when it pauses the VM
 * and when the driver resets the device; the messages are the same. So a stopped pair is paused
 * (vhost_pair.h), and its session continues if the same frontend starts the rings with the same
 * sizes, addresses and features, at the bases that it was told, in the same memory. Otherwise a new
 * session begins. For a ring stopped by GET_VRING_BASE the frontend must set the base.
 *
 * A driver that comes back with fewer pairs than before leaves the remaining ones stopped. They
 * would look like those of a paused VM, and whoever connects to the guest would wait for them; so
 * they are ended when one pair of the guest begins a new session.
 *
 * Restart under a live driver. A new session that begins at a used index other than 0 meets a
 * driver that was running with another backend before. Its connections do not exist here, so pair 0
 * then sends TRANSPORT_RESET on the event virtqueue, if the frontend has set it up.
 */
#ifndef ZV_VU_BACKEND_H
#define ZV_VU_BACKEND_H

#include "mem/guest_shared.h"
#include "pair/vhost_pair.h"

struct vu_dev;

struct vu_backend_config {
	const char *path; /* socket path; as server it must not exist */
	bool client;	  /* keep connecting to the frontend instead of listening */
	int fd;		  /* a connected socket instead of the path; -1: none */
	int sockmode;	  /* server: permission bits of the socket; -1: from the umask */
	uid_t user;	  /* of the frontend; (uid_t)-1: not known */
	uint64_t cid;
	/*
	 * Memory that the guest may name as a region before its VMM has mapped it (guest_shared.h);
	 * borrowed until vu_close. NULL: none. shmem_here: it is mapped by this frontend, as VIRTIO
	 * shared memory of this device.
	 */
	const struct shm_region *shmem;
	bool maps_shmem;
	bool disk;			  /* ZV_OPT_DISK_MEMORY */
	struct vhost_pair *const *queues; /* initialised; borrowed until vu_close */
	unsigned nqueues;
	/*
	 * A driver has started a new session on a paused pair, so the VM is not paused. Called by
	 * the control thread; it ends the paused pairs (vu_end_paused) of this frontend and of the
	 * other frontends of the guest, because the driver may have given them up.
	 */
	void (*restarted)(void *ctx);
	void *ctx;
};

/* 0; -EBUSY with zv_err() text about @name: devices of @user have left too much that takes long to
 * close. */
int vu_user_admitted(const char *name, uid_t user);
/* Listens or connects. 0 and *out, or -errno of vu_server_add() with zv_err() text. */
int vu_open(struct vu_dev **out, const struct vu_backend_config *c);
/* The driver of the device has died (zv_host_driver_died()). Not from the control thread. */
void vu_driver_died(struct vu_dev *d);
/* Stops all pairs, closes the connection and, as server, removes the socket. */
void vu_close(struct vu_dev *d);
/* Ends the sessions of paused pairs. From the control thread. */
void vu_end_paused(struct vu_dev *d);
/* Imports @size bytes at @gpa of guest memory as a region (guest_shared.h). Any thread. 0; or
 * -errno with zv_err() text. */
int vu_region_import(struct vu_dev *d, struct gpa gpa, uint64_t size, struct guest_shared **out);
/* Page size of guest memory; 0 while there is none. Any thread. */
uint64_t vu_page_size(struct vu_dev *d);
/* When the frontend attached (CLOCK_MONOTONIC, ns); 0: none has. Adds ZV_DEV_RAN and ZV_DEV_BLOCKED
 * to *flags. Any thread. */
uint64_t vu_attached(struct vu_dev *d, uint32_t *flags);

#endif
