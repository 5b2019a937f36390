/* SPDX-License-Identifier: BSD-3-Clause */
#include "vu_rte.h"

#include "eal.h"
#include "fd_check.h"
#include "fd_cloexec.h"
#include "vhost-user/vu_features.h"

#include <errno.h>
#include <fcntl.h>
#include <rte_vhost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Our numbers are DPDK's. It has renamed those of the backend channel. */
#ifndef VHOST_USER_PROTOCOL_F_BACKEND_REQ
#define VHOST_USER_PROTOCOL_F_BACKEND_REQ     VHOST_USER_PROTOCOL_F_SLAVE_REQ
#define VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD VHOST_USER_PROTOCOL_F_SLAVE_SEND_FD
#endif
#define SAME(ours, bit) _Static_assert((ours) == 1ULL << (bit), #bit)
SAME(VU_FEATURE_PROTOCOL, VHOST_USER_F_PROTOCOL_FEATURES);
SAME(VU_PROTOCOL_MQ, VHOST_USER_PROTOCOL_F_MQ);
SAME(VU_PROTOCOL_REPLY_ACK, VHOST_USER_PROTOCOL_F_REPLY_ACK);
SAME(VU_PROTOCOL_BACKEND_REQ, VHOST_USER_PROTOCOL_F_BACKEND_REQ);
SAME(VU_PROTOCOL_CONFIG, VHOST_USER_PROTOCOL_F_CONFIG);
SAME(VU_PROTOCOL_BACKEND_SEND_FD, VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD);

struct link {
	int name;      /* O_PATH descriptor of the listening socket: the N of its path */
	char path[32]; /* under which rte_vhost knows the device */
	struct eal_device logged;
};

/* Control thread only. */
static struct {
	int listener, name; /* -1: not made yet */
	unsigned links;
	bool keepalive; /* STAYS is registered */
} rte = {.listener = -1, .name = -1};

/*
 * A device that is registered once and never started. When the last one goes, newer rte_vhosts end
 * their thread and wait for it, for up to a second, in which nobody could be served.
 */
#define KEEPALIVE "zvsock"

/* rte_vhost insists on a table; what its callbacks would tell is known already. */
static const struct rte_vhost_device_ops no_ops = {.new_device = NULL};

/* ---- our end of the private sockets ---- */

static int bind_private(int fd, char *path, size_t size)
{
	const char *dirs[] = {getenv("XDG_RUNTIME_DIR"), "/run", getenv("TMPDIR"), "/tmp",
			      "/dev/shm"};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char dir[sizeof(sa.sun_path) - 8];
	int err = ENOENT;

	for (unsigned i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		int n = dirs[i] ? snprintf(dir, sizeof(dir), "%s/zvsock-XXXXXX", dirs[i]) : -1;

		if (n < 0 || n >= (int)sizeof(dir))
			continue;
		if (!mkdtemp(dir)) {
			err = errno;
			continue;
		}
		(void)snprintf(path, size, "%s/s", dir);
		memcpy(sa.sun_path, path, strlen(path) + 1);
		if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
			return 0;
		err = errno;
		(void)rmdir(dir);
	}
	return -err;
}

/* Makes the socket that all of rte_vhost's connections come to, and removes its name again. */
static int make_listener(void)
{
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret;

	if (fd < 0)
		return -errno;
	ret = bind_private(fd, path, sizeof(path));
	if (ret == 0) {
		/* The process may become another user before rte_vhost connects. */
		if (chmod(path, 0666) < 0 || listen(fd, 8) < 0)
			ret = -errno;
		rte.name = ret == 0 ? open(path, O_PATH | O_CLOEXEC) : -1;
		if (ret == 0 && rte.name < 0)
			ret = -errno;
		(void)unlink(path);
		*strrchr(path, '/') = 0;
		(void)rmdir(path);
	}
	if (ret < 0) {
		(void)close(fd);
		return ret;
	}
	rte.listener = fd;
	return 0;
}

/* ---- one link ---- */

