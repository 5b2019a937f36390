/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices of vfio-pci: regions and interrupts of the device's descriptor. */
#include "pci_dev.h"

#include "transport.h"
#include "vfio_iommu.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSIX_MAX 64u /* most vectors in use: one per ring pair, one for the configuration */

struct vfio_priv {
	struct vfio_iommu *iommu;
	uint64_t config_at; /* of the configuration space, in the device's file */
	uint64_t bar_at[PCI_BARS];
	int intx_fd, removal_fd; /* eventfds; -1: not set up */
};

static int region(const struct pci_dev *d, unsigned index, struct vfio_region_info *r)
{
	*r = (struct vfio_region_info){.argsz = sizeof(*r), .index = index};
	return ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, r) < 0 ? -errno : 0;
}

/* Number of interrupts of index @index. */
static unsigned irq_count(const struct pci_dev *d, unsigned index)
{
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = index};

	if (ioctl(d->fd, VFIO_DEVICE_GET_IRQ_INFO, &irq) < 0 ||
	    !(irq.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return irq.count;
}

/* Interrupts 0..n-1 of the kind @index signal @fds; n = 0: off. 0 or -errno. */
static int set_irqs(const struct pci_dev *d, unsigned index, uint32_t flags, const int *fds,
		    unsigned n)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + MSIX_MAX * sizeof(int)];
	} buf = {.set = {.argsz = (uint32_t)(sizeof(buf.set) + n * sizeof(int)),
			 .flags = flags,
			 .index = index,
			 .count = n}};
	int ret;

	if (n > MSIX_MAX)
		return -EINVAL;
	if (n)
		memcpy(buf.set.data, fds, n * sizeof(int));
	ret = ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &buf.set);
	/* > 0: the kernel has only that many vectors left, and has set none. */
	return ret < 0 ? -errno : ret > 0 ? -ENOSPC : 0;
}

#define TRIGGER_EVENTFD (VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER)
#define TRIGGER_NONE	(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER)

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void vfio_close(struct pci_dev *d)
{
	struct vfio_priv *p = d->ctx;

	close_fd(&d->fd);
	if (p) {
		close_fd(&p->intx_fd);
		close_fd(&p->removal_fd);
		if (p->iommu)
			vfio_iommu_put(p->iommu);
	}
	free(p);
	d->ctx = NULL;
}

static int read_regions(struct pci_dev *d, struct vfio_priv *p)
{
	struct vfio_region_info r;
	int ret = region(d, VFIO_PCI_CONFIG_REGION_INDEX, &r);

	p->config_at = r.offset;
	for (unsigned i = 0; i < PCI_BARS && ret == 0; i++) {
		ret = region(d, VFIO_PCI_BAR0_REGION_INDEX + i, &r);
		p->bar_at[i] = r.offset;
		if (ret == 0 && (r.flags & VFIO_REGION_INFO_FLAG_MMAP))
			d->bar[i].size = r.size;
	}
	return ret;
}

/* The kernel asks for the device back by this interrupt; old kernels do not have it. */
static void watch_removal(struct pci_dev *d, struct vfio_priv *p)
{
	if (irq_count(d, VFIO_PCI_REQ_IRQ_INDEX) == 0)
		return;
	p->removal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->removal_fd >= 0 &&
	    set_irqs(d, VFIO_PCI_REQ_IRQ_INDEX, TRIGGER_EVENTFD, &p->removal_fd, 1))
		close_fd(&p->removal_fd);
}

static int vfio_open(struct pci_dev *d)
{
	struct vfio_priv *p = calloc(1, sizeof(*p));
	int ret;

	if (!p)
		return zv_err(-ENOMEM, "no memory for the device vfio:%s", d->info.bdf);
	p->intx_fd = p->removal_fd = -1;
	d->ctx = p;
	ret = vfio_iommu_open(&p->iommu, &d->fd, &d->info);
	if (ret)
		goto fail;
	ret = read_regions(d, p);
	if (ret) {
		zv_err(ret, "vfio:%s: the kernel does not describe the device: %s", d->info.bdf,
		       zv_strerror(ret));
		goto fail;
	}
	d->msix = irq_count(d, VFIO_PCI_MSIX_IRQ_INDEX);
	d->intx = irq_count(d, VFIO_PCI_INTX_IRQ_INDEX) != 0;
	watch_removal(d, p);
	return 0;
fail:
	vfio_close(d);
	return ret;
}

