/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocked.h"
#include "call.h"
#include "common/di_tcp.h"
#include "dns.h"
#include "outbound.h"

/* Is the program's descriptor still that of the file that we have looked at? */
static bool same_file(const struct call *c)
{
	int now = di_caller_fd(&c->t, call_int(c, 0));
	struct stat a, b;
	bool same = now >= 0 && fstat(now, &a) == 0 && fstat(c->fd, &b) == 0 &&
		    a.st_ino == b.st_ino && a.st_dev == b.st_dev;

	if (now >= 0)
		close(now);
	return same;
}

/* @fresh gets the number of the socket that the program has connected to @a. */
static long replace_fd(struct call *c, int fresh, const union address *a, size_t len)
{
	struct seccomp_notif_addfd add = {
		.id = c->n->id,
		.flags = SECCOMP_ADDFD_FLAG_SETFD,
		.srcfd = (uint32_t)fresh,
		.newfd = (uint32_t)call_int(c, 0),
		.newfd_flags = di_caller_cloexec(&c->t, call_int(c, 0)) ? O_CLOEXEC : 0,
	};
	long r = -EBADF;

	di_outbound_add(c->s, fresh, a->bytes, (socklen_t)len);
	if (same_file(c))
		r = ioctl(c->s->notify, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
	close(fresh);
	return r == -ENOENT ? DI_DONE : r;
}

static int leave_guest(struct call *c, const struct di_tcp_target *t)
{
	struct di_blocked b;
	long answer;
	int r;

	if (!c->may_block)
		return -ENOBUFS;
	if (fcntl(c->fd, F_GETFL) & O_NONBLOCK) /* no signal interrupts such a call */
		return di_tcp_connect(&c->s->di, c->s->tcp, t, c->fd, false);
	di_blocked_enter(c->s, &b, c->n, c->t.pidfd);
	r = di_tcp_connect(&c->s->di, c->s->tcp, t, c->fd, true);
	di_blocked_leave(c->s, &b);
	answer = r == -EINTR ? di_blocked_answer(&b, true) : 0;
	return answer == DI_DONE ? -EINTR : answer ? (int)answer : r;
}

long call_connect_ip(struct call *c, const union address *a, size_t len)
{
	struct sockaddr_storage before;
	struct di_tcp_target t;
	bool leaves = di_tcp_target(&t, a->bytes, (socklen_t)len);
	bool dns = di_dns_is(a->bytes, (socklen_t)len);
	int type, fresh;
	long r;

	if (!leaves && !dns)
		return DI_CONTINUE;
	r = call_take_file(c, 0);
	if (r)
		return r;
	type = di_tcp_type(c->fd);
	if (type == SOCK_STREAM && leaves)
		fresh = leave_guest(c, &t);
	else if (type == SOCK_DGRAM && dns)
		fresh = di_dns_socket(c->s, c->fd);
	else
		return !type && di_outbound_find(c->s, c->fd, &before) ? -EISCONN : DI_CONTINUE;
	return fresh < 0 ? fresh : replace_fd(c, fresh, a, len);
}
