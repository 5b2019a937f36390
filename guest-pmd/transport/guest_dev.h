/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Common part of all transports of the guest's side.
 *
 * Theory of operation
 * -------------------
 * A transport finds a virtio-vsock device and passes it rings and buffers, and the driver
 * (vsock_drv.h) moves packets over them. Everything else is the same whether the device is at the
 * other end of a socket or on a PCI bus:
 *
 *	guest_dev      one region of memory with all rings and buffers, the pairs and their
 *	               eventfds; open, drain, close
 *	guest_control  the control thread: events, the loss of the device, its return
 *	guest_watchdog detects a device that no longer uses transmit buffers
 *	guest_region   shared memory that the backend announces
 *	own_region     shared memory that this side offers to the backend
 *	guest_alive    whether the processes of driver and host live
 *	app_mem        memory of the application that the device reads in place
 *	guest_bond     several devices of one CID as one device with a queue each
 *
 * What differs is a table of functions, struct guest_link_ops. A transport is a folder with such a
 * table and with the struct transport_ops that registers its URI (builtin.c lists those). Its
 * device embeds struct guest_dev as the first member; open() parses the URI and calls
 * guest_dev_open(), and the other entries are functions of this file.
 *
 * A device goes through map, connect, start, ..., disconnect. The control thread repeats this from
 * connect() on until the device is closed. The device keeps its memory all that time, because
 * buffers may be on loan; its rings are reset each time.
 */
#ifndef ZV_GUEST_DEV_H
#define ZV_GUEST_DEV_H

#include "app_mem.h"
#include "guest_region.h"
#include "guest_watchdog.h"
#include "own_region.h"
#include "shm_ring.h"
#include "vsock_drv.h"

#include <pthread.h>
#include <stdbool.h>

struct guest_dev;

/* A part of the device's memory, contiguous for the CPU and for the device. */
struct guest_part {
	size_t size;	/* in: bytes, > 0 */
	bool ring;	/* in: it is a ring, which some devices need in one piece */
	void *addr;	/* out: zeroed, VIRTQ_ALIGN aligned */
	struct iova at; /* out: its address for the device */
};

#define GUEST_PARTS_MAX (2 + 4 * ZV_QUEUES_MAX)

/*
 * How a transport reaches its device. Called by one thread at a time: that of open, then the
 * control thread.
 */
struct guest_link_ops {
	/*
	 * Allocates the device's memory, once; sets d->page_size. destroy() frees it. 0; or -errno
	 * with zv_err() text. NULL: all parts are in one region that can be shared, d->mem, and
	 * map() is called.
	 */
	int (*alloc)(struct guest_dev *d, struct guest_part *parts, unsigned n);
	/*
	 * d->mem has been allocated, and does not move until destroy(): makes it available to the
	 * device and sets d->iova. 0; or -errno with zv_err() text.
	 */
	int (*map)(struct guest_dev *d);
	/*
	 * Returns how virtqueue @vq is kicked; called once, after the memory has been allocated.
	 * NULL: by eventfds, which are created here and passed on by start().
	 */
	struct virtq_notify (*kick)(struct guest_dev *d, unsigned vq);
	/*
	 * Connects to the device and negotiates features; d->d.nqueues pairs are needed. Fills in
	 * d->has and the CID (guest_dev_set_cid()). Stops waiting when d->stop_fd is readable. 0;
	 * or -errno with zv_err() text, which zv_open() passes on (-ECANCELED: stop_fd).
	 */
	int (*connect)(struct guest_dev *d);
	/*
	 * Passes the memory, the rings of all pairs, and the event ring if d->has.events to the
	 * device. 0: the device runs them; -errno as above.
	 */
	int (*start)(struct guest_dev *d);
	/*
	 * Makes the device stop using the rings. May be called at any time, also without a
	 * connection.
	 */
	void (*disconnect)(struct guest_dev *d);
	/*
	 * Reads the CID again, after TRANSPORT_RESET. 0; or -errno as above: the device is lost.
	 * NULL: d->has.events is never set.
	 */
	int (*read_cid)(struct guest_dev *d);
	/* Readable when something has happened to the connection; -1: there is no connection. */
	int (*fd)(struct guest_dev *d);
	/* To be called when fd() is readable. NULL, or why the device is lost. */
	const char *(*lost)(struct guest_dev *d);
	/*
	 * Maps a region that the backend has announced; control thread. 0, and the caller owns
	 * *out; -errno with zv_err() text. NULL: the device has no regions, and its
	 * transport_ops.regions is NULL.
	 */
	int (*region)(struct guest_dev *d, const struct ctrl_region *r, struct shm_region *out);
	/* Further work of the transport when regions.fd was readable. May be NULL. */
	void (*serve)(struct guest_dev *d);
	/*
	 * Passes the connected device all memory that it is to have from now on, including the
	 * application's (app_mem.h), while the rings run. 0: done; -errno with zv_err() text. NULL:
	 * the device accepts no application memory.
	 */
	int (*set_memory)(struct guest_dev *d);
	/* Frees the structure that embeds @d and what the transport keeps in it. */
	void (*destroy)(struct guest_dev *d);
	/*
	 * A VMM is between driver and backend, and notifies neither when the other has gone: a
	 * watchdog checks that transmit buffers are used, and close drains the rings.
	 */
	bool silent;
};