static int vfio_config(struct pci_dev *d, bool write, unsigned offset, void *data, unsigned len)
{
	const struct vfio_priv *p = d->ctx;
	off_t at = (off_t)(p->config_at + offset);
	ssize_t n = write ? pwrite(d->fd, data, len, at) : pread(d->fd, data, len, at);

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EIO;
}

static int vfio_map_bar(struct pci_dev *d, unsigned i)
{
	const struct vfio_priv *p = d->ctx;
	void *addr = mmap(NULL, d->bar[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
			  (off_t)p->bar_at[i]);

	if (addr == MAP_FAILED)
		return zv_err(-errno, "vfio:%s: cannot map BAR %u: %s", d->info.bdf, i,
			      zv_strerror(errno));
	d->bar[i].addr = addr;
	return 0;
}

static int vfio_iova(struct pci_dev *d, uint64_t len, struct iova *at)
{
	return vfio_iommu_iova(((struct vfio_priv *)d->ctx)->iommu, len, at);
}

static void vfio_iova_put(struct pci_dev *d, uint64_t len, struct iova at)
{
	vfio_iommu_iova_put(((struct vfio_priv *)d->ctx)->iommu, len, at);
}

static int vfio_dma_map(struct pci_dev *d, void *va, uint64_t len, struct iova at)
{
	return vfio_iommu_map(((struct vfio_priv *)d->ctx)->iommu, va, len, at);
}

static void vfio_dma_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	vfio_iommu_unmap(((struct vfio_priv *)d->ctx)->iommu, len, at);
}

static int vfio_msix_set(struct pci_dev *d, const int *eventfds, unsigned n)
{
	return set_irqs(d, VFIO_PCI_MSIX_IRQ_INDEX, n ? TRIGGER_EVENTFD : TRIGGER_NONE, eventfds,
			n);
}

static int vfio_intx_ack(struct pci_dev *d)
{
	const struct vfio_priv *p = d->ctx;
	uint64_t count;

	if (p->intx_fd < 0 || (read(p->intx_fd, &count, sizeof(count)) < 0 && errno != EAGAIN))
		return 0;
	/* The kernel has masked the line when it was raised. */
	struct vfio_irq_set set = {.argsz = sizeof(set),
				   .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
				   .index = VFIO_PCI_INTX_IRQ_INDEX,
				   .count = 1};

	return ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &set) < 0 ? -errno : 0;
}

static int vfio_intx_set(struct pci_dev *d, int *fd)
{
	struct vfio_priv *p = d->ctx;
	int ret;

	p->intx_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = p->intx_fd < 0
		      ? -errno
		      : set_irqs(d, VFIO_PCI_INTX_IRQ_INDEX, TRIGGER_EVENTFD, &p->intx_fd, 1);
	if (ret)
		close_fd(&p->intx_fd);
	*fd = p->intx_fd;
	return ret;
}

static int vfio_removal_fd(struct pci_dev *d)
{
	return ((struct vfio_priv *)d->ctx)->removal_fd;
}

const struct pci_access pci_vfio_access = {
	.scheme = "vfio",
	.driver = "vfio-pci",
	.confined = true,
	.open = vfio_open,
	.close = vfio_close,
	.config = vfio_config,
	.map_bar = vfio_map_bar,
	.iova = vfio_iova,
	.iova_put = vfio_iova_put,
	.dma_map = vfio_dma_map,
	.dma_unmap = vfio_dma_unmap,
	.msix_set = vfio_msix_set,
	.intx_set = vfio_intx_set,
	.intx_ack = vfio_intx_ack,
	.removal_fd = vfio_removal_fd,
};
