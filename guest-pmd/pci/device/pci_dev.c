/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_dev.h"

#include "transport.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/mman.h>

/* Checks that the device is bound to @access's driver; otherwise says how to bind it. */
static int check_driver(const struct pci_info *i, const struct pci_access *access)
{
	if (strcmp(i->driver, access->driver) == 0)
		return 0;
	return zv_err(-EBUSY,
		      "%s:%s: the device is bound to %s%s, not to %s; bind it with: zv-bind bind "
		      "--driver %s %s",
		      access->scheme, i->bdf, i->driver[0] ? "the kernel driver " : "no driver",
		      i->driver, access->driver, access->driver, i->bdf);
}

static int set_command(struct pci_dev *d, uint16_t set, uint16_t clear)
{
	uint16_t command;
	int ret = d->access->config(d, false, PCI_COMMAND, &command, sizeof(command));

	if (ret)
		return ret;
	command = (uint16_t)((command | set) & ~clear);
	return d->access->config(d, true, PCI_COMMAND, &command, sizeof(command));
}

static int command_failed(const struct pci_dev *d, int err)
{
	return zv_err(err, "%s:%s: cannot write its PCI command register: %s", d->access->scheme,
		      d->info.bdf, zv_strerror(err));
}

int pci_dev_open(struct pci_dev *d, const struct pci_access *access, const char *bdf)
{
	char name[PCI_BDF_CHARS];
	int ret;

	*d = (struct pci_dev){.access = access, .fd = -1};
	if (!pci_bdf_parse(name, bdf))
		return zv_err(
			-EINVAL,
			"%s:%s: not the address of a PCI device; it looks like 0000:00:05.0, and "
			"\"zv-bind status\" lists those there are",
			access->scheme, bdf);
	ret = pci_info_read(&d->info, PCI_SYSFS, name);
	if (ret)
		return zv_err(ret, "%s:%s: %s; \"zv-bind status\" lists the virtio-vsock devices",
			      access->scheme, name,
			      ret == -ENODEV ? "there is no such PCI device" : zv_strerror(ret));
	if (!pci_info_is_vsock(&d->info))
		return zv_err(
			-ENODEV,
			"%s:%s is no virtio-vsock device (vendor %04x, device %04x); \"zv-bind "
			"status\" lists those",
			access->scheme, name, d->info.vendor, d->info.device);
	ret = check_driver(&d->info, access);
	if (ret)
		return ret;
	ret = access->open(d);
	if (ret)
		return ret;
	ret = set_command(d, PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER);
	if (ret) {
		pci_dev_close(d);
		return command_failed(d, ret);
	}
	return 0;
}

int pci_dev_start_dma(struct pci_dev *d)
{
	int ret = set_command(d, PCI_COMMAND_MASTER, 0);

	return ret ? command_failed(d, ret) : 0;
}

void pci_dev_stop_dma(struct pci_dev *d)
{
	if (d->fd >= 0)
		(void)set_command(d, 0, PCI_COMMAND_MASTER);
}

static void let_go(struct pci_dev *d)
{
	pci_dev_stop_dma(d);
	d->access->close(d);
	d->fd = -1;
}

void pci_dev_detach(struct pci_dev *d)
{
	if (d->fd < 0)
		return;
	/* A mapping keeps the device's file open; replace it by memory that nobody reads. */
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (d->bar[i].addr)
			(void)mmap(d->bar[i].addr, d->bar[i].size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	let_go(d);
}

void pci_dev_close(struct pci_dev *d)
{
	if (d->fd >= 0)
		let_go(d);
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (d->bar[i].addr)
			(void)munmap(d->bar[i].addr, d->bar[i].size);
	memset(d->bar, 0, sizeof(d->bar));
}

int pci_dev_bar(struct pci_dev *d, unsigned i)
{
	int ret = d->bar[i].addr ? 0 : d->access->map_bar(d, i);

	/* A child's copy would keep the device open and block its removal. */
	if (ret == 0)
		(void)madvise(d->bar[i].addr, d->bar[i].size, MADV_DONTFORK);
	return ret;
}
