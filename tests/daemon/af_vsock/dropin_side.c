/* SPDX-License-Identifier: BSD-3-Clause */
#include "dropin_side.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

const char *ds_space = "";

static struct sockaddr_un path_of(const char *name)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s%s", zf_dir, ds_space, name);
	return sa;
}

static int to_path(int fd, const char *name)
{
	struct sockaddr_un sa = path_of(name);

	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
}

static bool asked(void *arg)
{
	int *fd = arg;

	*fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (to_path(*fd, "ask") == 0)
		return true;
	close(*fd);
	*fd = -1;
	return false;
}

/* The daemon may be starting still. */
int ds_ask(void)
{
	int fd = -1;

	(void)zf_until(asked, &fd);
	return fd;
}

int ds_ask_alone(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	return to_path(fd, "ask") < 0 ? -1 : fd;
}

bool ds_question_alone(int ask, struct dropin_msg *m)
{
	return send(ask, m, sizeof(*m), 0) == sizeof(*m) &&
	       recv(ask, m, sizeof(*m), 0) == sizeof(*m) && !m->result;
}

struct wait {
	struct pollfd p;
};

static bool polled(void *arg)
{
	struct wait *w = arg;

	return poll(&w->p, 1, 0) > 0;
}

short ds_poll(int fd, short events)
{
	struct wait w = {.p = {.fd = fd, .events = events}};

	return zf_until(polled, &w) ? w.p.revents : 0;
}

void ds_send(int ask, const struct dropin_msg *m)
{
	if (send(ask, m, sizeof(*m), MSG_NOSIGNAL) != sizeof(*m) && errno != EPIPE)
		abort();
}

bool ds_answer(int ask, struct dropin_msg *m)
{
	if (!ds_poll(ask, POLLIN))
		return false;
	return recv(ask, m, sizeof(*m), 0) == (ssize_t)sizeof(*m) &&
	       !dropin_msg_refused(m, sizeof(*m));
}

bool ds_question(int ask, struct dropin_msg *m)
{
	ds_send(ask, m);
	return ds_answer(ask, m);
}

void ds_connect_msg(struct dropin_msg *m, int type, uint32_t cid, uint32_t port)
{
	dropin_msg_init(m, DROPIN_CONNECT);
	m->sock_type = (uint16_t)type;
	m->local = (struct dropin_addr){UINT32_MAX, UINT32_MAX};
	m->remote = (struct dropin_addr){cid, port};
}

static socklen_t abstract(struct sockaddr_un *sa, const char *label)
{
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path + 1, label, strlen(label));
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(label));
}

int ds_socket(int type, const char *label)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa;
	socklen_t len = abstract(&sa, label);

	if (fd >= 0 && *label && bind(fd, (struct sockaddr *)&sa, len) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

int ds_join(int fd, int type)
{
	return to_path(fd, type == SOCK_STREAM ? "stream" : "seqpacket");
}

int ds_to(int fd, const char *label)
{
	struct sockaddr_un sa;
	socklen_t len = abstract(&sa, label);

	return connect(fd, (struct sockaddr *)&sa, len) < 0 ? -errno : 0;
}

int ds_connect(int ask, int type, uint32_t cid, uint32_t port)
{
	struct dropin_msg m;
	int fd, ret;

	ds_connect_msg(&m, type, cid, port);
	if (!ds_question(ask, &m))
		return -EPIPE;
	if (m.result)
		return m.result;
	fd = ds_socket(type, m.label);
	if (fd < 0)
		return fd;
	ret = m.flags & DROPIN_LOCAL ? ds_to(fd, m.where) : ds_join(fd, type);
	if (ret == 0)
		return fd;
	close(fd);
	return ret;
}

int ds_listen(int ask, int type, uint32_t cid, uint32_t port, struct dropin_msg *m)
{
	int fd;

	dropin_msg_init(m, DROPIN_BIND);
	m->sock_type = (uint16_t)type;
	m->local = (struct dropin_addr){cid, port};
	if (!ds_question(ask, m))
		return -EPIPE;
	if (m->result)
		return m->result;
	fd = ds_socket(type, m->label);
	return fd >= 0 && listen(fd, 1) < 0 ? -errno : fd;
}

static bool label_of(const struct sockaddr_un *sa, socklen_t len, struct dropin_label *l)
{
	size_t skip = offsetof(struct sockaddr_un, sun_path) + 1;

	return len > skip && dropin_label_read(l, sa->sun_path + 1, len - skip);
}

int ds_dgram(int ask, uint32_t cid, uint32_t port, struct dropin_msg *m)
{
	struct dropin_msg bound;
	int fd;

	dropin_msg_init(m, DROPIN_BIND);
	m->sock_type = SOCK_DGRAM;
	m->local = (struct dropin_addr){cid, port};
	if (!ds_question(ask, m))
		return -EPIPE;
	if (m->result)
		return m->result;
	fd = ds_socket(SOCK_DGRAM, m->label);
	if (fd < 0)
		return fd;
	ds_about(&bound, DROPIN_BOUND, m->label);
	if (ds_question(ask, &bound) && !bound.result)
		return fd;
	close(fd);
	return bound.result ? bound.result : -EPIPE;
}

bool ds_dgram_send(int fd, const struct dropin_msg *m, uint32_t cid, uint32_t port,
		   const void *data, size_t len)
{
	struct dropin_dgram head = {DROPIN_MAGIC, DROPIN_VERSION, 0, {cid, port}, m->bytes};
	struct iovec iov[] = {{&head, sizeof(head)}, {(void *)data, len}};
	struct sockaddr_un sa = path_of("dgram");
	struct msghdr mh = {
		.msg_name = &sa, .msg_namelen = sizeof(sa), .msg_iov = iov, .msg_iovlen = 2};

	return sendmsg(fd, &mh, 0) == (ssize_t)(sizeof(head) + len);
}

ssize_t ds_dgram_recv(int fd, void *data, size_t len, struct dropin_label *from)
{
	uint64_t key;
	struct iovec iov[] = {{data, len}, {&key, sizeof(key)}};
	struct sockaddr_un sa;
	struct msghdr mh = {
		.msg_name = &sa, .msg_namelen = sizeof(sa), .msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (!ds_poll(fd, POLLIN))
		return -ETIMEDOUT;
	n = recvmsg(fd, &mh, 0);
	if (n < 0)
		return -errno;
	if (n < (ssize_t)sizeof(key) || !label_of(&sa, mh.msg_namelen, from))
		return -EINVAL;
	return n - (ssize_t)sizeof(key);
}

bool ds_peer(int fd, struct dropin_label *l)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);

	return getpeername(fd, (struct sockaddr *)&sa, &len) == 0 && label_of(&sa, len, l);
}

