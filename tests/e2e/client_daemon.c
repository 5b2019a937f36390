/* SPDX-License-Identifier: BSD-3-Clause */
#include "client_daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zvsock_broker.h>

char cd_path[64];
struct broker broker;

/* Sends @m, and @fd (-1: none) with it. */
static void answer(int to, const struct client_msg *m, int fd)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} ctl = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof(*m)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		struct cmsghdr *c;

		mh.msg_control = ctl.buf;
		mh.msg_controllen = sizeof(ctl.buf);
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	(void)!sendmsg(to, &mh, MSG_NOSIGNAL);
}

/* A device for the application, and the other end of its socket. -errno. */
static int new_device(void)
{
	struct zv_dev *dev;
	char text[64];
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (__atomic_load_n(&broker.silent, __ATOMIC_ACQUIRE)) {
		__atomic_store_n(&broker.silent, pair[0], __ATOMIC_RELEASE);
		return pair[1];
	}
	snprintf(text, sizeof(text), "host:fd=%d,cid=2", pair[0]);
	ret = zv_open(&dev, text,
		      &(struct zv_opts){.size = sizeof(struct zv_opts), .flags = ZV_OPT_BROKER});
	close(pair[0]);
	if (ret == 0)
		ret = zv_listen_all(dev, ZV_LISTEN_ANY_CID, 16);
	if (ret < 0) {
		close(pair[1]);
		return ret;
	}
	pthread_mutex_lock(&broker.lock);
	if (broker.old)
		zv_close(broker.old);
	broker.old = broker.dev;
	__atomic_store_n(&broker.dev, dev, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&broker.lock);
	return pair[1];
}

static void on_region(struct client_msg *m)
{
	if (!broker.region.addr || m->region != REGION_ID) {
		m->result = -ENOENT;
		client_msg_text(m, "there is no such region");
	}
	m->size = REGION_SIZE;
	__atomic_add_fetch(&broker.asked, 1, __ATOMIC_RELEASE);
}

static void on_question(int fd, struct client_msg *m)
{
	int ret;

	switch (m->type) {
	case CLIENT_ATTACH:
		memcpy(broker.name, m->text, sizeof(broker.name));
		ret = new_device();
		m->result = ret < 0 ? ret : 0;
		__atomic_add_fetch(&broker.attached, 1, __ATOMIC_RELEASE);
		answer(fd, m, ret);
		if (ret >= 0)
			close(ret);
		break;
	case CLIENT_LISTEN:
		if (m->port == TAKEN_PORT) {
			m->result = -EADDRINUSE;
			client_msg_text(m, "port 99 belongs to another application");
		}
		__atomic_store_n(&broker.last_port, m->port, __ATOMIC_RELEASE);
		__atomic_add_fetch(&broker.listened, 1, __ATOMIC_RELEASE);
		answer(fd, m, -1);
		break;
	case CLIENT_REGION:
		on_region(m);
		answer(fd, m, m->result ? -1 : broker.region.fd);
		break;
	default:
		__atomic_add_fetch(&broker.unlistened, 1, __ATOMIC_RELEASE);
		answer(fd, m, -1);
	}
}

static void *broker_main(void *arg)
{
	int fd;

	(void)arg;
	while ((fd = accept(broker.listener, NULL, NULL)) >= 0) {
		struct client_msg m;
		ssize_t n;

		__atomic_store_n(&broker.fd, fd, __ATOMIC_RELEASE);
		while ((n = recv(fd, &m, sizeof(m), 0)) > 0)
			if (!client_msg_refused(&m, (size_t)n))
				on_question(fd, &m);
		__atomic_store_n(&broker.fd, -1, __ATOMIC_RELEASE);
		close(fd);
	}
	return NULL;
}

int setup(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)state;
	memset(&broker, 0, sizeof(broker));
	broker.fd = -1;
	pthread_mutex_init(&broker.lock, NULL);
	unlink(cd_path);
	broker.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path, cd_path, sizeof(cd_path));
	if (bind(broker.listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(broker.listener, 4) < 0)
		return -1;
	return pthread_create(&broker.thread, NULL, broker_main, NULL) ? -1 : 0;
}

int teardown(void **state)
{
	int fd = __atomic_load_n(&broker.fd, __ATOMIC_ACQUIRE);

	(void)state;
	shutdown(broker.listener, SHUT_RDWR);
	if (fd >= 0) /* a test has failed and left its application open */
		shutdown(fd, SHUT_RDWR);
	pthread_join(broker.thread, NULL);
	close(broker.listener);
	zv_close(broker.old);
	zv_close(broker.dev);
	return 0;
}

void daemon_dies(void)
{
	struct zv_dev *dev;

	pthread_mutex_lock(&broker.lock);
	zv_close(broker.old);
	broker.old = NULL;
	dev = broker.dev;
	__atomic_store_n(&broker.dev, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&broker.lock);
	shutdown(__atomic_load_n(&broker.fd, __ATOMIC_ACQUIRE), SHUT_RDWR);
	zv_close(dev); /* with it goes the vhost-user socket */
}
