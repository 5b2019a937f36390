/* SPDX-License-Identifier: BSD-3-Clause */
#undef _FORTIFY_SOURCE
#include "preload/leave.h"

#include "common/di_sys.h"
#include "preload/real.h"
#include "preload/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define CID_HOST   2
#define ANSWER_SEC 30 /* zvsockd has 20 s for name and connection */
#define NAMES_MAX  512u
#define NAME_MAX_  256u
#define PLACES	   4096u

/* ---- names that have no address here ----------------------------------------------------------
 */

#define NET_FIRST 0xc6120000u /* 198.18.0.0/15 */
#define NET_MASK  0xfffe0000u

static char names[NAMES_MAX][NAME_MAX_];
static _Atomic bool entered[NAMES_MAX];
static _Atomic unsigned n_names;

/* The address that stands for @name, in host order; 0: there are too many. */
static uint32_t address_for(const char *name)
{
	unsigned n = atomic_load(&n_names);

	for (unsigned i = 0; i < n && i < NAMES_MAX; i++)
		if (atomic_load(&entered[i]) && strcasecmp(names[i], name) == 0)
			return NET_FIRST + 1 + i;
	n = atomic_fetch_add(&n_names, 1);
	if (n >= NAMES_MAX)
		return 0;
	memcpy(names[n], name, strlen(name) + 1);
	atomic_store(&entered[n], true);
	return NET_FIRST + 1 + n;
}

/* The name that @addr stands for; NULL: none. */
static const char *name_of(uint32_t addr)
{
	unsigned i = addr - NET_FIRST - 1;

	return (addr & NET_MASK) == NET_FIRST && i < NAMES_MAX && atomic_load(&entered[i])
		       ? names[i]
		       : NULL;
}

EXPORT int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res)
{
	int rc = REAL(getaddrinfo)(node, service, hints, res);
	struct addrinfo own = {0};
	char text[64];
	uint32_t addr;

	if (!rc || !node || !world_tcp() || strlen(node) >= NAME_MAX_ || !*node ||
	    (rc != EAI_NONAME && rc != EAI_AGAIN && rc != EAI_FAIL && rc != EAI_SYSTEM &&
	     rc != EAI_NODATA && rc != EAI_ADDRFAMILY))
		return rc;
	if (hints)
		own = *hints;
	if (own.ai_flags & AI_NUMERICHOST ||
	    (own.ai_family != AF_UNSPEC && own.ai_family != AF_INET && own.ai_family != AF_INET6))
		return rc;
	addr = address_for(node);
	if (!addr)
		return rc;
	(void)snprintf(text, sizeof(text), "%s198.%u.%u.%u",
		       own.ai_family == AF_INET6 ? "::ffff:" : "", addr >> 16 & 255,
		       addr >> 8 & 255, addr & 255);
	own.ai_flags = (own.ai_flags | AI_NUMERICHOST) & ~(AI_ADDRCONFIG | AI_CANONNAME);
	return REAL(getaddrinfo)(text, service, &own, res);
}

/* ---- sockets that were connected ----------------------------------------------------------------
 */

/* By number of descriptor; the inode says whether it is still that socket, or another's. */
static struct place {
	_Atomic ino_t ino; /* 0: none */
	struct sockaddr_storage remote;
} places[PLACES];

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
	struct place *p = &places[(unsigned)fd % PLACES];

	atomic_store(&p->ino, 0);
	memcpy(&p->remote, addr, len < sizeof(p->remote) ? len : sizeof(p->remote));
	atomic_store(&p->ino, inode(fd));
}

static const struct place *place_of(int fd)
{
	ino_t ino = atomic_load(&n_names) || world_tcp() ? inode(fd) : 0;

	if (!ino || fd < 0)
		return NULL;
	if (atomic_load(&places[(unsigned)fd % PLACES].ino) == ino)
		return &places[(unsigned)fd % PLACES];
	for (unsigned i = 0; i < PLACES; i++) /* a duplicate */
		if (atomic_load(&places[i].ino) == ino)
			return &places[i];
	return NULL;
}

