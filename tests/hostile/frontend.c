/* SPDX-License-Identifier: BSD-3-Clause */
#include "frontend.h"

#include "testbed.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int send_for_ever(const char *path)
{
	static uint8_t data[20000];
	/* The host may get no CPU for a while; these two connections are all there will be. */
	struct zv_opts o = {.size = sizeof(o),
			    .ring_size = 64,
			    .rx_buf = 4096,
			    .tx_buf = 4096,
			    .connect_timeout_ns = TESTBED_WAIT_NS};
	struct zv_conn *c[2];
	struct zv_event ev[8];
	struct zv_dev *dev;
	char uri[128];

	snprintf(uri, sizeof(uri), "vhost-user:%s", path);
	memset(data, 0x33, sizeof(data));
	if (zv_open(&dev, uri, &o) < 0)
		return 1;
	for (int i = 0; i < 2; i++)
		if (zv_connect(zv_queue(dev, 0), ZV_CID_HOST, i ? PORT_SINK : PORT_HOLD, ZV_STREAM,
			       &c[i]) < 0)
			return 1;
	for (;;) {
		(void)zv_poll(zv_queue(dev, 0), ev, 8);
		(void)zv_send(c[0], data, 700, 0);
		(void)zv_send(c[1], data, sizeof(data), 0);
	}
}

bool frontend_main(int argc, char **argv, int *ret)
{
	if (argc < 3 || strcmp(argv[1], "--frontend") != 0)
		return false;
	*ret = send_for_ever(argv[2]);
	return true;
}

pid_t frontend_spawn(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("/proc/self/exe", testbed_program, "--frontend", path, NULL);
		_exit(127);
	}
	return pid;
}

/* A descriptor of our own to the guest memory of process @pid. */
static int memory_fd(pid_t pid)
{
	char dir[64], path[384], target[64];
	int found = -1;
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
	d = opendir(dir);
	while (d && found < 0 && (e = readdir(d))) {
		ssize_t n;

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = 0;
		if (strncmp(target, "/memfd:zvsock-guest", 19) == 0)
			found = open(path, O_RDWR | O_CLOEXEC);
	}
	if (d)
		closedir(d);
	return found;
}

uint8_t *frontend_memory(pid_t pid, size_t *size)
{
	int fd = memory_fd(pid);
	void *p = MAP_FAILED;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0) {
		*size = (size_t)st.st_size;
		p = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (fd >= 0)
		close(fd);
	return p == MAP_FAILED ? NULL : p;
}

bool frontend_kill(pid_t pid)
{
	return kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid;
}
