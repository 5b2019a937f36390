/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Relays: data read from the host by direct system calls instead of io_uring, because each read
 * decides about the next.
 *
 * SEQPACKET, host to guest: the length of a message is not known before it is looked at, and
 * zv_send takes a message whole or not at all. So it is copied into private memory without being
 * removed from the socket (MSG_PEEK), sent, and only then removed.
 *
 * What the host sends to a guest that no longer receives is read and discarded; see "End of a
 * connection" in relay.h.
 */
#include "relay_int.h"

#include <errno.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Of a stream. What has come is given to the fd_closer, or stays in the socket. */
static ssize_t read_passed(struct relay *r, struct msghdr *m, int *fd, unsigned *n_fds)
{
	struct relay_stock *s = relay_stock(r);
	ssize_t n;

	if (!s || !guest_passed_reads(r->f.owner.gq->guest))
		return passed_read(r->fd, m);
	passed_cmsg_attach(m, &s->cmsg);
	n = recvmsg(r->fd, m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return n;
	*n_fds = passed_take(m, fd);
	errno = EPERM;
	return *n_fds || m->msg_flags & MSG_CTRUNC ? -1 : n;
}

/* recv(2), or -errno. @look: peeks at a whole message. */
static ssize_t recv_once(struct relay *r, void *buf, size_t len, bool look)
{
	struct iovec iov = {buf, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	bool seq = r->flags & RELAY_SEQPACKET;
	int fd[PASSED_MAX];
	unsigned n_fds = 0;
	ssize_t n;

	if (r->passed && !look && !seq)
		n = read_passed(r, &m, fd, &n_fds);
	else if (r->passed)
		n = passed_peek(r->fd, &m, MSG_TRUNC);
	else
		n = recv(r->fd, buf, len, MSG_DONTWAIT | (look ? MSG_PEEK | MSG_TRUNC : 0));
	if (r->passed && n >= 0 && !look && seq)
		n = recv(r->fd, buf, len, MSG_DONTWAIT);
	if (n >= 0 || errno != EPERM || !r->passed)
		return n < 0 ? -errno : n;
	relay_passed(r, fd, n_fds);
	return -EPERM;
}

ssize_t relay_recv(struct relay *r, void *buf, size_t len)
{
	return recv_once(r, buf, len, false);
}

/* If negative, there is nothing to read now and the relay waits for more, or it has failed. */
static ssize_t read_host(struct relay *r, char *to, bool look)
{
	ssize_t n;

	do
		n = recv_once(r, to, RELAY_MSG_MAX, look);
	while (n == -EINTR || relay_closed_unread(r, (int)n));
	if (n == -EAGAIN)
		relay_poll_in(r);
	else if (n < 0)
		relay_host_failed(r, (int)n);
	return n;
}

/* Meaning of a read of 0 bytes. True: end of file; false: an empty message. */
static bool at_end(const struct relay *r)
{
	struct pollfd p = {.fd = r->fd, .events = POLLRDHUP};
	int left = 0;

	if (!(r->flags & RELAY_SEQPACKET))
		return true;
	/* More messages may follow an empty one, although the host program has gone since. */
	if (ioctl(r->fd, FIONREAD, &left) == 0 && left > 0)
		return false;
	return (r->flags & R_HOST_HUP) ||
	       (poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP)));
}

static bool too_long(struct relay *r)
{
	GUEST_COUNT(r->f.owner.gq, msg_too_long);
	relay_end(r, R_RESET | R_ABORT);
	return false;
}

/* Sends @len bytes. True: the message may be removed from the socket. */
static bool send_message(struct relay *r, const char *msg, size_t len)
{
	ssize_t n = zv_send(r->f.conn, msg, len, 0);

	if (n >= 0)
		return true;
	switch (n) {
	case -EAGAIN:
		relay_wait_out(r);
		return false;
	case -EPIPE:
		relay_guest_shut_rd(r);
		return false;
	case -EMSGSIZE:
		return too_long(r);
	case -EINVAL: /* empty, and a stock guest cannot take it */
		GUEST_COUNT(r->f.owner.gq, msg_empty);
		return true;
	default: /* ZV_EV_ERR follows */
		return false;
	}
}

/* Removes the message that was peeked at. False: the socket has failed. */
static bool take_message(struct relay *r)
{
	char none;
	int err;

	do
		err = recv(r->fd, &none, 0, MSG_TRUNC | MSG_DONTWAIT) < 0 ? -errno : 0;
	while (err == -EINTR || relay_closed_unread(r, err));
	if (err)
		relay_host_failed(r, err);
	return !err;
}

void relay_to_guest_seq(struct relay *r, uint32_t most)
{
	char *msg = relay_scratch(r);
	uint32_t done = 0;

	if (!msg) {
		relay_no_memory(r);
		return;
	}
	while (done < most && work_may(r->f.owner.gq)) {
		ssize_t n = read_host(r, msg, true);

		if (n < 0)
			return;
		if (n == 0 && at_end(r)) {
			relay_host_eof(r);
			return;
		}
		if ((size_t)n > RELAY_MSG_MAX) {
			(void)too_long(r);
			return;
		}
		if (!send_message(r, msg, (size_t)n))
			return;
		if (!take_message(r))
			return;
		done += flow_moved(&r->f, (uint32_t)n);
	}
	flow_wait(&r->f); /* behind all others */
}

void relay_discard(struct relay *r)
{
	char *scratch = relay_scratch(r);
	uint32_t done = 0;

	if (!scratch) {
		relay_no_memory(r);
		return;
	}
	r->flags |= R_IN_READY;
	while (done < FLOW_QUOTA && work_may(r->f.owner.gq)) {
		ssize_t n = read_host(r, scratch, false);

		if (n < 0)
			return;
		if (n == 0 && at_end(r)) {
			r->flags &= (uint16_t)~R_IN_READY;
			relay_poll_hup(r);
			return;
		}
		done += work_done(r->f.owner.gq, (uint32_t)n);
	}
	flow_wait(&r->f);
}
