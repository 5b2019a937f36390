/* SPDX-License-Identifier: BSD-3-Clause */
#include "log_out.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static struct {
	int own; /* standard error, reopened; -1: not reopened */
	bool socket, ask;
	bool cut; /* the last line was written incompletely; atomic */
} out = {.own = -1};

void log_out_open(void)
{
	struct stat st;

	if (out.own >= 0)
		(void)close(out.own);
	out.own = -1;
	out.socket = out.ask = false;
	if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
		return;
	out.socket = S_ISSOCK(st.st_mode);
	if (!out.socket)
		out.own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	out.ask = !out.socket && out.own < 0;
}

static ssize_t put(struct iovec *iov, size_t n)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = n};

	if (out.socket)
		return sendmsg(STDERR_FILENO, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (out.ask && poll(&p, 1, 0) != 1)
		return -1;
	return writev(out.own >= 0 ? out.own : STDERR_FILENO, iov, (int)n);
}

bool log_out(const char *line, size_t n)
{
	static const char end[] = "\n";
	struct iovec iov[2] = {{(void *)end, 0}, {(void *)line, n}};
	bool cut = __atomic_exchange_n(&out.cut, false, __ATOMIC_RELAXED);
	ssize_t ret;

	iov[0].iov_len = cut;
	ret = put(iov, 2);
	if (ret == (ssize_t)(n + cut))
		return true;
	if (ret > 0 || cut)
		__atomic_store_n(&out.cut, ret <= 0 || ret > (ssize_t)cut, __ATOMIC_RELAXED);
	return false;
}
