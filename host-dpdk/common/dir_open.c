/* SPDX-License-Identifier: BSD-3-Clause */
#include "dir_open.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int dir_open(const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";
	size_t len = slash ? (size_t)(slash - path) : 0;
	int fd;

	*name = slash ? slash + 1 : path;
	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	if (slash) {
		memcpy(dir, path, len);
		dir[len] = 0;
	}
	fd = open(slash && !len ? "/" : dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int dir_open_file(int dir, const char *name, int flags, mode_t mode)
{
	struct open_how how = {.flags = (unsigned)flags, .mode = mode, .resolve = RESOLVE_NO_XDEV};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

	/* A seccomp filter that does not know the call; some answer with EPERM. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		fd = openat(dir, name, flags, mode);
	return fd < 0 ? -errno : (int)fd;
}

int dir_open_cached(int dir, const char *name, int flags)
{
	struct open_how how = {.flags = (unsigned)flags,
			       .resolve = RESOLVE_NO_XDEV | RESOLVE_CACHED};
	long fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

	/* EINVAL: a kernel before 5.12. */
	if (fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
		return -EAGAIN;
	return fd < 0 ? -errno : (int)fd;
}

int dir_open_path(const char *path, int flags, mode_t mode)
{
	const char *name;
	int dir = dir_open(path, &name), fd;

	if (dir < 0)
		return dir;
	fd = dir_open_file(dir, name, flags, mode);
	(void)close(dir);
	return fd;
}
