/* SPDX-License-Identifier: BSD-3-Clause */
#include "unix_connect.h"

#include "transport.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 10 /* between two tries to connect to a socket whose backlog is full */

int64_t unix_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int unix_wait(int fd, short events, int cancel_fd, int64_t deadline)
{
	struct pollfd p[2] = {{.fd = fd, .events = events}, {.fd = cancel_fd, .events = POLLIN}};

	for (;;) {
		int64_t left = deadline - unix_now_ms();
		int n = poll(p, 2, left > 0 ? (int)left : 0);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0 && p[1].revents)
			return zv_err(-ECANCELED, "the device is being closed");
		if (n > 0)
			return 0;
		if (left <= 0)
			return -ETIMEDOUT;
	}
}

static int connect_error(const char *path, const char *who, int err)
{
	struct stat st;

	switch (err) {
	case ENOENT:
		return zv_err(-err, "there is no socket %s: is %s running, and is this its path?%s",
			      path, who,
			      strchr(path, '=') ? " What is not an option of the device is taken "
						  "for a part of the path"
						: "");
	case ECONNREFUSED: /* also from a file that is no socket */
		if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return zv_err(-err, "%s is not a socket: give the path of the one of %s",
				      path, who);
		return zv_err(-err, "nobody listens on %s: %s has ended, start it again", path,
			      who);
	case EACCES:
	case EPERM:
		return zv_err(
			-err,
			"no permission to connect to %s: the socket must be writable, and its "
			"directories searchable, for this user",
			path);
	case EPROTOTYPE:
		return zv_err(-err,
			      "%s is a socket of another type: not the one of %s for this "
			      "purpose",
			      path, who);
	default:
		return zv_err(-err, "cannot connect to %s, the socket of %s: %s", path, who,
			      zv_strerror(-err));
	}
}

int unix_connect(const char *path, int type, const char *who, int cancel_fd, int timeout_ms)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int64_t deadline = unix_now_ms() + timeout_ms;
	int ret, fd;

	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return zv_err(-errno, "cannot make a Unix socket for %s: %s", path,
			      zv_strerror(-errno));
	for (;;) {
		ret = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
		/* EAGAIN: the backlog is full; poll cannot tell when it no longer is. */
		if (ret != -EAGAIN && ret != -EINTR)
			break;
		if (unix_now_ms() >= deadline) {
			ret = -ETIMEDOUT;
			break;
		}
		ret = unix_wait(-1, 0, cancel_fd, unix_now_ms() + RETRY_MS);
		if (ret != -ETIMEDOUT)
			break;
	}
	if (ret == 0)
		return fd;
	close(fd);
	return ret == -ECANCELED ? ret : connect_error(path, who, -ret);
}
