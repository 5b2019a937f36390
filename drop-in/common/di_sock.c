/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/di_int.h"
#include "common/di_sys.h"

#include <stddef.h>
#include <string.h>

/* ---- marks ---------------------------------------------------------------------------------- */

/* magic:16 connecting:1 0:4 type:4 failed:7 timeout_ms:32 */
#define MARK_MAGIC	UINT64_C(0x7a76)
#define MARK_CONNECTING (UINT64_C(1) << 47)

int di_mark_get(int fd, struct di_mark *m)
{
	uint64_t v = 0;
	socklen_t len = sizeof(v);
	int rc = di_sys_getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &v, &len);

	if (rc < 0)
		return rc == -EBADF ? rc : 0;
	if (len != sizeof(v) || v >> 48 != MARK_MAGIC)
		return 0;
	*m = (struct di_mark){
		.type = v >> 39 & 15,
		.timeout_ms = (uint32_t)v,
		.connecting = v & MARK_CONNECTING,
		.failed = v >> 32 & 127,
	};
	return 1;
}

int di_mark_set(int fd, const struct di_mark *m)
{
	uint64_t v = MARK_MAGIC << 48 | (m->connecting ? MARK_CONNECTING : 0) |
		     (uint64_t)(m->type & 15) << 39 | (uint64_t)(m->failed & 127) << 32 |
		     m->timeout_ms;

	return di_sys_setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &v, sizeof(v));
}

int di_is(int fd)
{
	struct di_mark m;

	return di_mark_get(fd, &m);
}

int di_type(int fd)
{
	struct di_mark m;

	return di_mark_get(fd, &m) == 1 ? m.type : 0;
}

#define LOW_PORTS 1024u /* of those who may */
#define DOUBT_MS  1000

#define OVERFLOW_UID 65534 /* /proc/sys/kernel/overflowuid, unless somebody has changed it */

/* ---- names ---------------------------------------------------------------------------------- */

socklen_t di_label_name(const char text[static DROPIN_LABEL], struct sockaddr_un *un)
{
	size_t len = strnlen(text, DROPIN_LABEL - 1);

	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path + 1, text, len);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
}

bool di_read_label(const struct sockaddr_un *un, socklen_t len, struct dropin_label *l)
{
	const size_t before = offsetof(struct sockaddr_un, sun_path) + 1;

	return len > before && len <= sizeof(*un) && un->sun_family == AF_UNIX &&
	       !un->sun_path[0] && dropin_label_read(l, un->sun_path + 1, len - before);
}

int di_labels(int fd, struct di_labels *w)
{
	struct sockaddr_un un;
	socklen_t len = sizeof(un);
	int rc = di_sys_getsockname(fd, &un, &len);

	memset(w, 0, sizeof(*w));
	if (rc < 0)
		return rc;
	w->has_own = di_read_label(&un, len, &w->own);
	if (w->has_own)
		memcpy(w->own_text, un.sun_path + 1,
		       len - offsetof(struct sockaddr_un, sun_path) - 1);
	if (!w->has_own) /* whoever is connected has one: its own, or that it was accepted at */
		return 0;
	len = sizeof(un);
	rc = di_sys_getpeername(fd, &un, &len);
	w->connected = rc == 0;
	w->has_peer = w->connected && di_read_label(&un, len, &w->peer);
	return rc == -ENOTCONN ? 0 : rc;
}

struct sockaddr_vm di_vm_address(uint32_t cid, uint32_t port)
{
	return (struct sockaddr_vm){.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port};
}

bool di_peer(int fd, struct ucred *who)
{
	socklen_t len = sizeof(*who);

	return di_sys_getsockopt(fd, SOL_SOCKET, SO_PEERCRED, who, &len) == 0;
}

int64_t di_peer_user(int fd)
{
	struct ucred who;

	return di_peer(fd, &who) ? (int64_t)who.uid : -1;
}

static bool is_own_cid(struct di *d, uint32_t cid)
{
	struct dropin_msg m;

	if (cid == VMADDR_CID_LOCAL || (int64_t)cid == atomic_load(&d->cid))
		return true;
	return di_hello(d, &m) == 0 && cid == m.local.cid; /* it may be another one by now */
}

/*
 * Both ends are programs of this machine. What a label of the other says of CIDs, its own and the
 * one that it has connected to, is its own word: they are this machine's, or local.
 */
static void local_pair(struct di *d, struct dropin_label *out)
{
	if (out->local.cid == VMADDR_CID_ANY || !is_own_cid(d, out->local.cid))
		out->local.cid = VMADDR_CID_LOCAL;
	if (out->remote.cid != out->local.cid)
		out->remote.cid = VMADDR_CID_LOCAL;
}