/* What connect() has learned about the device. */
struct guest_features {
	const struct vsock_rings *rings; /* the layout of all its rings */
	bool event_idx;
	bool events;		/* it gets the event queue */
	bool tables;		/* it supports tables of indirect descriptors */
	bool returns_unwritten; /* may return receive buffers unwritten: rx_wipe in vsock_drv.h */
};

struct guest_dev {
	struct transport_dev d; /* first */
	/* Set by the transport before guest_dev_open(). */
	const struct guest_link_ops *link;
	const char *scheme;    /* URI scheme: "vhost-user"... */
	const char *name;      /* name of the device for messages */
	struct own_region own; /* own_region_find(), own_region_make() */
	/* Set by guest_dev_open() for connect(): feature bits of the ring layouts to ask for. */
	uint64_t want_rings;
	/* Set by map(). */
	struct iova iova; /* of the first byte of mem */
	/* Set by connect() and read_cid(). */
	struct guest_features has;
	uint64_t guest_cid; /* guest_dev_set_cid() */
	/* Private to guest_dev; start() reads it. */
	struct shm_region mem;	 /* fd -1: allocated by alloc() */
	uint64_t page_size;	 /* behind rings and buffers */
	struct vsock_pair *pair; /* d.nqueues of them */
	struct vsock_events ev;
	struct guest_watchdog watchdog;
	struct guest_regions regions;
	struct app_mems app;
	bool gone;   /* after lost() or disconnect(): the device can no longer read this memory */
	int stop_fd; /* readable: the device is being closed */
	struct zv_log_limit log; /* of the control thread, for lines that the device can cause */
	pthread_t thread;
	bool thread_runs;
};

/*
 * Builds the device according to @opts, connects it and starts its control thread. 0; or -errno
 * with zv_err() text, and then the device has been destroyed.
 */
int guest_dev_open(struct guest_dev *d, const struct zv_opts *opts);

static inline void guest_dev_set_cid(struct guest_dev *d, uint64_t cid)
{
	__atomic_store_n(&d->guest_cid, cid, __ATOMIC_RELEASE);
}

/*
 * For guest_link_ops.map of a process that is its own VMM, and so without VIRTIO_F_ACCESS_PLATFORM:
 * d->mem begins at this guest-physical address. It differs from all addresses of the process, so
 * that a descriptor's address is not mistaken for a ring's (a user address) unnoticed, and it is
 * not 0, which remains invalid.
 */
#define GUEST_GPA_BASE ((struct gpa){0x40000000ull})
/* The region that this side offers begins here, above the largest possible d->mem. */
#define GUEST_GPA_REGION ((struct gpa){1ull << 44})
int guest_dev_map_gpa(struct guest_dev *d);

/* For struct transport_ops, with vsock_fd(). */
void guest_dev_close(struct transport_dev *d);
uint64_t guest_dev_cid(struct transport_dev *d);
uint64_t guest_dev_page_size(struct transport_dev *d);
struct transport_queue *guest_dev_queue(struct transport_dev *d, unsigned i);

#endif
