/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_kernel.h"

#include "proto/vsock/vsock_device.h"
#include "transport.h"
#include "vsock_rings.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WANTED                                                                                     \
	(VSOCK_FEATURE_STREAM | VSOCK_FEATURE_SEQPACKET | VSOCK_FEATURE_EVENT_IDX |                \
	 VSOCK_FEATURE_VERSION_1) /* split rings: it has no others */

void vhost_kernel_init(struct vhost_kernel *v, const char *path, uint64_t cid)
{
	*v = (struct vhost_kernel){.path = path, .cid = cid, .fd = -1, .err_fd = -1};
}

static int open_error(const struct vhost_kernel *v, int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return zv_err(-err,
			      "vhost-kernel: there is no device %s: load the kernel module "
			      "vhost_vsock (modprobe vhost_vsock)",
			      v->path);
	case EACCES:
	case EPERM:
		return zv_err(-err,
			      "vhost-kernel: no permission for %s: it must be readable and "
			      "writable for this user, as for root or its group (often kvm)",
			      v->path);
	default:
		return zv_err(-err, "vhost-kernel: cannot open %s: %s", v->path, zv_strerror(-err));
	}
}

/* The ioctl that sets @what has failed. */
static int set_error(const struct vhost_kernel *v, int err, const char *what)
{
	return zv_err(-err, "vhost-kernel: %s does not take %s: %s", v->path, what,
		      zv_strerror(-err));
}

static int set(const struct vhost_kernel *v, unsigned long request, const void *arg,
	       const char *what)
{
	return ioctl(v->fd, request, arg) < 0 ? set_error(v, errno, what) : 0;
}

static int set_owner(const struct vhost_kernel *v)
{
	if (ioctl(v->fd, VHOST_SET_OWNER) == 0)
		return 0;
	if (errno == ENOTTY)
		return zv_err(-ENOTTY, "vhost-kernel: %s is not a vhost device", v->path);
	return set_error(v, errno, "an owner");
}

static int negotiate(struct vhost_kernel *v)
{
	uint64_t offered;

	if (ioctl(v->fd, VHOST_GET_FEATURES, &offered) < 0)
		return zv_err(-errno, "vhost-kernel: %s does not tell its features: %s", v->path,
			      zv_strerror(-errno));
	if (!(offered & VSOCK_FEATURE_VERSION_1))
		return zv_err(-EPROTONOSUPPORT,
			      "vhost-kernel: %s offers features 0x%llx, without VERSION_1 "
			      "(bit 32): use a newer kernel",
			      v->path, (unsigned long long)offered);
	v->features = offered & WANTED;
	return set(v, VHOST_SET_FEATURES, &v->features, "features that it has offered");
}

static int set_cid(const struct vhost_kernel *v)
{
	if (ioctl(v->fd, VHOST_VSOCK_SET_GUEST_CID, &v->cid) == 0)
		return 0;
	if (errno == EADDRINUSE)
		return zv_err(-EADDRINUSE,
			      "vhost-kernel: CID %llu is in use on this machine, by a VM or by "
			      "another process: choose another",
			      (unsigned long long)v->cid);
	return set_error(v, errno, "the CID");
}

int vhost_kernel_open(struct vhost_kernel *v)
{
	int ret;

	v->fd = open(v->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (v->fd < 0)
		return open_error(v, errno);
	v->err_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->err_fd < 0)
		return zv_err(-errno, "vhost-kernel: cannot make an eventfd: %s",
			      zv_strerror(-errno));
	ret = set_owner(v);
	if (ret == 0)
		ret = negotiate(v);
	return ret ? ret : set_cid(v);
}

int vhost_kernel_set_memory(struct vhost_kernel *v, const void *addr, uint64_t size, struct gpa gpa)
{
	union {
		struct vhost_memory table;
		uint8_t room[sizeof(struct vhost_memory) + sizeof(struct vhost_memory_region)];
	} m = {.table = {.nregions = 1}};

	m.table.regions[0] = (struct vhost_memory_region){.guest_phys_addr = gpa.v,
							  .memory_size = size,
							  .userspace_addr = uva_of_ptr(addr).v};
	return set(v, VHOST_SET_MEM_TABLE, &m, "the memory of rings and buffers");
}

int vhost_kernel_set_ring(struct vhost_kernel *v, unsigned index, const struct virtq_areas *ring,
			  int call_fd, int kick_fd)
{
	const struct vhost_vring_state num = {.index = index, .num = ring->size};
	const struct vhost_vring_state base = {.index = index, .num = ring->base};
	const struct vhost_vring_addr addr = {.index = index,
					      .desc_user_addr = uva_of_ptr(ring->desc).v,
					      .used_user_addr = uva_of_ptr(ring->device).v,
					      .avail_user_addr = uva_of_ptr(ring->driver).v};
	const struct vhost_vring_file call = {.index = index, .fd = call_fd};
	const struct vhost_vring_file error = {.index = index, .fd = v->err_fd};
	const struct vhost_vring_file kick = {.index = index, .fd = kick_fd};
	int ret;

	ret = set(v, VHOST_SET_VRING_NUM, &num, "the size of a ring");
	if (ret == 0)
		ret = set(v, VHOST_SET_VRING_BASE, &base, "the beginning of a ring");
	if (ret == 0)
		ret = set(v, VHOST_SET_VRING_ADDR, &addr, "the addresses of a ring");
	if (ret == 0)
		ret = set(v, VHOST_SET_VRING_CALL, &call, "the call eventfd of a ring");
	if (ret == 0)
		ret = set(v, VHOST_SET_VRING_ERR, &error, "the error eventfd of a ring");
	if (ret == 0)
		ret = set(v, VHOST_SET_VRING_KICK, &kick, "the kick eventfd of a ring");
	return ret;
}

int vhost_kernel_run(struct vhost_kernel *v)
{
	const int on = 1;

	return set(v, VHOST_VSOCK_SET_RUNNING, &on, "its rings");
}

void vhost_kernel_close(struct vhost_kernel *v)
{
	const int off = 0;

	if (v->fd >= 0) {
		/* A child that the application has forked may keep the file open. */
		(void)ioctl(v->fd, VHOST_VSOCK_SET_RUNNING, &off);
		(void)close(v->fd);
	}
	if (v->err_fd >= 0)
		(void)close(v->err_fd);
	v->fd = v->err_fd = -1;
}
