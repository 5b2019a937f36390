/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * VIRTIO shared memory that the frontend is given for its driver (vhost-user, SHMEM_MAP).
 *
 * A frontend that has negotiated the feature asks for the size once (GET_SHMEM_CONFIG), when it
 * creates the device. The memory itself must be sent each time the driver has started the device,
 * because the frontend forgets the mapping at a reset. So it is sent when a pair runs, unless the
 * memory table, which a frontend sets before it starts the rings, already contains it; after a
 * pause it does. (QEMU 11.1 crashes if the message comes while the rings are stopped, or before it
 * could start them.)
 *
 * No reply is requested: the channel is shut down in that direction, so no reply can be lost or
 * forged. The memory table shows that the memory is mapped: it then has a guest-physical address. A
 * VMM that fails says so in its own log, and whoever waits for the region is told after a timeout.
 *
 * A descriptor that was sent and not received counts against what this process may have in transit.
 * So at most one is pending, whatever channels the frontends of the device have had.
 */
#include "vu_device.h"

#include "fd_send.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define AGAIN_NS 100000000u
#define NEEDED	 (VU_PROTOCOL_SHMEM | VU_PROTOCOL_BACKEND_REQ | VU_PROTOCOL_BACKEND_SEND_FD)

/* 0 or -errno. */
static int send_map(int channel, int fd, uint64_t size)
{
	struct vu_msg m = {
		.request = VU_BACKEND_SHMEM_MAP,
		.flags = VU_VERSION,
		.size = sizeof(m.payload.shmem_map),
		.payload.shmem_map = {.id = VSOCK_SHM_ID, .len = size, .flags = VU_SHMEM_MAP_RW}};
	ssize_t len = (ssize_t)vu_msg_len(&m), n = fd_send(channel, &m, (size_t)len, fd);

	return n == len ? 0 : n < 0 ? -errno : -EPIPE;
}

/* The other end has not read all that was sent there, and is open. */
static bool unread(int channel)
{
	int bytes = 0;

	return channel >= 0 && ioctl(channel, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* 0; -EAGAIN: later; -errno: it will not be. */
static int send_due(struct vu_dev *d)
{
	int channel, ret;

	if (unread(d->shmem_fd))
		return -EAGAIN;
	channel = fcntl(d->backend_fd, F_DUPFD_CLOEXEC, 0);
	if (channel < 0)
		return -EAGAIN;
	ret = send_map(channel, d->shares.host_shm->fd, d->terms.shmem);
	if (ret < 0) {
		(void)close(channel);
		return ret == -EWOULDBLOCK || ret == -EINTR || ret == -ETOOMANYREFS ||
				       ret == -ENOMEM || ret == -ENOBUFS
			       ? -EAGAIN
			       : ret;
	}
	vu_drop_fd(d, d->shmem_fd);
	d->shmem_fd = channel;
	return 0;
}

static bool runs(const struct vu_dev *d)
{
	for (unsigned i = 0; i < d->nqueues; i++)
		if (d->queues[i]->loaded && !d->queues[i]->paused)
			return true;
	return false;
}

void vu_shmem_check(struct vu_dev *d)
{
	int ret;

	if (d->shmem != VU_SHMEM_DUE || d->backend_fd < 0 || !runs(d))
		return;
	ret = send_due(d);
	if (ret == -EAGAIN) {
		vu_server_again(d->socket, AGAIN_NS);
		return;
	}
	d->shmem = VU_SHMEM_SENT;
	if (ret < 0)
		zv_log_limited(&d->log, ZV_LOG_WARN,
			       "%s: the VMM does not take the shared memory for its driver "
			       "(SHMEM_MAP): %s",
			       d->path, zv_strerror(ret));
	else
		zv_log_limited(&d->log, ZV_LOG_INFO,
			       "%s: %llu MiB of shared memory were sent to the VMM for its driver",
			       d->path, (unsigned long long)d->terms.shmem >> 20);
}

void vu_shmem_table(struct vu_dev *d)
{
	if (!d->terms.shmem || (d->protocol & NEEDED) != NEEDED || d->shmem != VU_SHMEM_IDLE ||
	    guest_shares_has_host_shm(&d->shares))
		return;
	d->shmem = VU_SHMEM_DUE;
	vu_shmem_check(d);
}

void vu_shmem_stop(struct vu_dev *d)
{
	d->shmem = VU_SHMEM_IDLE;
}
