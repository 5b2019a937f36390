/* SPDX-License-Identifier: BSD-3-Clause */
#include "pci_sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool pci_bdf_parse(char bdf[PCI_BDF_CHARS], const char *text)
{
	unsigned domain = 0, bus, slot, function;
	int end = 0;

	/* %x would take signs, blanks and "0x" as well. */
	for (const char *p = text; *p; p++)
		if (!isxdigit((unsigned char)*p) && *p != ':' && *p != '.')
			return false;
	if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &slot, &function, &end) != 4 ||
	    text[end]) {
		domain = 0;
		if (sscanf(text, "%2x:%2x.%1x%n", &bus, &slot, &function, &end) != 3 || text[end])
			return false;
	}
	if (slot > 31 || function > 7)
		return false;
	(void)snprintf(bdf, PCI_BDF_CHARS, "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
		       slot & 31, function & 7);
	return true;
}

static int read_text_at(int dir, const char *path, char *text, size_t size)
{
	int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = 0;
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0) {
		n = -errno;
	} else {
		text[n] = 0;
		n = (ssize_t)strcspn(text, "\n");
		text[n] = 0;
	}
	(void)close(fd);
	return (int)n;
}

int pci_read_text(const char *path, char *text, size_t size)
{
	return read_text_at(AT_FDCWD, path, text, size);
}

int pci_write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	if (n < 0)
		ret = -errno;
	else if (n != (ssize_t)strlen(text))
		ret = -EIO;
	if (close(fd) < 0 && ret == 0)
		ret = -errno;
	return ret;
}

/* The number in an attribute such as "0x1af4"; 0 or -errno. */
static int read_hex(int dir, const char *name, uint16_t *value)
{
	char text[32];
	int n = read_text_at(dir, name, text, sizeof(text));

	if (n < 0)
		return n;
	*value = (uint16_t)strtoul(text, NULL, 16);
	return 0;
}

/* The last component of what the link @name leads to; "" when there is none. */
static void read_link_name(int dir, const char *name, char *out, size_t size)
{
	char target[PATH_MAX];
	const char *last;
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	out[0] = 0;
	if (n <= 0)
		return;
	target[n] = 0;
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) < size)
		memcpy(out, last, strlen(last) + 1);
}

/* N of the entry "<prefix>N" of the directory @name; -1: there is none. */
static int read_index(int dir, const char *name, const char *prefix)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC), index = -1;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t len = strlen(prefix);
	struct dirent *e;

	while (d && index < 0 && (e = readdir(d)))
		if (strncmp(e->d_name, prefix, len) == 0 && isdigit((unsigned char)e->d_name[len]))
			index = atoi(e->d_name + len);
	if (d)
		(void)closedir(d);
	else if (fd >= 0)
		(void)close(fd);
	return index;
}

int pci_info_read(struct pci_info *i, const char *root, const char *bdf)
{
	char path[PATH_MAX], group[16], name[PCI_BDF_CHARS];
	int dir, ret;

	(void)snprintf(name, sizeof(name), "%s", bdf); /* which may be i->bdf */
	*i = (struct pci_info){.iommu_group = -1, .uio = -1, .vfio_cdev = -1};
	memcpy(i->bdf, name, sizeof(name));
	(void)snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", root, name);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	ret = read_hex(dir, "vendor", &i->vendor);
	if (ret == 0)
		ret = read_hex(dir, "device", &i->device);
	if (ret == 0) {
		read_link_name(dir, "driver", i->driver, sizeof(i->driver));
		read_link_name(dir, "iommu_group", group, sizeof(group));
		if (group[0]) {
			i->iommu_group = atoi(group);
			(void)read_text_at(dir, "iommu_group/type", i->iommu_type,
					   sizeof(i->iommu_type));
		}
		i->uio = read_index(dir, "uio", "uio");
		i->vfio_cdev = read_index(dir, "vfio-dev", "vfio");
	}
	(void)close(dir);
	return ret;
}

/* A line "START END FLAGS" for each BAR. */
int pci_bar_range(const char *root, const char *bdf, unsigned bar, uint64_t *start, uint64_t *size)
{
	unsigned long long first = 0, last = 0, flags = 0;
	char path[PATH_MAX], line[128] = "";
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/resource", root, bdf);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	for (unsigned i = 0; i <= bar; i++)
		if (!fgets(line, sizeof(line), f))
			line[0] = 0;
	(void)fclose(f);
	if (sscanf(line, "%llx %llx %llx", &first, &last, &flags) != 3 || last < first || !first)
		return -EINVAL;
	*start = first;
	*size = last - first + 1;
	return 0;
}

bool pci_info_is_vsock(const struct pci_info *i)
{
	return i->vendor == PCI_VENDOR_VIRTIO &&
	       (i->device == PCI_DEVICE_VSOCK || i->device == PCI_DEVICE_VSOCK_TRANS);
}
