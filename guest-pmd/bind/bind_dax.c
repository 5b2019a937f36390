/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVDIMM as a dax device.
 *
 * Theory of operation
 * -------------------
 * The kernel finds NVDIMMs (nfit), and offers each as a namespace, at first a block device
 * (nd_pmem: /dev/pmem0). Each region on the nd bus has a spare device of type "dax" (dax_seed). A
 * namespace becomes a dax device when it is assigned to that device, which is then bound to
 * dax_pmem; device_dax then makes /dev/daxX.Y. This is what "ndctl create-namespace -m devdax"
 * does. The kernel writes an info block into the first 2 MiB of the memory, by which it recognizes
 * the namespace at the next boot.
 *
 * A namespace backed by the file of a region is empty. One that is not may be somebody's disk: so
 * its first and last MiB must be zeros, or the user has to force it. The kernel is also asked
 * whether something has it open (O_EXCL fails for what is mounted, swapped to, or part of another
 * device).
 */
#include "bind_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ND	    "sys/bus/nd/devices"
#define ALIGN	    (2u << 20) /* the pages of a mapping */
#define PROBE_BYTES (1u << 20) /* bytes at both ends that are checked for data */
#define NAME	    64u
#define SPACES_MAX  16u

/* ---- looking ---- */

static bool attribute(const char *root, const char *device, const char *name, char text[NAME])
{
	char path[PATH_MAX];

	bind_path(path, root, ND "/%s/%s", device, name);
	return pci_read_text(path, text, NAME) > 0;
}

