/* SPDX-License-Identifier: BSD-3-Clause */
/* Datagrams. Their protocol is in api/proto/local/dropin_msg.h. */
#include "common/di_int.h"
#include "common/di_sys.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <string.h>

#define REACH_MS 2000 /* while the capabilities of the guest are not known */
#define CHECK_MS 5

_Static_assert(DI_DGRAM_MAX == DROPIN_DGRAM_MAX, "what zvsockd takes");

/* The filter of a socket: its instructions, and those that have the halves of the key. */
#define GUARD_LENGTH 11
#define GUARD_HIGH   5
#define GUARD_LOW    7

/* ---- sockets -------------------------------------------------------------------------------- */

/* Reads the key from the filter of @fd, so that a process to which the socket was passed has it as
 * well. */
static int key_of(int fd, uint64_t *key)
{
	struct sock_filter code[GUARD_LENGTH];
	socklen_t n = GUARD_LENGTH; /* instructions */
	int rc = di_sys_getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, code, &n);
	uint8_t *k = (uint8_t *)key;

	if (rc < 0)
		return rc;
	if (n != GUARD_LENGTH)
		return -EINVAL;
	for (unsigned i = 0; i < 4; i++) {
		k[i] = (uint8_t)(code[GUARD_HIGH].k >> (24 - 8 * i));
		k[4 + i] = (uint8_t)(code[GUARD_LOW].k >> (24 - 8 * i));
	}
	return 0;
}

/* A classic filter. It accepts a message that is longer than the key and ends with it, and strips
 * the key. The kernel runs it in the sender's call, so that nothing else gets into the queue. */
int di_dgram_guard(int fd, uint64_t key)
{
	const uint8_t *k =
		(const uint8_t *)&key; /* bytes in the order in which zvsockd sends them */
	const uint32_t high =
		(uint32_t)k[0] << 24 | (uint32_t)k[1] << 16 | (uint32_t)k[2] << 8 | k[3];
	const uint32_t low =
		(uint32_t)k[4] << 24 | (uint32_t)k[5] << 16 | (uint32_t)k[6] << 8 | k[7];
	struct sock_filter code[GUARD_LENGTH] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, sizeof(key), 0, 8),
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, sizeof(key)),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
		[GUARD_HIGH] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 4),
		[GUARD_LOW] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, low, 0, 2),
		BPF_STMT(BPF_MISC | BPF_TXA, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = {GUARD_LENGTH, code};
	const int on = 1;
	uint64_t final;
	int rc = di_sys_setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));

	if (!rc)
		rc = di_sys_setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &on, sizeof(on));
	if (!rc)
		rc = key_of(fd, &final);
	if (rc)
		return rc;
	return final == key ? 0 : -EPERM; /* another thread replaced it before it was locked */
}

int di_dgram_bound(struct di *d, const char label[static DROPIN_LABEL])
{
	struct dropin_msg m;
	int rc;

	dropin_msg_init(&m, DROPIN_BOUND);
	memcpy(m.label, label, sizeof(m.label));
	/* -EINVAL: zvsockd no longer knows the label and would drop everything */
	rc = di_ask_now(d, &m);
	return rc == -EINVAL ? -EADDRNOTAVAIL : rc;
}

static void pause_ms(long ms)
{
	(void)di_sys(SYS_ppoll, 0, 0, (long)&(struct timespec){.tv_nsec = ms * 1000000}, 0, 0);
}

/* Binds the socket to a port if it is not bound, as the kernel does. Of threads that send at the
 * same time one binds it; the others have the port as well. */
static int autobind(struct di *d, int fd, struct di_labels *w)
{
	const struct sockaddr_vm any = di_vm_address(VMADDR_CID_ANY, VMADDR_PORT_ANY);
	const int64_t deadline = di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS;
	int rc, known;

	if (w->has_own)
		return 0;
	rc = di_bind(d, fd, &any);
	if (rc < 0 && rc != -EINVAL) /* -EINVAL: another thread binds it, or has */
		return rc;
	for (;;) {
		known = di_labels(fd, w);
		if (known < 0 || w->has_own)
			return known;
		if (di_sys_now_ms() > deadline)
			return rc;
		pause_ms(CHECK_MS);
	}
}

static int disconnect(int fd)
{
	const sa_family_t none = AF_UNSPEC;

	return di_sys_connect(fd, &none, sizeof(none));
}

