/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/di_int.h"
#include "common/di_sys.h"

#include <fcntl.h>
#include <string.h>

/* What zvsockd's own time-out may be late by, before it is taken for stopped. */
#define GRACE_MS 1000

static const char *socket_name(int type)
{
	return type == SOCK_STREAM ? "stream" : "seqpacket";
}

/* ---- how it went ---------------------------------------------------------------------------- */

/* Asks zvsockd about a connect(2) that is not known to be over. 0, or -errno. */
static int ask_state(struct di *d, int fd, bool gone)
{
	struct dropin_msg m;
	struct di_labels w;
	int rc = di_labels(fd, &w);

	if (rc < 0)
		return rc;
	dropin_msg_init(&m, DROPIN_ERROR);
	memcpy(m.label, w.own_text, sizeof(m.label));
	rc = di_ask_now(d, &m);
	if (rc || m.error < 0 || m.error > 127 || (gone && m.error == EINPROGRESS))
		return gone ? -ECONNRESET : -EINPROGRESS;
	return -m.error;
}

int di_connect_state(struct di *d, int fd)
{
	struct di_mark mark;
	int rc = di_mark_get(fd, &mark), events;

	if (rc <= 0 || !mark.connecting)
		return rc < 0 ? rc : 0;
	if (mark.failed)
		return -mark.failed;
	/* The socket takes more only when the zeroes are read, that is, after the guest's answer.
	 */
	events = di_sys_poll(fd, POLLOUT, 0);
	if (events > 0 && !(events & (POLLERR | POLLHUP | POLLNVAL)))
		rc = 0;
	else
		rc = ask_state(d, fd, events > 0);
	if (rc == -EINPROGRESS)
		return rc;
	mark.connecting = rc != 0;
	mark.failed = (uint8_t)-rc;
	(void)di_mark_set(fd, &mark);
	return rc;
}

int di_error(struct di *d, int fd, int kernel_err)
{
	struct di_mark mark;
	int rc;

	if (!kernel_err || di_mark_get(fd, &mark) <= 0 || !mark.connecting)
		return kernel_err;
	rc = di_connect_state(d, fd);
	return rc == -EINPROGRESS ? kernel_err : -rc;
}

/* A second connect(2) on a socket whose first one is under way: waits for that one. */
static int await_first(struct di *d, int fd, int64_t deadline)
{
	int rc = di_connect_state(d, fd);

	while (rc == -EINPROGRESS) {
		int64_t left = deadline - di_sys_now_ms();
		int events = left > 0 ? di_sys_poll(fd, POLLOUT, left) : 0;

		if (events <= 0)
			return events ? events : -ETIMEDOUT;
		rc = di_connect_state(d, fd);
	}
	return rc;
}

/* connect(2) on a socket that has been connected, as AF_UNIX sees it. */
static int connect_again(struct di *d, int fd, const struct di_mark *mark, bool nonblock,
			 int64_t deadline)
{
	int rc;

	if (!mark->connecting)
		return -EISCONN;
	rc = nonblock ? di_connect_state(d, fd) : await_first(d, fd, deadline);
	if (rc == -EINPROGRESS)
		return -EALREADY;
	return !rc && nonblock ? -EISCONN : rc;
}

static void copy_option(int from, int to, int name)
{
	char v[64];
	socklen_t len = sizeof(v);

	if (di_sys_getsockopt(from, SOL_SOCKET, name, v, &len) == 0)
		(void)di_sys_setsockopt(to, SOL_SOCKET, name, v, len);
}

int di_renew(int fd)
{
	static const int options[] = {SO_SNDTIMEO, SO_RCVTIMEO, SO_LINGER, SO_RCVLOWAT};
	struct di_mark mark;
	struct di_labels w;
	int rc, fresh;

	rc = di_mark_get(fd, &mark);
	if (rc < 0)
		return rc;
	if (!rc || !mark.failed)
		return -EALREADY;
	rc = di_labels(fd, &w);
	if (rc < 0)
		return rc;
	if (w.has_own && !w.own.connected)
		return -EALREADY;
	rc = (int)di_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0);
	fresh = di_sys_socket(
		AF_UNIX,
		mark.type | SOCK_CLOEXEC | (rc >= 0 && rc & O_NONBLOCK ? SOCK_NONBLOCK : 0), 0);
	if (fresh < 0)
		return fresh;
	mark.connecting = false;
	mark.failed = 0;
	rc = di_mark_set(fresh, &mark);
	if (rc < 0) {
		di_sys_close(fresh);
		return rc;
	}
	for (unsigned i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		copy_option(fd, fresh, options[i]);
	return fresh;
}

