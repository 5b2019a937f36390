/* SPDX-License-Identifier: BSD-3-Clause */
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include "blocked.h"
#include "call.h"
#include "messages.h"
#include "outbound.h"

#define DEV_VSOCK  "/dev/vsock"
#define OPTION_MAX 64u	 /* bytes of a socket option of AF_VSOCK, at most */
#define LOW_PORTS  1024u /* for these the user of the program counts, not ours */

/* ---- one function a call -------------------------------------------------------------------- */

static long give_and_close(const struct call *c, int ours, bool cloexec)
{
	int r = call_give_own(c, ours, cloexec);

	return r == 0 || r == -ENOENT ? DI_DONE : r;
}

static long call_socket(struct call *c)
{
	int type = call_int(c, 1);
	int fd = di_socket(&c->s->di, type | SOCK_CLOEXEC, call_int(c, 2));

	return fd < 0 ? fd : give_and_close(c, fd, type & SOCK_CLOEXEC);
}

/* The address that the program has given to bind(2) or connect(2). */
static size_t copy_address(struct call *c, union address *a)
{
	return call_get_address(c, call_arg(c, 1), call_int(c, 2), a);
}

/* The socket, if it and the address are ours. 0, or the value to return. */
static long take_vsock(struct call *c, const union address *a, size_t len, struct sockaddr_vm *out)
{
	long r;

	if (!len || a->family != AF_VSOCK)
		return DI_CONTINUE;
	r = call_take_socket(c, 0);
	return r ? r : di_address(a->bytes, (socklen_t)len, out);
}

static long call_bind(struct call *c)
{
	struct sockaddr_vm addr;
	union address a;
	size_t len = copy_address(c, &a);
	long r = take_vsock(c, &a, len, &addr);
	uid_t user;

	if (r)
		return r;
	/* zvsockd sees our credentials: a program that has dropped its privileges must not get
	 * ours. */
	if (addr.svm_port < LOW_PORTS) {
		/* Its number may be another's by now. */
		if (di_caller_user(&c->t, &user) < 0 || !call_waits(c))
			return DI_DONE;
		if (user != geteuid() && user != 0)
			return -EACCES;
	}
	return di_bind(&c->s->di, c->fd, &addr);
}

static long call_connect(struct call *c)
{
	struct sockaddr_vm addr;
	struct di_blocked b;
	union address a;
	size_t len = copy_address(c, &a);
	long r, answer;

	if (c->s->tcp && (a.family == AF_INET || a.family == AF_INET6))
		return call_connect_ip(c, &a, len);
	r = take_vsock(c, &a, len, &addr);
	if (r)
		return r;
	if (fcntl(c->fd, F_GETFL) & O_NONBLOCK)
		return di_connect(&c->s->di, c->fd, &addr, true, 0);
	if (!c->may_block)
		return -ENOBUFS;
	di_blocked_enter(c->s, &b, c->n, c->t.pidfd);
	r = di_connect(&c->s->di, c->fd, &addr, false, 0);
	di_blocked_leave(c->s, &b);
	answer = r == -EINTR ? di_blocked_answer(&b, false) : 0;
	return answer ? answer : r;
}

/* Accepts only a connection of zvsock, whoever else has connected to the name. Where it does not
 * wait it closes so @many of these. */
static int accept_ours(struct call *c, int flags, unsigned many)
{
	for (unsigned strangers = 0; strangers < many; strangers++) {
		int fd = accept4(c->fd, NULL, NULL, flags | SOCK_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (di_accepted(&c->s->di, c->fd, fd) == 0)
			return fd;
		close(fd);
	}
	return -ECONNABORTED;
}

static long accept_blocking(struct call *c, int flags)
{
	struct timeval limit = {0};
	socklen_t len = sizeof(limit);
	long answer;
	int fd;

	if (!c->may_block)
		return -ENOBUFS;
	(void)getsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, &len);
	do {
		struct di_blocked b;

		di_blocked_enter(c->s, &b, c->n, c->t.pidfd);
		fd = accept_ours(c, flags, UINT_MAX);
		di_blocked_leave(c->s, &b);
		answer = fd == -EINTR ? di_blocked_answer(&b, !limit.tv_sec && !limit.tv_usec) : 0;
	} while (fd == -EINTR && !answer);
	return answer ? answer : fd;
}

