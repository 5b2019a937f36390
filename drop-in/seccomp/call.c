/* SPDX-License-Identifier: BSD-3-Clause */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

bool di_call_waits(const struct di_super *s, uint64_t id)
{
	return ioctl(s->notify, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

/*
 * A file that the program has got, and that we have not closed yet. With it the program goes on,
 * while our thread may have no CPU: the program could bind a socket, close it and find that its
 * port is still taken, by us.
 */
struct di_gift {
	struct di_gift *next;
	ino_t file;
};

static void wait_until_given(struct di_super *s, int fd)
{
	struct di_gift *g;
	struct stat st;

	pthread_mutex_lock(&s->lock);
	if (s->gifts && fstat(fd, &st) == 0) {
		do {
			for (g = s->gifts; g && g->file != st.st_ino; g = g->next)
				;
		} while (g && pthread_cond_wait(&s->given, &s->lock) == 0);
	}
	pthread_mutex_unlock(&s->lock);
}

long call_take_file(struct call *c, unsigned i)
{
	int r = di_caller_open(&c->t, c->t.tid);

	if (r == 0)
		r = di_caller_fd(&c->t, call_int(c, i));
	if (r < 0) /* EBADF is for the kernel to say; what we may not look at is not ours */
		return call_waits(c) ? DI_CONTINUE : DI_DONE;
	c->fd = r;
	wait_until_given(c->s, c->fd);
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

int call_give_own(const struct call *c, int ours, bool cloexec)
{
	struct di_gift g = {0}, **at;
	struct stat st;
	int ret;

	if (fstat(ours, &st) == 0)
		g.file = st.st_ino;
	pthread_mutex_lock(&c->s->lock);
	g.next = c->s->gifts;
	c->s->gifts = &g;
	pthread_mutex_unlock(&c->s->lock);
	ret = call_give(c, ours, cloexec);
	close(ours);
	pthread_mutex_lock(&c->s->lock);
	for (at = &c->s->gifts; *at != &g; at = &(*at)->next)
		;
	*at = g.next;
	pthread_cond_broadcast(&c->s->given);
	pthread_mutex_unlock(&c->s->lock);
	return ret;
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
