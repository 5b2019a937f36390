/* SPDX-License-Identifier: BSD-3-Clause */
/* See raw_client.h. */
#include "raw_client.h"

#include <dirent.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int raw_connect(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

bool raw_send(int fd, const void *data, size_t len, const int *pass, size_t n)
{
	union {
		char bytes[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} ctl = {0};
	struct iovec iov = {(void *)(uintptr_t)data, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		m.msg_control = &ctl;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		ctl.align.cmsg_level = SOL_SOCKET;
		ctl.align.cmsg_type = SCM_RIGHTS;
		ctl.align.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&ctl.align), pass, n * sizeof(int));
	}
	return sendmsg(fd, &m, MSG_NOSIGNAL) == (ssize_t)len;
}

int raw_take(int fd, void *data, size_t size, int flags, ssize_t *n)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} room;
	struct iovec iov = {data, size};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &room,
			   .msg_controllen = sizeof(room)};
	const struct cmsghdr *c;
	int got = -1;

	*n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	c = *n > 0 ? CMSG_FIRSTHDR(&m) : NULL;
	if (c)
		memcpy(&got, CMSG_DATA(c), sizeof(got));
	return got;
}

bool raw_send_line(int fd, const char *text)
{
	return raw_send(fd, text, strlen(text), NULL, 0);
}

/* One byte or more; 0 at the end, -1 when nothing comes. */
static ssize_t read_some(int fd, char *buf, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, RAW_PATIENCE_MS) <= 0)
		return -1;
	n = recv(fd, buf, len, MSG_PEEK);
	return n < 0 ? 0 : n; /* a reset is an end too */
}

/* Reads up to the end of the line and not a byte further; NULL: the stream ended before. */
static char *read_line(int fd, size_t *len)
{
	size_t size = 0;
	char *line = NULL, *end = NULL;

	for (*len = 0; !end;) {
		char buf[1 << 15];
		ssize_t n = read_some(fd, buf, sizeof(buf));

		if (n <= 0)
			break;
		end = memchr(buf, '\n', (size_t)n);
		n = recv(fd, buf, end ? (size_t)(end + 1 - buf) : (size_t)n, 0);
		if (*len + sizeof(buf) > size) {
			char *more = realloc(line, size = 2 * (*len + sizeof(buf)));

			if (!more)
				break;
			line = more;
		}
		memcpy(line + *len, buf, (size_t)n);
		*len += (size_t)n;
	}
	if (!end) {
		free(line);
		return NULL;
	}
	return line;
}

json_t *raw_line(int fd)
{
	size_t len;
	char *line = read_line(fd, &len);
	json_t *j = line ? json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

	if (line && !j)
		j = json_null();
	free(line);
	return j;
}

json_t *raw_ask(int fd, const char *text)
{
	return raw_send_line(fd, text) ? raw_line(fd) : NULL;
}

bool raw_closed(int fd)
{
	char buf[65536];
	ssize_t n;

	while ((n = read_some(fd, buf, sizeof(buf))) > 0)
		(void)recv(fd, buf, (size_t)n, 0);
	return n == 0;
}

bool raw_wait(bool (*true_now)(void *arg), void *arg)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < RAW_PATIENCE_MS; i++) {
		if (true_now(arg))
			return true;
		(void)nanosleep(&ms, NULL);
	}
	return false;
}

unsigned raw_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		(void)closedir(d);
	return n;
}

static bool as_few(void *arg)
{
	return raw_count_fds() <= *(unsigned *)arg;
}

bool raw_fds_at_most(unsigned n)
{
	return raw_wait(as_few, &n);
}
