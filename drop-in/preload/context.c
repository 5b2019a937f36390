/* SPDX-License-Identifier: BSD-3-Clause */
#include "context.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

static struct di the_context;
static _Atomic bool ready;
static unsigned tcp_port;

static void report(const char *line)
{
	struct iovec v[2] = {{(void *)line, strlen(line)}, {"\n", 1}};
	int before = errno;

	if (writev(STDERR_FILENO, v, 2) < 0)
		errno = before; /* there is nobody to tell */
}

/*
 * Early, because a program may change its environment later, and while it has one thread. Other
 * libraries' constructors run before this one, so context() looks as well.
 */
static void __attribute__((constructor)) begin(void)
{
	const char *verbose = getenv("ZVSOCK_VERBOSE"), *tcp = getenv("ZVSOCK_TCP");

	if (atomic_load(&ready))
		return;
	di_init(&the_context, getenv("ZVSOCK_AF_VSOCK"));
	the_context.dgrams = true;
	if (verbose && *verbose)
		the_context.report = report;
	if (tcp)
		tcp_port = (unsigned)strtoul(tcp, NULL, 10);
	atomic_store(&ready, true);
}

struct di *context(void)
{
	if (!atomic_load(&ready))
		begin();
	return &the_context;
}

unsigned context_tcp(void)
{
	(void)context();
	return tcp_port;
}

int returned(int rc)
{
	if (rc >= 0)
		return rc;
	errno = -rc;
	return -1;
}

/*
 * Numbers of descriptors that are known not to be AF_VSOCK sockets, a bit each. It spares programs
 * without such sockets a system call a call: the kernel is asked once a number. A number that
 * becomes one behind our back, by dup2(2) over one that was known, is found by the names of its
 * connections all the same.
 */
#define KNOWN 65536
static _Atomic uint64_t others[KNOWN / 64];

static bool known_other(unsigned fd)
{
	return fd < KNOWN &&
	       atomic_load_explicit(&others[fd / 64], memory_order_relaxed) >> (fd % 64) & 1;
}

bool is_vsock(int fd)
{
	int rc;

	if (known_other((unsigned)fd))
		return false;
	rc = di_is(fd);
	if (rc == 0 && (unsigned)fd < KNOWN)
		atomic_fetch_or_explicit(&others[fd / 64], UINT64_C(1) << (fd % 64),
					 memory_order_relaxed);
	return rc == 1;
}

void now_vsock(int fd)
{
	if (known_other((unsigned)fd))
		atomic_fetch_and_explicit(&others[fd / 64], ~(UINT64_C(1) << (fd % 64)),
					  memory_order_relaxed);
}

bool family_is(const struct sockaddr *addr, socklen_t len, sa_family_t family)
{
	return addr && len >= sizeof(addr->sa_family) && addr->sa_family == family;
}

bool vsock_with(int fd, const struct sockaddr *addr, socklen_t len)
{
	return family_is(addr, len, AF_VSOCK) ? di_is(fd) == 1 : is_vsock(fd);
}

#define PREFIX "\0zvsock:"

bool is_label(const struct sockaddr *addr, socklen_t room, socklen_t len)
{
	const size_t begin = offsetof(struct sockaddr_un, sun_path);

	return family_is(addr, room, AF_UNIX) && len >= begin + sizeof(PREFIX) &&
	       room >= begin + sizeof(PREFIX) - 1 &&
	       !memcmp((const char *)addr + begin, PREFIX, sizeof(PREFIX) - 1);
}

void put_address(void *addr, socklen_t *len, socklen_t room, const struct sockaddr_vm *vm)
{
	memcpy(addr, vm, room < sizeof(*vm) ? room : sizeof(*vm));
	*len = sizeof(*vm);
}
