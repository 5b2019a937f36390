/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_call.h"

#include "fd_check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

int vhost_event_dup(int fd, int *out)
{
	*out = -1;
	if (fd < 0)
		return 0;
	if (!fd_is_eventfd(fd))
		return -EINVAL;
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

int vhost_call_dup(int fd, struct vhost_call *c)
{
	int ret = vhost_event_dup(fd, &c->fd), flags;

	if (c->fd < 0)
		return ret;
	/* A full eventfd must not stop the queue's owner. */
	flags = fcntl(c->fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
	return 0;
}

void vhost_call_close(struct vhost_call *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->fd = -1;
}

bool vhost_call_send(const struct vhost_call *c)
{
	uint64_t one = 1;

	if (c->fd < 0)
		return false;
	(void)!write(c->fd, &one, sizeof(one));
	return true;
}