/* The first entry of the folder @dir that begins with @prefix and a digit. */
static bool first_entry(const char *root, const char *dir, const char *prefix, char name[NAME])
{
	char path[PATH_MAX];
	size_t len = strlen(prefix);
	struct dirent *e;
	bool found = false;
	DIR *d;

	bind_path(path, root, "%s", dir);
	d = opendir(path);
	while (d && !found && (e = readdir(d)))
		if (strncmp(e->d_name, prefix, len) == 0 && e->d_name[len] >= '0' &&
		    e->d_name[len] <= '9' && strlen(e->d_name) < NAME) {
			memcpy(name, e->d_name, strlen(e->d_name) + 1);
			found = true;
		}
	if (d)
		(void)closedir(d);
	return found;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* Namespaces with memory, in order. */
static unsigned list_spaces(const char *root, char name[SPACES_MAX][NAME])
{
	char path[PATH_MAX], size[NAME];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	bind_path(path, root, ND);
	d = opendir(path);
	while (d && n < SPACES_MAX && (e = readdir(d)))
		if (strncmp(e->d_name, "namespace", 9) == 0 && strlen(e->d_name) < NAME &&
		    attribute(root, e->d_name, "size", size) && strtoull(size, NULL, 0) > 0)
			(void)snprintf(name[n++], NAME, "%s", e->d_name);
	if (d)
		(void)closedir(d);
	qsort(name, n, NAME, by_name);
	return n;
}

/* Holder of the namespace: "dax0.0", "pfn0.0", "btt0.0"; "": none. */
static void read_holder(const char *root, const char *space, char holder[NAME])
{
	if (!attribute(root, space, "holder", holder))
		holder[0] = 0;
}

static bool is_dax(const char *holder)
{
	return holder[0] == 'd' && holder[1] == 'a' && holder[2] == 'x';
}

/* The dax device of a namespace that @holder has. False: there is none (yet). */
static bool find_dax(const char *root, const char *holder, char dax[NAME])
{
	char dir[PATH_MAX];

	if (!is_dax(holder))
		return false;
	(void)snprintf(dir, sizeof(dir), ND "/%s", holder);
	return first_entry(root, dir, "dax", dax);
}

/* Describes a namespace that is a dax device. */
static void report_ready(const char *root, const char *space, const char *dax, struct report *r)
{
	char path[PATH_MAX], text[NAME] = "", dev[NAME + 8];

	bind_path(path, root, "sys/bus/dax/devices/%s/align", dax);
	(void)pci_read_text(path, text, sizeof(text));
	(void)snprintf(dev, sizeof(dev), "dev/%s", dax);
	if (strtoull(text, NULL, 0) < ALIGN)
		bind_report(
			r, -EINVAL,
			"%s is /dev/%s, in pages of %s bytes, not 2 MiB: ndctl create-namespace -f "
			"-e %s -m devdax -a 2M",
			space, dax, text[0] ? text : "unknown", space);
	else if (!bind_there(root, dev))
		bind_report(r, -ENOENT,
			    "%s is the dax device %s, but there is no /%s; is /dev a devtmpfs?",
			    space, dax, dev);
	else
		bind_report(r, 0,
			    "%s: ready as /dev/%s; if the VM shares it with its host, channels go "
			    "through it",
			    space, dax);
}

/* ---- is it empty? ---- */

/* 1: zeroes; 0: there is data; -errno. */
static int all_zeroes(int fd, off_t from, size_t len)
{
	char buf[4096];

	for (size_t done = 0; done < len; done += sizeof(buf)) {
		ssize_t n = pread(fd, buf, sizeof(buf), from + (off_t)done);

		if (n != (ssize_t)sizeof(buf))
			return n < 0 ? -errno : -EIO;
		for (size_t i = 0; i < sizeof(buf); i++)
			if (buf[i])
				return 0;
	}
	return 1;
}

static int is_empty(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	int ret;

	if (size < (off_t)PROBE_BYTES)
		return size < 0 ? -errno : -EIO;
	ret = all_zeroes(fd, 0, PROBE_BYTES);
	return ret == 1 ? all_zeroes(fd, (size - PROBE_BYTES) & ~(off_t)4095, PROBE_BYTES) : ret;
}

/* True: not in use, and empty or forced. */
static bool may_take(const char *root, const char *space, bool force, struct report *r)
{
	char dir[PATH_MAX], path[PATH_MAX], disk[NAME];
	int fd, empty, err;

	(void)snprintf(dir, sizeof(dir), ND "/%s/block", space);
	if (!first_entry(root, dir, "pmem", disk)) {
		bind_report(
			r, -ENODEV,
			"%s: no /dev/pmemN shows what is on it: the module nd_pmem is missing, or "
			"its driver was unbound; load it, or boot again",
			space);
		return false;
	}
	bind_path(path, root, "dev/%s", disk);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		bind_report(r, err, "%s: %s: %s%s", space, path, strerror(-err),
			    err == -EBUSY
				    ? "; it is mounted, or in use otherwise: it stays as it is"
				    : "");
		return false;
	}
	empty = is_empty(fd);
	(void)close(fd);
	if (empty < 0)
		bind_report(r, empty, "%s: cannot read %s: %s", space, path, strerror(-empty));
	else if (!empty && !force)
		bind_report(
			r, -EEXIST,
			"%s: %s holds data, which would be lost; if it is the region that this VM "
			"shares with its host: zv-bind dax --force %s",
			space, path, space);
	return empty == 1 || (empty == 0 && force);
}

/* ---- doing ---- */

