/* SPDX-License-Identifier: BSD-3-Clause */
#include "vfio_iommu.h"

#include "iommufd_abi.h"
#include "iova_space.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RANGES_MAX 16u

struct vfio_iommu {
	struct vfio_iommu *next; /* of those that are open */
	unsigned refs;
	int group;     /* number; -1: not in the list yet */
	int fd;	       /* of the container, or /dev/iommu */
	int group_fd;  /* -1: iommufd */
	uint32_t ioas; /* iommufd: its address space; 0: none yet */
	struct iova_space space;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vfio_iommu *open_groups;

/* ---- IOVA ---- */

int vfio_iommu_iova(struct vfio_iommu *m, uint64_t len, struct iova *at)
{
	(void)pthread_mutex_lock(&lock);
	at->v = iova_space_alloc(&m->space, len);
	(void)pthread_mutex_unlock(&lock);
	return at->v ? 0 : -ENOSPC;
}

void vfio_iommu_iova_put(struct vfio_iommu *m, uint64_t len, struct iova at)
{
	(void)pthread_mutex_lock(&lock);
	iova_space_free(&m->space, at.v, len);
	(void)pthread_mutex_unlock(&lock);
}

/* ---- groups and containers ---- */

/*
 * Reads the ranges in the capability at @at of the @len bytes of @buf. The kernel aligns a
 * capability to 4 bytes only, but its contents need 8, so they are copied.
 */
static void use_ranges(struct vfio_iommu *m, const uint8_t *buf, size_t len, size_t at)
{
	struct vfio_iommu_type1_info_cap_iova_range cap;
	struct vfio_iova_range r;

	if (at + sizeof(cap) > len)
		return;
	memcpy(&cap, buf + at, sizeof(cap));
	at += sizeof(cap);
	for (uint32_t i = 0; i < cap.nr_iovas && at + sizeof(r) <= len; i++, at += sizeof(r)) {
		memcpy(&r, buf + at, sizeof(r));
		iova_space_range(&m->space, r.start, r.end);
	}
}

/* The ranges of a container, from the capability chain of VFIO_IOMMU_GET_INFO. */
static int container_ranges(struct vfio_iommu *m)
{
	struct vfio_info_cap_header h;
	struct {
		struct vfio_iommu_type1_info info;
		uint8_t caps[4096];
	} buf = {.info = {.argsz = sizeof(buf)}};
	uint32_t at, left = 64;

	if (ioctl(m->fd, VFIO_IOMMU_GET_INFO, &buf.info) < 0)
		return -errno;
	at = buf.info.flags & VFIO_IOMMU_INFO_CAPS ? buf.info.cap_offset : 0;
	while (at && left-- && at + sizeof(h) <= sizeof(buf)) {
		memcpy(&h, (const uint8_t *)&buf + at, sizeof(h));
		if (h.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			use_ranges(m, (const uint8_t *)&buf, sizeof(buf), at);
		at = h.next;
	}
	if (!m->space.next) /* an old kernel: assume 39 bits, the minimum of IOMMUs of PCs */
		iova_space_range(&m->space, 0, (1ull << 39) - 1);
	return 0;
}

static int group_fail(const struct pci_info *i, int err, const char *path)
{
	const char *mend = "";

	if (err == -ENOENT && strcmp(path, "/dev/iommu") == 0)
		mend = "; load the module iommufd";
	else if (err == -ENOENT)
		mend = "; load the module vfio-pci (zv-bind bind does)";
	else if (err == -EACCES || err == -EPERM)
		mend = "; run as root, or let root give the file to you with chown";
	else if (err == -EBUSY)
		mend = "; another program has the group open";
	return zv_err(err, "vfio:%s: %s: %s%s", i->bdf, path, zv_strerror(err), mend);
}

static int open_group(struct vfio_iommu *m, const struct pci_info *i)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/vfio/%d", i->iommu_group);
	m->group_fd = open(path, O_RDWR | O_CLOEXEC);
	if (m->group_fd < 0)
		return group_fail(i, -errno, path);
	if (ioctl(m->group_fd, VFIO_GROUP_GET_STATUS, &status) < 0)
		return group_fail(i, -errno, path);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return zv_err(
			-EPERM,
			"vfio:%s: IOMMU group %d is not viable: another device of it is bound to a "
			"driver of the kernel; bind all devices listed in "
			"/sys/kernel/iommu_groups/%d/devices to vfio-pci",
			i->bdf, i->iommu_group, i->iommu_group);
	m->fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (m->fd < 0)
		return group_fail(i, -errno, "/dev/vfio/vfio");
	if (ioctl(m->fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(m->fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return zv_err(-EOPNOTSUPP,
			      "vfio:%s: this kernel's VFIO has no type 1 IOMMU; load the module "
			      "vfio_iommu_type1",
			      i->bdf);
	if (ioctl(m->group_fd, VFIO_GROUP_SET_CONTAINER, &m->fd) < 0)
		return group_fail(i, -errno, path);
	if (ioctl(m->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		return errno == EPERM ? zv_err(-EPERM,
					       "vfio:%s: the IOMMU does not remap interrupts, so "
					       "the kernel finds it "
					       "unsafe; give the VM intremap=on and "
					       "kernel-irqchip=split, or load "
					       "vfio_iommu_type1 with allow_unsafe_interrupts=1",
					       i->bdf)
				      : group_fail(i, -errno, path);
	return container_ranges(m);
}

static int group_device(const struct vfio_iommu *m, const struct pci_info *i)
{
	int fd = ioctl(m->group_fd, VFIO_GROUP_GET_DEVICE_FD, i->bdf);

	if (fd < 0)
		return zv_err(-errno, "vfio:%s: the kernel does not give the device: %s", i->bdf,
			      zv_strerror(errno));
	return fd;
}

/* ---- iommufd ---- */

static int iommufd_ranges(struct vfio_iommu *m)
{
	struct zv_iommu_iova_range ranges[RANGES_MAX];
	struct zv_iommu_ioas_iova_ranges ask = {
		.size = sizeof(ask),
		.ioas_id = m->ioas,
		.num_iovas = RANGES_MAX,
		.allowed_iovas = (uintptr_t)ranges,
	};

	/* EMSGSIZE: there are more than that, and these are the first. */
	if (ioctl(m->fd, ZV_IOMMU_IOAS_IOVA_RANGES, &ask) < 0 && errno != EMSGSIZE)
		return -errno;
	for (uint32_t i = 0; i < ask.num_iovas && i < RANGES_MAX; i++)
		iova_space_range(&m->space, ranges[i].start, ranges[i].last);
	return 0;
}

/* The device's descriptor, bound to the address space of its group, or -errno with text. */
static int cdev_device(struct vfio_iommu *m, const struct pci_info *i)
{
	struct zv_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct zv_vfio_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct zv_vfio_attach_pt attach = {.argsz = sizeof(attach)};
	char path[64];
	int fd, ret;

	if (m->fd < 0)
		m->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (m->fd < 0)
		return group_fail(i, -errno, "/dev/iommu");
	(void)snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%d", i->vfio_cdev);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return group_fail(i, -errno, path);
	bind.iommufd = m->fd;
	if (ioctl(fd, ZV_VFIO_DEVICE_BIND_IOMMUFD, &bind) < 0 ||
	    (!m->ioas && ioctl(m->fd, ZV_IOMMU_IOAS_ALLOC, &alloc) < 0)) {
		ret = group_fail(i, -errno, path);
		goto fail;
	}
	m->ioas = attach.pt_id = m->ioas ? m->ioas : alloc.out_ioas_id;
	if (ioctl(fd, ZV_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0) {
		ret = group_fail(i, -errno, path);
		goto fail;
	}
	ret = m->space.next ? 0 : iommufd_ranges(m);
	if (ret == 0)
		return fd;
	ret = group_fail(i, ret, "/dev/iommu");
fail:
	(void)close(fd);
	return ret;
}

/* ---- both ---- */

static void free_iommu(struct vfio_iommu *m)
{
	if (m->group_fd >= 0)
		(void)close(m->group_fd);
	if (m->fd >= 0)
		(void)close(m->fd);
	free(m);
}

static struct vfio_iommu *find(int group)
{
	struct vfio_iommu *m = open_groups;

	while (m && m->group != group)
		m = m->next;
	return m;
}

static bool has_groups(const struct pci_info *i)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/dev/vfio/%d", i->iommu_group);
	return access(path, F_OK) == 0;
}

static int open_locked(struct vfio_iommu **out, int *device_fd, const struct pci_info *i)
{
	bool cdev = i->vfio_cdev >= 0 && !has_groups(i);
	struct vfio_iommu *m = find(i->iommu_group);
	bool fresh = !m;
	int fd, ret = 0;

	if (fresh) {
		m = calloc(1, sizeof(*m));
		if (!m)
			return zv_err(-ENOMEM, "no memory for the device vfio:%s", i->bdf);
		m->fd = m->group_fd = m->group = -1;
		if (!cdev)
			ret = open_group(m, i);
	}
	fd = ret ? ret : cdev ? cdev_device(m, i) : group_device(m, i);
	if (fd < 0) {
		if (fresh)
			free_iommu(m);
		return fd;
	}
	if (fresh) {
		m->group = i->iommu_group;
		m->next = open_groups;
		open_groups = m;
	}
	m->refs++;
	*device_fd = fd;
	*out = m;
	return 0;
}

int vfio_iommu_open(struct vfio_iommu **out, int *device_fd, const struct pci_info *i)
{
	int ret;

	if (i->iommu_group < 0)
		return zv_err(
			-EOPNOTSUPP,
			"vfio:%s: no IOMMU translates for the device. A VM needs one (QEMU: "
			"-device "
			"intel-iommu,intremap=on,caching-mode=on) and the kernel command line "
			"intel_iommu=on; without one, as root: uio:%s",
			i->bdf, i->bdf);
	(void)pthread_mutex_lock(&lock);
	ret = open_locked(out, device_fd, i);
	(void)pthread_mutex_unlock(&lock);
	return ret;
}

void vfio_iommu_put(struct vfio_iommu *m)
{
	(void)pthread_mutex_lock(&lock);
	if (--m->refs == 0) {
		for (struct vfio_iommu **p = &open_groups; *p; p = &(*p)->next)
			if (*p == m) {
				*p = m->next;
				break;
			}
		free_iommu(m);
	}
	(void)pthread_mutex_unlock(&lock);
}

int vfio_iommu_map(struct vfio_iommu *m, void *va, uint64_t len, struct iova at)
{
	struct vfio_iommu_type1_dma_map type1 = {
		.argsz = sizeof(type1),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va,
		.iova = at.v,
		.size = len,
	};
	struct zv_iommu_ioas_map ioas = {
		.size = sizeof(ioas),
		.flags = ZV_IOMMU_IOAS_MAP_FIXED_IOVA | ZV_IOMMU_IOAS_MAP_WRITEABLE |
			 ZV_IOMMU_IOAS_MAP_READABLE,
		.ioas_id = m->ioas,
		.user_va = (uintptr_t)va,
		.length = len,
		.iova = at.v,
	};
	int ret = m->group_fd >= 0 ? ioctl(m->fd, VFIO_IOMMU_MAP_DMA, &type1)
				   : ioctl(m->fd, ZV_IOMMU_IOAS_MAP, &ioas);

	return ret < 0 ? -errno : 0;
}

void vfio_iommu_unmap(struct vfio_iommu *m, uint64_t len, struct iova at)
{
	struct vfio_iommu_type1_dma_unmap type1 = {
		.argsz = sizeof(type1), .iova = at.v, .size = len};
	struct zv_iommu_ioas_unmap ioas = {
		.size = sizeof(ioas), .ioas_id = m->ioas, .iova = at.v, .length = len};

	if (m->group_fd >= 0)
		(void)ioctl(m->fd, VFIO_IOMMU_UNMAP_DMA, &type1);
	else
		(void)ioctl(m->fd, ZV_IOMMU_IOAS_UNMAP, &ioas);
}
