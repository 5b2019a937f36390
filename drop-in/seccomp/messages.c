/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that carry an address with data, with --dgram: destination and source on datagram sockets.
 * The supervisor makes the call on the program's open file, with a copy of the payload of at most
 * 64 KiB. On other sockets the kernel executes the call. sendto(2) and recvfrom(2) without an
 * address, which are send(2) and recv(2), are allowed by the filter.
 */
#include "messages.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "blocked.h"

/* Linux takes no more messages in a call. */
#define MESSAGES_MAX 1024u

struct message {
	struct msghdr h;	   /* as the program gave it, with pointers into its memory */
	struct iovec iov[IOV_MAX]; /* the same */
	size_t len;		   /* bytes of all, as many as a datagram has at most */
	bool too_long;
	bool named; /* it has an address, or room for one */
	struct sockaddr_vm to;
	struct sockaddr_un from;
	char data[DI_DGRAM_MAX];
};

/* ---- the program's memory ------------------------------------------------------------------- */

static long measure(struct message *m)
{
	m->len = 0;
	m->too_long = false;
	for (size_t i = 0; i < m->h.msg_iovlen; i++) {
		size_t part = m->iov[i].iov_len;

		if (part > SSIZE_MAX)
			return -EINVAL;
		if (part > DI_DGRAM_MAX - m->len) {
			m->too_long = true;
			part = DI_DGRAM_MAX - m->len;
		}
		m->len += part;
	}
	return 0;
}

/* sendto(2) and recvfrom(2): arguments 1 and 2 are the buffer, 4 and 5 the address. */
static long take_buffer(const struct call *c, struct message *m)
{
	m->named = true; /* the filter has seen that */
	m->h = (struct msghdr){.msg_iovlen = 1};
	m->iov[0] = (struct iovec){(void *)(uintptr_t)call_arg(c, 1), call_arg(c, 2)};
	return measure(m);
}

/* The struct msghdr at @at. 0 or -errno. */
static long take_header(const struct call *c, uint64_t at, struct message *m)
{
	if (di_caller_read(&c->t, at, &m->h, sizeof(m->h)) < 0)
		return -EFAULT;
	m->named = m->h.msg_name && m->h.msg_namelen;
	if (m->h.msg_iovlen > IOV_MAX)
		return -EMSGSIZE;
	if (m->h.msg_iovlen && di_caller_read(&c->t, (uintptr_t)m->h.msg_iov, m->iov,
					      m->h.msg_iovlen * sizeof(m->iov[0])) < 0)
		return -EFAULT;
	return measure(m);
}

/* May the call wait, and will it? */
static bool will_block(const struct call *c, int flags)
{
	return !(flags & MSG_DONTWAIT) && !(fcntl(c->fd, F_GETFL) & O_NONBLOCK);
}

static bool has_limit(const struct call *c, int option)
{
	struct timeval limit = {0};
	socklen_t len = sizeof(limit);

	return getsockopt(c->fd, SOL_SOCKET, option, &limit, &len) == 0 &&
	       (limit.tv_sec || limit.tv_usec);
}

/* ---- both ways ------------------------------------------------------------------------------ */

/*
 * @call with @m and @flags; where it may wait, so that a signal interrupts it. @limit: the option
 * with its time limit, with which no signal handler restarts it.
 */
static long blocking(struct call *c, struct message *m, int flags, int limit,
		     long (*call)(struct call *c, struct message *m, int flags))
{
	long r, answer;

	if (!will_block(c, flags))
		return call(c, m, flags);
	if (!c->may_block)
		return -ENOBUFS;
	do {
		struct di_blocked b;

		di_blocked_enter(c->s, &b, c->n, c->t.pidfd);
		r = call(c, m, flags);
		di_blocked_leave(c->s, &b);
		answer = r == -EINTR ? di_blocked_answer(&b, !has_limit(c, limit)) : 0;
	} while (r == -EINTR && !answer);
	return answer ? answer : r;
}

/* @call on a datagram socket, with room for a message. */
static long with_message(struct call *c, long (*call)(struct call *c, struct message *m))
{
	long r = call_take_file(c, 0);
	struct message *m;

	if (r || di_type(c->fd) != SOCK_DGRAM)
		return r ? r : DI_CONTINUE;
	m = malloc(sizeof(*m));
	r = m ? call(c, m) : -ENOBUFS;
	free(m);
	return r;
}

/*
 * @one of each struct mmsghdr, until one fails: which is told when it is the first. @later: flags
 * of all but that.
 */
static long each(struct call *c, struct message *m, int flags, int later,
		 long (*one)(struct call *c, struct message *m, uint64_t at, int flags))
{
	unsigned n = (unsigned)call_int(c, 2), done = 0;
	long r = 0;

	for (; done < n && done < MESSAGES_MAX; done++) {
		uint64_t at = call_arg(c, 1) + done * sizeof(struct mmsghdr);
		uint32_t len;

		r = one(c, m, at, done ? flags | later : flags);
		if (r < 0)
			break;
		len = (uint32_t)r;
		r = call_hold_memory(c);
		if (r)
			break;
		r = di_caller_write(&c->t, at + offsetof(struct mmsghdr, msg_len), &len,
				    sizeof(len));
		if (r < 0)
			break;
	}
	return r == DI_DONE || !done ? r : (long)done;
}

/* ---- whom it goes to ------------------------------------------------------------------------ */

