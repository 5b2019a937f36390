/* SPDX-License-Identifier: BSD-3-Clause */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>

bool di_call_waits(const struct di_super *s, uint64_t id)
{
	return ioctl(s->notify, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

long call_take_file(struct call *c, unsigned i)
{
	int r = di_caller_open(&c->t, c->t.tid);

	if (r == 0)
		r = di_caller_fd(&c->t, call_int(c, i));
	if (r < 0) /* EBADF is for the kernel to say; what we may not look at is not ours */
		return call_waits(c) ? DI_CONTINUE : DI_DONE;
	c->fd = r;
	return call_waits(c) ? 0 : DI_DONE;
}

long call_take_socket(struct call *c, unsigned i)
{
	long r = call_take_file(c, i);

	return r == 0 && di_is(c->fd) != 1 ? DI_CONTINUE : r;
}

long call_hold_memory(struct call *c)
{
	int r = di_caller_hold(&c->t);

	if (!call_waits(c)) /* after it: the number may have been another's by then */
		return DI_DONE;
	return r;
}

int call_give(const struct call *c, int ours, bool cloexec)
{
	struct seccomp_notif_addfd add = {
		.id = c->n->id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)ours,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
	};

	return ioctl(c->s->notify, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
}

size_t call_get_address(const struct call *c, uint64_t at, int len, union address *a)
{
	size_t part = sizeof(struct sockaddr_in6);

	_Static_assert(sizeof(struct sockaddr_in6) >= sizeof(struct sockaddr_vm), "the longest");
	memset(a, 0, sizeof(*a));
	if (len < (int)sizeof(a->family) || len > (int)ADDRESS_MAX)
		return 0;
	if ((size_t)len < part)
		part = (size_t)len;
	return di_caller_read(&c->t, at, a->bytes, part) < 0 ? 0 : part;
}

long call_put_address(struct call *c, const void *a, size_t size, uint64_t at, uint64_t len_at)
{
	int room = 0;
	long r = di_caller_read(&c->t, len_at, &room, sizeof(room));

	if (r < 0)
		return r;
	if (room < 0)
		return -EINVAL;
	if ((size_t)room > size)
		room = (int)size;
	r = call_hold_memory(c);
	if (r)
		return r;
	r = di_caller_write(&c->t, at, a, (size_t)room);
	room = (int)size;
	return r < 0 ? r : di_caller_write(&c->t, len_at, &room, sizeof(room));
}