static bool put(const char *root, struct report *r, const char *text, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static bool put(const char *root, struct report *r, const char *text, const char *fmt, ...)
{
	char path[PATH_MAX], rest[PATH_MAX - 64];
	va_list ap;
	int err;

	va_start(ap, fmt);
	(void)vsnprintf(rest, sizeof(rest), fmt, ap);
	va_end(ap);
	bind_path(path, root, "%s", rest);
	err = pci_write_text(path, text);
	if (err)
		bind_report(r, err, "%s: %s%s", path, strerror(-err),
			    err == -EACCES || err == -EPERM ? "; only root can change a namespace"
							    : "");
	return err == 0;
}

static bool take(const char *root, const char *space, struct report *r)
{
	char region[NAME], seed[NAME], uuid[NAME], path[PATH_MAX];

	(void)snprintf(region, sizeof(region), "region%.*s", (int)strcspn(space + 9, "."),
		       space + 9);
	if (!attribute(root, region, "dax_seed", seed)) {
		bind_report(
			r, -EOPNOTSUPP,
			"%s: this kernel makes no dax devices of it (%s has no dax_seed): are the "
			"modules nd_pmem and dax_pmem there?",
			space, region);
		return false;
	}
	bind_path(path, root, "proc/sys/kernel/random/uuid");
	if (pci_read_text(path, uuid, sizeof(uuid)) <= 0) {
		bind_report(r, -ENOENT, "%s: there is no number to be had; is /proc mounted?",
			    path);
		return false;
	}
	return put(root, r, space, "sys/bus/nd/drivers/nd_pmem/unbind") &&
	       put(root, r, "ram", ND "/%s/mode", seed) &&
	       put(root, r, uuid, ND "/%s/uuid", seed) &&
	       put(root, r, "2097152", ND "/%s/align", seed) &&
	       put(root, r, space, ND "/%s/namespace", seed) &&
	       put(root, r, seed, "sys/bus/nd/drivers/dax_pmem/bind");
}

static void convert(const char *root, const char *space, bool force, struct report *r)
{
	char holder[NAME], dax[NAME];

	read_holder(root, space, holder);
	if (find_dax(root, holder, dax)) {
		report_ready(root, space, dax, r);
		return;
	}
	if (is_dax(holder)) {
		/* Known by its info block; the driver has not come by itself. */
		if (!put(root, r, holder, "sys/bus/nd/drivers/dax_pmem/bind"))
			return;
	} else if (holder[0]) {
		bind_report(
			r, -EBUSY,
			"%s belongs to %s; to make it a dax device, and lose what is on it: ndctl "
			"create-namespace -f -e %s -m devdax -a 2M",
			space, holder, space);
		return;
	} else if (!may_take(root, space, force, r) || !take(root, space, r)) {
		return;
	}
	read_holder(root, space, holder);
	if (!find_dax(root, holder, dax)) {
		bind_report(
			r, -EIO,
			"%s: the kernel has made no dax device of it; its log (dmesg) tells why. "
			"The "
			"size of an NVDIMM must be a multiple of 16 MiB",
			space);
		return;
	}
	report_ready(root, space, dax, r);
	r->changed = r->err == 0;
}

static void load_modules(const char *root)
{
	static const char *const module[] = {"libnvdimm", "nfit", "nd_pmem", "dax_pmem",
					     "device_dax"};

	for (unsigned i = 0; i < sizeof(module) / sizeof(module[0]); i++)
		bind_load(root, module[i]);
}

void bind_dax(const char *root, const char *name, bool force, struct report *r)
{
	char space[SPACES_MAX][NAME];
	unsigned n, i = 0;

	*r = (struct report){0};
	load_modules(root);
	n = list_spaces(root, space);
	while (name && i < n && strcmp(space[i], name) != 0)
		i++;
	if (n == 0)
		bind_report(
			r, -ENODEV,
			"there is no NVDIMM: the VM has none (\"zvsockctl qemu-args\" on the host "
			"prints "
			"what it wants), or the kernel lacks the modules nfit and libnvdimm");
	else if (i == n)
		bind_report(r, -ENODEV, "there is no %s; there is %s%s", name, space[0],
			    n > 1 ? ", and others" : "");
	else if (!name && n > 1)
		bind_report(r, -EINVAL, "there are %s and %s: say which, zv-bind dax %s", space[0],
			    space[1], space[0]);
	else
		convert(root, space[i], force, r);
}

bool bind_dax_check(const char *root, struct report *r)
{
	char space[SPACES_MAX][NAME], holder[NAME], dax[NAME];
	unsigned n = list_spaces(root, space);

	*r = (struct report){0};
	for (unsigned i = 0; i < n; i++) {
		read_holder(root, space[i], holder);
		if (find_dax(root, holder, dax)) {
			report_ready(root, space[i], dax, r);
			return true;
		}
	}
	if (n)
		bind_report(
			r, 0,
			"%s: a disk, as the kernel offers every NVDIMM at first; if it is the "
			"memory that this VM shares with its host, for channels: zv-bind dax %s",
			space[0], space[0]);
	return n > 0;
}
