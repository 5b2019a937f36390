/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host side in your own process: registers the `host:` device URI (libzvsock-host).
 */
#ifndef ZVSOCK_HOST_H
#define ZVSOCK_HOST_H

#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Registers the `host:` transport and, unless the application has initialised EAL itself, runs
 * rte_eal_init with "--no-huge --no-pci" (EAL memory is not used on the data path). Idempotent.
 * Call it before pinning threads: EAL binds the calling thread to a CPU, which is undone before the
 * call returns. 0, -ENOMEM, -EIO (EAL refused; zv_error_text says why).
 *
 * All descriptors of this library are close-on-exec: neither guest memory nor sockets reach a
 * program that the process executes. DPDK's own descriptors are marked right after DPDK has opened
 * them (as is whatever else is opened during zv_host_init), so do not execute programs during this
 * call.
 */
ZV_API int zv_host_init(void);

/*
 * A region: memory of a guest that programs of the host can map too, such as an NVDIMM. It is
 * reference-counted, and stays mapped at the same address until the last put, whatever happens to
 * the guest and the device.
 */
struct zv_host_region;

#define ZV_HOST_REGION_GONE (1u << 0) /* the guest no longer has it: give it up */
#define ZV_HOST_REGION_TRUNCATED                                                                   \
	(1u << 1)			 /* its file was made shorter: zeroes took its place here  \
					  */
#define ZV_HOST_REGION_PENDING (1u << 2) /* the VMM has not mapped it yet */

struct zv_host_region_info {
	void *addr;    /* of its first byte in this process */
	uint64_t size; /* bytes */
	uint64_t gpa;  /* of its first byte */
	/* Which memory it is. Equal in all three: the same bytes, whichever guests have it. */
	uint64_t dev, ino, fd_offset;
	uint64_t page_size; /* behind it */
	int32_t fd;	/* of its file, in which it begins at fd_offset; closed by the last put */
	uint32_t state; /* ZV_HOST_REGION_*; it can change at any time */
	uint64_t reserved[4];
};

/*
 * Maps @size bytes at guest-physical address @gpa, as offered by a driver on @queue
 * (ZV_BROKER_OFFER). Both values come from the driver and are not trusted. They are looked up in
 * the memory that the VMM has shared: the region must be contiguous in a file that is a memfd or on
 * tmpfs or hugetlbfs, backs nothing else of the guest, holds no ring, and is sealed against
 * truncation where that is possible (F_SEAL_SHRINK). Guest RAM is never accepted. zv_catch_sigbus()
 * protects this process from files that cannot be sealed. VIRTIO shared memory with which the
 * device was opened ("region=64M" in its URI) is accepted even before the VMM has mapped it, and is
 * pending until then. Importing the same memory twice returns the same region. Any thread; it maps,
 * but does not wait for a peer.
 *
 * 0 and *out; or -ENXIO (not there), -EPERM (RAM; not sealed), -EINVAL (not in memory, not aligned
 * to its pages, or truncated), -EACCES (read-only), -ENOMEM, -EMFILE, -EOPNOTSUPP (no `host:`
 * device).
 */
ZV_API int zv_host_region_import(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
				 struct zv_host_region **out);

/* Any thread. The descriptor still belongs to the region. */
ZV_API void zv_host_region_get_info(const struct zv_host_region *r,
				    struct zv_host_region_info *info);

/*
 * Size of the end of a region, in which driver and host say that they are alive: do not use it
 * otherwise.
 */
#define ZV_HOST_REGION_RESERVED 4096u

/*
 * Whether the driver process of guest @cid, which has offered this region, has died although its VM
 * goes on; the guest's kernel records that in the region (docs/protocol.md, "The death of a
 * driver"). 1, once for each death; otherwise 0. Call it periodically; any thread.
 */
ZV_API int zv_host_region_orphaned(const struct zv_host_region *r, uint64_t cid);

/*
 * From now on the driver of guest @cid, which has offered this region, learns of the end of this
 * process, however it ends; this process's kernel records that in the region (docs/protocol.md,
 * "The death of the device"). The first call for a region creates a thread that only sleeps. Call
 * it before the region is announced, and periodically: the driver may have taken another slot at
 * the end of the region. Any thread; it does not wait for a peer.
 */
ZV_API void zv_host_region_serve(struct zv_host_region *r, uint64_t cid);

/*
 * Ends all sessions of the device, including those of a VM that seems to be paused, because their
 * driver has died: connections fail with -ECONNRESET, and ZV_BROKER_GONE is reported on all queues.
 * Any thread, while the device is open. 0, -EINVAL (no `host:` device).
 */
ZV_API int zv_host_driver_died(struct zv_dev *dev);

/*
 * A queue whose guest's memory makes the calling thread sleep (docs/threat-model.md, "Memory that
 * is changed under zvsockd"). Both by the owner of the queue, outside its calls.
 *
 * zv_host_queue_watch: @watch(@arg, true) runs at the beginning of each call on the queue, and
 * @watch(@arg, false) at the end, on the thread that calls; it must not call. NULL: no longer.
 *
 * zv_host_queue_rest: while the queue rests, calls on it find nothing to receive and no room to
 * send, and touch no memory of the guest but for buffers that are taken already. Notifications of
 * the guest are lost meanwhile: poll when the rest is over. May be called by @watch.
 */
ZV_API void zv_host_queue_watch(struct zv_dev *dev, unsigned queue,
				void (*watch)(void *arg, bool enters), void *arg);
ZV_API void zv_host_queue_rest(struct zv_dev *dev, unsigned queue, bool rests);

/*
 * For how long between @since and @now (CLOCK_MONOTONIC, ns) threads of this library, but not the
 * caller, mapped memory of guests, or had begun before to work with it: those that still do, and
 * the last ones that have slept. They may have kept the lock of the process's address space, and
 * whoever waited for it did so for that guest. Any thread.
 */
ZV_API uint64_t zv_host_others_took(uint64_t since, uint64_t now);

/*
 * The guests whose drivers may still hold payload in this region from before this process was
 * started: an earlier process has served them by zv_host_region_serve() and died, and none has done
 * so since. Up to @n (64 are possible) CIDs go to @cids. Returns their number. Any thread.
 */
ZV_API unsigned zv_host_region_lent(const struct zv_host_region *r, uint64_t *cids, unsigned n);

/* Drops a reference; the last one unmaps the region. NULL is allowed. Any thread. */
ZV_API void zv_host_region_put(struct zv_host_region *r);

#ifdef __cplusplus
}
#endif

#endif
