/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Datagrams that programs have sent, off the sockets. Before Linux 6.16 they can send descriptors
 * with them, which a thread of their user's closes; that may take as long as they like. A user may
 * have few descriptors that are not closed yet. Beyond that, whoever sends more on a connected
 * socket loses that socket, and DIR/dgram is not read: what is next there cannot be had without its
 * descriptors, and closing them would stop the lcore.
 */
#include "av_dgram.h"

#include "core/closers.h"
#include "core/fds.h"
#include "passed.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define USER_MAX (2u * PASSED_MAX)
#define ALL_PART 8u /* of the descriptors of connections: those of all users */
#define PAUSE_NS 10000000ull

/* Room for the sender's credentials, and for unwanted descriptors. */
struct room {
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(PASSED_MAX * sizeof(int))];
		struct cmsghdr align;
	} u;
};

static void read_sender(struct msghdr *mh, const struct sockaddr_un *sa, struct av_sender *from)
{
	const size_t skip = offsetof(struct sockaddr_un, sun_path) + 1;

	memset(from->text, 0, sizeof(from->text));
	if (mh->msg_namelen > skip && mh->msg_namelen - skip < sizeof(from->text) &&
	    !sa->sun_path[0])
		memcpy(from->text, sa->sun_path + 1, mh->msg_namelen - skip);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		struct ucred cred;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS ||
		    c->cmsg_len < CMSG_LEN(sizeof(cred)))
			continue;
		memcpy(&cred, CMSG_DATA(c), sizeof(cred));
		from->uid = cred.uid;
	}
}

ssize_t av_receive(struct av_space *s, int fd, void *data, size_t len, struct av_sender *from)
{
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct sockaddr_un sa = {0};
	struct room room;
	struct msghdr mh = {.msg_name = &sa,
			    .msg_namelen = sizeof(sa),
			    .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &room.u,
			    .msg_controllen = sizeof(room.u)};
	ssize_t n = recvmsg(fd, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	int fds[PASSED_MAX];
	unsigned n_fds;

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	read_sender(&mh, &sa, from);
	n_fds = s->closers ? passed_take(&mh, fds) : 0;
	if (!n_fds)
		return n;
	fds_take(n_fds);
	s->mail->passed = true;
	closers_put(s->closers, from->uid, fds, n_fds);
	return -EPERM;
}

/* ---- who has too many ---- */

/* Descriptors come with the next message at @fd: 1; *uid: who has sent it, if the socket @says
 * that. 0; -errno. */
static int next_has_some(int fd, bool says, uid_t *uid)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
		struct cmsghdr align;
	} u;
	char byte;
	struct iovec iov = {&byte, 1};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct av_sender from = {.uid = *uid};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (says) { /* else that would be room for descriptors, which even a look receives */
		mh.msg_control = &u;
		mh.msg_controllen = sizeof(u);
	}
	if (recvmsg(fd, &mh, MSG_PEEK | MSG_DONTWAIT) < 0)
		return -errno;
	read_sender(&mh, &sa, &from);
	*uid = from.uid;
	return mh.msg_flags & MSG_CTRUNC ? 1 : 0;
}

bool av_passed_too_many(struct av_space *s, int fd, uid_t *uid)
{
	struct av_mail *m = s->mail;
	unsigned all = m->passed ? closers_all(s->closers) : 0;

	m->passed = all;
	if (!all || next_has_some(fd, fd == s->listener[AV_DGRAM].fd, uid) != 1)
		return false;
	return closers_count(s->closers, *uid) + PASSED_MAX > USER_MAX ||
	       all + PASSED_MAX > fds_max() / ALL_PART;
}

bool av_receive_may(struct av_mail *m)
{
	struct av_space *s = m->space;
	uid_t uid = CLOSERS_NOBODY;
	uint32_t more;

	if (!m->passed || !av_passed_too_many(s, s->listener[AV_DGRAM].fd, &uid))
		return true;
	lcore_timer_start(s->home, &m->pause, PAUSE_NS);
	if (log_once(&m->paused, &more))
		log_line(ZV_LOG_WARN, NULL,
			 "%s: uid %u has sent descriptors, and closing them takes long: what "
			 "programs send there with an address waits until they are closed (Linux "
			 "6.16 "
			 "and later refuse descriptors)",
			 s->cfg.sockets[AV_DGRAM], (unsigned)uid);
	return false;
}

bool av_passed_full(struct av_space *s, uid_t uid)
{
	return s->mail->passed && closers_count(s->closers, uid) >= USER_MAX;
}

void av_discard_sent(struct av_space *s, int fd, uid_t uid)
{
	if (s->closers && passed_waits(fd, false)) {
		s->mail->passed = true;
		closers_put(s->closers, uid, &fd, 1); /* it calls fds_put() */
		return;
	}
	io_close_fd(lcore_io(s->home), fd);
	fds_put();
}
