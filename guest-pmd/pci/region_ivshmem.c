/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device has no Linux driver. Its memory is BAR 2, mapped through vfio-pci if it is bound to
 * that, otherwise through sysfs, which needs root. Neither makes the mapping cached: that is up to
 * the hypervisor, and is measured (latency.h). The region's physical address is that of the BAR.
 */
#include "region_ivshmem.h"

#include "pci/device/pci_dev.h"
#include "transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define VENDOR	   0x1af4
#define DEVICE	   0x1110
#define MEMORY_BAR 2u
#define PCI_DIR	   "/sys/bus/pci/devices"

static bool ivshmem_named(const char *name)
{
	char bdf[PCI_BDF_CHARS];

	return pci_bdf_parse(bdf, name);
}

static void device_path(char path[PATH_MAX], const char *root, const char *bdf, const char *file)
{
	(void)snprintf(path, PATH_MAX, "%s" PCI_DIR "/%s/%s", root, bdf, file);
}

/* 0; -ENODEV: it is none, or does not exist. Revision 0 is of QEMU before 2.6, with another BAR. */
static int read_device(struct pci_info *i, const char *root, const char *bdf)
{
	char path[PATH_MAX], text[16];
	int ret;

	(void)snprintf(path, sizeof(path), "%s/sys", root);
	ret = pci_info_read(i, path, bdf);
	if (ret)
		return ret;
	device_path(path, root, bdf, "revision");
	if (i->vendor != VENDOR || i->device != DEVICE ||
	    pci_read_text(path, text, sizeof(text)) <= 0 || strtoul(text, NULL, 16) == 0)
		return -ENODEV;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int ivshmem_find(const struct vm_region_env *p, char name[][VM_REGION_NAME], unsigned max)
{
	char path[PATH_MAX], bdf[PCI_BDF_CHARS];
	struct pci_info i;
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s" PCI_DIR, p->root);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : -errno; /* no PCI bus */
	while (n < max && (e = readdir(d)))
		if (pci_bdf_parse(bdf, e->d_name) && read_device(&i, p->root, bdf) == 0)
			memcpy(name[n++], bdf, sizeof(bdf));
	(void)closedir(d);
	qsort(name, n, VM_REGION_NAME, by_name);
	return (int)n;
}

/* Where BAR 2 is, and how large. */
static int read_bar(struct vm_region *r, const char *root)
{
	char path[PATH_MAX];
	int ret;

	(void)snprintf(path, sizeof(path), "%s/sys", root);
	ret = pci_bar_range(path, r->name, MEMORY_BAR, &r->gpa.v, &r->size);
	if (ret)
		return zv_err(-EINVAL,
			      "region %s: its file \"resource\" in sysfs names no memory in BAR 2: "
			      "is the VM's device ivshmem-plain?",
			      r->name);
	r->page_size = VM_REGION_PAGE_MIN;
	return vm_region_check(r);
}

/* ---- through sysfs ---- */

static int cannot(const struct vm_region *r, const char *path, int err)
{
	return zv_err(err, "region %s: %s: %s%s", r->name, path, zv_strerror(err),
		      err == -EACCES || err == -EPERM
			      ? "; only root may map a BAR through sysfs: run as root, or bind the "
				"device to vfio-pci"
			      : "");
}

/* A device without a driver may not have been switched on. */
static int switch_on(const struct vm_region *r, const char *root)
{
	char path[PATH_MAX];
	uint16_t command = 0;
	int fd, ret = 0;

	device_path(path, root, r->name, "config");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || pread(fd, &command, sizeof(command), PCI_COMMAND) != sizeof(command))
		ret = fd < 0 ? -errno : -EIO;
	if (fd >= 0)
		(void)close(fd);
	if (ret == 0 && !(command & PCI_COMMAND_MEMORY)) {
		device_path(path, root, r->name, "enable");
		ret = pci_write_text(path, "1");
	}
	return ret ? cannot(r, path, ret) : 0;
}

static int map_sysfs(struct vm_region *r, const char *root)
{
	char path[PATH_MAX];
	int ret = switch_on(r, root), fd;

	if (ret)
		return ret;
	device_path(path, root, r->name, "resource2");
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return cannot(r, path, -errno);
	r->addr = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ret = r->addr == MAP_FAILED ? -errno : 0;
	if (ret) {
		(void)close(fd);
		return cannot(r, path, ret);
	}
	r->fd = fd;
	return 0;
}

/* ---- through vfio-pci ---- */

static int map_vfio(struct vm_region *r, const struct pci_info *info)
{
	struct pci_dev *d = calloc(1, sizeof(*d));
	uint16_t command = 0;
	int ret;

	if (!d)
		return zv_err(-ENOMEM, "region %s: no memory", r->name);
	*d = (struct pci_dev){.access = &pci_vfio_access, .info = *info, .fd = -1};
	ret = d->access->open(d);
	if (ret) {
		free(d);
		return ret;
	}
	ret = d->access->config(d, false, PCI_COMMAND, &command, sizeof(command));
	command |= PCI_COMMAND_MEMORY;
	if (ret == 0)
		ret = d->access->config(d, true, PCI_COMMAND, &command, sizeof(command));
	if (ret)
		zv_err(ret, "region %s: cannot write its PCI command register: %s", r->name,
		       zv_strerror(ret));
	else if (d->bar[MEMORY_BAR].size != r->size)
		ret = zv_err(-EINVAL, "region %s: vfio-pci does not map its BAR 2", r->name);
	else
		ret = pci_dev_bar(d, MEMORY_BAR);
	if (ret) {
		pci_dev_close(d);
		free(d);
		return ret;
	}
	r->addr = d->bar[MEMORY_BAR].addr;
	r->ctx = d;
	return 0;
}

static int ivshmem_map(struct vm_region *r, const struct vm_region_env *p)
{
	const char *root = p->root;
	char bdf[PCI_BDF_CHARS];
	struct pci_info info;
	int ret = pci_bdf_parse(bdf, r->name) ? read_device(&info, root, bdf) : -ENODEV;

	if (ret)
		return zv_err(ret,
			      "region %s: %s; lspci -d 1af4:1110 lists ivshmem devices, of which "
			      "those of revision 1 can be used",
			      r->name,
			      ret == -ENODEV ? "it is no ivshmem device" : zv_strerror(ret));
	memcpy(r->name, bdf, sizeof(bdf));
	ret = read_bar(r, root);
	if (ret)
		return ret;
	return strcmp(info.driver, pci_vfio_access.driver) == 0 ? map_vfio(r, &info)
								: map_sysfs(r, root);
}

static void ivshmem_unmap(struct vm_region *r)
{
	if (r->ctx) {
		pci_dev_close(r->ctx);
	} else {
		(void)munmap(r->addr, r->size);
		(void)close(r->fd);
	}
	free(r->ctx);
}

const struct vm_region_kind vm_region_ivshmem = {
	.name = "ivshmem",
	.named = ivshmem_named,
	.find = ivshmem_find,
	.map = ivshmem_map,
	.unmap = ivshmem_unmap,
};
