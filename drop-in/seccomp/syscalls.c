/* SPDX-License-Identifier: BSD-3-Clause */
#include "syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include "blocked.h"
#include "caller.h"

#define DEV_VSOCK   "/dev/vsock"
#define OPTION_MAX  64u	  /* bytes of a socket option of AF_VSOCK, at most */
#define ADDRESS_MAX 128u  /* bytes of an address that the kernel takes */
#define LOW_PORTS   1024u /* of these, the user of the program decides, not ours */

struct call {
	struct di_super *s;
	const struct seccomp_notif *n;
	struct di_caller t;
	int fd; /* of ours; -1 */
	bool may_block;
};

static uint64_t arg(const struct call *c, unsigned i)
{
	return c->n->data.args[i];
}

static int int_arg(const struct call *c, unsigned i)
{
	return (int)c->n->data.args[i];
}

bool di_call_waits(const struct di_super *s, uint64_t id)
{
	return ioctl(s->notify, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static bool waits(const struct call *c)
{
	return di_call_waits(c->s, c->n->id);
}

/*
 * c->fd becomes the program's descriptor @i. 0: it stands for an AF_VSOCK socket of the thread that
 * called. Otherwise what to return.
 */
static long take_socket(struct call *c, unsigned i)
{
	int r = di_caller_open(&c->t, c->t.tid);

	if (r == 0)
		r = di_caller_fd(&c->t, int_arg(c, i));
	if (r < 0) /* EBADF is for the kernel to say; what we may not look at is not ours */
		return waits(c) ? DI_CONTINUE : DI_DONE;
	c->fd = r;
	if (di_is(c->fd) != 1)
		return DI_CONTINUE;
	return waits(c) ? 0 : DI_DONE;
}

/* Puts @ours into the program and answers with its number there. 0 or -errno; closes nothing. */
static int give(const struct call *c, int ours, bool cloexec)
{
	struct seccomp_notif_addfd add = {
		.id = c->n->id,
		.flags = SECCOMP_ADDFD_FLAG_SEND,
		.srcfd = (uint32_t)ours,
		.newfd_flags = cloexec ? O_CLOEXEC : 0,
	};

	return ioctl(c->s->notify, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 ? -errno : 0;
}

static long give_and_close(const struct call *c, int ours, bool cloexec)
{
	int r = give(c, ours, cloexec);

	close(ours);
	return r == 0 || r == -ENOENT ? DI_DONE : r;
}

/* As the kernel does: what fits is written, and how long it would be. */
static long put_address(const struct call *c, const struct sockaddr_vm *a, uint64_t at,
			uint64_t len_at)
{
	int room = 0;
	int r = di_caller_read(&c->t, len_at, &room, sizeof(room));

	if (r < 0)
		return r;
	if (room < 0)
		return -EINVAL;
	if ((size_t)room > sizeof(*a))
		room = sizeof(*a);
	if (!waits(c))
		return DI_DONE;
	r = di_caller_write(&c->t, at, a, (size_t)room);
	room = sizeof(*a);
	return r < 0 ? r : di_caller_write(&c->t, len_at, &room, sizeof(room));
}

/* ---- one function a call -------------------------------------------------------------------- */

static long call_socket(struct call *c)
{
	int type = int_arg(c, 1);
	int fd = di_socket(&c->s->di, type | SOCK_CLOEXEC, int_arg(c, 2));

	return fd < 0 ? fd : give_and_close(c, fd, type & SOCK_CLOEXEC);
}

/* The address of bind(2) and connect(2), and the socket when that is ours. 0, or what to return. */
static long take_address(struct call *c, struct sockaddr_vm *out)
{
	union {
		sa_family_t family;
		char bytes[ADDRESS_MAX];
	} addr;
	int len = int_arg(c, 2);
	size_t part = sizeof(*out);
	long r;

	if (len < (int)sizeof(addr.family) || len > (int)ADDRESS_MAX)
		return DI_CONTINUE;
	if ((size_t)len < part)
		part = (size_t)len;
	if (di_caller_read(&c->t, arg(c, 1), addr.bytes, part) < 0 || addr.family != AF_VSOCK)
		return DI_CONTINUE;
	r = take_socket(c, 0);
	return r ? r : di_address(addr.bytes, (socklen_t)part, out);
}

static long call_bind(struct call *c)
{
	struct sockaddr_vm addr;
	uid_t user;
	long r = take_address(c, &addr);

	if (r)
		return r;
	/* zvsockd sees us: a program that has given up its rights must not have ours. */
	if (addr.svm_port < LOW_PORTS) {
		if (di_caller_user(&c->t, &user) < 0)
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
	long r = take_address(c, &addr), answer;

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

/* A connection of zvsock, whoever else has connected to the name. */
static int accept_ours(struct call *c, int flags)
{
	for (;;) {
		int fd = accept4(c->fd, NULL, NULL, flags | SOCK_CLOEXEC);

		if (fd < 0)
			return -errno;
		if (di_accepted(&c->s->di, fd) == 0)
			return fd;
		close(fd);
	}
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
		fd = accept_ours(c, flags);
		di_blocked_leave(c->s, &b);
		answer = fd == -EINTR ? di_blocked_answer(&b, !limit.tv_sec && !limit.tv_usec) : 0;
	} while (fd == -EINTR && !answer);
	return answer ? answer : fd;
}

static long do_accept(struct call *c, int flags)
{
	struct sockaddr_vm remote;
	long r = take_socket(c, 0);
	ino_t listener;
	int conn;

	if (r)
		return r;
	if (flags & ~(SOCK_CLOEXEC | SOCK_NONBLOCK))
		return -EINVAL;
	listener = di_listener(c->fd);
	conn = di_kept(c->s, listener);
	if (conn >= 0)
		fcntl(conn, F_SETFL, flags & SOCK_NONBLOCK ? O_NONBLOCK : 0);
	else if (fcntl(c->fd, F_GETFL) & O_NONBLOCK)
		conn = accept_ours(c, flags & SOCK_NONBLOCK);
	else
		r = accept_blocking(c, flags & SOCK_NONBLOCK), conn = r >= 0 ? (int)r : -1;
	if (conn < 0)
		return r < 0 ? r : conn;
	r = 0;
	if (arg(c, 1)) {
		r = di_names(&c->s->di, conn, NULL, &remote);
		if (r == 0)
			r = put_address(c, &remote, arg(c, 1), arg(c, 2));
	}
	if (r < 0 && r != DI_DONE) { /* as the kernel: the connection is lost */
		close(conn);
		return r;
	}
	/*
	 * With its answer the program goes on, and may close the listener to bind the port again:
	 * ours must not keep the name taken.
	 */
	close(c->fd);
	c->fd = -1;
	if (r == 0)
		r = give(c, conn, flags & SOCK_CLOEXEC);
	if (r < 0) /* it does not wait any more, or has no descriptor left: for the next call */
		di_keep(c->s, listener, c->t.pidfd, conn);
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
	return do_accept(c, int_arg(c, 3));
}

static long call_shutdown(struct call *c)
{
	long r = take_socket(c, 0);

	if (r == 0)
		r = di_may_shutdown(&c->s->di, c->fd);
	return r ? r : DI_CONTINUE;
}

static long names(struct call *c, bool remote)
{
	struct sockaddr_vm a;
	long r = take_socket(c, 0);

	if (r == 0)
		r = di_names(&c->s->di, c->fd, remote ? NULL : &a, remote ? &a : NULL);
	return r ? r : put_address(c, &a, arg(c, 1), arg(c, 2));
}

static long call_getsockname(struct call *c)
{
	return names(c, false);
}

static long call_getpeername(struct call *c)
{
	return names(c, true);
}

static long call_getsockopt(struct call *c)
{
	char val[OPTION_MAX] = {0};
	socklen_t len;
	int room = 0;
	long r = take_socket(c, 0);

	if (r == 0)
		r = di_caller_read(&c->t, arg(c, 4), &room, sizeof(room));
	if (r)
		return r;
	if (room < 0)
		return -EINVAL;
	len = (socklen_t)room < sizeof(val) ? (socklen_t)room : (socklen_t)sizeof(val);
	r = di_getsockopt(&c->s->di, c->fd, int_arg(c, 1), int_arg(c, 2), val, &len);
	if (r)
		return r == 1 ? DI_CONTINUE : r;
	if (!waits(c))
		return DI_DONE;
	r = di_caller_write(&c->t, arg(c, 3), val, len);
	return r ? r : di_caller_write(&c->t, arg(c, 4), &len, sizeof(len));
}

static long call_setsockopt(struct call *c)
{
	char val[OPTION_MAX] = {0};
	int len = int_arg(c, 4);
	long r = take_socket(c, 0);

	if (r)
		return r;
	if (len < 0)
		return -EINVAL;
	if (len > (int)sizeof(val))
		len = sizeof(val);
	r = di_caller_read(&c->t, arg(c, 3), val, (size_t)len);
	if (r)
		return r;
	if (!waits(c))
		return DI_DONE;
	r = di_setsockopt(&c->s->di, c->fd, int_arg(c, 1), int_arg(c, 2), val, (socklen_t)len);
	return r == 1 ? DI_CONTINUE : r;
}

/* /dev/vsock's only one; /dev/null stands for it where the machine has none. */
static long call_ioctl(struct call *c)
{
	uint32_t cid;
	struct stat st;
	long r = take_socket(c, 0);

	if (r != DI_CONTINUE || c->fd < 0 || fstat(c->fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return r ? r : -ENOTTY; /* a socket has no such thing */
	if (!waits(c))
		return DI_DONE;
	r = di_local_cid(&c->s->di, &cid);
	if (r < 0)
		return r;
	return waits(c) ? di_caller_write(&c->t, arg(c, 2), &cid, sizeof(cid)) : DI_DONE;
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
	return open_vsock(c, arg(c, 0), int_arg(c, 1));
}
#endif

static long call_openat(struct call *c)
{
	return open_vsock(c, arg(c, 1), int_arg(c, 2));
}

static const struct {
	int nr;
	long (*call)(struct call *c);
} calls[] = {
	{SYS_openat, call_openat}, /* the most frequent one, where it is there at all */
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
};

long di_call(struct di_super *s, const struct seccomp_notif *n, bool may_block)
{
	struct call c = {.s = s,
			 .n = n,
			 .t = {.tid = (pid_t)n->pid, .pidfd = -1},
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
