/* SPDX-License-Identifier: BSD-3-Clause */
#include "sock_connect.h"

#include "dir_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int check(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return -ELOOP;
	if (!S_ISSOCK(st.st_mode))
		return -ENOTSOCK;
	return st.st_nlink == 1 ? 0 : -EMLINK;
}

/* To what the name has led to, which is closed. */
static int connect_at(int fd, int at)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int ret = check(at);

	if (ret == 0) {
		(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d", at);
		if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
			ret = -errno;
	}
	(void)close(at);
	return ret;
}

int sock_connect_in(int fd, int dir, const char *name)
{
	int at = dir_open_file(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);

	return at < 0 ? at : connect_at(fd, at);
}

int sock_connect_cached(int fd, int dir, const char *name)
{
	int at = dir_open_cached(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (at == -EAGAIN)
		return -EINPROGRESS;
	return at < 0 ? at : connect_at(fd, at);
}

int sock_connect(int fd, const char *path)
{
	const char *name;
	int dir = dir_open(path, &name), ret;

	if (dir < 0)
		return dir;
	ret = sock_connect_in(fd, dir, name);
	(void)close(dir);
	return ret;
}

const char *sock_connect_refusal(int err)
{
	switch (err) {
	case -ELOOP:
		return "it is a symbolic link, and links are not followed: bind the socket there";
	case -EMLINK:
		return "it has a second name elsewhere: bind a socket of its own there";
	case -EXDEV:
		return DIR_MOUNTED;
	case -ENOTSOCK:
		return "it is no socket";
	default:
		return NULL;
	}
}
