/* SPDX-License-Identifier: BSD-3-Clause */
#include "common/di_int.h"
#include "common/di_sys.h"

#include <stddef.h>
#include <string.h>

void di_init(struct di *d, const char *dir)
{
	size_t len;

	memset(d, 0, sizeof(*d));
	atomic_store(&d->owner, -1);
	atomic_store(&d->user, -1);
	atomic_store(&d->pid, -1);
	atomic_store(&d->cid, -1);
	atomic_store(&d->doubted_ms, INT64_MIN / 2);
	if (!dir || !*dir)
		dir = DI_DIR;
	len = strlen(dir);
	if (len < sizeof(d->dir))
		memcpy(d->dir, dir, len + 1);
}

int di_path(const struct di *d, const char *name, struct sockaddr_un *un)
{
	size_t dir = strlen(d->dir), len = strlen(name);

	_Static_assert(DI_DIR_MAX - 1 + sizeof("/seqpacket") <= sizeof(un->sun_path),
		       "each path has room");
	if (!dir)
		return -ENODEV;
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, d->dir, dir);
	un->sun_path[dir] = '/';
	memcpy(un->sun_path + dir + 1, name, len);
	return sizeof(*un);
}

/* Text made of parts, cut at the end of the buffer: snprintf(3) is not for signal handlers. */
struct line {
	size_t len;
	char text[DI_DIR_MAX + DROPIN_TEXT + 128];
};

static void add(struct line *l, const char *text)
{
	while (*text && l->len < sizeof(l->text) - 1)
		l->text[l->len++] = *text++;
}

static void report(const struct di *d, const struct dropin_msg *m, const char *what)
{
	const char *question = dropin_type_name(m->type);
	struct line l = {0};

	if (!d->report)
		return;
	add(&l, "AF_VSOCK: ");
	add(&l, question ? question : "question");
	add(&l, ": ");
	add(&l, what);
	d->report(l.text);
}

static void report_absent(const struct di *d, int rc)
{
	struct line l = {0};

	if (!d->report)
		return;
	add(&l, "AF_VSOCK: ");
	add(&l, *d->dir ? d->dir : "the directory that ZVSOCK_AF_VSOCK names");
	add(&l, *d->dir ? "/ask: " : ": ");
	if (!*d->dir)
		add(&l, "its path is longer than the 96 bytes that a socket's has room for");
	else if (rc == -EACCES || rc == -EPERM)
		add(&l, "permission denied: see af_vsock_mode in zvsock.conf(5)");
	else if (rc == -EAGAIN)
		add(&l, "zvsockd does not answer");
	else
		add(&l, "no zvsockd listens there: set af_vsock in its configuration, "
			"or name its directory by zvsock-run --dir or ZVSOCK_AF_VSOCK");
	d->report(l.text);
}

/* The user of who listens, as this process sees it. The kernel will say who answers. */
static void learn_owner(struct di *d, int ask)
{
	const int on = 1;
	struct ucred who;
	socklen_t len = sizeof(who);

	(void)di_sys_setsockopt(ask, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	if (di_sys_getsockopt(ask, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
		atomic_store_explicit(&d->owner, (int64_t)who.uid, memory_order_relaxed);
}

/* A connection to DIR/ask. A backlog that is full for long is no zvsockd that works. */
static int reach(struct di *d)
{
	int64_t deadline = 0;
	struct sockaddr_un un;
	int len = di_path(d, "ask", &un), fd, rc;

	if (len < 0) {
		report_absent(d, len);
		return len;
	}
	fd = di_sys_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	while ((rc = di_sys_connect(fd, &un, (socklen_t)len)) == -EAGAIN || rc == -EINTR) {
		if (!deadline)
			deadline = di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS;
		else if (di_sys_now_ms() > deadline)
			break;
		(void)di_sys_poll(fd, 0, 5); /* sleeps: it has no events yet */
	}
	if (rc < 0) {
		report_absent(d, rc);
		di_sys_close(fd);
		return -ENODEV;
	}
	return fd;
}

static int send_question(int fd, const struct dropin_msg *m)
{
	struct iovec iov = {(void *)m, sizeof(*m)};
	struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
	long n = di_sys_sendmsg(fd, &h, MSG_NOSIGNAL | MSG_DONTWAIT);

	return n == (long)sizeof(*m) ? 0 : n < 0 ? (int)n : -EPIPE;
}

/* What the kernel says of who has sent an answer, if it was asked to. */
struct sender {
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(struct ucred))]; /* none for descriptors */
	} u;
};

