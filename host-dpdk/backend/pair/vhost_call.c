/* SPDX-License-Identifier: BSD-3-Clause */
#include "vhost_call.h"

#include "call_watch.h"
#include "fd_check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int dup_own(int fd, int *out)
{
	*out = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return *out < 0 ? -errno : 0;
}

int vhost_event_dup(int fd, int *out)
{
	*out = -1;
	if (fd < 0)
		return 0;
	return fd_is_eventfd(fd) ? dup_own(fd, out) : -EINVAL;
}

int vhost_call_dup(int fd, struct wake_limit *limit, struct vhost_call *c)
{
	int ret, flags;

	/* Whoever has used up the limit may give another slow one. */
	*c = (struct vhost_call){.fd = -1, .limit = limit, .rests = wake_limit_over(limit)};
	if (fd >= 0 && fd_is_unix_stream(fd))
		return fd_write_only(fd) ? dup_own(fd, &c->fd) : -EINVAL;
	ret = vhost_event_dup(fd, &c->fd);
	if (c->fd < 0)
		return ret;
	/* A full eventfd must not stop the queue's owner. */
	flags = fcntl(c->fd, F_GETFL);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		(void)fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
	ret = call_watch_begin(&c->watch, c->fd);
	if (ret < 0)
		(void)close(vhost_call_end(c)); /* the caller has another one */
	return ret;
}

int vhost_call_end(struct vhost_call *c)
{
	int fd = c->fd;

	call_watch_end(c->watch);
	c->watch = NULL;
	c->fd = -1;
	return fd;
}

/*
 * A word less is no call less: of all that is queued now, the guest takes the last word later, and
 * looks at the ring after that. The memory of the word that it is taking counts until it has it, so
 * the limit is several words.
 */
static void send_word(int fd, uint64_t word)
{
	int queued;

	if (ioctl(fd, SIOCOUTQ, &queued) == 0 && queued < VHOST_CALL_QUEUED)
		(void)send(fd, &word, sizeof(word), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool send_call(struct vhost_call *c)
{
	if (c->watch)
		return call_watch_write(c->watch, c->fd);
	send_word(c->fd, 1);
	return true;
}

bool vhost_call_send_now(struct vhost_call *c)
{
	struct wake_start start;
	bool sent;

	if (c->fd < 0 || vhost_call_blocks(c))
		return false;
	c->owed = false;
	start = wake_cost_begin(&c->cost, c->limit);
	sent = send_call(c);
	if (__builtin_expect(wake_cost_end(&c->cost, c->limit, start), 0))
		c->rests = true;
	return sent && !vhost_call_blocks(c);
}

bool vhost_call_send(struct vhost_call *c)
{
	if (__builtin_expect(c->rests, 0)) {
		c->rests = wake_limit_over(c->limit);
		c->owed = c->rests && c->fd >= 0;
		if (c->rests)
			return false;
	}
	return vhost_call_send_now(c);
}

bool vhost_call_blocks(const struct vhost_call *c)
{
	return c->watch && call_watch_blocks(c->watch);
}
