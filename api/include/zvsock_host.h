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
 * rte_eal_init with "--no-huge --no-pci" (EAL memory is off the data path). Idempotent. Call it
 * before threads are pinned: EAL binds the calling thread to a CPU, which is undone before return.
 * 0, -ENOMEM, -EIO (EAL refused; zv_error_text says why).
 *
 * Every descriptor of this library is closed on exec: neither guest memory nor sockets reach a
 * program that the process executes. DPDK's own are marked right after it has opened them (whatever
 * else is opened during zv_host_init is as well), so do not execute programs during this call.
 */
ZV_API int zv_host_init(void);

/*
 * A region: memory of a guest that programs of the host can map too, such as an NVDIMM. It is
 * counted, and stays what and where it is until it is put, whatever becomes of guest and device.
 */
struct zv_host_region;

#define ZV_HOST_REGION_GONE (1u << 0) /* the guest does not have it any more: give it up */
#define ZV_HOST_REGION_CUT_OFF                                                                     \
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
 * Maps @size bytes at guest-physical address @gpa, as a driver offers them on @queue
 * (ZV_BROKER_OFFER). Both are a driver's word, so they are looked up in the memory that the VMM has
 * shared: all of it must lie in one piece, whose file is a memfd or on tmpfs or hugetlbfs, backs
 * nothing else of the guest, holds no ring, and is sealed against being made shorter where it can
 * be (F_SEAL_SHRINK). Guest RAM is never taken. zv_catch_sigbus() protects this process from files
 * that cannot be sealed. VIRTIO shared memory with which the device was opened ("region=64M" in its
 * URI) is also taken before the VMM has mapped it, and is pending until then. Asked twice for the
 * same, it gives the same. Any thread; maps, but does not wait for a peer. 0 and *out; or -ENXIO
 * (not there), -EPERM (RAM; not sealed), -EINVAL (not in memory, not aligned to its pages, or cut
 * off), -EACCES (read-only), -ENOMEM, -EMFILE, -EOPNOTSUPP (no `host:` device).
 */
ZV_API int zv_host_region_import(struct zv_dev *dev, unsigned queue, uint64_t gpa, uint64_t size,
				 struct zv_host_region **out);

/* Any thread. The descriptor stays the region's. */
ZV_API void zv_host_region_get_info(const struct zv_host_region *r,
				    struct zv_host_region_info *info);

/* At the end of a region, where a driver says that it lives: nothing else may be there. */
#define ZV_HOST_REGION_KEPT 4096u

/*
 * The process of the driver of the guest @cid, which has offered this region, has died, although
 * its VM goes on: the guest's kernel says so there (docs/protocol.md, "The death of a driver"). 1,
 * once for each death; 0. To be asked now and then, by any thread.
 */
ZV_API int zv_host_region_orphaned(const struct zv_host_region *r, uint64_t cid);

/*
 * Ends all sessions of the device, those of a VM that seems to be paused too, because their driver
 * has died: connections fail with -ECONNRESET, and ZV_BROKER_GONE is reported on all queues. Any
 * thread, while the device is open. 0, -EINVAL (no `host:` device).
 */
ZV_API int zv_host_driver_died(struct zv_dev *dev);

/* Drops what an import gave; unmaps with the last. NULL is allowed. Any thread. */
ZV_API void zv_host_region_put(struct zv_host_region *r);

#ifdef __cplusplus
}
#endif

#endif
