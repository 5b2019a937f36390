/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket calls for which AF_VSOCK and AF_UNIX differ. Each first finds out, by comparing its
 * arguments or the kernel's answer, whether it can be about an AF_VSOCK socket at all; read, write,
 * send, recv and poll are not intercepted.
 */
#undef _FORTIFY_SOURCE
#include "context.h"
#include "preload/real.h"
#include "tcp_out.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

EXPORT int socket(int domain, int type, int protocol)
{
	int fd;

	if (domain != AF_VSOCK)
		return REAL(socket)(domain, type, protocol);
	fd = di_socket(context(), type, protocol);
	if (fd >= 0)
		now_vsock(fd);
	return returned(fd);
}

EXPORT int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_vm vm;
	int rc;

	if (!vsock_with(fd, addr, len))
		return REAL(bind)(fd, addr, len);
	rc = di_address(addr, len, &vm);
	if (!rc)
		rc = di_bind(context(), fd, &vm);
	now_vsock(fd);
	return returned(rc);
}

/* The number goes on with a new socket, if that is what it takes. */
static void renew(int fd)
{
	int fresh = di_renew(fd), flags = fcntl(fd, F_GETFD);

	if (fresh < 0)
		return;
	(void)dup3(fresh, fd, flags >= 0 && flags & FD_CLOEXEC ? O_CLOEXEC : 0);
	close(fresh);
}

static int connect_vsock(int fd, const struct sockaddr_vm *vm)
{
	int flags = fcntl(fd, F_GETFL), rc;
	bool nonblock = flags >= 0 && flags & O_NONBLOCK;

	rc = di_connect_or_renew(context(), fd, vm, nonblock);
	if (rc != -ERESTART)
		return rc;
	renew(fd);
	return di_connect(context(), fd, vm, nonblock, 0);
}

EXPORT int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	bool vsock = family_is(addr, len, AF_VSOCK);
	struct sockaddr_vm vm;
	int rc = -ENOTSOCK;

	if (tcp_is_ours(fd, addr, len))
		return returned(tcp_connect(fd, addr, len));
	if (tcp_names(fd, NULL, NULL))
		return returned(-EISCONN);
	if (vsock && di_address(addr, len, &vm) == 0)
		rc = connect_vsock(fd, &vm);
	else if (vsock ? di_is(fd) == 1
		       : is_vsock(fd) &&
				 !(family_is(addr, len, AF_UNSPEC) && di_type(fd) == SOCK_DGRAM))
		rc = -EINVAL;
	if (rc == -ENOTSOCK || rc == -EBADF) /* it stands for no AF_VSOCK socket */
		return REAL(connect)(fd, addr, len);
	now_vsock(fd);
	return returned(rc);
}

/* ---- accept --------------------------------------------------------------------------------- */

/* An accepted socket, which is checked. Its descriptor; -1: it is closed, another may follow. */
static int welcome(int listener, int fd, struct sockaddr *addr, socklen_t *len, socklen_t room)
{
	struct sockaddr_vm remote;
	int rc = di_accepted(context(), listener, fd);

	if (!rc && addr && len)
		rc = di_names(context(), fd, NULL, &remote);
	if (rc < 0) {
		close(fd);
		return -1;
	}
	if (addr && len)
		put_address(addr, len, room, &remote);
	now_vsock(fd);
	return fd;
}

EXPORT int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	bool vsock = is_vsock(fd);
	socklen_t room = addr && len ? *len : 0;
	int got, ready;

	for (unsigned strangers = 0;; strangers++) {
		if (strangers >= DI_STRANGERS_MAX && fcntl(fd, F_GETFL) & O_NONBLOCK)
			return returned(-ECONNABORTED);
		if (addr && len)
			*len = room;
		got = REAL(accept4)(fd, addr, len, flags);
		if (got < 0 || !(vsock || (addr && len && is_label(addr, room, *len))))
			return got;
		ready = welcome(fd, got, addr, len, room);
		if (ready >= 0)
			return ready;
	}
}