bool tcp_names(int fd, struct sockaddr_storage *remote, struct sockaddr_storage *local)
{
	const struct place *p = world_tcp() ? place_of(fd) : NULL;

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

/* ---- connect(2) ---------------------------------------------------------------------------------
 */

/* What is to be asked for. */
struct target {
	uint8_t msg[5 + 255 + 2];
	size_t len;
};

/* False: an address of the guest's own loopback interface, or none. */
static bool read_target(struct target *t, const struct sockaddr *addr, socklen_t len)
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)addr;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)addr;
	const uint8_t *bytes;
	const char *name;
	uint32_t v4 = 0;
	in_port_t port;
	bool is_v4 = true;

	if (addr->sa_family == AF_INET && len >= sizeof(*four)) {
		bytes = (const uint8_t *)&four->sin_addr;
		port = four->sin_port;
	} else if (addr->sa_family == AF_INET6 && len >= sizeof(*six)) {
		is_v4 = IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
		bytes = six->sin6_addr.s6_addr + (is_v4 ? 12 : 0);
		port = six->sin6_port;
		if (IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
		    IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr))
			return false;
	} else {
		return false;
	}
	if (is_v4) {
		memcpy(&v4, bytes, sizeof(v4));
		v4 = ntohl(v4);
		if (v4 >> 24 == 127 || v4 >> 24 == 0)
			return false;
	}
	memcpy(t->msg, "\5\1\0", 3);
	name = is_v4 ? name_of(v4) : NULL;
	if (name) {
		t->msg[3] = 3;
		t->msg[4] = (uint8_t)strlen(name);
		memcpy(t->msg + 5, name, t->msg[4]);
		t->len = 5 + (size_t)t->msg[4];
	} else {
		t->msg[3] = is_v4 ? 1 : 4;
		memcpy(t->msg + 4, bytes, is_v4 ? 4 : 16);
		t->len = is_v4 ? 8 : 20;
	}
	memcpy(t->msg + t->len, &port, sizeof(port));
	t->len += sizeof(port);
	return true;
}

bool tcp_is_ours(int fd, const struct sockaddr *addr, socklen_t len)
{
	int type = 0, domain = 0;
	socklen_t size = sizeof(int);
	struct target t;

	return world_tcp() && addr && len >= sizeof(addr->sa_family) &&
	       (addr->sa_family == AF_INET || addr->sa_family == AF_INET6) &&
	       di_sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM &&
	       di_sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
	       (domain == AF_INET || domain == AF_INET6) && read_target(&t, addr, len);
}

/* A vsock connection to the host's port: zvsockd's, where it has the device, or the kernel's. */
static int reach_host(void)
{
	const struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = CID_HOST, .svm_port = world_tcp()};
	int fd = di_socket(world(), SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd >= 0) {
		rc = di_connect(world(), fd, &vm, false, 0);
	} else {
		fd = di_sys_socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -ENETUNREACH;
		rc = di_sys_connect(fd, &vm, sizeof(vm));
	}
	if (rc < 0) {
		(void)di_sys_close(fd);
		return rc == -EINTR ? rc : -ENETUNREACH;
	}
	return fd;
}

static bool put(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* Exactly @len bytes. */
static bool get(int fd, uint8_t *data, size_t len)
{
	while (len) {
		ssize_t n = REAL(recvfrom)(fd, data, len, 0, NULL, NULL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static int error_of(uint8_t code)
{
	static const int errors[] = {0,		  ENETUNREACH,	EACCES,
				     ENETUNREACH, EHOSTUNREACH, ECONNREFUSED,
				     ETIMEDOUT,	  ENETUNREACH,	EAFNOSUPPORT};

	return code < sizeof(errors) / sizeof(errors[0]) ? -errors[code] : -ENETUNREACH;
}

/* Greeting, request and reply in the words of RFC 1928. 0, -errno. */
static int ask(int fd, const struct target *t)
{
	const struct timeval patience = {.tv_sec = ANSWER_SEC};
	uint8_t back[10];

	(void)di_sys(SYS_setsockopt, fd, SOL_SOCKET, SO_RCVTIMEO, (long)&patience,
		     sizeof(patience));
	if (!put(fd, "\5\1\0", 3) || !get(fd, back, 2) || back[0] != 5 || back[1] != 0 ||
	    !put(fd, t->msg, t->len) || !get(fd, back, sizeof(back)) || back[0] != 5)
		return -ENETUNREACH;
	return error_of(back[1]);
}

/* The program's options and flags go on with the socket; its number does. */
static int take_place(int fresh, int fd)
{
	static const int kept[] = {SO_RCVTIMEO, SO_SNDTIMEO};
	int flags = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL);
	struct timeval tv;

	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		socklen_t size = sizeof(tv);

		if (di_sys_getsockopt(fd, SOL_SOCKET, kept[i], &tv, &size) == 0)
			(void)di_sys(SYS_setsockopt, fresh, SOL_SOCKET, kept[i], (long)&tv,
				     sizeof(tv));
	}
	if (status >= 0)
		(void)fcntl(fresh, F_SETFL, status & O_NONBLOCK);
	return dup3(fresh, fd, flags >= 0 && flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : 0;
}

int tcp_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct target t;
	int fresh, rc;

	if (!read_target(&t, addr, len))
		return -EINVAL;
	fresh = reach_host();
	if (fresh < 0)
		return fresh;
	rc = ask(fresh, &t);
	if (!rc)
		rc = take_place(fresh, fd);
	(void)di_sys_close(fresh);
	if (rc)
		return rc;
	now_vsock(fd);
	remember(fd, addr, len);
	return 0;
}