static int connect_rte(const struct link *l)
{
	if (rte_vhost_driver_register(l->path,
				      RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) < 0)
		return -ENOMEM;
	if (rte_vhost_driver_set_features(l->path, VU_OFFERED) == 0 &&
	    rte_vhost_driver_set_protocol_features(l->path, VU_PROTOCOL_OFFERED) == 0 &&
	    rte_vhost_driver_callback_register(l->path, &no_ops) == 0 &&
	    rte_vhost_driver_start(l->path) == 0)
		return 0;
	(void)rte_vhost_driver_unregister(l->path);
	return -EIO;
}

/* rte_vhost's end of a link. */
static bool is_link(int fd)
{
	struct sockaddr_un sa = {.sun_family = AF_UNSPEC}, ours = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(sa), our_len = sizeof(ours);

	return getpeername(fd, (struct sockaddr *)&sa, &len) == 0 &&
	       getsockname(rte.listener, (struct sockaddr *)&ours, &our_len) == 0 &&
	       len == our_len && memcmp(&sa, &ours, len) == 0;
}

/* A Unix socket without a name that is not connected: rte_vhost's for STAYS. */
static bool is_spare(int fd)
{
	struct sockaddr_un sa = {.sun_family = AF_UNSPEC};
	socklen_t len = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &len) == 0 && sa.sun_family == AF_UNIX &&
	       len == sizeof(sa.sun_family) && getpeername(fd, (struct sockaddr *)&sa, &len) < 0 &&
	       errno == ENOTCONN;
}

/* With the first link it opens pipes as well, to wake its threads, newer ones epoll sets. */
static bool is_first(int fd)
{
	struct stat st;

	return (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) || fd_is_epoll(fd) || is_spare(fd) ||
	       is_link(fd);
}

/* connect_rte(), and what it has opened is close-on-exec. */
static int connect_cloexec(const struct link *l)
{
	struct fd_list fds;
	int ret, from;

	if (rte.links) {
		from = fd_lowest_free();
		ret = connect_rte(l);
		fd_mark_one(from, is_link);
		return ret;
	}
	fd_list_take(&fds);
	rte.keepalive =
		rte.keepalive ||
		rte_vhost_driver_register(KEEPALIVE,
					  RTE_VHOST_USER_CLIENT | RTE_VHOST_USER_NO_RECONNECT) == 0;
	ret = connect_rte(l);
	fd_list_mark_new(&fds, is_first);
	return ret;
}

static int attach(struct link *l)
{
	int fd = -1, ret = connect_cloexec(l);

	if (ret == 0)
		fd = accept4(rte.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (ret < 0 || fd >= 0)
		return ret < 0 ? ret : fd;
	(void)rte_vhost_driver_unregister(l->path);
	return -EIO;
}

static void link_close(void *ctx)
{
	struct link *l = ctx;

	(void)rte_vhost_driver_unregister(l->path);
	eal_device_remove(&l->logged);
	(void)close(l->name);
	free(l);
	rte.links--;
}

static int link_open(const char *name, void **out)
{
	int ret = rte.listener < 0 ? make_listener() : 0;
	struct link *l;

	if (ret < 0)
		return zv_err(ret,
			      "cannot make a private socket for rte_vhost in XDG_RUNTIME_DIR, "
			      "/run, TMPDIR, /tmp or /dev/shm: %s",
			      zv_strerror(ret));
	if (rte.links >= VU_RTE_FRONTENDS)
		return zv_err(-EMFILE,
			      "rte_vhost serves at most %u frontends in one process: start another "
			      "daemon for some of the guests",
			      VU_RTE_FRONTENDS);
	l = calloc(1, sizeof(*l));
	if (!l)
		return zv_err(-ENOMEM, "out of memory");
	l->name = fcntl(rte.name, F_DUPFD_CLOEXEC, 0);
	ret = l->name < 0 ? -errno : 0;
	if (ret == 0) {
		(void)snprintf(l->path, sizeof(l->path), "/proc/self/fd/%d", l->name);
		l->logged = (struct eal_device){.path = l->path, .name = name};
		eal_device_add(&l->logged);
		ret = attach(l);
		if (ret < 0)
			eal_device_remove(&l->logged);
	}
	if (ret < 0) {
		if (l->name >= 0)
			(void)close(l->name);
		free(l);
		return zv_err(ret, "rte_vhost cannot take another frontend: %s", zv_strerror(ret));
	}
	rte.links++;
	*out = l;
	return ret;
}

const struct vu_link_ops vu_rte_link = {.open = link_open, .close = link_close};