EXPORT int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	return accept4(fd, addr, len, 0);
}

/*
 * One that was accepted without this library knowing (by a program without it, by io_uring, behind
 * a duplicate of a descriptor) has no mark yet.
 */
static bool is_or_becomes_vsock(int fd)
{
	return di_is(fd) == 1 || di_accepted(context(), -1, fd) == 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* Of a connection by TCP (tcp_out.h). False: @fd is none. */
static bool put_tcp_name(struct sockaddr *addr, socklen_t *len, socklen_t room, int fd, bool remote)
{
	struct sockaddr_storage ss;
	socklen_t size;

	if (!tcp_names(fd, remote ? &ss : NULL, remote ? NULL : &ss))
		return false;
	size = ss.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	memcpy(addr, &ss, room < size ? room : size);
	*len = size;
	return true;
}

EXPORT int getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	socklen_t room = len ? *len : 0;
	int rc = REAL(getsockname)(fd, addr, len);
	struct sockaddr_vm local;

	if (rc == 0 && len && put_tcp_name(addr, len, room, fd, false))
		return 0;
	if (rc < 0 || !len || !family_is(addr, room, AF_UNIX) ||
	    !(is_label(addr, room, *len) ? is_or_becomes_vsock(fd) : di_is(fd) == 1))
		return rc;
	rc = di_names(context(), fd, &local, NULL);
	if (!rc)
		put_address(addr, len, room, &local);
	return returned(rc);
}

EXPORT int getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	socklen_t room = len ? *len : 0;
	int rc = REAL(getpeername)(fd, addr, len);
	struct sockaddr_vm remote;

	if (rc == 0 && len && put_tcp_name(addr, len, room, fd, true))
		return 0;
	if (rc < 0 || !len || !family_is(addr, room, AF_UNIX) ||
	    !(is_label(addr, room, *len) ? is_or_becomes_vsock(fd) : di_is(fd) == 1))
		return rc;
	rc = di_names(context(), fd, NULL, &remote);
	if (!rc)
		put_address(addr, len, room, &remote);
	return returned(rc);
}

/* ---- state and options ---------------------------------------------------------------------- */

EXPORT int shutdown(int fd, int how)
{
	return is_vsock(fd) ? returned(di_shutdown(context(), fd, how)) : REAL(shutdown)(fd, how);
}

/* Options of TCP and IP that a vsock socket does not have: 0, and set without effect. */
static bool of_tcp(int fd, int level)
{
	return (level == IPPROTO_TCP || level == IPPROTO_IP || level == IPPROTO_IPV6) &&
	       tcp_names(fd, NULL, NULL);
}

EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	struct sockaddr_storage tcp;
	int rc, said;

	if (of_tcp(fd, level)) {
		memset(val, 0, *len);
		return 0;
	}
	if (level == AF_VSOCK) {
		rc = di_getsockopt(context(), fd, level, name, val, len);
		return rc == 1 ? REAL(getsockopt)(fd, level, name, val, len) : returned(rc);
	}
	rc = REAL(getsockopt)(fd, level, name, val, len);
	if (rc || level != SOL_SOCKET || (name != SO_DOMAIN && name != SO_ERROR) ||
	    *len != sizeof(said))
		return rc;
	memcpy(&said, val, sizeof(said));
	if (name == SO_ERROR)
		said = di_error(context(), fd, said);
	else if ((said == AF_UNIX || said == AF_VSOCK) && tcp_names(fd, &tcp, NULL))
		said = tcp.ss_family;
	else if (said == AF_UNIX && is_or_becomes_vsock(fd))
		said = AF_VSOCK;
	memcpy(val, &said, sizeof(said));
	return rc;
}

EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	int rc = 1;

	if (of_tcp(fd, level))
		return 0;
	if (level == AF_VSOCK || (level == SOL_SOCKET && name == SO_MAX_PACING_RATE))
		rc = di_setsockopt(context(), fd, level, name, val, len);
	return rc == 1 ? REAL(setsockopt)(fd, level, name, val, len) : returned(rc);
}
