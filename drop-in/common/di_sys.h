/* SPDX-License-Identifier: BSD-3-Clause */
/* System calls made by number, because the preloaded library exports the names of libc's functions.
 * They return >= 0 or -errno and do not change errno. They are not cancellation points. */
#ifndef ZV_DROPIN_DI_SYS_H
#define ZV_DROPIN_DI_SYS_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static inline long di_sys(long number, long a, long b, long c, long d, long e)
{
	int before = errno;
	long r = syscall(number, a, b, c, d, e, 0L);

	if (r < 0)
		r = -errno;
	errno = before;
	return r;
}

static inline int di_sys_socket(int family, int type, int protocol)
{
	return (int)di_sys(SYS_socket, family, type, protocol, 0, 0);
}

static inline int di_sys_close(int fd)
{
	return (int)di_sys(SYS_close, fd, 0, 0, 0, 0);
}

static inline int di_sys_bind(int fd, const void *addr, socklen_t len)
{
	return (int)di_sys(SYS_bind, fd, (long)addr, len, 0, 0);
}

static inline int di_sys_connect(int fd, const void *addr, socklen_t len)
{
	return (int)di_sys(SYS_connect, fd, (long)addr, len, 0, 0);
}

static inline int di_sys_getsockname(int fd, void *addr, socklen_t *len)
{
	return (int)di_sys(SYS_getsockname, fd, (long)addr, (long)len, 0, 0);
}

static inline int di_sys_getpeername(int fd, void *addr, socklen_t *len)
{
	return (int)di_sys(SYS_getpeername, fd, (long)addr, (long)len, 0, 0);
}

static inline int di_sys_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	return (int)di_sys(SYS_getsockopt, fd, level, name, (long)val, (long)len);
}

static inline int di_sys_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	return (int)di_sys(SYS_setsockopt, fd, level, name, (long)val, len);
}

static inline int di_sys_shutdown(int fd, int how)
{
	return (int)di_sys(SYS_shutdown, fd, how, 0, 0, 0);
}

static inline long di_sys_sendmsg(int fd, const struct msghdr *m, int flags)
{
	return di_sys(SYS_sendmsg, fd, (long)m, flags, 0, 0);
}

static inline long di_sys_recvmsg(int fd, struct msghdr *m, int flags)
{
	return di_sys(SYS_recvmsg, fd, (long)m, flags, 0, 0);
}

static inline int64_t di_sys_geteuid(void)
{
	return di_sys(SYS_geteuid, 0, 0, 0, 0, 0);
}

static inline int64_t di_sys_now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t); /* in the vDSO; it cannot fail */
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* poll(2) of one descriptor. Returns its events; 0: none within @ms (returns at once if @ms <=
 * 0). */
static inline int di_sys_poll(int fd, short events, int64_t ms)
{
	struct timespec t = {.tv_sec = ms > 0 ? ms / 1000 : 0,
			     .tv_nsec = ms > 0 ? ms % 1000 * 1000000 : 0};
	struct pollfd p = {.fd = fd, .events = events};
	long r = di_sys(SYS_ppoll, (long)&p, 1, (long)&t, 0, 0);

	return r > 0 ? p.revents : (int)r;
}

#endif
