/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_stream.h"

#include "fd_closer.h"
#include "passed.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(VU_MSG_FDS == VU_REGIONS, "no message has more descriptors");

static void throw_away(const struct vu_reader *r, int fd)
{
	if (r->closer)
		fd_closer_put(r->closer, fd);
	else
		(void)close(fd);
}

void vu_reader_init(struct vu_reader *r, struct fd_closer *closer)
{
	memset(r, 0, sizeof(*r));
	r->closer = closer;
}

void vu_reader_next(struct vu_reader *r)
{
	for (unsigned i = 0; i < r->nfds; i++)
		if (r->fd[i] >= 0)
			throw_away(r, r->fd[i]);
	vu_reader_init(r, r->closer);
}

/* Takes the descriptors of one recvmsg. False: more than one message may have; the rest is thrown
 * away. */
static bool take_fds(struct vu_reader *r, struct msghdr *mh)
{
	bool fit = !(mh->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (r->nfds < VU_MSG_FDS) {
				r->fd[r->nfds++] = fd;
			} else {
				throw_away(r, fd);
				fit = false;
			}
		}
	}
	return fit;
}

int vu_read(struct vu_reader *r, int sock, const char *(*refused)(const struct vu_msg *),
	    const char **why)
{
	*why = NULL;
	for (;;) {
		union {
			struct cmsghdr align;
			/* Room for all: the kernel would close the rest in this thread. */
			char buf[CMSG_SPACE(PASSED_MAX * sizeof(int))];
		} ctl;
		size_t want = r->have < VU_HEAD_LEN ? VU_HEAD_LEN : VU_HEAD_LEN + r->msg.size;
		struct iovec iov = {(uint8_t *)&r->msg + r->have, want - r->have};
		struct msghdr mh = {.msg_iov = &iov,
				    .msg_iovlen = 1,
				    .msg_control = ctl.buf,
				    .msg_controllen = sizeof(ctl.buf)};
		ssize_t n;

		if (r->have >= VU_HEAD_LEN && r->have == want)
			return 1;
		n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
		if (!take_fds(r, &mh)) {
			*why = "more descriptors came with it than a message can have";
			return -EPROTO;
		}
		if (n == 0)
			return -ECONNRESET;
		r->have += (size_t)n;
		/* Before the payload: its size must fit the room that is here. */
		if (r->have == VU_HEAD_LEN && (*why = refused(&r->msg)))
			return -EPROTO;
	}
}

int vu_write_rest(struct vu_writer *w, int sock)
{
	while (w->sent < w->len) {
		ssize_t n = send(sock, (const uint8_t *)&w->msg + w->sent, w->len - w->sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -errno;
		w->sent += (size_t)n;
	}
	return 1;
}

int vu_write(struct vu_writer *w, int sock, const struct vu_msg *m)
{
	w->len = vu_msg_len(m);
	w->sent = 0;
	memcpy(&w->msg, m, w->len);
	return vu_write_rest(w, sock);
}
