/* SPDX-License-Identifier: BSD-3-Clause */
#include "client_sock.h"

#include "transport.h"
#include "vhost-user/unix_connect.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int client_sock_init(struct client_sock *s, const char *path)
{
	size_t n = strlen(path);

	memset(s, 0, sizeof(*s));
	s->fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	if (n == 0)
		return zv_err(-EINVAL, "no socket path: write daemon:PATH, the path of zvsockd's "
				       "client socket");
	if (n >= sizeof(s->path))
		return zv_err(-ENAMETOOLONG,
			      "the socket path %.60s... has %zu bytes, a Unix socket's can have "
			      "%zu: use a shorter one",
			      path, n, sizeof(s->path) - 1);
	memcpy(s->path, path, n);
	return 0;
}

void client_sock_fini(struct client_sock *s)
{
	client_sock_close(s);
	pthread_mutex_destroy(&s->lock);
}

int client_unix_connect(struct client_sock *s, int cancel_fd)
{
	int fd = unix_connect(s->path, SOCK_SEQPACKET, "zvsockd", cancel_fd, CLIENT_TIMEOUT_MS);

	if (fd < 0)
		return fd;
	client_sock_close(s);
	pthread_mutex_lock(&s->lock);
	s->fd = fd;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

static void close_locked(struct client_sock *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void client_sock_close(struct client_sock *s)
{
	pthread_mutex_lock(&s->lock);
	close_locked(s);
	pthread_mutex_unlock(&s->lock);
}

/* The first descriptor of @mh, or -1. Others, for which alignment may leave room, are closed. */
static int descriptor_of(struct msghdr *mh)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(mh);
	int first = -1, fd;

	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
		return -1;
	for (size_t at = 0; CMSG_LEN(at + sizeof(fd)) <= c->cmsg_len; at += sizeof(fd)) {
		memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
		if (first < 0)
			first = fd;
		else
			(void)close(fd);
	}
	return first;
}

static int send_question(struct client_sock *s, const struct client_msg *m, int cancel_fd,
			 int64_t deadline)
{
	for (;;) {
		ssize_t n = send(s->fd, m, sizeof(*m), MSG_NOSIGNAL);
		int ret;

		if (n == sizeof(*m))
			return 0;
		if (n >= 0)
			return -EPROTO;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ret = unix_wait(s->fd, POLLOUT, cancel_fd, deadline);
		if (ret)
			return ret;
	}
}

/* 0 and the answer, with its descriptor or -1; -errno. */
static int recv_answer(struct client_sock *s, struct client_msg *m, int *fd, int cancel_fd,
		       int64_t deadline)
{
	for (;;) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(sizeof(int))];
		} ctl;
		struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = ctl.buf,
				    .msg_controllen = sizeof(ctl.buf)};
		ssize_t n = recvmsg(s->fd, &mh, MSG_CMSG_CLOEXEC);
		int ret;

		if (n >= 0) {
			*fd = descriptor_of(&mh);
			if (n == 0)
				return -ECONNRESET;
			if (*fd < 0 && mh.msg_flags & MSG_CTRUNC)
				return -EMFILE; /* the kernel found no place for it */
			return client_msg_refused(m, mh.msg_flags & MSG_TRUNC ? 0 : (size_t)n)
				       ? -EBADMSG
				       : 0;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		ret = unix_wait(s->fd, POLLIN, cancel_fd, deadline);
		if (ret)
			return ret;
	}
}

/* The connection can no longer be used: a reply could belong to another request. */
static int failed(struct client_sock *s, unsigned type, int err)
{
	const char *what = client_type_name(type);

	close_locked(s);
	switch (err) {
	case -ECANCELED:
		return err;
	case -ETIMEDOUT:
		return zv_err(-EPROTO, "zvsockd at %s did not answer \"%s\" within %d ms: it hangs",
			      s->path, what, CLIENT_TIMEOUT_MS);
	case -EBADMSG:
		return zv_err(
			-EPROTO,
			"what answers \"%s\" at %s is no zvsockd of this release: is this the "
			"path of its client socket?",
			what, s->path);
	default:
		return zv_err(
			-EPROTO,
			"zvsockd at %s hung up at \"%s\" (%s): it has ended, or its log tells "
			"why",
			s->path, what, zv_strerror(err));
	}
}

static int ask_locked(struct client_sock *s, struct client_msg *m, int *fd, int cancel_fd)
{
	int64_t deadline = unix_now_ms() + CLIENT_TIMEOUT_MS;
	unsigned type = m->type;
	int got = -1, ret;

	if (s->fd < 0)
		return zv_err(-ENOTCONN,
			      "there is no connection to zvsockd at %s: it has ended; "
			      "this device attaches again when it is back",
			      s->path);
	ret = send_question(s, m, cancel_fd, deadline);
	if (ret == 0 || ret == -EPIPE) /* before it hung up it may have said why */
		ret = recv_answer(s, m, &got, cancel_fd, deadline);
	if (ret == 0 &&
	    (m->type != type || m->result > 0 || (m->result == 0 && (got >= 0) != (fd != NULL))))
		ret = -EBADMSG;
	if (ret == 0 && m->result == 0) {
		if (fd)
			*fd = got;
		return 0;
	}
	if (got >= 0)
		close(got);
	if (ret == -EMFILE) {
		if (type == CLIENT_ATTACH) /* zvsockd has attached nobody */
			close_locked(s);
		return zv_err(ret,
			      "no descriptor is left in this process for what zvsockd at %s gives "
			      "(\"%s\"): raise its limit (ulimit -n)",
			      s->path, client_type_name(type));
	}
	if (ret)
		return failed(s, type, ret);
	return zv_err(m->result, "zvsockd at %s: %s", s->path, m->text);
}

int client_sock_ask(struct client_sock *s, struct client_msg *m, int *fd, int cancel_fd)
{
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = ask_locked(s, m, fd, cancel_fd);
	pthread_mutex_unlock(&s->lock);
	return ret;
}