bool ds_own(int fd, struct dropin_label *l)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &len) == 0 && label_of(&sa, len, l);
}

void ds_fill(int fd, int type, struct dropin_msg *filled)
{
	static const char zero[4096];
	ssize_t n;

	filled->bytes = 0;
	filled->messages = 0;
	while ((n = send(fd, zero, type == SOCK_STREAM ? sizeof(zero) : 1,
			 MSG_DONTWAIT | MSG_NOSIGNAL)) > 0) {
		filled->bytes += (uint64_t)n;
		filled->messages++;
	}
}

void ds_about(struct dropin_msg *m, enum dropin_type type, const char *label)
{
	dropin_msg_init(m, type);
	memcpy(m->label, label, strnlen(label, sizeof(m->label)));
}

int ds_pending(int type, const char *label, struct dropin_msg *filled)
{
	int fd = ds_socket(type, label);

	if (ds_join(fd, type) < 0) {
		close(fd);
		return -1;
	}
	ds_about(filled, DROPIN_FILLED, label);
	ds_fill(fd, type, filled);
	return fd;
}

bool ds_hung_up(int fd)
{
	char c;

	return ds_poll(fd, POLLIN) && recv(fd, &c, 1, 0) <= 0;
}

/* ---- the daemon ---- */

const char ds_conf[] = "applications = @apps\n"
		       "application_ports = 6002-6003\n"
		       "af_vsock = @\n"
		       "af_vsock_mode = 0666\n"
		       "log_level = debug\n"
		       "[guest a]\n"
		       "cid = 3\n"
		       "socket = @a.sock\n";

struct zv_dev *ds_up_apps(const char *program, const char *conf, unsigned lcores, int *ask)
{
	struct zv_dev *app;

	zf_keep_log = true;
	if (!zf_start(program, conf, lcores) || chmod(zf_dir, 0711) < 0)
		return NULL;
	*ask = ds_ask();
	app = zf_app(0, "apps", 2);
	return *ask >= 0 && app && zf_logged("zvsockd .* is up") ? app : NULL;
}

struct zv_dev *ds_up(const char *program)
{
	struct zv_dev *dev;

	zf_keep_log = true;
	if (!zf_start(program, ds_conf, 2) || chmod(zf_dir, 0711) < 0)
		return NULL;
	dev = zf_guest(0, "a.sock", 1);
	/* Once it says so it serves its control socket. */
	if (dev && zv_listen(dev, 80, ZV_STREAM, 1024) == 0 && zf_logged("zvsockd .* is up"))
		return dev;
	fprintf(stderr, "no guest, or zvsockd did not come up: %s\n", zv_error_text());
	(void)zf_stop();
	return NULL;
}

bool ds_down(void)
{
	int ask = ds_ask(), fd = ds_connect(ask, SOCK_STREAM, 3, 80);

	if (ask < 0 || fd < 0)
		fprintf(stderr, "zvsockd does not serve any more: ask %d, connect %s\n", ask,
			fd < 0 ? strerror(-fd) : "ok");
	close(fd);
	close(ask);
	return zf_stop() && ask >= 0 && fd >= 0;
}

int ds_as(uid_t uid, void (*fn)(const struct dropin_msg *m), const struct dropin_msg *m)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		if (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
			_exit(99);
		fn(m);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
