/* SPDX-License-Identifier: BSD-3-Clause */
#undef _FORTIFY_SOURCE
#include "tcp_out.h"

#include "common/di_sys.h"
#include "common/di_tcp.h"
#include "context.h"
#include "preload/real.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TCP_ENTRIES 4096u

/* ---- names that have no address here -------------------------------------------------------- */

EXPORT int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res)
{
	int rc = REAL(getaddrinfo)(node, service, hints, res);
	struct addrinfo own = {0};
	char text[64];
	uint32_t addr;

	if (!rc || !node || !context_tcp() || strlen(node) >= DI_TCP_NAME_MAX || !*node ||
	    (rc != EAI_NONAME && rc != EAI_AGAIN && rc != EAI_FAIL && rc != EAI_SYSTEM &&
	     rc != EAI_NODATA && rc != EAI_ADDRFAMILY))
		return rc;
	if (hints)
		own = *hints;
	if (own.ai_flags & AI_NUMERICHOST ||
	    (own.ai_family != AF_UNSPEC && own.ai_family != AF_INET && own.ai_family != AF_INET6))
		return rc;
	addr = di_tcp_address_for(node);
	if (!addr)
		return rc;
	(void)snprintf(text, sizeof(text), "%s198.%u.%u.%u",
		       own.ai_family == AF_INET6 ? "::ffff:" : "", addr >> 16 & 255,
		       addr >> 8 & 255, addr & 255);
	own.ai_flags = (own.ai_flags | AI_NUMERICHOST) & ~(AI_ADDRCONFIG | AI_CANONNAME);
	return REAL(getaddrinfo)(text, service, &own, res);
}

/* ---- sockets that were connected ------------------------------------------------------------ */

/* By descriptor number; the inode shows whether the number still belongs to that socket. */
static struct tcp_entry {
	_Atomic ino_t ino; /* 0: none */
	struct sockaddr_storage remote;
} tcp_entries[TCP_ENTRIES];

static ino_t inode(int fd)
{
	struct stat st;
	int before = errno;
	ino_t ino = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode) ? st.st_ino : 0;

	errno = before;
	return ino;
}

static void remember(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct tcp_entry *p = &tcp_entries[(unsigned)fd % TCP_ENTRIES];

	atomic_store(&p->ino, 0);
	memcpy(&p->remote, addr, len < sizeof(p->remote) ? len : sizeof(p->remote));
	atomic_store(&p->ino, inode(fd));
}

static const struct tcp_entry *entry_of(int fd)
{
	ino_t ino = fd >= 0 ? inode(fd) : 0;

	if (!ino)
		return NULL;
	if (atomic_load(&tcp_entries[(unsigned)fd % TCP_ENTRIES].ino) == ino)
		return &tcp_entries[(unsigned)fd % TCP_ENTRIES];
	for (unsigned i = 0; i < TCP_ENTRIES; i++) /* a duplicate */
		if (atomic_load(&tcp_entries[i].ino) == ino)
			return &tcp_entries[i];
	return NULL;
}

bool tcp_names(int fd, struct sockaddr_storage *remote, struct sockaddr_storage *local)
{
	const struct tcp_entry *p = context_tcp() ? entry_of(fd) : NULL;

	if (!p)
		return false;
	if (remote)
		*remote = p->remote;
	if (local) {
		memset(local, 0, sizeof(*local));
		local->ss_family = p->remote.ss_family;
	}
	return true;
}

/* ---- connect(2) ----------------------------------------------------------------------------- */

bool tcp_is_ours(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct di_tcp_target t;

	return context_tcp() && di_tcp_target(&t, addr, len) && di_tcp_type(fd) == SOCK_STREAM;
}

/* Puts @fresh under the number of @fd. */
static int replace_fd(int fresh, int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return dup3(fresh, fd, flags >= 0 && flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : 0;
}

int tcp_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct di_tcp_target t;
	int fresh, rc;

	if (!di_tcp_target(&t, addr, len))
		return -EINVAL;
	fresh = di_tcp_connect(context(), context_tcp(), &t, fd, false);
	if (fresh < 0)
		return fresh;
	rc = replace_fd(fresh, fd);
	(void)di_sys_close(fresh);
	if (rc)
		return rc;
	now_vsock(fd);
	remember(fd, addr, len);
	return 0;
}