int di_dgram_connect(struct di *d, int fd, const struct sockaddr_vm *addr)
{
	struct sockaddr_un un;
	struct dropin_msg m;
	struct di_labels w;
	int rc, held;

	rc = di_labels(fd, &w);
	if (!rc)
		rc = autobind(d, fd, &w);
	if (rc < 0)
		return rc;
	/* zvsockd connects a socket to this one, which accepts that from its own peer only. */
	if (w.connected && (rc = disconnect(fd)) < 0)
		return rc;
	dropin_msg_init(&m, DROPIN_CONNECT);
	m.sock_type = SOCK_DGRAM;
	m.remote = (struct dropin_addr){addr->svm_cid, addr->svm_port};
	memcpy(m.label, w.own_text, sizeof(m.label));
	rc = di_ask(d, &m, di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS, false, &held);
	if (rc < 0)
		return rc == -ETIMEDOUT ? -ENODEV : rc;
	rc = di_sys_connect(fd, &un, di_label_name(m.where, &un));
	di_sys_close(held);
	return rc;
}

bool di_sender(const void *un, socklen_t len, struct sockaddr_vm *from)
{
	struct dropin_label l;

	if (!di_read_label(un, len, &l) || l.view != 'Z' || !l.connected)
		return false;
	*from = di_vm_address(l.remote.cid, l.remote.port);
	return true;
}

/* ---- who takes them ------------------------------------------------------------------------- */

/* Sockets whose datagrams a CID accepts, as zvsockd has confirmed recently: the two and the second
 * of the answer. Datagrams to a guest that has gone meanwhile are lost, as datagrams may be. */
static _Atomic uint64_t reached[64];

static int reach(struct di *d, const struct di_labels *w, uint32_t cid, bool nonblock)
{
	const uint32_t both = cid ^ (w->has_own ? (uint32_t)w->own.token[0] : 0);
	_Atomic uint64_t *known = &reached[both % 64];
	int64_t now = di_sys_now_ms(), deadline = now + REACH_MS;
	struct dropin_msg m;
	int rc;

	if (atomic_load_explicit(known, memory_order_relaxed) ==
	    ((uint64_t)both << 32 | (uint32_t)(now / 1000)))
		return 0;
	for (;;) {
		dropin_msg_init(&m, DROPIN_REACH);
		m.sock_type = SOCK_DGRAM;
		m.remote.cid = cid;
		memcpy(m.label, w->own_text, sizeof(m.label));
		rc = di_ask_now(d, &m);
		if (rc != -EAGAIN || nonblock || di_sys_now_ms() > deadline)
			break;
		pause_ms(CHECK_MS);
	}
	if (!rc)
		atomic_store_explicit(known,
				      (uint64_t)both << 32 | (uint32_t)(di_sys_now_ms() / 1000),
				      memory_order_relaxed);
	return rc;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Length of a message in bytes; -EMSGSIZE: too long for a datagram. */
static long length(const struct msghdr *m)
{
	size_t sum = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++) {
		if (m->msg_iov[i].iov_len > DROPIN_DGRAM_MAX - sum)
			return -EMSGSIZE;
		sum += m->msg_iov[i].iov_len;
	}
	return (long)sum;
}

long di_sendto(struct di *d, int fd, const struct msghdr *m, int flags,
	       const struct sockaddr_vm *to)
{
	struct dropin_dgram head = {.magic = DROPIN_MAGIC,
				    .version = DROPIN_VERSION,
				    .to = {to->svm_cid, to->svm_port}};
	struct iovec iov[IOV_MAX];
	struct sockaddr_un un;
	struct msghdr h = {.msg_name = &un, .msg_iov = iov, .msg_iovlen = 1 + m->msg_iovlen};
	bool nonblock;
	struct di_labels w;
	long rc;

	if (flags & MSG_OOB)
		return -EOPNOTSUPP;
	if (to->svm_port == VMADDR_PORT_ANY || m->msg_iovlen >= IOV_MAX)
		return m->msg_iovlen >= IOV_MAX ? -EMSGSIZE : -EINVAL;
	rc = length(m);
	if (rc < 0)
		return rc;
	rc = di_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0);
	nonblock = flags & MSG_DONTWAIT || (rc >= 0 && rc & O_NONBLOCK);
	rc = di_labels(fd, &w);
	if (!rc)
		rc = reach(d, &w, to->svm_cid, nonblock);
	if (!rc)
		rc = autobind(d, fd, &w);
	if (!rc)
		rc = key_of(fd, &head.key);
	if (!rc)
		rc = di_path(d, "dgram", &un);
	if (rc < 0)
		return rc;
	h.msg_namelen = (socklen_t)rc;
	iov[0] = (struct iovec){&head, sizeof(head)};
	memcpy(iov + 1, m->msg_iov, m->msg_iovlen * sizeof(iov[0]));
	rc = di_sys_sendmsg(fd, &h, flags | MSG_NOSIGNAL);
	if (rc >= 0)
		return rc - (long)sizeof(head);
	return rc == -ENOENT || rc == -ECONNREFUSED ? -ENODEV : rc;
}