/* The numbers are as this process sees them, whatever user and PID namespaces it is in. */
static void learn_sender(struct di *d, const struct sender *from, size_t len)
{
	const struct cmsghdr *c = &from->u.align;
	struct ucred who;

	if (len < CMSG_LEN(sizeof(who)) || c->cmsg_len != CMSG_LEN(sizeof(who)) ||
	    c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
		return;
	memcpy(&who, CMSG_DATA(c), sizeof(who));
	atomic_store_explicit(&d->user, (int64_t)who.uid, memory_order_relaxed);
	atomic_store_explicit(&d->pid, (int64_t)who.pid, memory_order_relaxed);
}

/* 1: there is an answer; 0: not yet; -errno. Its result is checked by the caller. */
static int take_answer(struct di *d, int fd, const struct dropin_msg *asked, struct dropin_msg *m)
{
	bool who = asked->type == DROPIN_HELLO;
	struct iovec iov = {m, sizeof(*m)};
	struct sender from = {0};
	struct msghdr h = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = who ? &from : NULL,
			   .msg_controllen = who ? sizeof(from.u.space) : 0};
	long n = di_sys_recvmsg(fd, &h, MSG_DONTWAIT);
	const char *wrong;

	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		report(d, asked, "zvsockd has ended the conversation");
		return -ENODEV;
	}
	wrong = h.msg_flags & MSG_TRUNC ? "it is too long" : dropin_msg_refused(m, (size_t)n);
	if (!wrong && (m->type != asked->type || m->result > 0 || m->result < -4095))
		wrong = "it answers something else";
	if (wrong) {
		report(d, asked, wrong);
		return -ENODEV;
	}
	learn_sender(d, &from, h.msg_controllen);
	return 1;
}

static int await_answer(struct di *d, int fd, const struct dropin_msg *asked, struct dropin_msg *m,
			int64_t deadline, bool signals)
{
	int rc = 0;

	while (!rc) {
		int64_t left = deadline - di_sys_now_ms();

		rc = di_sys_poll(fd, POLLIN, left);
		if (rc == -EINTR) {
			if (signals)
				return rc;
			rc = 0;
		} else if (rc > 0) {
			rc = take_answer(d, fd, asked, m);
		} else if (!rc && left <= 0) {
			report(d, asked, "zvsockd does not answer");
			return -ETIMEDOUT;
		}
	}
	return rc < 0 ? rc : 0;
}

int di_ask(struct di *d, struct dropin_msg *m, int64_t deadline, bool signals, int *held)
{
	struct dropin_msg asked = *m;
	int fd = reach(d), rc;

	if (held)
		*held = -1;
	if (fd < 0)
		return fd;
	if (asked.type == DROPIN_HELLO)
		learn_owner(d, fd);
	rc = send_question(fd, &asked);
	if (rc < 0) {
		report(d, &asked, "zvsockd has ended the conversation");
		rc = -ENODEV;
	} else {
		rc = await_answer(d, fd, &asked, m, deadline, signals);
	}
	if (!rc && m->result) {
		rc = m->result;
		if (m->text[0])
			report(d, &asked, m->text);
	}
	if (!rc && held)
		*held = fd;
	else
		di_sys_close(fd);
	return rc;
}

int di_ask_now(struct di *d, struct dropin_msg *m)
{
	int rc = di_ask(d, m, di_sys_now_ms() + DI_ANSWER_TIMEOUT_MS, false, NULL);

	return rc == -ETIMEDOUT ? -ENODEV : rc;
}

int di_hello(struct di *d, struct dropin_msg *m)
{
	int rc;

	dropin_msg_init(m, DROPIN_HELLO);
	rc = di_ask_now(d, m);
	if (!rc)
		atomic_store_explicit(&d->cid, (int64_t)m->local.cid, memory_order_relaxed);
	return rc;
}

int di_local_cid(struct di *d, uint32_t *cid)
{
	struct dropin_msg m;
	int rc = di_hello(d, &m);

	if (!rc)
		*cid = m.local.cid;
	return rc;
}
