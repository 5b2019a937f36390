/* SPDX-License-Identifier: BSD-3-Clause */
/* /dev/vsock, which programs open to ask for the local CID: /dev/null is opened instead, and
 * IOCTL_VM_SOCKETS_GET_LOCAL_CID on it is answered. Without zvsockd there is no such device. */
#undef _FORTIFY_SOURCE
#undef _FILE_OFFSET_BITS /* without large-file macros, so that open() and open64() are two         \
			    functions */
#include "context.h"
#include "preload/real.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define DEV_VSOCK "/dev/vsock"

/* The path to open in place of @path. */
static const char *instead(const char *path)
{
	uint32_t cid;

	if (!path || path[0] != '/' || strcmp(path, DEV_VSOCK) != 0)
		return path;
	return di_local_cid(context(), &cid) ? "" /* ENOENT */ : "/dev/null";
}

static bool is_null_device(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	uint32_t cid = VMADDR_CID_ANY;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if ((unsigned)request != IOCTL_VM_SOCKETS_GET_LOCAL_CID || !is_null_device(fd))
		return REAL(ioctl)(fd, request, arg);
	(void)di_local_cid(context(),
			   &cid); /* VMADDR_CID_ANY: there is none, as the kernel reports it */
	memcpy(arg, &cid, sizeof(cid));
	return 0;
}

/* The mode argument of open(2), if there is one. */
#define MODE(flags)                                                                                \
	({                                                                                         \
		mode_t mode_ = 0;                                                                  \
		if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) {                         \
			va_list ap_;                                                               \
			va_start(ap_, flags);                                                      \
			mode_ = va_arg(ap_, mode_t);                                               \
			va_end(ap_);                                                               \
		}                                                                                  \
		mode_;                                                                             \
	})

#define OPEN(name)                                                                                 \
	EXPORT int name(const char *path, int flags, ...)                                          \
	{                                                                                          \
		return REAL(name)(instead(path), flags, MODE(flags));                              \
	}
#define OPENAT(name)                                                                               \
	EXPORT int name(int dir, const char *path, int flags, ...)                                 \
	{                                                                                          \
		return REAL(name)(dir, instead(path), flags, MODE(flags));                         \
	}
/* Called by programs that were built with -D_FORTIFY_SOURCE. */
#define OPEN_2(name)                                                                               \
	int name(const char *path, int flags);                                                     \
	EXPORT int name(const char *path, int flags)                                               \
	{                                                                                          \
		return REAL(name)(instead(path), flags);                                           \
	}
#define OPENAT_2(name)                                                                             \
	int name(int dir, const char *path, int flags);                                            \
	EXPORT int name(int dir, const char *path, int flags)                                      \
	{                                                                                          \
		return REAL(name)(dir, instead(path), flags);                                      \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
OPEN_2(__open_2)
OPEN_2(__open64_2)
OPENAT_2(__openat_2)
OPENAT_2(__openat64_2)
