/* SPDX-License-Identifier: BSD-3-Clause */
/* Descriptors that zvsockd has open: zvd_fixture.h. */
#include "exchange.h"
#include "zvd_fixture.h"

#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/*
 * Waits until the daemon's main thread has done what it had to do: it answers requests, and closes
 * their connections, only once it has started whatever it starts.
 */
static void wait_for_main(void)
{
	static const char ask[] = "{\"v\":1,\"cmd\":\"guests\"}\n";
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	time_t end = time(NULL) + LONG_S;
	char answer[4096];

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%scontrol.sock", zf_dir);
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && time(NULL) < end)
		usleep(20000);
	if (send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL) > 0 && shutdown(fd, SHUT_WR) == 0)
		while (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, LONG_S * 1000) == 1 &&
		       recv(fd, answer, sizeof(answer), 0) > 0)
			;
	close(fd);
}

unsigned zf_fds(void)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	wait_for_main();
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)zf_pid);
	d = opendir(path);
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static bool fds_are_back(void *most)
{
	return zf_fds() <= *(unsigned *)most;
}

bool zf_fds_back(unsigned most)
{
	return zf_until(fds_are_back, &most);
}
