/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of uio_pci_generic: BARs and configuration space through sysfs, the INTx line through
 * /dev/uioN. The kernel masks the line when it is raised; it is unmasked by
 * PCI_COMMAND_INTX_DISABLE in the configuration space, because uio_pci_generic offers no other way.
 */
#include "pci_dev.h"

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct uio_priv {
	int config_fd;
};

static int fail(const struct pci_dev *d, int err, const char *path)
{
	return zv_err(err, "uio:%s: %s: %s%s", d->info.bdf, path, zv_strerror(err),
		      err == -EACCES || err == -EPERM
			      ? "; uio devices are for root only, because their DMA is not confined"
			      : "");
}

static void device_path(const struct pci_dev *d, const char *name, char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, PCI_SYSFS "/bus/pci/devices/%s/%s", d->info.bdf, name);
}

/* The files resourceN: anything but a memory BAR has no size, or cannot be mapped. */
static void read_bars(struct pci_dev *d)
{
	char path[PATH_MAX], name[16], line[128];
	FILE *f;

	device_path(d, "resource", path);
	f = fopen(path, "re");
	for (unsigned i = 0; f && i < PCI_BARS && fgets(line, sizeof(line), f); i++) {
		unsigned long long start, end, flags;
		struct stat st;

		if (sscanf(line, "%llx %llx %llx", &start, &end, &flags) != 3 || !(flags & 0x200))
			continue; /* IORESOURCE_MEM */
		(void)snprintf(name, sizeof(name), "resource%u", i);
		device_path(d, name, path);
		if (stat(path, &st) == 0)
			d->bar[i].size = (uint64_t)st.st_size;
	}
	if (f)
		(void)fclose(f);
}

static void uio_close(struct pci_dev *d)
{
	struct uio_priv *p = d->ctx;

	if (p && p->config_fd >= 0)
		(void)close(p->config_fd);
	if (d->fd >= 0)
		(void)close(d->fd);
	d->fd = -1;
	free(p);
	d->ctx = NULL;
}

/* With a translating IOMMU the device's physical addresses would lead elsewhere. */
static int check_iommu(const struct pci_dev *d)
{
	const struct pci_info *i = &d->info;

	if (i->iommu_group < 0 || strcmp(i->iommu_type, "identity") == 0)
		return 0;
	return zv_err(
		-EOPNOTSUPP,
		"uio:%s: an IOMMU translates the device's addresses (group %d, type %s), and uio "
		"cannot tell it about memory; use vfio:%s",
		i->bdf, i->iommu_group, i->iommu_type[0] ? i->iommu_type : "unknown", i->bdf);
}

/* Without an IRQ assigned by the kernel, /dev/uioN is always readable and reads as EIO. */
static bool has_line(struct pci_dev *d)
{
	uint8_t pin = 0;
	uint32_t count;

	return d->access->config(d, false, PCI_INTERRUPT_PIN, &pin, 1) == 0 && pin != 0 &&
	       (read(d->fd, &count, sizeof(count)) >= 0 || errno == EAGAIN);
}

static int uio_open(struct pci_dev *d)
{
	char path[PATH_MAX];
	struct uio_priv *p;
	int ret = check_iommu(d);

	if (ret)
		return ret;
	if (d->info.uio < 0)
		return zv_err(
			-ENODEV,
			"uio:%s: uio_pci_generic has no /dev/uioN for it; bind it again with: "
			"zv-bind bind --driver uio_pci_generic %s",
			d->info.bdf, d->info.bdf);
	p = malloc(sizeof(*p));
	if (!p)
		return zv_err(-ENOMEM, "no memory for the device uio:%s", d->info.bdf);
	p->config_fd = -1;
	d->ctx = p;
	(void)snprintf(path, sizeof(path), "/dev/uio%d", d->info.uio);
	d->fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (d->fd < 0) {
		ret = fail(d, -errno, path);
		goto out;
	}
	device_path(d, "config", path);
	p->config_fd = open(path, O_RDWR | O_CLOEXEC);
	if (p->config_fd < 0) {
		ret = fail(d, -errno, path);
		goto out;
	}
	read_bars(d);
	d->intx = has_line(d);
	return 0;
out:
	uio_close(d);
	return ret;
}

static int uio_config(struct pci_dev *d, bool write, unsigned offset, void *data, unsigned len)
{
	const struct uio_priv *p = d->ctx;
	ssize_t n = write ? pwrite(p->config_fd, data, len, offset)
			  : pread(p->config_fd, data, len, offset);

	if (n < 0)
		return -errno;
	return n == (ssize_t)len ? 0 : -EIO;
}

static int uio_map_bar(struct pci_dev *d, unsigned i)
{
	char path[PATH_MAX], name[16];
	void *addr;
	int fd;

	(void)snprintf(name, sizeof(name), "resource%u", i);
	device_path(d, name, path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return fail(d, -errno, path);
	addr = mmap(NULL, d->bar[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (addr == MAP_FAILED) {
		int err = -errno;

		(void)close(fd);
		return fail(d, err, path);
	}
	(void)close(fd);
	d->bar[i].addr = addr;
	return 0;
}

static int uio_iova(struct pci_dev *d, uint64_t len, struct iova *at)
{
	(void)d;
	(void)len;
	(void)at;
	return -EOPNOTSUPP;
}

static int uio_dma_map(struct pci_dev *d, void *va, uint64_t len, struct iova at)
{
	(void)d;
	(void)at;
	/* Nobody has to be told, but the pages must stay where they are. */
	return mlock(va, len) < 0 ? -errno : 0;
}

static void uio_dma_unmap(struct pci_dev *d, uint64_t len, struct iova at)
{
	(void)d;
	(void)len;
	(void)at;
}

static int uio_msix_set(struct pci_dev *d, const int *eventfds, unsigned n)
{
	(void)d;
	(void)eventfds;
	return n ? -EOPNOTSUPP : 0;
}

static int uio_intx_ack(struct pci_dev *d)
{
	uint16_t command;
	uint32_t count;
	int ret;

	/* EAGAIN: no interrupt has come. EIO: the device has gone; d->fd is readable for ever. */
	if (read(d->fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	ret = uio_config(d, false, PCI_COMMAND, &command, sizeof(command));
	if (ret < 0 || !(command & PCI_COMMAND_INTX_DISABLE))
		return ret;
	command &= (uint16_t)~PCI_COMMAND_INTX_DISABLE;
	return uio_config(d, true, PCI_COMMAND, &command, sizeof(command));
}

static int uio_intx_set(struct pci_dev *d, int *fd)
{
	*fd = d->fd;
	return uio_intx_ack(d);
}

static int uio_removal_fd(struct pci_dev *d)
{
	(void)d;
	return -1;
}

const struct pci_access pci_uio_access = {
	.scheme = "uio",
	.driver = "uio_pci_generic",
	.confined = false,
	.open = uio_open,
	.close = uio_close,
	.config = uio_config,
	.map_bar = uio_map_bar,
	.iova = uio_iova,
	.dma_map = uio_dma_map,
	.dma_unmap = uio_dma_unmap,
	.msix_set = uio_msix_set,
	.intx_set = uio_intx_set,
	.intx_ack = uio_intx_ack,
	.removal_fd = uio_removal_fd,
};
