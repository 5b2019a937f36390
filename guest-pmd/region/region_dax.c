/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVDIMM is a character device (zv-bind makes it one), and mmap of it maps the memory itself.
 * Its sysfs folder gives the physical address; pages are as large as its alignment. A device of
 * volatile memory can consist of several ranges, which are contiguous only for the CPU, so such a
 * device is refused. A device that the kernel uses as its own RAM (dax_kmem) has no driver that
 * would let us open it.
 */
#include "region_dax.h"

#include "transport.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DAX_DIR "/sys/bus/dax/devices"

static bool dax_named(const char *name)
{
	unsigned region, device;
	int end = 0;

	/* %u would take blanks and signs as well. */
	return strncmp(name, "dax", 3) == 0 && isdigit((unsigned char)name[3]) &&
	       strspn(name + 3, "0123456789.") == strlen(name + 3) &&
	       sscanf(name, "dax%4u.%4u%n", &region, &device, &end) == 2 && !name[end];
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int dax_find(const struct vm_region_env *p, char name[][VM_REGION_NAME], unsigned max)
{
	char path[PATH_MAX];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "%s" DAX_DIR, p->root);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0 : -errno;
	while (n < max && (e = readdir(d))) {
		size_t size = strlen(e->d_name) + 1;

		if (dax_named(e->d_name) && size <= VM_REGION_NAME)
			memcpy(name[n++], e->d_name, size);
	}
	(void)closedir(d);
	qsort(name, n, VM_REGION_NAME, by_name);
	return (int)n;
}

static void attribute_path(const struct vm_region *r, const char *root, const char *attribute,
			   char path[PATH_MAX])
{
	(void)snprintf(path, PATH_MAX, "%s" DAX_DIR "/%s/%s", root, r->name, attribute);
}

/* A number, decimal or after "0x". 0 or -errno with text. */
static int read_attribute(const struct vm_region *r, const char *root, const char *attribute,
			  uint64_t *value)
{
	char path[PATH_MAX], text[32] = "", *end;
	int fd, err;
	ssize_t n;

	attribute_path(r, root, attribute, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	err = n < 0 ? -errno : 0;
	if (fd >= 0)
		(void)close(fd);
	if (err == -EACCES || err == -EPERM)
		return zv_err(err,
			      "region %s: %s: %s; physical addresses are for root: let it run as "
			      "root, or \"chmod a+r %s\" after each boot",
			      r->name, path, zv_strerror(err), path);
	if (err)
		return zv_err(err, "region %s: %s: %s", r->name, path, zv_strerror(err));
	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno || end == text || (*end && *end != '\n'))
		return zv_err(-EINVAL, "region %s: %s: \"%.*s\" is no number", r->name, path,
			      (int)strcspn(text, "\n"), text);
	return 0;
}

static bool has(const struct vm_region *r, const char *root, const char *attribute)
{
	char path[PATH_MAX];

	attribute_path(r, root, attribute, path);
	return access(path, F_OK) == 0;
}

static int read_location(struct vm_region *r, const char *root)
{
	int ret;

	if (!has(r, root, ""))
		return zv_err(-ENODEV,
			      "region %s: there is no such device; \"zv-bind dax\" makes one of "
			      "the VM's NVDIMM",
			      r->name);
	if (has(r, root, "mapping1"))
		return zv_err(-EOPNOTSUPP,
			      "region %s: it is in several pieces of physical memory; it must be "
			      "one: use an NVDIMM",
			      r->name);
	ret = read_attribute(r, root, "resource", &r->gpa.v);
	if (ret == 0)
		ret = read_attribute(r, root, "size", &r->size);
	if (ret == 0)
		ret = read_attribute(r, root, "align", &r->page_size);
	return ret ? ret : vm_region_check(r);
}

static int cannot_open(const struct vm_region *r, const char *path, int err)
{
	const char *mend = "";

	if (err == -EACCES || err == -EPERM)
		mend = "; it belongs to root: change its owner, or run as root";
	else if (err == -ENOENT)
		mend = "; the device is there, its file is not: is /dev a devtmpfs?";
	else if (err == -ENXIO || err == -ENODEV)
		mend = "; the driver device_dax does not have it: \"zv-bind dax\" mends that, "
		       "or it is in use as RAM (daxctl reconfigure-device -m devdax)";
	return zv_err(err, "region %s: %s: %s%s", r->name, path, zv_strerror(err), mend);
}

static void dax_unmap(struct vm_region *r)
{
	(void)munmap(r->addr, r->size);
	(void)close(r->fd);
}

static int dax_map(struct vm_region *r, const struct vm_region_env *p)
{
	const char *root = p->root;
	char path[PATH_MAX];
	int ret = read_location(r, root), fd;

	if (ret)
		return ret;
	(void)snprintf(path, sizeof(path), "%s/dev/%s", root, r->name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return cannot_open(r, path, -errno);
	r->addr = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ret = r->addr == MAP_FAILED ? -errno : 0;
	if (ret) {
		(void)close(fd);
		r->addr = NULL;
		return zv_err(ret, "region %s: cannot map the %llu MiB of %s: %s", r->name,
			      (unsigned long long)r->size >> 20, path, zv_strerror(ret));
	}
	r->fd = fd;
	/* Not checked in a test, whose tree gives an address where the memory is not. */
	ret = root[0] ? 0 : vm_region_check_page(r);
	if (ret)
		dax_unmap(r);
	return ret;
}

const struct vm_region_kind vm_region_dax = {
	.name = "dax",
	.named = dax_named,
	.find = dax_find,
	.map = dax_map,
	.unmap = dax_unmap,
};
