/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/di_int.h"
#include "common/di_sys.h"

#include <limits.h>
#include <string.h>

/* The kernel's defaults (VSOCK_DEFAULT_BUFFER_*). */
#define BUFFER_SIZE (UINT64_C(256) * 1024)
#define BUFFER_MIN  UINT64_C(128)

/* glibc 2.36 has the numbers of Linux 4; these are of 5.1. */
#ifndef SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW
#define SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW 8
#endif
#ifndef SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD
#define SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD 6
#endif

/* ---- sizes of buffers ----------------------------------------------------------------------- */

/*
 * They are returned as they were set and have no effect: AF_UNIX has SO_SNDBUF, and zvsockd has its
 * own buffers. One entry per socket that has set one, by its cookie; when there are many such
 * sockets, the oldest are forgotten.
 */
static struct buffer {
	_Atomic uint64_t cookie, size, min, max;
} buffers[256];

static _Atomic bool any; /* saves a system call for programs that set none */

static uint64_t cookie_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return di_sys_getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) == 0 ? cookie : 0;
}

static struct buffer *place_of(uint64_t cookie)
{
	return &buffers[cookie * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}

static void buffer_get(int fd, uint64_t *size, uint64_t *min, uint64_t *max)
{
	uint64_t cookie = cookie_of(fd);
	struct buffer *b = place_of(cookie);
	bool set = cookie && atomic_load(&b->cookie) == cookie;

	*size = set ? atomic_load(&b->size) : BUFFER_SIZE;
	*min = set ? atomic_load(&b->min) : BUFFER_MIN;
	*max = set ? atomic_load(&b->max) : BUFFER_SIZE;
}

static void buffer_store(uint64_t cookie, uint64_t size, uint64_t min, uint64_t max)
{
	struct buffer *b = place_of(cookie);

	atomic_store(&any, true);
	atomic_store(&b->cookie, 0);
	atomic_store(&b->size, size);
	atomic_store(&b->min, min);
	atomic_store(&b->max, max);
	atomic_store(&b->cookie, cookie);
}

static int buffer_set(int fd, int name, uint64_t value)
{
	uint64_t size, min, max, cookie = cookie_of(fd);

	buffer_get(fd, &size, &min, &max);
	if (name == SO_VM_SOCKETS_BUFFER_SIZE)
		size = value;
	else if (name == SO_VM_SOCKETS_BUFFER_MIN_SIZE)
		min = value;
	else
		max = value;
	if (size > max) /* in the kernel's order */
		size = max;
	if (size < min)
		size = min;
	buffer_store(cookie, size, min, max);
	return 0;
}

void di_inherit_buffers(int from, int to)
{
	uint64_t size, min, max;

	if (!atomic_load_explicit(&any, memory_order_relaxed))
		return;
	buffer_get(from, &size, &min, &max);
	if (size != BUFFER_SIZE || min != BUFFER_MIN || max != BUFFER_SIZE)
		buffer_store(cookie_of(to), size, min, max);
}

/* ---- time of connect(2) --------------------------------------------------------------------- */

static int timeout_set(int fd, const void *val, socklen_t len)
{
	struct di_mark mark;
	struct timeval tv;
	uint64_t ms;
	int rc;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_sec < 0 || tv.tv_usec < 0 || tv.tv_usec >= 1000000 ||
	    tv.tv_sec > LONG_MAX / 1000 - 1)
		return -ERANGE;
	rc = di_mark_get(fd, &mark);
	if (rc <= 0)
		return rc < 0 ? rc : -ENOTSOCK;
	ms = (uint64_t)tv.tv_sec * 1000 + (uint64_t)(tv.tv_usec + 999) / 1000;
	mark.timeout_ms = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
	return di_mark_set(fd, &mark);
}

static struct timeval timeout_get(int fd)
{
	struct di_mark mark = {0};
	uint32_t ms;

	(void)di_mark_get(fd, &mark);
	ms = mark.timeout_ms ? mark.timeout_ms : DI_TIMEOUT_MS;
	return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int answer(void *val, socklen_t *len, const void *from, socklen_t size)
{
	if (*len < size)
		return -EINVAL;
	memcpy(val, from, size);
	*len = size;
	return 0;
}

static int vsock_getsockopt(int fd, int name, void *val, socklen_t *len)
{
	uint64_t size, min, max;
	struct timeval tv;

	switch (name) {
	case SO_VM_SOCKETS_BUFFER_SIZE:
	case SO_VM_SOCKETS_BUFFER_MIN_SIZE:
	case SO_VM_SOCKETS_BUFFER_MAX_SIZE:
		buffer_get(fd, &size, &min, &max);
		return answer(val, len,
			      name == SO_VM_SOCKETS_BUFFER_SIZE	      ? &size
			      : name == SO_VM_SOCKETS_BUFFER_MIN_SIZE ? &min
								      : &max,
			      sizeof(size));
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD:
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW:
		tv = timeout_get(fd);
		return answer(val, len, &tv, sizeof(tv));
	default:
		return -ENOPROTOOPT;
	}
}

int di_getsockopt(struct di *d, int fd, int level, int name, void *val, socklen_t *len)
{
	int domain = AF_VSOCK, kernel_err, rc = di_is(fd);
	socklen_t size = sizeof(kernel_err);

	if (rc <= 0)
		return rc < 0 ? rc : 1;
	if (level == AF_VSOCK)
		return vsock_getsockopt(fd, name, val, len);
	if (level != SOL_SOCKET || (name != SO_DOMAIN && name != SO_ERROR))
		return 1;
	if ((int)*len < 0)
		return -EINVAL;
	if (*len > size)
		*len = size;
	if (name == SO_ERROR) {
		rc = di_sys_getsockopt(fd, level, name, &kernel_err, &size);
		if (rc < 0)
			return rc;
		domain = di_error(d, fd, kernel_err);
	}
	memcpy(val, &domain, *len);
	return 0;
}

int di_setsockopt(struct di *d, int fd, int level, int name, const void *val, socklen_t len)
{
	uint64_t v;
	int rc = di_is(fd);

	(void)d;
	if (rc < 0)
		return rc;
	/* the mark is ours */
	if (rc && level == SOL_SOCKET && name == SO_MAX_PACING_RATE)
		return 0;
	if (!rc || level != AF_VSOCK)
		return 1;
	switch (name) {
	case SO_VM_SOCKETS_BUFFER_SIZE:
	case SO_VM_SOCKETS_BUFFER_MIN_SIZE:
	case SO_VM_SOCKETS_BUFFER_MAX_SIZE:
		if (len < sizeof(v))
			return -EINVAL;
		memcpy(&v, val, sizeof(v));
		return buffer_set(fd, name, v);
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD:
	case SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW:
		return timeout_set(fd, val, len);
	default:
		return -ENOPROTOOPT;
	}
}
