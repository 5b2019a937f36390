/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/di_tcp.h"

#include "common/di_sys.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>

#define ANSWER_SEC                                                                                 \
	30 /* for the answer of zvsockd on the host, which has 20 s for look-up and connection */
#define NAMES_MAX 512u

#ifndef SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD /* glibc 2.36 has the numbers of Linux 4 */
#define SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD SO_VM_SOCKETS_CONNECT_TIMEOUT
#endif

/* ---- names that have no address here -------------------------------------------------------- */

#define NET_FIRST 0xc6120000u /* 198.18.0.0/15 */
#define NET_MASK  0xfffe0000u

static char names[NAMES_MAX][DI_TCP_NAME_MAX];
static _Atomic bool entered[NAMES_MAX];
static _Atomic unsigned n_names;

uint32_t di_tcp_address_for(const char *name)
{
	unsigned n = atomic_load(&n_names);
	size_t len = strlen(name);

	if (len >= DI_TCP_NAME_MAX)
		return 0;
	for (unsigned i = 0; i < n && i < NAMES_MAX; i++)
		if (atomic_load(&entered[i]) && strcasecmp(names[i], name) == 0)
			return NET_FIRST + 1 + i;
	if (n >= NAMES_MAX)
		return 0;
	n = atomic_fetch_add(&n_names, 1);
	if (n >= NAMES_MAX)
		return 0;
	memcpy(names[n], name, len + 1);
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

/* ---- what is asked for ---------------------------------------------------------------------- */

static void write_target(struct di_tcp_target *t, const uint8_t *bytes, bool is_v4, uint32_t v4,
			 in_port_t port)
{
	const char *name = is_v4 ? name_of(v4) : NULL;

	memcpy(t->msg, "\5\1\0", 3);
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
}

bool di_tcp_target(struct di_tcp_target *t, const void *addr, socklen_t len)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;
	sa_family_t family;
	bool is_v4 = true;
	uint8_t bytes[16];
	in_port_t port;
	uint32_t v4 = 0;

	if (!addr || len < sizeof(family))
		return false;
	memcpy(&family, addr, sizeof(family));
	if (family == AF_INET && len >= sizeof(four)) {
		memcpy(&four, addr, sizeof(four));
		memcpy(bytes, &four.sin_addr, 4);
		port = four.sin_port;
	} else if (family == AF_INET6 && len >= sizeof(six)) {
		memcpy(&six, addr, sizeof(six));
		if (IN6_IS_ADDR_LOOPBACK(&six.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&six.sin6_addr))
			return false;
		is_v4 = IN6_IS_ADDR_V4MAPPED(&six.sin6_addr);
		memcpy(bytes, six.sin6_addr.s6_addr + (is_v4 ? 12 : 0), is_v4 ? 4 : 16);
		port = six.sin6_port;
	} else {
		return false;
	}
	if (is_v4) {
		memcpy(&v4, bytes, sizeof(v4));
		v4 = ntohl(v4);
		if (v4 >> 24 == 127 || v4 >> 24 == 0)
			return false;
	}
	write_target(t, bytes, is_v4, v4, port);
	return true;
}

int di_tcp_type(int fd)
{
	int type = 0, domain = 0;
	socklen_t size = sizeof(int);

	if (di_sys_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
	    (domain != AF_INET && domain != AF_INET6) ||
	    di_sys_getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
		return 0;
	return type;
}

/* ---- the connection ------------------------------------------------------------------------- */

/* Connects to the host's port: through zvsockd where it has the device, otherwise through the
 * kernel. */
static int reach_host(struct di *d, unsigned port, bool signals)
{
	const struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
	const struct timeval patience = {.tv_sec = ANSWER_SEC};
	int fd = di_socket(d, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd >= 0) {
		rc = di_connect(d, fd, &vm, false, ANSWER_SEC * 1000);
	} else {
		fd = di_sys_socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -ENETUNREACH;
		(void)di_sys_setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT_OLD, &patience,
					sizeof(patience));
		rc = di_sys_connect(fd, &vm, sizeof(vm));
	}
	if (rc < 0) {
		(void)di_sys_close(fd);
		return (rc == -EINTR && signals) || rc == -ETIMEDOUT ? rc : -ENETUNREACH;
	}
	return fd;
}

static int put(int fd, const void *data, size_t len)
{
	struct iovec iov = {(void *)data, len};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};

	return di_sys_sendmsg(fd, &h, MSG_NOSIGNAL) == (long)len ? 0 : -ENETUNREACH;
}

/* Exactly @len bytes. */
static int get(int fd, uint8_t *data, size_t len, bool signals)
{
	while (len) {
		struct iovec iov = {data, len};
		struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
		long n = di_sys_recvmsg(fd, &h, 0);

		if (n == -EINTR && signals)
			return -EINTR;
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n == -EAGAIN ? -ETIMEDOUT : -ENETUNREACH;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

static int error_of(uint8_t code)
{
	static const int errors[] = {0,		  ENETUNREACH,	EACCES,
				     ENETUNREACH, EHOSTUNREACH, ECONNREFUSED,
				     ETIMEDOUT,	  ENETUNREACH,	EAFNOSUPPORT};

	return code < sizeof(errors) / sizeof(errors[0]) ? -errors[code] : -ENETUNREACH;
}

/* Greeting, request and reply of SOCKS5 (RFC 1928). */
static int ask(int fd, const struct di_tcp_target *t, bool signals)
{
	const struct timeval patience = {.tv_sec = ANSWER_SEC};
	uint8_t back[10];
	int rc;

	(void)di_sys_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	rc = put(fd, "\5\1\0", 3);
	if (!rc)
		rc = get(fd, back, 2, signals);
	if (!rc && (back[0] != 5 || back[1] != 0))
		rc = -ENETUNREACH;
	if (!rc)
		rc = put(fd, t->msg, t->len);
	if (!rc)
		rc = get(fd, back, sizeof(back), signals);
	if (rc)
		return rc;
	return back[0] == 5 ? error_of(back[1]) : -ENETUNREACH;
}

void di_tcp_keep_options(int fresh, int fd)
{
	static const int kept[] = {SO_RCVTIMEO, SO_SNDTIMEO};
	long status = di_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0);
	struct timeval tv;

	for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		socklen_t size = sizeof(tv);

		if (di_sys_getsockopt(fd, SOL_SOCKET, kept[i], &tv, &size) == 0)
			(void)di_sys_setsockopt(fresh, SOL_SOCKET, kept[i], &tv, sizeof(tv));
	}
	if (status > 0 && status & O_NONBLOCK)
		(void)di_sys(SYS_fcntl, fresh, F_SETFL, O_NONBLOCK, 0, 0);
}

int di_tcp_connect(struct di *d, unsigned port, const struct di_tcp_target *t, int fd, bool signals)
{
	int fresh = reach_host(d, port, signals), rc;

	if (fresh < 0)
		return fresh;
	rc = ask(fresh, t, signals);
	if (rc) {
		(void)di_sys_close(fresh);
		return rc;
	}
	di_tcp_keep_options(fresh, fd);
	return fresh;
}