static long do_accept(struct call *c, int flags)
{
	struct sockaddr_vm remote;
	long r = call_take_socket(c, 0);
	ino_t listener;
	int conn;

	if (r)
		return r;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	listener = di_listener(c->fd);
	conn = di_parked(c->s, listener);
	if (conn >= 0)
		fcntl(conn, F_SETFL, flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	else if (fcntl(c->fd, F_GETFL) & O_NONBLOCK)
		conn = accept_ours(c, flags & SOCK_NONBLOCK, DI_STRANGERS_MAX);
	else
		r = accept_blocking(c, flags & SOCK_NONBLOCK), conn = r >= 0 ? (int)r : -1;
	if (conn < 0)
		return r < 0 ? r : conn;
	r = 0;
	if (call_arg(c, 1)) {
		r = di_names(&c->s->di, conn, NULL, &remote);
		if (r == 0)
			r = call_put_address(c, &remote, sizeof(remote), call_arg(c, 1),
					     call_arg(c, 2));
	}
	if (r < 0 && r != DI_DONE) { /* as the kernel: the connection is lost */
		close(conn);
		return r;
	}
	/* After the answer the program continues and may close the listener to bind the port again:
	 * our duplicate must not keep the name in use. */
	close(c->fd);
	c->fd = -1;
	if (r == 0)
		r = call_give(c, conn, flags & SOCK_CLOEXEC);
	if (r < 0) /* it no longer waits, or has no descriptor left: keep it for the next call */
		di_park(c->s, listener, c->t.pidfd, conn);
	else
		close(conn);
	return r == 0 || r == -ENOENT ? DI_DONE : r;
}

static long call_accept(struct call *c)
{
	return do_accept(c, 0);
}

static long call_accept4(struct call *c)
{
	return do_accept(c, call_int(c, 3));
}

static long call_shutdown(struct call *c)
{
	long r = call_take_socket(c, 0);

	return r ? r : di_shutdown(&c->s->di, c->fd, call_int(c, 1));
}

static long names(struct call *c, bool remote)
{
	struct sockaddr_storage outbound;
	struct sockaddr_vm a;
	long r = call_take_file(c, 0);

	if (r == 0 && di_outbound_find(c->s, c->fd, &outbound)) {
		if (!remote) /* its own is not known: unspecified, port 0 */
			outbound = (struct sockaddr_storage){.ss_family = outbound.ss_family};
		return call_put_address(c, &outbound,
					outbound.ss_family == AF_INET ? sizeof(struct sockaddr_in)
								      : sizeof(struct sockaddr_in6),
					call_arg(c, 1), call_arg(c, 2));
	}
	if (r == 0 && di_is(c->fd) != 1)
		return DI_CONTINUE;
	if (r == 0)
		r = di_names(&c->s->di, c->fd, remote ? NULL : &a, remote ? &a : NULL);
	return r ? r : call_put_address(c, &a, sizeof(a), call_arg(c, 1), call_arg(c, 2));
}

static long call_getsockname(struct call *c)
{
	return names(c, false);
}

static long call_getpeername(struct call *c)
{
	return names(c, true);
}

/* Options of TCP and IP, which a replacement socket does not have. */
static bool is_ip_level(int level)
{
	return level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6;
}

/* getsockopt(2) of c->fd. 1: it is for the kernel to answer. */
static int get_option(struct call *c, int level, int name, void *val, socklen_t *len)
{
	struct sockaddr_storage outbound;
	int domain;

	if (di_outbound_find(c->s, c->fd, &outbound)) {
		domain = outbound.ss_family;
		if (is_ip_level(level)) /* zeroes */
			return 0;
		if (level == SOL_SOCKET && name == SO_DOMAIN) {
			*len = *len < sizeof(domain) ? *len : (socklen_t)sizeof(domain);
			memcpy(val, &domain, *len);
			return 0;
		}
	}
	return di_getsockopt(&c->s->di, c->fd, level, name, val, len);
}

static long call_getsockopt(struct call *c)
{
	char val[OPTION_MAX] = {0};
	socklen_t len;
	int room = 0;
	long r = call_take_file(c, 0);

	if (r == 0)
		r = di_caller_read(&c->t, call_arg(c, 4), &room, sizeof(room));
	if (r)
		return r;
	if (room < 0)
		return -EINVAL;
	len = (socklen_t)room < sizeof(val) ? (socklen_t)room : (socklen_t)sizeof(val);
	r = get_option(c, call_int(c, 1), call_int(c, 2), val, &len);
	if (r)
		return r == 1 ? DI_CONTINUE : r;
	r = call_hold_memory(c);
	if (r)
		return r;
	r = di_caller_write(&c->t, call_arg(c, 3), val, len);
	return r ? r : di_caller_write(&c->t, call_arg(c, 4), &len, sizeof(len));
}

static long call_setsockopt(struct call *c)
{
	struct sockaddr_storage outbound;
	char val[OPTION_MAX] = {0};
	int len = call_int(c, 4);
	long r = call_take_file(c, 0);

	if (r == 0 && is_ip_level(call_int(c, 1)))
		return di_outbound_find(c->s, c->fd, &outbound) ? 0 : DI_CONTINUE;
	if (r == 0 && di_is(c->fd) != 1)
		return DI_CONTINUE;
	if (r)
		return r;
	if (len < 0)
		return -EINVAL;
	if (len > (int)sizeof(val))
		len = sizeof(val);
	r = di_caller_read(&c->t, call_arg(c, 3), val, (size_t)len);
	if (r)
		return r;
	if (!call_waits(c))
		return DI_DONE;
	r = di_setsockopt(&c->s->di, c->fd, call_int(c, 1), call_int(c, 2), val, (socklen_t)len);
	return r == 1 ? DI_CONTINUE : r;
}

/* the only one of /dev/vsock; /dev/null replaces it on machines without it */
static long call_ioctl(struct call *c)
{
	uint32_t cid;
	struct stat st;
	long r = call_take_socket(c, 0);

	if (r != DI_CONTINUE || c->fd < 0 || fstat(c->fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return r ? r : -ENOTTY; /* a socket has no such thing */
	r = di_local_cid(&c->s->di, &cid);
	if (r < 0)
		return r;
	r = call_hold_memory(c);
	return r ? r : di_caller_write(&c->t, call_arg(c, 2), &cid, sizeof(cid));
}

static long open_vsock(struct call *c, uint64_t path, int flags)
{
	char text[sizeof(DEV_VSOCK)];
	uint32_t cid;
	int fd;

	if (di_caller_string(&c->t, path, text, sizeof(text)) < 0 || strcmp(text, DEV_VSOCK) != 0)
		return DI_CONTINUE;
	if (di_local_cid(&c->s->di, &cid) < 0)
		return DI_CONTINUE; /* it has none, and finds none */
	fd = open("/dev/null", (flags & O_ACCMODE) | O_CLOEXEC | (flags & O_NONBLOCK));
	return fd < 0 ? -errno : give_and_close(c, fd, flags & O_CLOEXEC);
}

#ifdef SYS_open
static long call_open(struct call *c)
{
	return open_vsock(c, call_arg(c, 0), call_int(c, 1));
}
#endif

static long call_openat(struct call *c)
{
	return open_vsock(c, call_arg(c, 1), call_int(c, 2));
}

static const struct {
	int nr;
	long (*call)(struct call *c);
} calls[] = {
	{SYS_openat, call_openat}, /* the most frequent call, if it exists at all */
#ifdef SYS_open
	{SYS_open, call_open},
#endif
	{SYS_connect, call_connect},
	{SYS_accept4, call_accept4},
#ifdef SYS_accept
	{SYS_accept, call_accept},
#endif
	{SYS_getsockopt, call_getsockopt},
	{SYS_setsockopt, call_setsockopt},
	{SYS_getsockname, call_getsockname},
	{SYS_getpeername, call_getpeername},
	{SYS_shutdown, call_shutdown},
	{SYS_socket, call_socket},
	{SYS_bind, call_bind},
	{SYS_ioctl, call_ioctl},
	{SYS_recvfrom, call_recvfrom}, /* from here on with --dgram */
	{SYS_sendto, call_sendto},
	{SYS_recvmsg, call_recvmsg},
	{SYS_sendmsg, call_sendmsg},
	{SYS_recvmmsg, call_recvmmsg},
	{SYS_sendmmsg, call_sendmmsg},
};

long di_call(struct di_super *s, const struct seccomp_notif *n, bool may_block)
{
	struct call c = {.s = s,
			 .n = n,
			 .t = {.tid = (pid_t)n->pid, .pidfd = -1, .mem = -1},
			 .fd = -1,
			 .may_block = may_block};
	long r = DI_CONTINUE;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].nr == n->data.nr) {
			r = calls[i].call(&c);
			break;
		}
	if (c.fd >= 0)
		close(c.fd);
	di_caller_close(&c.t);
	return r;
}
