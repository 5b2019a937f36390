/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connect: joins standard input and output with a port of a guest, like ssh's ProxyCommand.
 *
 * There are three ways into zvsockd. This program uses the control socket: it knows guests by name
 * and CID, reaches each of them whether it has a hybrid socket or not, and reports why a connection
 * was refused and whether it has ended in order, which a hybrid socket does not. A drop-in
 * directory is for sockets that must look like AF_VSOCK ones. Users without access to the control
 * socket give the path of a hybrid socket instead of a guest.
 *
 * zvsockd makes a pair of sockets, and we get one end with its answer: no payload goes through the
 * control socket. With --pass-fd our end is passed on to the program that started us, and we are
 * done.
 */
#include "ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_MAX_LEN 256u
#define CHUNK	     65536u

struct join {
	struct ctl *c;
	const char *guest;
	int fd;	      /* our end of zvsockd's pair, or a hybrid socket's client */
	bool control; /* for the control socket: it reports how the connection ends */
	json_t *closed;
};

/* Reads the first line, without its newline, and nothing after it. False: end of file. */
static bool first_line(int fd, char *line)
{
	for (unsigned n = 0; n < LINE_MAX_LEN - 1; n++) {
		ssize_t got = recv(fd, line + n, 1, 0);

		if (got < 0 && errno == EINTR) {
			n--;
			continue;
		}
		if (got != 1)
			return false;
		line[n + 1] = 0;
		if (line[n] == '\n') {
			line[n] = 0;
			return true;
		}
	}
	return false;
}

/* Waits until the guest has answered; dies when it has refused. */
static void wait_joined(const struct join *j)
{
	char line[LINE_MAX_LEN] = "";

	if (!first_line(j->fd, line))
		ctl_die(CTL_FAILED, "%s, port %u: %s", j->guest, j->c->port,
			j->control ? "zvsockd has ended"
				   : "refused, which this socket does not say more of; zvsockd's "
				     "log does");
	if (strncmp(line, "OK ", 3) == 0)
		return;
	ctl_die(CTL_FAILED, "%s, port %u: %s", j->guest, j->c->port,
		strncmp(line, "NO ", 3) == 0 ? line + 3 : "what answers here is not zvsockd");
}

static void by_hybrid(struct join *j)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "CONNECT %u\n", j->c->port);

	j->fd = ctl_socket("connect", j->guest);
	if (j->fd < 0)
		ctl_die(CTL_NO_DAEMON, "%s: %s; name a guest, or the hybrid socket of one",
			j->guest, strerror(errno));
	if (send(j->fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		ctl_die(CTL_NO_DAEMON, "%s: %s", j->guest, strerror(errno));
}

static bool is_event(const json_t *line)
{
	return json_object_get(line, "event");
}

static void by_control(struct join *j)
{
	struct ctl *c = j->c;
	json_t *answer = ctl_first(c, json_pack("{ss ss sI}", "cmd", "connect", "guest", j->guest,
						"port", (json_int_t)c->port));

	if (is_event(answer)) { /* it is over already */
		j->closed = answer;
		answer = ctl_answer(c, CTL_ANSWER_MS);
	}
	json_decref(answer);
	if (c->got < 0)
		ctl_die(CTL_FAILED,
			"the connection's socket has not come with the answer: no descriptor is "
			"left here (\"ulimit -n\")");
	j->fd = c->got;
	j->control = true;
}

/* ---- bytes ---- */

/* Copies the guest's bytes to standard output. False: end of stream. */
static bool to_output(const struct join *j, char *buf)
{
	ssize_t n = recv(j->fd, buf, CHUNK, 0), off = 0;

	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0)
		ctl_die(CTL_FAILED, "%s, port %u: %s", j->guest, j->c->port, strerror(errno));
	while (off < n) {
		ssize_t put = write(STDOUT_FILENO, buf + off, (size_t)(n - off));

		if (put < 0 && errno == EAGAIN) /* made non-blocking by somebody who shares it */
			(void)poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
		else if (put < 0 && errno != EINTR)
			ctl_die(CTL_FAILED, "standard output: %s", strerror(errno));
		off += put > 0 ? put : 0;
	}
	return n > 0;
}

/* Input on its way to the guest; @buf has room for CHUNK bytes. */
struct input {
	char *buf;
	size_t len, off;
	bool over; /* end of input, or the guest no longer reads */
};

static void from_input(struct input *in)
{
	ssize_t n = read(STDIN_FILENO, in->buf, CHUNK);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0)
		ctl_die(CTL_FAILED, "standard input: %s", strerror(errno));
	in->len = (size_t)n;
	in->off = 0;
	in->over = n == 0;
}

static void to_guest(const struct join *j, struct input *in)
{
	ssize_t n = send(j->fd, in->buf + in->off, in->len - in->off, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n < 0) { /* the guest no longer reads: not an error */
		in->over = true;
		in->len = in->off = 0;
		return;
	}
	in->off += (size_t)n;
	if (in->off == in->len)
		in->len = in->off = 0;
}

static void pump(const struct join *j)
{
	char *down = malloc(CHUNK);
	struct input in = {.buf = malloc(CHUNK)};
	bool more = true, told = false;

	if (!down || !in.buf)
		ctl_die(CTL_FAILED, "out of memory");
	while (more || !told) {
		struct pollfd p[2] = {
			{.fd = in.len || in.over ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = j->fd,
			 .events = (short)((more ? POLLIN : 0) | (in.len ? POLLOUT : 0))}};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			ctl_die(CTL_FAILED, "poll: %s", strerror(errno));
		if (p[0].revents)
			from_input(&in);
		if (more && p[1].revents & (POLLIN | POLLHUP | POLLERR)) {
			more = to_output(j, down);
			if (!more) /* the reader of our output need not wait for the rest */
				(void)close(STDOUT_FILENO);
		} else if (!more && p[1].revents & (POLLHUP | POLLERR)) {
			break; /* the guest has closed both directions */
		}
		if (in.len && p[1].revents & (POLLOUT | POLLERR))
			to_guest(j, &in);
		if (in.over && !in.len && !told) {
			told = true;
			(void)shutdown(j->fd, SHUT_WR);
		}
	}
	free(down);
	free(in.buf);
}

/* Passes our end to the reader of standard output, which is a socket. */
static void pass(const struct join *j)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {"", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &ctl,
			   .msg_controllen = sizeof(ctl)};

	ctl.align.cmsg_level = SOL_SOCKET;
	ctl.align.cmsg_type = SCM_RIGHTS;
	ctl.align.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&ctl.align), &j->fd, sizeof(j->fd));
	if (sendmsg(STDOUT_FILENO, &m, MSG_NOSIGNAL) < 0)
		ctl_die(CTL_FAILED,
			"--pass-fd: standard output: %s; it is for ssh with ProxyUseFdpass=yes",
			strerror(errno));
}

int ctl_join(struct ctl *c)
{
	struct join j = {.c = c, .guest = c->guest, .fd = -1};
	bool whole;

	if (*c->guest == '/')
		by_hybrid(&j);
	else
		by_control(&j);
	wait_joined(&j);
	if (c->pass_fd) {
		pass(&j);
		return CTL_OK;
	}
	pump(&j);
	(void)close(j.fd);
	if (!j.control)
		return CTL_OK;
	if (!j.closed)
		j.closed = ctl_answer(c, CTL_ANSWER_MS);
	whole = json_is_true(json_object_get(j.closed, "ok"));
	json_decref(j.closed);
	if (!whole)
		ctl_die(CTL_FAILED, "%s, port %u: the connection was reset", j.guest, c->port);
	return CTL_OK;
}
