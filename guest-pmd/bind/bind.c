/* SPDX-License-Identifier: BSD-3-Clause */
#include "bind_int.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define VFIO "vfio-pci"
#define UIO  "uio_pci_generic"
#define HUGE "sys/kernel/mm/hugepages/hugepages-2048kB"

void bind_report(struct report *r, int err, const char *fmt, ...)
{
	va_list ap;

	r->err = err;
	va_start(ap, fmt);
	(void)vsnprintf(r->text, sizeof(r->text), fmt, ap);
	va_end(ap);
}

void bind_path(char path[PATH_MAX], const char *root, const char *fmt, ...)
{
	int n = snprintf(path, PATH_MAX, "%s/", root);
	va_list ap;

	if (n < 0 || n >= PATH_MAX)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(path + n, PATH_MAX - (size_t)n, fmt, ap);
	va_end(ap);
}

bool bind_there(const char *root, const char *what)
{
	char path[PATH_MAX];

	bind_path(path, root, "%s", what);
	return access(path, F_OK) == 0;
}

/* ---- looking ---- */

static int read_info(const char *root, const char *bdf, struct pci_info *i)
{
	char sys[PATH_MAX];

	bind_path(sys, root, "sys");
	return pci_info_read(i, sys, bdf);
}

static int by_address(const void *a, const void *b)
{
	return strcmp(((const struct pci_info *)a)->bdf, ((const struct pci_info *)b)->bdf);
}

int bind_list(const char *root, struct pci_info *out, unsigned max)
{
	char path[PATH_MAX], bdf[PCI_BDF_CHARS];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	bind_path(path, root, "sys/bus/pci/devices");
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : -errno; /* no PCI bus: no device */
	while (n < max && (e = readdir(d)))
		if (pci_bdf_parse(bdf, e->d_name) && read_info(root, bdf, &out[n]) == 0 &&
		    pci_info_is_vsock(&out[n]))
			n++;
	(void)closedir(d);
	qsort(out, n, sizeof(*out), by_address);
	return (int)n;
}

static unsigned count_entries(const char *root, const char *dir)
{
	char path[PATH_MAX];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	bind_path(path, root, "%s", dir);
	d = opendir(path);
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	if (d)
		(void)closedir(d);
	return n;
}

static long read_number(const char *root, const char *name)
{
	char path[PATH_MAX], text[32];

	bind_path(path, root, "%s", name);
	return pci_read_text(path, text, sizeof(text)) > 0 ? atol(text) : -1;
}

/* Physical addresses and mlock of any size need it. */
static bool has_sys_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & (1u << CAP_SYS_ADMIN));
}

void bind_machine(const char *root, struct machine *m)
{
	struct rlimit lock = {0};
	struct utsname u;
	char path[PATH_MAX], text[8];

	*m = (struct machine){
		.iommus = count_entries(root, "sys/class/iommu"),
		.vfio = bind_there(root, "sys/bus/pci/drivers/" VFIO),
		.vfio_type1 = bind_there(root, "sys/module/vfio_iommu_type1") ||
			      bind_there(root, "sys/module/iommufd"),
		.uio = bind_there(root, "sys/bus/pci/drivers/" UIO),
		.huge_total = read_number(root, HUGE "/nr_hugepages"),
		.huge_free = read_number(root, HUGE "/free_hugepages"),
		.root = has_sys_admin(),
	};
	if (uname(&u) == 0)
		(void)snprintf(m->kernel, sizeof(m->kernel), "%.63s", u.release);
	bind_path(path, root, "sys/module/vfio/parameters/enable_unsafe_noiommu_mode");
	m->noiommu =
		pci_read_text(path, text, sizeof(text)) > 0 && (text[0] == 'Y' || text[0] == '1');
	m->memlock = getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur != RLIM_INFINITY
			     ? lock.rlim_cur
			     : UINT64_MAX;
}

/* ---- drivers ---- */