/* ---- to the other end ----------------------------------------------------------------------- */

/* connect(2) of AF_UNIX, which waits for room in the backlog as long as SO_SNDTIMEO says. */
static int connect_within(int fd, const struct sockaddr_un *un, socklen_t len, int64_t deadline)
{
	int64_t left = deadline - di_sys_now_ms();
	struct timeval before, wait = {.tv_sec = left > 0 ? left / 1000 : 0,
				       .tv_usec = left > 0 ? left % 1000 * 1000 : 1000};
	socklen_t size = sizeof(before);
	int rc = di_sys_getsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &before, &size);

	if (rc < 0)
		return rc;
	(void)di_sys_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));
	rc = di_sys_connect(fd, un, len);
	(void)di_sys_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &before, sizeof(before));
	return rc;
}

/*
 * Fills the socket until it takes no more. 0 and what was sent, or -errno: the other end is gone.
 * With room for a byte left it would poll writable.
 */
static int fill(int fd, uint64_t *bytes, uint32_t *messages)
{
	static const char zeroes[4096];
	struct iovec iov[16];
	struct msghdr h = {.msg_iov = iov, .msg_iovlen = 16};
	long n;
	size_t i;
	int room = 0;
	socklen_t len = sizeof(room);

	for (i = 0; i < 16; i++)
		iov[i] = (struct iovec){(void *)zeroes, sizeof(zeroes)};
	/* a message must fit into the send buffer */
	if (di_sys_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len) == 0)
		while (h.msg_iovlen > 1 && h.msg_iovlen * sizeof(zeroes) > (size_t)room / 2)
			h.msg_iovlen--;
	if (h.msg_iovlen == 1)
		iov[0].iov_len = 1024;
	*bytes = 0;
	*messages = 0;
	for (;;) {
		n = di_sys_sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		*bytes += (uint64_t)n;
		*messages += 1;
	}
}

/* A non-blocking connect(2) that zvsockd has taken up: no POLLOUT before it is decided. */
static int leave_pending(struct di *d, int fd, const struct sockaddr_un *un, socklen_t len,
			 const char label[static DROPIN_LABEL], int64_t deadline)
{
	struct dropin_msg m;
	struct di_mark mark;
	int rc = di_mark_get(fd, &mark);

	if (rc <= 0)
		return rc < 0 ? rc : -ENOTSOCK;
	mark.connecting = true;
	mark.failed = 0;
	rc = di_mark_set(fd, &mark);
	if (!rc)
		rc = connect_within(fd, un, len, deadline);
	if (rc < 0) {
		mark.connecting = false;
		(void)di_mark_set(fd, &mark);
		return rc;
	}
	dropin_msg_init(&m, DROPIN_FILLED);
	memcpy(m.label, label, sizeof(m.label));
	rc = fill(fd, &m.bytes, &m.messages);
	if (!rc)
		rc = di_ask_now(d, &m);
	if (!rc)
		return -EINPROGRESS;
	rc = di_connect_state(d, fd);
	return rc == -EINPROGRESS || !rc ? -ECONNRESET : rc;
}

/*
 * Connected to the label of the port of a program of @user. When that has closed its socket,
 * anybody can have the label: another one is not what was asked for.
 */
static int reached_user(int fd, int64_t user)
{
	const int64_t uid = di_peer_user(fd);
	struct di_mark mark;
	int rc;

	if (uid == user || !uid || uid == di_sys_geteuid())
		return 0;
	(void)di_sys_shutdown(fd, SHUT_RDWR);
	rc = di_mark_get(fd, &mark);
	if (rc > 0) { /* di_renew() helps */
		mark.connecting = true;
		mark.failed = ECONNRESET;
		(void)di_mark_set(fd, &mark);
	}
	return -ECONNRESET;
}

