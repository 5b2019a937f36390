/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sending without a copy from the application's own memory (hugepages, a memory-mapped file,
 * another library's pool).
 *
 * zv_buf_alloc lends memory of the transport; this is the opposite, like memory regions of RDMA,
 * registered buffers of io_uring and external buffers of DPDK's mbufs: register memory once with a
 * device, send from any place in it, and write there again after the completion.
 *
 * Programs need not distinguish: where the device cannot read the memory, and wherever a copy is
 * cheaper, the call copies, and the completion comes at once (ZV_MEM_COPIED). In detail:
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
 * with MFD_HUGETLB for hugepages, or a file of hugetlbfs or /dev/shm), and @offset the position in
 * it; the descriptor may be closed afterwards. -1: memory without a file, which a backend process
 * on this machine cannot read. @addr, @len and @offset are multiples of 4096, or of the page size
 * for hugepages.
 *
 * The memory still belongs to the application. It must stay mapped until zv_mem_unregister, or
 * zv_close, which ends all registrations of the device. From now on the backend can read and write
 * all of it, like the memory of the rings: register only what is meant to be sent. After fork() it
 * belongs to the parent, as the device does.
 *
 * 0: it will be read in place. 1: payload is copied (zv_error_text says why), and all calls work
 * the same. Blocks until the backend has mapped it, five seconds at most. A device call: serialised
 * with others on the same device, while queues may be in use. -EINVAL: not a multiple, empty, or
 * @fd is too short. -EEXIST: it overlaps memory that is registered with this device. -EBADF: @fd is
 * no descriptor. -ENOMEM.
 */
ZV_API int zv_mem_register(struct zv_dev *dev, void *addr, size_t len, int fd, uint64_t offset,
			   struct zv_mem **mem);

/*
 * Ends a registration; @mem is invalid afterwards. -EBUSY, with nothing changed, while a send from
 * it has not completed, or its completion waits in zv_mem_done. A device call. NULL is ignored.
 */
ZV_API int zv_mem_unregister(struct zv_mem *mem);

/*
 * Sends @len bytes at @offset of @mem, as zv_send does with the same @flags (but not ZV_MORE):
 * STREAM as many as there is room for, at least 1, and returns their number; SEQPACKET one whole
 * message or nothing. Each call that returns >= 0 is followed by one completion on the queue of
 * @conn. Until then these bytes must not be written (the peer might see either value), but may be
 * read, and may be sent several times at once, on several connections and queues. @user is returned
 * in the completion. Errors of zv_send, without a completion; -EINVAL also: not within @mem, or of
 * another device.
 */
ZV_API ssize_t zv_send_mem(struct zv_conn *conn, struct zv_mem *mem, size_t offset, size_t len,
			   uint32_t flags, void *user);

#define ZV_MEM_COPIED (1u << 0) /* these bytes were copied when they were sent */

struct zv_sent {
	struct zv_mem *mem;
	void *user;
	size_t len;  /* what zv_send_mem returned */
	int32_t err; /* 0: the device is done with it; -ECONNRESET: it went before that */
	uint32_t flags;
};

/*
 * Takes up to @max completions of @q; ZV_EV_SENT reports that there are some. The bytes of a
 * completion may be written again. Completions come in the order in which the device returns the
 * bytes, whatever happens to the connections meanwhile: if a connection is reset or closed, its
 * completions stay pending until the device has returned the bytes. A zvsock host returns them when
 * its application has released the payload (zv_buf_release) or copied it (zv_recv). A completion
 * does not mean that the peer has read anything.
 *
 * When the device goes (the backend closes or dies), pending sends complete with -ECONNRESET at
 * once. If the device has broken a ring, or the backend hangs, they stay pending until the device
 * is connected anew, or zv_close.
 *
 * Returns the number of completions, possibly 0; -EINVAL. Must be called by the queue's owner.
 */
ZV_API int zv_mem_done(struct zv_queue *q, struct zv_sent *done, unsigned max);

#ifdef __cplusplus
}
#endif

#endif
