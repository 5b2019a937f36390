/* SPDX-License-Identifier: BSD-3-Clause */
/* Sockets and descriptors that programs have sent, and that may take long to close (passed.h). */
#include "av.h"

#include "core/closers.h"
#include "core/fds.h"
#include "passed.h"

#include <sys/socket.h>

/* Created with the first space, if the kernel cannot refuse descriptors on sockets; lcores may use
 * it until the end of the process. */
static struct closers *late_closers;

bool av_expect_passed(struct av_space *s)
{
	if (!s->closers)
		s->closers = closers_new(fds_put);
	if (!late_closers)
		late_closers = closers_new(fds_put);
	return s->closers && late_closers;
}

uid_t av_peer_of(int fd)
{
	struct ucred cred = {.uid = CLOSERS_NOBODY};
	socklen_t len = sizeof(cred);

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	return cred.uid;
}

bool av_is_flooding(const struct av_space *s, uid_t uid)
{
	return s->closers && closers_count(s->closers, uid) >= fds_max() / AV_FDS_SHARE;
}

/* Has @fd closed by the thread of @uid, which calls fds_put(). */
static void close_later(struct closers *c, int fd, uid_t uid)
{
	(void)shutdown(fd, SHUT_WR); /* its program need not wait */
	closers_put(c, uid, &fd, 1);
}

void av_discard(struct av_space *s, int fd, bool stream, uid_t uid)
{
	if (s->closers && passed_waits(fd, stream)) {
		close_later(s->closers, fd, uid);
		return;
	}
	io_close_fd(lcore_io(s->home), fd);
	fds_put();
}

void av_discard_late(struct lcore *lc, int fd, bool stream, uid_t uid)
{
	if (late_closers && passed_waits(fd, stream)) {
		close_later(late_closers, fd, uid);
		return;
	}
	io_close_fd(lcore_io(lc), fd);
	fds_put();
}

bool av_is_flooded(const struct av_space *s)
{
	return s->closers && closers_all(s->closers) >= fds_max() / 2;
}
