/* SPDX-License-Identifier: BSD-3-Clause */
#include "fd_check.h"

#include "passed.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Names that some kernel headers lack. */
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#define SMALL_BLOCKS   8192 /* of 512 bytes: 4 MiB */
#define ZFS_MAGIC      0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e

/* @fd is an anonymous inode of the kind @kind: "[eventfd]". */
static bool is_anon(int fd, const char *kind)
{
	char path[32], what[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, what, sizeof(what) - 1);
	if (n < 0)
		return false;
	what[n] = 0;
	return strncmp(what, "anon_inode:", 11) == 0 && strcmp(what + 11, kind) == 0;
}

bool fd_is_eventfd(int fd)
{
	return is_anon(fd, "[eventfd]");
}

bool fd_is_epoll(int fd)
{
	return is_anon(fd, "[eventpoll]");
}

static bool sock_is(int fd, int option, int value)
{
	socklen_t len = sizeof(int);
	int is;

	return getsockopt(fd, SOL_SOCKET, option, &is, &len) == 0 && is == value;
}

bool fd_is_unix_stream(int fd)
{
	return sock_is(fd, SO_DOMAIN, AF_UNIX) && sock_is(fd, SO_TYPE, SOCK_STREAM) &&
	       sock_is(fd, SO_ACCEPTCONN, 0);
}

/* Only those two have seals, and nobody but the kernel is asked. */
static bool in_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

/* Who closes a file that nobody else has any more frees its memory: 100 to 250 ms each GiB. */
static bool is_small(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_blocks <= SMALL_BLOCKS;
}

bool fd_is_harmless(int fd)
{
	return in_memory(fd) && is_small(fd);
}

bool fd_write_only(int fd)
{
	struct pollfd p = {.fd = fd};
	int waiting;

	if (shutdown(fd, SHUT_RD) < 0 || ioctl(fd, SIOCINQ, &waiting) < 0 || waiting)
		return false;
	/* Its maker may have read an out-of-band byte, behind which SIOCINQ counts no descriptors.
	 */
	if (!passed_none(fd))
		return false;
	/* With reading shut down, POLLHUP says: writing as well, or the peer has gone, or none was.
	 */
	return poll(&p, 1, 0) >= 0 && !(p.revents & (POLLHUP | POLLNVAL));
}

static bool is_dax(dev_t dev)
{
	char path[64], what[PATH_MAX];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/subsystem", major(dev), minor(dev));
	n = readlink(path, what, sizeof(what) - 1);
	if (n < 4)
		return false;
	what[n] = 0;
	return strcmp(what + n - 4, "/dax") == 0;
}

/*
 * The name of the file system that @mount is of, as /proc/self/mountinfo has it: "36 35 0:32 / /mnt
 * rw shared:1 - btrfs /dev/sda rw". Nobody but the kernel is asked. False: it is not there.
 */
static bool mount_is_one_of(uint64_t mount, const char *const *names)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false, is = false;
	char *line = NULL;
	size_t size = 0;

	while (f && !found && getline(&line, &size, f) > 0) {
		const char *type = strstr(line, " - ");

		found = strtoull(line, NULL, 10) == mount;
		for (unsigned i = 0; found && type && names[i] && !is; i++) {
			size_t len = strlen(names[i]);

			is = strncmp(type + 3, names[i], len) == 0 && type[3 + len] == ' ';
		}
	}
	free(line);
	if (f)
		(void)fclose(f);
	return is;
}

static const char *const not_local =
	"its file system is neither tmpfs, hugetlbfs nor on a local disk";

static const char *const on_disk =
	"it is on a disk, and who touches it would wait for that; ZV_OPT_DISK_MEMORY (zvsockd: "
	"memory = disk) allows it";

/*
 * File systems without a block device. To ask a file what it is on (fstatfs, and fstat as well) may
 * take as long as some server likes (FUSE, NFS); statx() with AT_STATX_DONT_SYNC asks nobody.
 */
static const char *no_local_mount(int fd)
{
	static const char *const local[] = {"btrfs", "zfs", "bcachefs", "ramfs", NULL};
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_MNT_ID, &st) < 0)
		return strerror(errno);
	if (S_ISCHR(st.stx_mode) && is_dax(makedev(st.stx_rdev_major, st.stx_rdev_minor)))
		return NULL;
	if (!S_ISREG(st.stx_mode))
		return "it is no file";
	if (st.stx_dev_major)
		return NULL;
	return st.stx_mask & STATX_MNT_ID && mount_is_one_of(st.stx_mnt_id, local) ? NULL
										   : not_local;
}

const char *fd_no_memory(int fd, bool disk)
{
	const char *why = in_memory(fd) ? NULL : no_local_mount(fd);
	struct statfs fs;
	struct stat st;

	if (why)
		return why;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return strerror(errno);
	if (S_ISCHR(st.st_mode))
		return NULL;
	if (!S_ISREG(st.st_mode))
		return "it is no file";
	switch ((unsigned long)fs.f_type) {
	case TMPFS_MAGIC:
	case HUGETLBFS_MAGIC:
	case RAMFS_MAGIC:
		return NULL;
	case EXT4_SUPER_MAGIC: /* ext2 and ext3 as well */
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case ZFS_MAGIC:
	case BCACHEFS_MAGIC:
		return disk ? NULL : on_disk;
	default:
		return not_local;
	}
}
