/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of yours (hugepages, a memory-mapped file, another library's pool) from which payload is
 * sent without a copy.
 *
 * zv_buf_alloc lends memory of the transport; this is the other way round, as memory regions of
 * RDMA, registered buffers of io_uring and external buffers of DPDK's mbufs: register it once with
 * a device, send from any place in it, and write there again when the completion says so.
 *
 * Every program runs everywhere: where the device cannot read the memory, and wherever a copy is
 * cheaper, the call copies, and the completion comes at once (ZV_MEM_COPIED). Which is which:
 *
 *   vhost-user:PATH   in place, when the memory is a file's (@fd) and the backend takes tables of
 *                     indirect descriptors (VIRTIO_F_INDIRECT_DESC): it is one more region of the
 *                     memory table that the backend has (VHOST_USER_SET_MEM_TABLE)
 *   vfio:BDF          in place, where an IOMMU translates for the device
 *                     (VIRTIO_F_ACCESS_PLATFORM; QEMU: iommu_platform=on); @fd is not needed
 *   all others        copied; likewise several sockets or devices in one URI
 *   anywhere          copied: less than ZV_MEM_INLINE bytes; connections whose payload goes through
 *                     a channel, which is memory of its own
 */
#ifndef ZVSOCK_MEM_H
#define ZVSOCK_MEM_H

#include <zvsock.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZV_MEM_MAX    6u    /* registrations of a device that are read in place; more are copied */
#define ZV_MEM_INLINE 2048u /* bytes below which a send is always a copy */

struct zv_mem;

/*
 * Registers @len bytes at @addr with @dev. @fd: the file that is mapped there, MAP_SHARED (a memfd,
 * with MFD_HUGETLB for hugepages, or a file of hugetlbfs or /dev/shm), and @offset where in it; the
 * descriptor may be closed afterwards. -1: memory without a file, which a backend that is a process
 * of this machine cannot read. @addr, @len and @offset are multiples of 4096, and for hugepages of
 * their size.
 *
 * The memory stays yours; it must stay mapped until zv_mem_unregister, or zv_close, which ends all
 * registrations of the device. The backend can read and write all of it from here on, as it can the
 * memory of the rings: register what is meant to be sent, and nothing beside it. After fork() it is
 * the parent's, as the device is.
 *
 * 0: it will be read in place. 1: payload is copied (zv_error_text says why), and all calls work
 * the same. Blocks until the backend has mapped it, five seconds at most. A device call: serialised
 * with others on the same device, while queues may be in use.
 * -EINVAL: not a multiple, empty, @fd is shorter than that. -EEXIST: it overlaps memory that is
 * registered with this device. -EBADF: @fd is none. -ENOMEM.
 */
ZV_API int zv_mem_register(struct zv_dev *dev, void *addr, size_t len, int fd, uint64_t offset,
			   struct zv_mem **mem);

/*
 * Ends a registration; *@mem is not valid afterwards. -EBUSY, and nothing is changed, while a send
 * from it has not completed, or its completion waits in zv_mem_done. A device call. NULL is
 * ignored.
 */
ZV_API int zv_mem_unregister(struct zv_mem *mem);

/*
 * Sends @len bytes at @offset of @mem, as zv_send does with the same @flags (not ZV_MORE): STREAM
 * as many as there is room for, at least 1, and returns their number; SEQPACKET one whole message
 * or nothing. One completion follows for each call that has returned >= 0, on the queue of @conn:
 * until then these bytes must not be written (the peer may see either value), and may be read. They
 * may be sent several times at once, on several connections and queues.
 * @user: comes back in the completion.
 * Errors of zv_send, without a completion; -EINVAL also: not within @mem, or of another device.
 */
ZV_API ssize_t zv_send_mem(struct zv_conn *conn, struct zv_mem *mem, size_t offset, size_t len,
			   uint32_t flags, void *user);

#define ZV_MEM_COPIED (1u << 0) /* these bytes were copied when they were sent */

struct zv_sent {
	struct zv_mem *mem;
	void *user;
	size_t len;  /* what zv_send_mem returned */
	int32_t err; /* 0: the device has done with it; -ECONNRESET: it went before that */
	uint32_t flags;
};

/*
 * Takes up to @max completions of @q; ZV_EV_SENT says that there are some. Bytes of a completion
 * may be written again. They come in the order in which the device gives them back, whatever
 * becomes of the connections meanwhile: a connection that is reset or closed leaves them pending
 * until the device has let go. A zvsock host lets go when its application has released the payload
 * (zv_buf_release), or has copied it (zv_recv). That a completion has come does not say that the
 * peer has read anything.
 *
 * When the device goes (the backend closes or dies), those that are pending end with -ECONNRESET at
 * once. A ring that the device has broken, and a backend that hangs, keep what they have until the
 * device has been connected anew, or zv_close.
 *
 * Returns their number, 0 included; -EINVAL. The queue's owner.
 */
ZV_API int zv_mem_done(struct zv_queue *q, struct zv_sent *done, unsigned max);

#ifdef __cplusplus
}
#endif

#endif
