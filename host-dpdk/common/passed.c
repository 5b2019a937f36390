/* SPDX-License-Identifier: BSD-3-Clause */
/* Theory in passed.h. */
#include "passed.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* headers before Linux 6.16 */
#endif

bool passed_refuse(int fd)
{
	const int off = 0;

	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) == 0;
}

void passed_expect(int fd)
{
	const int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

void passed_cmsg_attach(struct msghdr *m, struct passed_cmsg *cmsg)
{
	m->msg_control = &cmsg->u;
	m->msg_controllen = sizeof(cmsg->u);
}

unsigned passed_take(struct msghdr *m, int *fd)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		    bytes > (PASSED_MAX - n) * sizeof(int))
			continue;
		memcpy(fd + n, CMSG_DATA(c), bytes);
		n += (unsigned)(bytes / sizeof(int));
	}
	return n;
}

ssize_t passed_peek(int fd, struct msghdr *m, int flags)
{
	ssize_t n;

	m->msg_control = NULL;
	m->msg_controllen = 0;
	n = recvmsg(fd, m, MSG_PEEK | MSG_DONTWAIT | flags);
	if (n >= 0 && m->msg_flags & MSG_CTRUNC) {
		errno = EPERM;
		return -1;
	}
	return n;
}

ssize_t passed_read(int fd, struct msghdr *m)
{
	ssize_t n = passed_peek(fd, m, 0);
	size_t left = n > 0 ? (size_t)n : 0;

	if (n <= 0)
		return n;
	/* No more than that: nobody has looked at what may have come meanwhile. */
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		struct iovec *v = &m->msg_iov[i];

		if (v->iov_len >= left) {
			v->iov_len = left;
			m->msg_iovlen = i + 1;
		}
		left -= v->iov_len;
	}
	return recvmsg(fd, m, MSG_DONTWAIT);
}

/* What the kernel says of the socket's queue: "scm_fds: 3". */
bool passed_none(int fd)
{
	char path[40], text[512];
	const char *p;
	ssize_t n;
	int info;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	if (info < 0)
		return false;
	n = read(info, text, sizeof(text) - 1);
	(void)close(info);
	text[n > 0 ? n : 0] = 0;
	p = strstr(text, "scm_fds:");
	return p && strtoul(p + strlen("scm_fds:"), NULL, 10) == 0;
}

bool passed_waits(int fd, bool stream)
{
	int bytes;

	(void)shutdown(fd, SHUT_RD);
	/* A stream has no descriptors without a byte. */
	if (stream && ioctl(fd, SIOCINQ, &bytes) == 0 && bytes == 0)
		return false;
	return !passed_none(fd);
}
