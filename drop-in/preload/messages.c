/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that carry an address with data: destination and source of datagrams. On a connection the
 * kernel's vsock returns no address, while AF_UNIX names its sockets. Without an address, and on
 * sockets of other families, libc's calls are used.
 */
#undef _FORTIFY_SOURCE
#include "context.h"
#include "preload/real.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

/* ---- whom it goes to ------------------------------------------------------------------------ */

static bool is_dgram_with(int fd, const struct sockaddr *addr, socklen_t len)
{
	return addr && len && vsock_with(fd, addr, len) && di_type(fd) == SOCK_DGRAM;
}

static ssize_t send_dgram(int fd, const struct msghdr *m, int flags, const void *addr,
			  socklen_t len)
{
	struct sockaddr_vm to;
	long rc;

	now_vsock(fd);
	rc = di_address(addr, len, &to) < 0 ? -EINVAL : di_sendto(context(), fd, m, flags, &to);
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *addr,
		      socklen_t len)
{
	struct iovec iov = {(void *)buf, n};
	const struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (!is_dgram_with(fd, addr, len))
		return REAL(sendto)(fd, buf, n, flags, addr, len);
	return send_dgram(fd, &m, flags, addr, len);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (!m || !is_dgram_with(fd, m->msg_name, m->msg_namelen))
		return REAL(sendmsg)(fd, m, flags);
	return send_dgram(fd, m, flags, m->msg_name, m->msg_namelen);
}

EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
	unsigned done = 0;

	if (!v || !n || !is_dgram_with(fd, v->msg_hdr.msg_name, v->msg_hdr.msg_namelen))
		return REAL(sendmmsg)(fd, v, n, flags);
	for (; done < n; done++) {
		ssize_t r = sendmsg(fd, &v[done].msg_hdr, flags);

		if (r < 0)
			break;
		v[done].msg_len = (unsigned)r;
	}
	return done ? (int)done : -1;
}

/* ---- whom it comes from --------------------------------------------------------------------- */

/* A complete name as the kernel returns it. */
union name {
	struct sockaddr any;
	struct sockaddr_un un;
	struct sockaddr_storage room;
};

/* Is it a label, or a path in zvsockd's directory? */
static bool names_us(const union name *name, socklen_t len)
{
	const socklen_t begin = offsetof(struct sockaddr_un, sun_path);
	const char *dir = context()->dir;
	size_t n = strlen(dir);

	if (is_label(&name->any, len, len))
		return true;
	return family_is(&name->any, len, AF_UNIX) && n && len > begin + n &&
	       !memcmp(name->un.sun_path, dir, n);
}

/* Copies the sender's name to @addr, which has room for *len bytes, and sets *len. */
static void put_name(int fd, const union name *name, socklen_t size, void *addr, socklen_t *len)
{
	socklen_t room = *len;
	struct sockaddr_vm from;
	int type = size && names_us(name, size) ? di_type(fd) : 0;

	if (type == SOCK_DGRAM && di_sender(&name->un, size, &from)) {
		put_address(addr, len, room, &from);
	} else if (type) {
		*len = 0;
	} else {
		memcpy(addr, name, size < room ? size : room);
		*len = size;
	}
}

/* Invalid calls are left to the kernel, which reports the error. */
static bool wants_name(const void *addr, const socklen_t *len)
{
	return addr && len && (int)*len > 0;
}

EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *addr,
			socklen_t *len)
{
	union name name;
	socklen_t size = sizeof(name);
	ssize_t r;

	if (!wants_name(addr, len))
		return REAL(recvfrom)(fd, buf, n, flags, addr, len);
	r = REAL(recvfrom)(fd, buf, n, flags, &name.any, &size);
	if (r >= 0)
		put_name(fd, &name, size, addr, len);
	return r;
}

/* recvfrom(2) of programs that were built with -D_FORTIFY_SOURCE. */
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags, struct sockaddr *addr,
		       socklen_t *len);

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags,
			      struct sockaddr *addr, socklen_t *len)
{
	union name name;
	socklen_t size = sizeof(name);
	ssize_t r;

	if (!wants_name(addr, len))
		return REAL(__recvfrom_chk)(fd, buf, n, room, flags, addr, len);
	r = REAL(__recvfrom_chk)(fd, buf, n, room, flags, &name.any, &size);
	if (r >= 0)
		put_name(fd, &name, size, addr, len);
	return r;
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	union name name;
	struct msghdr own;
	ssize_t r;

	if (!m || !wants_name(m->msg_name, &m->msg_namelen))
		return REAL(recvmsg)(fd, m, flags);
	own = *m;
	own.msg_name = &name;
	own.msg_namelen = sizeof(name);
	r = REAL(recvmsg)(fd, &own, flags);
	if (r < 0)
		return r;
	put_name(fd, &name, own.msg_namelen, m->msg_name, &m->msg_namelen);
	m->msg_controllen = own.msg_controllen;
	m->msg_flags = own.msg_flags;
	return r;
}

/*
 * One message after another for a datagram socket: the first waits, the others do not. The time
 * limit, which the kernel looks at between messages only, has nothing to do then.
 */
EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *limit)
{
	unsigned done = 0;

	if (!v || !n || !is_vsock(fd) || di_type(fd) != SOCK_DGRAM)
		return REAL(recvmmsg)(fd, v, n, flags, limit);
	for (; done < n; done++) {
		ssize_t r = recvmsg(fd, &v[done].msg_hdr,
				    (flags & ~MSG_WAITFORONE) | (done ? MSG_DONTWAIT : 0));

		if (r < 0)
			break;
		v[done].msg_len = (unsigned)r;
	}
	return done ? (int)done : -1;
}
