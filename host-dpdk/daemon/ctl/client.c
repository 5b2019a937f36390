/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket from the client's side: see ctl.h. */
#include "ctl.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 100

void ctl_die(int code, const char *fmt, ...)
{
	va_list ap;

	(void)fflush(stdout);
	(void)fputs("zvsockctl: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	_exit(code); /* stdout is flushed; the kernel frees the memory */
}

static void die_denied(const char *path)
{
	struct group *g = NULL;
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & S_IWGRP))
		g = getgrgid(st.st_gid);
	if (g)
		ctl_die(CTL_NO_DAEMON,
			"%s: permission denied; be root, or in group \"%s\", which owns the socket",
			path, g->gr_name);
	ctl_die(CTL_NO_DAEMON,
		"%s: permission denied; be root, or set group and control_mode in [daemon] of the "
		"configuration of zvsockd",
		path);
}

int ctl_socket(const char *what, const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(sa.sun_path))
		ctl_die(CTL_USAGE, "%s %s: longer than a socket's path can be (%zu bytes)", what,
			path, sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		ctl_die(CTL_FAILED, "cannot make a socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd;
	err = errno;
	(void)close(fd);
	errno = err;
	return -1;
}

/* Ends what was asked before. */
static void connect_control(struct ctl *c)
{
	if (c->fd >= 0)
		(void)close(c->fd);
	c->in_len = 0;
	c->fd = ctl_socket("--socket", c->socket);
	if (c->fd >= 0)
		return;
	if (errno == EACCES || errno == EPERM)
		die_denied(c->socket);
	if (errno == ENOENT || errno == ECONNREFUSED)
		ctl_die(CTL_NO_DAEMON,
			"%s: no daemon listens here; start zvsockd with \"control = %s\" in "
			"[daemon], or name its control socket with --socket",
			c->socket, c->socket);
	ctl_die(CTL_NO_DAEMON, "%s: %s", c->socket, strerror(errno));
}

static void die_gone(const struct ctl *c)
{
	ctl_die(CTL_NO_DAEMON, "%s: the daemon has closed the connection; its log says why",
		c->socket);
}

/* Room for one descriptor. */
union room {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

void ctl_send(struct ctl *c, json_t *request, int pass)
{
	union room ctl = {0};
	struct iovec iov;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	char *line;

	(void)json_object_set_new(request, "v", json_integer(CONTROL_PROTOCOL));
	line = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	/* The final 0 is replaced by the newline. */
	if (!line)
		ctl_die(CTL_FAILED, "out of memory");
	iov = (struct iovec){line, strlen(line) + 1};
	line[iov.iov_len - 1] = '\n';
	if (pass >= 0) {
		struct cmsghdr *h = &ctl.align;

		m.msg_control = &ctl;
		m.msg_controllen = sizeof(ctl);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &pass, sizeof(pass));
	}
	/* A request is far smaller than a socket's buffer: it goes out whole. */
	if (sendmsg(c->fd, &m, MSG_NOSIGNAL) != (ssize_t)iov.iov_len && errno != EPIPE &&
	    errno != ECONNRESET) /* these two: it may have said why before it closed */
		die_gone(c);
	free(line);
}

/* recv(2), and the descriptor that comes along. */
static ssize_t receive(struct ctl *c)
{
	union room ctl = {0};
	struct iovec iov = {c->in + c->in_len, c->in_size - c->in_len};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &ctl,
			   .msg_controllen = sizeof(ctl)};
	ssize_t n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *h = n > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && c->got < 0)
		memcpy(&c->got, CMSG_DATA(h), sizeof(c->got));
	return n;
}

static void read_more(struct ctl *c, int timeout_ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	ssize_t n;
	int ready;

	if (c->in_size - c->in_len < 65536) {
		c->in_size = c->in_size ? c->in_size * 2 : 1u << 17;
		c->in = c->in_size <= CTL_ANSWER_MAX ? realloc(c->in, c->in_size) : NULL;
		if (!c->in)
			ctl_die(CTL_FAILED, "the answer is too large for the memory here");
	}
	do
		ready = poll(&p, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	if (ready == 0)
		ctl_die(CTL_NO_DAEMON,
			"%s: no answer within %d s; the daemon is starting, stopping or stuck",
			c->socket, timeout_ms / 1000);
	n = receive(c);
	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0)
		die_gone(c);
	c->in_len += (size_t)n;
}

static const char *text_of(const json_t *answer, const char *key)
{
	const char *s = json_string_value(json_object_get(answer, key));

	return s ? s : "";
}

static void die_refused(const json_t *answer)
{
	if (strcmp(text_of(answer, "code"), "version") == 0)
		ctl_die(CTL_VERSION,
			"this zvsockctl (%s) and the daemon (%s) speak different versions of the "
			"control protocol; use the zvsockctl that came with the daemon",
			ZV_VERSION_TEXT, text_of(answer, "daemon"));
	ctl_die(CTL_FAILED, "%s", text_of(answer, "error"));
}

/* The next line. */
static json_t *next_answer(struct ctl *c, int timeout_ms)
{
	size_t seen = 0;
	json_t *answer;
	char *end;

	while (!(end = c->in_len > seen ? memchr(c->in + seen, '\n', c->in_len - seen) : NULL)) {
		seen = c->in_len;
		read_more(c, timeout_ms);
	}
	answer = json_loadb(c->in, (size_t)(end - c->in), 0, NULL);
	c->in_len -= (size_t)(end + 1 - c->in);
	memmove(c->in, end + 1, c->in_len);
	if (!json_is_object(answer))
		ctl_die(CTL_NO_DAEMON, "%s: what answers here is not zvsockd", c->socket);
	return answer;
}

static json_t *checked(json_t *answer)
{
	if (!json_is_true(json_object_get(answer, "ok")) && !json_object_get(answer, "event"))
		die_refused(answer);
	if (json_integer_value(json_object_get(answer, "v")) != CONTROL_PROTOCOL)
		ctl_die(CTL_VERSION, "the daemon (%s) speaks another version of the protocol",
			text_of(answer, "daemon"));
	return answer;
}

json_t *ctl_answer(struct ctl *c, int timeout_ms)
{
	return checked(next_answer(c, timeout_ms));
}

json_t *ctl_first(struct ctl *c, json_t *request)
{
	json_t *answer = NULL;

	for (int waited = 0;; waited += RETRY_MS) {
		connect_control(c);
		ctl_send(c, json_incref(request), -1);
		answer = next_answer(c, CTL_ANSWER_MS);
		if (strcmp(text_of(answer, "code"), "share") != 0 || waited >= CTL_ANSWER_MS)
			break;
		json_decref(answer);
		(void)poll(NULL, 0, RETRY_MS);
	}
	json_decref(request);
	return checked(answer);
}

json_t *ctl_ask(struct ctl *c, const char *cmd)
{
	json_t *request = json_pack("{ss}", "cmd", cmd);

	if (c->guest)
		(void)json_object_set_new(request, "guest", json_string(c->guest));
	return ctl_first(c, request);
}

void ctl_print_json(json_t *answer, bool to_stderr)
{
	(void)json_object_del(answer, "v");
	(void)json_object_del(answer, "ok");
	(void)json_object_del(answer, "event");
	(void)json_dumpf(answer, to_stderr ? stderr : stdout, JSON_INDENT(2));
	(void)fputc('\n', to_stderr ? stderr : stdout);
	json_decref(answer);
}