/* The addresses of a socket that is connected. */
static int connected_names(struct di *d, const struct di_labels *w, struct dropin_label *out)
{
	struct dropin_msg m;
	int rc;

	if (w->has_own && w->own.connected) {
		*out = w->own;
		return 0;
	}
	if (w->has_peer && w->peer.view == 'Z' && w->peer.connected) {
		*out = w->peer;
		return 0;
	}
	if (w->has_peer && w->peer.view == 'P' && (w->has_own || w->peer.connected)) {
		out->remote = w->peer.local;
		out->local = w->peer.connected ? w->peer.remote : w->own.local;
		local_pair(d, out);
		return 0;
	}
	if (!w->has_own)
		return -ENOTCONN;
	dropin_msg_init(&m, DROPIN_NAMES);
	memcpy(m.label, w->own_text, sizeof(m.label));
	rc = di_ask_now(d, &m);
	out->local = m.local;
	out->remote = m.remote;
	return rc ? -ENOTCONN : 0;
}

int di_names(struct di *d, int fd, struct sockaddr_vm *local, struct sockaddr_vm *remote)
{
	struct dropin_label names = {0};
	struct di_mark mark;
	struct di_labels w;
	int rc = di_labels(fd, &w);

	if (rc < 0)
		return rc;
	rc = w.connected ? connected_names(d, &w, &names) : -ENOTCONN;
	if (local && !rc)
		*local = di_vm_address(names.local.cid, names.local.port);
	else if (local && w.has_own)
		*local = di_vm_address(w.own.local.cid, w.own.local.port);
	else if (local)
		*local = di_vm_address(VMADDR_CID_ANY, VMADDR_PORT_ANY);
	if (!remote)
		return 0;
	if (rc)
		return rc;
	rc = di_mark_get(fd, &mark);
	if (rc < 0)
		return rc;
	if (rc && mark.connecting && di_connect_state(d, fd) != 0)
		return -ENOTCONN;
	*remote = di_vm_address(names.remote.cid, names.remote.port);
	return 0;
}

/* ---- calls ---------------------------------------------------------------------------------- */

int di_socket(struct di *d, int type, int protocol)
{
	const struct di_mark fresh = {.type = type & 15};
	struct dropin_msg m;
	int fd, rc = 0;

	if (atomic_load_explicit(&d->owner, memory_order_relaxed) < 0)
		rc = di_hello(d, &m);
	if (rc < 0)
		return rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM ? rc : -EAFNOSUPPORT;
	if (protocol && protocol != AF_VSOCK)
		return -EPROTONOSUPPORT;
	switch (type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) {
	case SOCK_STREAM:
	case SOCK_SEQPACKET:
		break;
	case SOCK_DGRAM:
		if (d->dgrams)
			break;
		if (d->report)
			d->report("AF_VSOCK: socket: no datagrams in mode seccomp without "
				  "zvsock-run --dgram");
		return -EOPNOTSUPP;
	default:
		return -ESOCKTNOSUPPORT;
	}
	fd = di_sys_socket(AF_UNIX, type, 0);
	if (fd < 0)
		return fd;
	rc = di_mark_set(fd, &fresh);
	if (rc < 0) {
		di_sys_close(fd);
		return rc;
	}
	return fd;
}

int di_address(const void *addr, socklen_t len, struct sockaddr_vm *out)
{
	if (!addr || len < sizeof(*out))
		return -EFAULT;
	memcpy(out, addr, sizeof(*out));
	if (out->svm_family != AF_VSOCK)
		return -EAFNOSUPPORT;
	return out->svm_flags & ~VMADDR_FLAG_TO_HOST ? -EINVAL : 0;
}

/*
 * Does zvsockd know the port that it has given to @label? One that has been started between its
 * answer and bind(2) found no socket there, and may give the port to somebody else. Later ones find
 * it.
 */
static int still_ours(struct di *d, int held, const char label[static DROPIN_LABEL])
{
	struct dropin_msg m;

	if (di_sys_poll(held, POLLIN, 0) <= 0) /* it says nothing, so this is its end */
		return 0;
	dropin_msg_init(&m, DROPIN_NAMES);
	memcpy(m.label, label, sizeof(m.label));
	return di_ask_now(d, &m) == -ENOENT ? -ENODEV : 0;
}

