/* SPDX-License-Identifier: BSD-3-Clause */
#include "fd_cloexec.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NEAR 64 /* numbers that are tried before all are listed */

void fd_list_take(struct fd_list *l)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned room = 0;
	struct dirent *e;

	*l = (struct fd_list){NULL, 0};
	while (d && (e = readdir(d))) {
		char *end;
		long fd = strtol(e->d_name, &end, 10);

		if (*end || end == e->d_name || fd == dirfd(d))
			continue;
		if (l->n == room) {
			int *more = realloc(l->fd, (room = room ? 2 * room : 64) * sizeof(int));

			if (!more) {
				free(l->fd);
				*l = (struct fd_list){NULL, 0};
				break;
			}
			l->fd = more;
		}
		l->fd[l->n++] = (int)fd;
	}
	if (d)
		(void)closedir(d);
}

static bool has(const struct fd_list *l, int fd)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->fd[i] == fd)
			return true;
	return false;
}

/* Open, and not yet close-on-exec. */
static bool unmarked(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

void fd_list_mark_new(struct fd_list *l, bool (*wanted)(int fd))
{
	struct fd_list now;

	fd_list_take(&now);
	for (unsigned i = 0; i < now.n && l->n; i++) {
		int fd = now.fd[i];

		if (unmarked(fd) && !has(l, fd) && (!wanted || wanted(fd)))
			(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	}
	free(now.fd);
	free(l->fd);
	*l = (struct fd_list){NULL, 0};
}

void fd_mark_one(int from, bool (*wanted)(int fd))
{
	struct fd_list all;

	for (int fd = from; from >= 0 && fd < from + NEAR; fd++) {
		if (!unmarked(fd) || !wanted(fd))
			continue;
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
		return;
	}
	fd_list_take(&all);
	for (unsigned i = 0; i < all.n; i++)
		if (unmarked(all.fd[i]) && wanted(all.fd[i]))
			(void)fcntl(all.fd[i], F_SETFD, FD_CLOEXEC);
	free(all.fd);
}

int fd_lowest_free(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	if (fd >= 0)
		(void)close(fd);
	return fd;
}