void bind_load(const char *root, const char *name)
{
	pid_t pid;
	int status;

	if (root[0] || geteuid() != 0)
		return;
	pid = fork();
	if (pid == 0) {
		execlp("modprobe", "modprobe", name, NULL);
		execl("/sbin/modprobe", "modprobe", name, NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
}

/* Makes sure that the kernel has @driver. */
static bool have_driver(const char *root, const char *driver, struct report *r)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s", driver);
	if (!bind_there(root, path))
		bind_load(root, driver);
	if (strcmp(driver, VFIO) == 0 && !bind_there(root, "sys/module/vfio_iommu_type1"))
		bind_load(root, "vfio_iommu_type1");
	if (bind_there(root, path))
		return true;
	if (!root[0] && geteuid() != 0) {
		bind_report(r, -EPERM, "the module %s is not loaded, and only root can load it",
			    driver);
		return false;
	}
	bind_report(
		r, -ENODEV,
		"the kernel has no driver %s: modprobe %s did not bring it (a package of modules "
		"for "
		"this "
		"kernel may be missing, or modprobe itself)",
		driver, driver);
	return false;
}

static void write_failed(struct report *r, const char *path, int err)
{
	bind_report(r, err, "%s: %s%s", path, strerror(-err),
		    err == -EACCES || err == -EPERM
			    ? "; only root can change the driver of a device"
			    : "");
}

/* Takes the device from its driver, and lets the kernel look for one again. */
static bool rebind(const char *root, const struct pci_info *i, const char *override,
		   struct report *r)
{
	char path[PATH_MAX];
	int err;

	bind_path(path, root, "sys/bus/pci/devices/%s/driver_override", i->bdf);
	err = pci_write_text(path, override[0] ? override : "\n");
	if (err == 0 && i->driver[0]) {
		bind_path(path, root, "sys/bus/pci/drivers/%s/unbind", i->driver);
		err = pci_write_text(path, i->bdf);
	}
	if (err == 0) {
		bind_path(path, root, "sys/bus/pci/drivers_probe");
		err = pci_write_text(path, i->bdf);
		/*
		 * The kernel reports an error when no driver has taken it; callers check the
		 * result.
		 */
		err = err == -EINVAL || err == -ENODEV ? 0 : err;
	}
	if (err)
		write_failed(r, path, err);
	return err == 0;
}

static bool find_device(const char *root, const char *text, struct pci_info *i, struct report *r)
{
	char bdf[PCI_BDF_CHARS];
	int err;

	*r = (struct report){0};
	if (!pci_bdf_parse(bdf, text)) {
		bind_report(r, -EINVAL,
			    "%s is not the address of a PCI device; it looks like 0000:00:05.0",
			    text);
		return false;
	}
	err = read_info(root, bdf, i);
	if (err)
		bind_report(r, err, "%s: %s; \"zv-bind status\" lists the virtio-vsock devices",
			    bdf, err == -ENODEV ? "there is no such PCI device" : strerror(-err));
	else if (!pci_info_is_vsock(i))
		bind_report(r, -ENODEV,
			    "%s is no virtio-vsock device (vendor %04x, device %04x); \"zv-bind "
			    "status\" "
			    "lists those",
			    bdf, i->vendor, i->device);
	return r->err == 0;
}

static bool is_ours(const char *driver)
{
	return strcmp(driver, VFIO) == 0 || strcmp(driver, UIO) == 0;
}

void bind_device(const char *root, const char *bdf, const char *driver, struct report *r)
{
	struct pci_info i;

	if (!find_device(root, bdf, &i, r))
		return;
	if (!driver)
		driver = i.iommu_group >= 0 ? VFIO : UIO;
	if (!is_ours(driver)) {
		bind_report(r, -EINVAL,
			    "the driver %s is none that zvsock can use: " VFIO " or " UIO, driver);
		return;
	}
	if (strcmp(i.driver, driver) == 0) {
		bind_report(r, 0, "%s is bound to %s already", i.bdf, driver);
		return;
	}
	if (strcmp(driver, VFIO) == 0 && i.iommu_group < 0) {
		bind_report(
			r, -EOPNOTSUPP,
			"%s: no IOMMU translates for it, which " VFIO
			" needs. Give the VM one (QEMU: -device "
			"intel-iommu,intremap=on,caching-mode=on) and the kernel intel_iommu=on; "
			"or "
			"use "
			"--driver " UIO,
			i.bdf);
		return;
	}
	if (!have_driver(root, driver, r) || !rebind(root, &i, driver, r))
		return;
	if (read_info(root, i.bdf, &i) == 0 && strcmp(i.driver, driver) == 0) {
		r->changed = true;
		bind_report(r, 0, "%s is bound to %s%s", i.bdf, driver,
			    strcmp(driver, UIO) == 0 ? "; its DMA is not confined" : "");
		return;
	}
	bind_report(r, -EIO, "%s: the kernel has not bound it to %s; its log (dmesg) tells why",
		    i.bdf, driver);
}

void bind_release(const char *root, const char *bdf, struct report *r)
{
	struct pci_info i;

	if (!find_device(root, bdf, &i, r))
		return;
	if (i.driver[0] && !is_ours(i.driver)) {
		bind_report(r, 0, "%s is bound to %s already", i.bdf, i.driver);
		return;
	}
	bind_load(root, "virtio_pci");
	if (!rebind(root, &i, "", r))
		return;
	if (read_info(root, i.bdf, &i) == 0 && i.driver[0] && !is_ours(i.driver)) {
		r->changed = true;
		bind_report(r, 0, "%s is bound to %s", i.bdf, i.driver);
		return;
	}
	bind_report(
		r, -EIO,
		"%s: it is bound to %s, and the kernel's own has not taken it; modprobe virtio_pci",
		i.bdf, i.driver[0] ? i.driver : "no driver");
}

/* ---- memory ---- */

void bind_hugepages(const char *root, long n, struct report *r)
{
	long have = read_number(root, HUGE "/nr_hugepages"), before;
	char path[PATH_MAX], text[24];
	int err = 0;

	*r = (struct report){0};
	if (have < 0) {
		bind_report(r, -EOPNOTSUPP, "this kernel has no hugepages of 2 MiB");
		return;
	}
	if (have == n) {
		bind_report(r, 0, "there are %ld hugepages already", n);
		return;
	}
	(void)snprintf(text, sizeof(text), "%ld", n);
	for (unsigned try = 0; try < 2 && err == 0 && read_number(root, HUGE "/nr_hugepages") != n;
	     try++) {
		if (try) {
			bind_path(path, root, "proc/sys/vm/compact_memory");
			(void)pci_write_text(path, "1");
		}
		bind_path(path, root, HUGE "/nr_hugepages");
		err = pci_write_text(path, text);
	}
	if (err) {
		bind_report(r, err, "%s: %s%s", path, strerror(-err),
			    err == -EACCES || err == -EPERM ? "; only root can reserve hugepages"
							    : "");
		return;
	}
	before = have;
	have = read_number(root, HUGE "/nr_hugepages");
	r->changed = have != before;
	if (have == n)
		bind_report(r, 0, "%ld hugepages of 2 MiB", n);
	else if (have < n)
		bind_report(r, -ENOMEM,
			    "only %ld of %ld hugepages could be had: memory is full or in pieces; "
			    "reserve "
			    "them when "
			    "the kernel boots, with hugepages=%ld on its command line",
			    have, n, n);
	else
		bind_report(r, -EBUSY, "%ld hugepages stay, because programs use them", have);
}

/* ---- checks ---- */

/* Finds another device of the group that is bound to a kernel driver. False: none. */
static bool blocks_group(const char *root, const struct pci_info *i, char other[PCI_BDF_CHARS])
{
	char path[PATH_MAX], bdf[PCI_BDF_CHARS];
	struct dirent *e;
	bool found = false;
	DIR *d;

	bind_path(path, root, "sys/kernel/iommu_groups/%d/devices", i->iommu_group);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		struct pci_info o;

		if (pci_bdf_parse(bdf, e->d_name) && strcmp(bdf, i->bdf) != 0 &&
		    read_info(root, bdf, &o) == 0 && o.driver[0] && strcmp(o.driver, VFIO) != 0 &&
		    strcmp(o.driver, "pcieport") != 0 && strcmp(o.driver, "pci-stub") != 0) {
			memcpy(other, bdf, sizeof(bdf));
			found = true;
		}
	}
	if (d)
		(void)closedir(d);
	return found;
}

