/* SPDX-License-Identifier: BSD-3-Clause */
#include "sock_claim.h"

#include "dir_open.h"

#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LOCK_PATH_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) + sizeof(".lock"))

static void lock_path(char *buf, const char *path)
{
	(void)snprintf(buf, LOCK_PATH_MAX, "%s.lock", path);
}

/* 1: somebody listens on the socket that @at (O_PATH) stands for; 0: nobody does; or -errno. */
static int listens(int at)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, ret = 1;

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", at);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno == ECONNREFUSED)
			ret = 0;
		else if (errno != EAGAIN && errno != EINPROGRESS) /* those: a full backlog */
			ret = -errno;
	}
	(void)close(fd);
	return ret;
}

/* What is at @path: 1: a socket on which nobody listens; 0: nothing; or -errno with zv_err() text.
 */
static int look_at(const char *path)
{
	int ret, fd = dir_open_path(path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	struct stat st;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return zv_err(fd, "%s: cannot look at the path: %s", path,
			      fd == -EXDEV ? DIR_MOUNTED : zv_strerror(fd));
	if (fstat(fd, &st) < 0) {
		ret = zv_err(-errno, "%s: cannot look at the path: %s", path, zv_strerror(errno));
		(void)close(fd);
		return ret;
	}
	/* The descriptor: something may be mounted on the path meanwhile. */
	ret = S_ISSOCK(st.st_mode) ? listens(fd) : -ENOTSOCK;
	(void)close(fd);
	if (ret == -ENOTSOCK)
		return zv_err(-EADDRINUSE,
			      "%s: a file that is no socket is in the way; choose another path",
			      path);
	if (ret > 0)
		return zv_err(-EADDRINUSE,
			      "%s: another process listens on this socket; stop it "
			      "or choose another path",
			      path);
	if (ret < 0)
		return zv_err(ret, "%s: cannot tell whether the socket is in use: %s", path,
			      ret == -ENOENT ? "there is no /proc/self/fd: mount /proc"
					     : zv_strerror(ret));
	return 1;
}

static int remove_stale(const char *path)
{
	int ret = look_at(path);

	if (ret <= 0)
		return ret;
	if (unlink(path) < 0 && errno != ENOENT)
		return zv_err(-errno, "%s: cannot remove the stale socket: %s", path,
			      zv_strerror(errno));
	return 0;
}

/*
 * The lock file, made if there is none. In two steps: where others may create files too (/tmp),
 * the kernel lets nobody open a stranger's file with O_CREAT, not even root (fs.protected_regular),
 * and the lock may be that of a daemon that has become another user. Without waiting: while the
 * owner of the file has a lease on it (F_SETLEASE), open(2) waits for 45 s.
 */
static int open_lock(const char *lock)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
	int fd;

	do {
		fd = dir_open_path(lock, flags, 0);
		if (fd == -ENOENT)
			fd = dir_open_path(lock, flags | O_CREAT | O_EXCL, 0600);
	} while (fd == -EEXIST || fd == -EINTR);
	return fd;
}

/* 1: @fd is the file that is @path now; 0: it is not; or -errno. */
static int is_there(int fd, const char *path)
{
	int there = dir_open_path(path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0), ret;
	struct stat mine, now;

	if (there < 0)
		return there == -ENOENT ? 0 : there;
	if (fstat(fd, &mine) < 0 || fstat(there, &now) < 0)
		ret = -errno;
	else
		ret = mine.st_ino == now.st_ino && mine.st_dev == now.st_dev;
	(void)close(there);
	return ret;
}

/* An exclusive lock on the file that is "PATH.lock" now. */
static int lock_file(const char *path)
{
	char lock[LOCK_PATH_MAX];
	int fd, there;

	lock_path(lock, path);
	for (;;) {
		fd = open_lock(lock);
		if (fd == -EACCES)
			return zv_err(
				fd,
				"%s: the lock file %s may not be written: run as its owner, "
				"or as somebody who may write to the directory; if it is left "
				"over, remove it",
				path, lock);
		if (fd == -EWOULDBLOCK)
			return zv_err(fd,
				      "%s: the owner of the lock file %s has a lease on it; remove "
				      "the file",
				      path, lock);
		if (fd == -ENOENT)
			return zv_err(fd, "%s: its directory does not exist: create it", path);
		if (fd < 0)
			return zv_err(fd, "%s: cannot create the lock file %s: %s", path, lock,
				      fd == -EXDEV ? DIR_MOUNTED : zv_strerror(fd));
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int err = errno;

			(void)close(fd);
			if (err == EINTR)
				continue;
			return zv_err(err == EWOULDBLOCK ? -EADDRINUSE : -err,
				      "%s: the socket is in use (%s is locked); stop its owner "
				      "or choose another path",
				      path, lock);
		}
		/* The last holder removes the file: what we have locked may be gone already. */
		there = is_there(fd, lock);
		if (there > 0)
			return fd;
		(void)close(fd);
		if (there < 0) /* the file stays: it may be another's by now */
			return zv_err(there, "%s: cannot look at the lock file %s: %s", path, lock,
				      there == -EXDEV ? DIR_MOUNTED : zv_strerror(there));
	}
}

int sock_claim(const char *path)
{
	int ret, fd = lock_file(path);

	if (fd < 0)
		return fd;
	ret = remove_stale(path);
	if (ret < 0) {
		sock_unclaim(path, fd);
		return ret;
	}
	return fd;
}

void sock_unclaim(const char *path, int claim)
{
	char lock[LOCK_PATH_MAX];

	lock_path(lock, path);
	(void)unlink(lock);
	(void)close(claim);
}

int sock_set_rights(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	int ret = 0, fd = dir_open_path(path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	char self[32];
	struct stat st;

	if (fd < 0)
		return fd;
	(void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st) < 0)
		ret = -errno;
	else if (!S_ISSOCK(st.st_mode))
		ret = -EADDRINUSE;
	/* There is no fchmod() for a descriptor that stands for a path only. */
	else if (mode != (mode_t)-1 && chmod(self, mode) < 0)
		ret = -errno;
	else if ((uid != (uid_t)-1 || gid != (gid_t)-1) &&
		 fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		ret = -errno;
	(void)close(fd);
	return ret;
}

const char *sock_rights_error(int err)
{
	switch (err) {
	case -EPERM:
		return "Operation not permitted; only root can give it to another user, and only "
		       "members to a group";
	case -EXDEV:
		return DIR_MOUNTED;
	case -EADDRINUSE:
		return "another file has got its name meanwhile; let no others write to its "
		       "directory";
	default:
		return zv_strerror(err);
	}
}