static long send_now(struct call *c, struct message *m, int flags)
{
	struct iovec mine = {m->data, m->len};
	const struct msghdr h = {.msg_iov = &mine, .msg_iovlen = 1};
	ssize_t r;

	if (m->named)
		return di_sendto(&c->s->di, c->fd, &h, flags, &m->to);
	r = sendmsg(c->fd, &h, flags | MSG_NOSIGNAL);
	return r < 0 ? -errno : r;
}

/* *m, to the address of @len bytes at @at where it is named. */
static long send_to(struct call *c, struct message *m, uint64_t at, int len, int flags)
{
	union address a;

	if (m->named && di_address(a.bytes, (socklen_t)call_get_address(c, at, len, &a), &m->to))
		return -EINVAL;
	if (m->too_long)
		return -EMSGSIZE;
	if (di_caller_gather(&c->t, m->iov, m->h.msg_iovlen, m->data, m->len) < 0)
		return -EFAULT;
	if (!call_waits(c))
		return DI_DONE;
	return blocking(c, m, flags, SO_SNDTIMEO, send_now);
}

static long send_message(struct call *c, struct message *m, uint64_t at, int flags)
{
	long r = take_header(c, at, m);

	if (r == 0 && !m->named && c->n->data.nr == SYS_sendmsg)
		return DI_CONTINUE;
	return r ? r : send_to(c, m, (uintptr_t)m->h.msg_name, (int)m->h.msg_namelen, flags);
}

static long do_sendto(struct call *c, struct message *m)
{
	long r = take_buffer(c, m);

	return r ? r : send_to(c, m, call_arg(c, 4), call_int(c, 5), call_int(c, 3));
}

static long do_sendmsg(struct call *c, struct message *m)
{
	return send_message(c, m, call_arg(c, 1), call_int(c, 2));
}

static long do_sendmmsg(struct call *c, struct message *m)
{
	return each(c, m, call_int(c, 3), 0, send_message);
}

long call_sendto(struct call *c)
{
	return with_message(c, do_sendto);
}

long call_sendmsg(struct call *c)
{
	return with_message(c, do_sendmsg);
}

long call_sendmmsg(struct call *c)
{
	return with_message(c, do_sendmmsg);
}

/* ---- whom it comes from --------------------------------------------------------------------- */

/* Over m->h.msg_namelen and msg_flags: what the kernel says. */
static long receive_now(struct call *c, struct message *m, int flags)
{
	struct iovec mine = {m->data, m->len};
	struct msghdr h = {.msg_name = &m->from,
			   .msg_namelen = sizeof(m->from),
			   .msg_iov = &mine,
			   .msg_iovlen = 1};
	ssize_t r = recvmsg(c->fd, &h, flags);

	if (r < 0)
		return -errno;
	m->h.msg_namelen = h.msg_namelen;
	m->h.msg_flags = h.msg_flags;
	return r;
}

/* Into *m and the program's buffers; who has sent it to @at, of which *@len_at says the room. */
static long receive_from(struct call *c, struct message *m, uint64_t at, uint64_t len_at, int flags)
{
	long r = blocking(c, m, flags, SO_RCVTIMEO, receive_now), rc;
	struct sockaddr_vm from = {0};
	size_t size = 0;

	if (r < 0)
		return r;
	rc = call_hold_memory(c);
	if (rc)
		return rc;
	rc = di_caller_scatter(&c->t, m->iov, m->h.msg_iovlen, m->data,
			       (size_t)r < m->len ? (size_t)r : m->len);
	if (rc < 0 || !m->named)
		return rc < 0 ? rc : r;
	if (di_sender(&m->from, m->h.msg_namelen, &from))
		size = sizeof(from);
	rc = call_put_address(c, &from, size, at, len_at);
	return rc < 0 ? rc : r;
}

/* Control messages are none: what AF_UNIX has there is not AF_VSOCK's. */
static long receive_message(struct call *c, struct message *m, uint64_t at, int flags)
{
	const size_t none = 0;
	long r = take_header(c, at, m), rc;

	if (r == 0 && !m->named && c->n->data.nr == SYS_recvmsg)
		return DI_CONTINUE;
	if (r)
		return r;
	r = receive_from(c, m, (uintptr_t)m->h.msg_name, at + offsetof(struct msghdr, msg_namelen),
			 flags);
	if (r < 0)
		return r;
	rc = di_caller_write(&c->t, at + offsetof(struct msghdr, msg_controllen), &none,
			     sizeof(none));
	if (rc == 0)
		rc = di_caller_write(&c->t, at + offsetof(struct msghdr, msg_flags),
				     &m->h.msg_flags, sizeof(m->h.msg_flags));
	return rc < 0 ? rc : r;
}

static long do_recvfrom(struct call *c, struct message *m)
{
	long r = take_buffer(c, m);

	return r ? r : receive_from(c, m, call_arg(c, 4), call_arg(c, 5), call_int(c, 3));
}

static long do_recvmsg(struct call *c, struct message *m)
{
	return receive_message(c, m, call_arg(c, 1), call_int(c, 2));
}

/*
 * The first waits, the others do not: the time limit, which the kernel looks at between messages
 * only, has nothing to do.
 */
static long do_recvmmsg(struct call *c, struct message *m)
{
	return each(c, m, call_int(c, 3) & ~MSG_WAITFORONE, MSG_DONTWAIT, receive_message);
}

long call_recvfrom(struct call *c)
{
	return with_message(c, do_recvfrom);
}

long call_recvmsg(struct call *c)
{
	return with_message(c, do_recvmsg);
}

long call_recvmmsg(struct call *c)
{
	return with_message(c, do_recvmmsg);
}