static void check_vfio(const char *root, const struct pci_info *i, const struct machine *m,
		       struct report *r)
{
	char other[PCI_BDF_CHARS], node[32];

	(void)snprintf(node, sizeof(node), "dev/vfio/%d", i->iommu_group);
	if (!m->vfio_type1)
		bind_report(r, -ENODEV,
			    "%s: VFIO's IOMMU part is not loaded: modprobe vfio_iommu_type1",
			    i->bdf);
	else if (blocks_group(root, i, other))
		bind_report(
			r, -EPERM,
			"%s: IOMMU group %d is not viable, because %s is bound to a driver of the "
			"kernel; bind "
			"that to " VFIO " as well",
			i->bdf, i->iommu_group, other);
	else if (!bind_there(root, node) && i->vfio_cdev < 0)
		bind_report(r, -ENOENT, "%s: there is no /%s; is /dev a devtmpfs?", i->bdf, node);
	else if (m->huge_free <= 0)
		bind_report(
			r, 0,
			"%s: ready as vfio:%s if the VM's device has iommu_platform=on; without it "
			"hugepages are needed, and none is free: zv-bind hugepages N",
			i->bdf, i->bdf);
	else
		bind_report(r, 0, "%s: ready as vfio:%s", i->bdf, i->bdf);
}

static void check_uio(const struct pci_info *i, const struct machine *m, struct report *r)
{
	if (i->iommu_group >= 0 && strcmp(i->iommu_type, "identity") != 0)
		bind_report(r, -EOPNOTSUPP,
			    "%s: an IOMMU translates for it, which " UIO
			    " cannot use; zv-bind bind --driver " VFIO " %s",
			    i->bdf, i->bdf);
	else if (!m->root)
		bind_report(r, -EPERM,
			    "%s: uio:%s is for root only, because its DMA is not confined", i->bdf,
			    i->bdf);
	else if (m->huge_free <= 0)
		bind_report(r, -ENOMEM,
			    "%s: uio:%s needs hugepages, and none is free: zv-bind hugepages N",
			    i->bdf, i->bdf);
	else
		bind_report(r, 0, "%s: ready as uio:%s", i->bdf, i->bdf);
}

void bind_check(const char *root, const struct pci_info *i, const struct machine *m,
		struct report *r)
{
	*r = (struct report){0};
	if (strcmp(i->driver, VFIO) == 0)
		check_vfio(root, i, m, r);
	else if (strcmp(i->driver, UIO) == 0)
		check_uio(i, m, r);
	else if (!i->driver[0])
		bind_report(r, -EBUSY, "%s: it has no driver; for vfio: or uio:, zv-bind bind %s",
			    i->bdf, i->bdf);
	else
		bind_report(r, -EBUSY,
			    "%s: the kernel's driver (%s) has it, for AF_VSOCK and vsock:; for "
			    "vfio: or uio:, zv-bind bind %s",
			    i->bdf, i->driver, i->bdf);
}