/* The socket, to where zvsockd has said. */
static int go(struct di *d, int fd, const struct di_labels *w, const struct dropin_msg *m, int type,
	      bool nonblock, int64_t deadline)
{
	bool local = m->flags & DROPIN_LOCAL;
	const char *label = w->has_own ? w->own_text : m->label;
	struct sockaddr_un un;
	int rc = 0, len;

	if (!w->has_own)
		rc = di_sys_bind(fd, &un, di_label_name(m->label, &un));
	if (rc < 0)
		return rc;
	len = local ? (int)di_label_name(m->where, &un) : di_path(d, socket_name(type), &un);
	if (len < 0)
		return len;
	if (nonblock && !local)
		rc = leave_pending(d, fd, &un, (socklen_t)len, label, deadline);
	else
		rc = local ? connect_within(fd, &un, (socklen_t)len, deadline)
			   : di_sys_connect(fd, &un, (socklen_t)len);
	if (local && !rc)
		rc = reached_user(fd, (int64_t)m->bytes);
	if (rc == -EAGAIN) /* its backlog is full; the kernel's vsock resets then */
		return nonblock || local ? -ECONNRESET : -ETIMEDOUT;
	if (rc == -ECONNREFUSED || rc == -EPROTOTYPE || rc == -ENOENT)
		return -ECONNRESET;
	return rc;
}

static bool listens(int fd)
{
	int on = 0;
	socklen_t len = sizeof(on);

	return di_sys_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

/* Of a socket with @mark. */
static int connect_marked(struct di *d, int fd, const struct di_mark *mark,
			  const struct sockaddr_vm *addr, bool nonblock, unsigned timeout_ms)
{
	int rc, held;
	struct dropin_msg m;
	struct di_labels w;
	int64_t deadline;

	if (mark->type == SOCK_DGRAM)
		return di_dgram_connect(d, fd, addr);
	rc = di_labels(fd, &w);
	if (rc < 0)
		return rc;
	if (!timeout_ms)
		timeout_ms = mark->timeout_ms ? mark->timeout_ms : DI_TIMEOUT_MS;
	deadline = di_sys_now_ms() + timeout_ms + GRACE_MS;
	if (w.connected)
		return connect_again(d, fd, mark, nonblock, deadline);
	if (w.has_own && listens(fd))
		return -EINVAL;
	dropin_msg_init(&m, DROPIN_CONNECT);
	m.sock_type = (uint16_t)mark->type;
	m.flags = nonblock ? DROPIN_NONBLOCK : 0;
	m.timeout_ms = timeout_ms;
	m.local = w.has_own ? w.own.local : (struct dropin_addr){VMADDR_CID_ANY, VMADDR_PORT_ANY};
	m.remote = (struct dropin_addr){addr->svm_cid, addr->svm_port};
	memcpy(m.label, w.own_text, sizeof(m.label));
	rc = di_ask(d, &m, nonblock ? di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS : deadline, !nonblock,
		    &held);
	if (rc < 0)
		return rc == -ETIMEDOUT && nonblock ? -ENODEV : rc;
	rc = go(d, fd, &w, &m, mark->type, nonblock, deadline);
	di_sys_close(held);
	return rc;
}

int di_connect(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock,
	       unsigned timeout_ms)
{
	struct di_mark mark;
	int rc = di_mark_get(fd, &mark);

	if (rc <= 0)
		return rc < 0 ? rc : -ENOTSOCK;
	return connect_marked(d, fd, &mark, addr, nonblock, timeout_ms);
}

int di_connect_or_renew(struct di *d, int fd, const struct sockaddr_vm *addr, bool nonblock)
{
	struct di_mark mark;
	int rc = di_mark_get(fd, &mark);

	if (rc <= 0)
		return rc < 0 ? rc : -ENOTSOCK;
	return mark.failed ? -ERESTART : connect_marked(d, fd, &mark, addr, nonblock, 0);
}
