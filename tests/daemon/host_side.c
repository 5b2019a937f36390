/* SPDX-License-Identifier: BSD-3-Clause */
#include "host_side.h"

#include "zvd_fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MS 60000 /* the daemon's main thread answers by itself */

static int make(const char *name, int type, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(sa->sun_path, sizeof(sa->sun_path), "%.60s%.40s", zf_dir, name);
	return socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

int hs_listen(const char *name, int type)
{
	struct sockaddr_un sa;
	int fd = make(name, type, &sa);

	return fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 64) == 0
		       ? fd
		       : -1;
}

int hs_bind_tcp(uint16_t *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
		return -1;
	*port = ntohs(sa.sin_port);
	return fd;
}

int hs_listen_tcp(uint16_t *port)
{
	int fd = hs_bind_tcp(port);

	return fd >= 0 && listen(fd, 16) == 0 ? fd : -1;
}

static bool readable(void *arg)
{
	struct pollfd p = {.fd = *(int *)arg, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

bool hs_readable(int fd)
{
	return zf_until(readable, &fd);
}

int hs_accept(int listener)
{
	return hs_readable(listener) ? accept(listener, NULL, NULL) : -1;
}

int hs_connect(const char *name, const char *line)
{
	struct sockaddr_un sa;
	int fd = make(name, SOCK_STREAM, &sa);

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
	    (!line || send(fd, line, strlen(line), MSG_NOSIGNAL) == (ssize_t)strlen(line)))
		return fd;
	close(fd); /* some try again and again */
	return -1;
}

ssize_t hs_recv(int fd, void *data, size_t len)
{
	size_t have = 0;
	socklen_t size = sizeof(int);
	int type = SOCK_STREAM;

	(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
	while (have < len) {
		ssize_t n;

		if (!hs_readable(fd))
			return -1;
		n = recv(fd, (char *)data + have, len - have, 0);
		if (n < 0)
			return -1;
		have += (size_t)n;
		if (n == 0 || type != SOCK_STREAM)
			break;
	}
	return (ssize_t)have;
}

bool hs_expect_ok(int fd)
{
	char line[32];
	unsigned n = 0, port;

	do {
		if (n == sizeof(line) - 1 || hs_recv(fd, line + n, 1) != 1)
			return false;
	} while (line[n++] != '\n');
	line[n] = 0;
	return sscanf(line, "OK %u\n", &port) == 1;
}

/* The number behind @name in the answer to "stats", behind the word @part. */
static long stat_of(const char *guest, const char *part, const char *name)
{
	static char text[65536];
	char key[64], ask[100], *at;
	size_t n = 0;
	int fd;

	(void)snprintf(ask, sizeof(ask), "{\"v\":1,\"cmd\":\"stats\",\"guest\":\"%s\"}\n", guest);
	fd = hs_connect("control.sock", ask);
	if (fd < 0 || poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, ANSWER_MS) != 1)
		return -1;
	do {
		if (n == sizeof(text) - 1 || hs_recv(fd, text + n, 1) != 1)
			break;
	} while (text[n++] != '\n');
	text[n] = 0;
	close(fd);
	(void)snprintf(key, sizeof(key), "\"%s\":", name);
	at = strstr(text, part);
	at = at ? strstr(at, key) : NULL;
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

long hs_counter(const char *guest, const char *name)
{
	return stat_of(guest, "\"endpoints\"", name);
}

struct counter_is {
	const char *guest, *name;
	long n;
};

static bool counter_is(void *arg)
{
	const struct counter_is *c = arg;

	return hs_counter(c->guest, c->name) == c->n;
}

bool hs_counter_becomes(const char *guest, const char *name, long n)
{
	struct counter_is c = {guest, name, n};

	if (zf_until(counter_is, &c))
		return true;
	fprintf(stderr, "%s of %s is %ld, not %ld\n", name, guest, hs_counter(guest, name), n);
	return false;
}

static long lcore_counter(const char *guest, const char *name)
{
	return stat_of(guest, "\"lcores\"", name);
}

/*
 * It has slept, or does so all the time: a spinning one goes round and never sleeps. Several looks,
 * because one that spins may be without a CPU for a while.
 */
static bool lcore_sleeps(void *arg)
{
	long sleeps = lcore_counter(arg, "sleeps"), rounds = lcore_counter(arg, "rounds");

	for (unsigned look = 0; look < 10; look++) {
		usleep(20000);
		if (sleeps >= 0 && lcore_counter(arg, "sleeps") > sleeps)
			return true;
		if (lcore_counter(arg, "rounds") != rounds)
			return false;
	}
	return sleeps >= 0;
}

bool hs_lcore_sleeps(const char *guest)
{
	return zf_until(lcore_sleeps, (void *)(uintptr_t)guest);
}

bool hs_raise_fd_limit(unsigned n)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return false;
	rl.rlim_cur = rl.rlim_max;
	return rl.rlim_max >= n && setrlimit(RLIMIT_NOFILE, &rl) == 0;
}