int di_bind(struct di *d, int fd, const struct sockaddr_vm *addr)
{
	int rc, held;
	struct sockaddr_un un;
	struct dropin_msg m;
	struct di_mark mark;
	struct di_labels w;

	rc = di_mark_get(fd, &mark);
	if (rc <= 0)
		return rc < 0 ? rc : -ENOTSOCK;
	rc = di_labels(fd, &w);
	if (rc < 0)
		return rc;
	if (w.has_own)
		return -EINVAL;
	dropin_msg_init(&m, DROPIN_BIND);
	m.sock_type = (uint16_t)mark.type;
	m.local = (struct dropin_addr){addr->svm_cid, addr->svm_port};
	rc = di_ask(d, &m, di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS, false, &held);
	if (rc < 0)
		return rc == -ETIMEDOUT ? -ENODEV : rc;
	if (mark.type == SOCK_DGRAM)
		rc = di_dgram_guard(fd, m.bytes);
	if (rc == -EPERM) /* another thread has set its filter, and binds the socket next */
		rc = -EINVAL;
	if (!rc)
		rc = di_sys_bind(fd, &un, di_label_name(m.label, &un));
	if (!rc)
		rc = mark.type == SOCK_DGRAM ? di_dgram_bound(d, m.label)
					     : still_ours(d, held, m.label);
	di_sys_close(held);
	return rc;
}

/*
 * May zvsockd be asked who it runs as by now? Not for each of many sockets of strangers: asking
 * takes longer than another connect(2) does.
 */
static bool may_ask_again(struct di *d)
{
	int64_t now = di_sys_now_ms(), last = atomic_load(&d->doubted_ms);

	return now - last >= DOUBT_MS && atomic_compare_exchange_strong(&d->doubted_ms, &last, now);
}

/*
 * In a user namespace that has no number for them, zvsockd's user and all others look alike. There
 * it must be the very process; 0: that of a PID namespace that is not seen here either.
 */
static bool is_zvsockd(struct di *d, const struct ucred *who)
{
	if (who->uid == OVERFLOW_UID)
		return who->pid > 0 && who->pid == atomic_load(&d->pid);
	return !who->uid || who->uid == atomic_load(&d->owner) || who->uid == atomic_load(&d->user);
}

/* Is the other end, which has a Z label, zvsockd's? Anybody may call his socket so. */
static bool from_zvsockd(struct di *d, int fd)
{
	struct dropin_msg m;
	struct ucred who;

	if (!di_peer(fd, &who))
		return false;
	for (int asked = 0;; asked++) {
		if (is_zvsockd(d, &who))
			return true;
		/* another one may be there by now */
		if (asked || !may_ask_again(d) || di_hello(d, &m) < 0)
			return false;
	}
}

/* Has the other end, which has a P label, a port below 1024 only if its user has bound that? */
static bool may_have_port(struct di *d, int fd, const struct dropin_label *peer)
{
	const int64_t uid = di_peer_user(fd);
	struct dropin_msg m;
	int rc;

	if (peer->local.port >= LOW_PORTS || !uid || uid == di_sys_geteuid())
		return true;
	if (uid < 0 || peer->connected) /* zvsockd has chosen another one then */
		return false;
	dropin_msg_init(&m, DROPIN_NAMES);
	dropin_label_write(peer, m.label);
	rc = di_ask_now(d, &m);
	return (!rc || rc == -ENOTCONN) && (int64_t)m.bytes == uid;
}

int di_accepted(struct di *d, int listener, int fd)
{
	struct di_mark fresh = {0};
	struct di_labels w;
	int rc = di_labels(fd, &w);

	if (rc < 0)
		return rc;
	if (listener >= 0)
		(void)di_mark_get(listener, &fresh);
	fresh = (struct di_mark){.type = w.own.sock_type, .timeout_ms = fresh.timeout_ms};
	if (!w.has_peer ||
	    !(w.peer.view == 'Z' ? from_zvsockd(d, fd) : may_have_port(d, fd, &w.peer)))
		return -ECONNABORTED;
	if (listener >= 0)
		di_inherit_buffers(listener, fd);
	return di_mark_set(fd, &fresh);
}

/* The label by which zvsockd finds the connection of @fd. False: it does not carry it. */
static bool carried_label(int fd, char text[static DROPIN_LABEL])
{
	struct di_labels w;

	if (di_labels(fd, &w) < 0 || !w.connected || w.own.sock_type == SOCK_DGRAM)
		return false;
	if (!w.has_peer) /* it has connected to DIR/stream or DIR/seqpacket */
		memcpy(text, w.own_text, DROPIN_LABEL);
	else if (w.peer.view == 'Z')
		dropin_label_write(&w.peer, text);
	return !w.has_peer || w.peer.view == 'Z';
}

int di_shutdown(struct di *d, int fd, int how)
{
	struct sockaddr_un un;
	socklen_t len = sizeof(un);
	struct dropin_msg m;
	int rc;

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	rc = di_sys_getpeername(fd, &un, &len);
	if (!rc)
		rc = di_sys_shutdown(fd, how);
	dropin_msg_init(&m, DROPIN_SHUTDOWN);
	if (!rc && how == SHUT_RD && carried_label(fd, m.label))
		(void)di_ask_now(d, &m); /* if it has gone, so has the connection */
	return rc;
}
