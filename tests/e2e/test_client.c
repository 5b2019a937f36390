/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An application of the host on a client socket (`daemon:`): a thread is zvsockd as far as that
 * socket is concerned, and serves the application's device through `host:fd=N`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_broker.h>
#include <zvsock_host.h>

#include "proto/client_msg.h"

#define GUEST_CID  3u
#define TAKEN_PORT 99u

static char dir[] = "/tmp/zvsock-client-XXXXXX";
static char path[64], uri[80];

/* What answers on the client socket: one application at a time, until `fd` is shut down. */
static struct broker {
	pthread_t thread;
	int listener;
	int fd; /* the application's; -1: none; atomic */
	pthread_mutex_t lock;
	struct zv_dev *dev; /* serves it; written under the lock, atomic */
	struct zv_dev *old; /* served its predecessor; under the lock */
	uint32_t attached, listened, unlistened, last_port; /* atomic */
	struct shm_region region; /* whose descriptor is asked for; addr NULL: there is none */
	uint32_t asked;		  /* for it; atomic */
	int silent; /* 1: gives away sockets at whose other end, kept here then, nobody answers */
	char name[CLIENT_TEXT];
} broker;

static uint32_t seen(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static struct zv_dev *served(void)
{
	return __atomic_load_n(&broker.dev, __ATOMIC_ACQUIRE);
}

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
	if (broker.silent) {
		broker.silent = pair[0];
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

#define REGION_ID   0x1234567812345678u
#define REGION_SIZE (4u << 20)

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

static int setup(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	(void)state;
	memset(&broker, 0, sizeof(broker));
	broker.fd = -1;
	pthread_mutex_init(&broker.lock, NULL);
	unlink(path);
	broker.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	memcpy(sa.sun_path, path, sizeof(path));
	if (bind(broker.listener, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    listen(broker.listener, 4) < 0)
		return -1;
	return pthread_create(&broker.thread, NULL, broker_main, NULL) ? -1 : 0;
}

static int teardown(void **state)
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

static void poll_all(struct zv_dev *app)
{
	struct zv_event ev[8];

	assert_true(zv_poll(zv_queue(app, 0), ev, 8) >= 0);
	if (served())
		assert_true(zv_poll(zv_queue(served(), 0), ev, 8) >= 0);
	usleep(100);
}

/* Polls until @cond holds, for as long as a loaded machine may need. */
#define until(app, cond)                                                                           \
	do {                                                                                       \
		time_t end_ = time(NULL) + 30;                                                     \
		while (!(cond)) {                                                                  \
			assert_true(time(NULL) < end_);                                            \
			poll_all(app);                                                             \
		}                                                                                  \
	} while (0)

static bool up(struct zv_dev *dev)
{
	struct zv_dev_info i = {.size = sizeof(i)};

	return zv_dev_info(dev, &i) == 0 && i.queues_up == 1;
}

static struct zv_dev *attached(void)
{
	struct zv_dev *app = NULL;

	if (zv_open(&app, uri, NULL))
		fail_msg("%s", zv_error_text());
	until(app, up(app) && served() && up(served()));
	return app;
}

static struct zv_conn_info info_of(struct zv_conn *c)
{
	struct zv_conn_info ci = {.size = sizeof(ci)};

	assert_int_equal(zv_conn_info(c, &ci), 0);
	return ci;
}

/* "hello" from @from to @to. */
static void talk(struct zv_dev *app, struct zv_conn *from, struct zv_conn *to)
{
	char buf[16];

	until(app, zv_send(from, "hello", 5, 0) == 5);
	until(app, zv_recv(to, buf, sizeof(buf), NULL) == 5);
	assert_memory_equal(buf, "hello", 5);
}

static void reaches_guests_and_local_ports(void **state)
{
	static const uint64_t to[] = {GUEST_CID, ZV_CID_HOST, 1};
	struct zv_dev *app = attached();

	(void)state;
	assert_int_equal(zv_cid(app), ZV_CID_HOST);
	assert_string_equal(broker.name, "test_client");
	for (unsigned i = 0; i < 3; i++) {
		struct zv_conn *c, *far;

		assert_int_equal(zv_connect(zv_queue(app, 0), to[i], 7, ZV_STREAM, &c), 0);
		until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
		assert_int_equal(info_of(far).local_cid, to[i]);
		assert_int_equal(info_of(far).peer_cid, ZV_CID_HOST);
		assert_int_equal(zv_conn_answer(far, 0), 0);
		talk(app, c, far);
		talk(app, far, c);
		zv_conn_close(c);
		zv_conn_close(far);
	}
	assert_int_equal(zv_close(app), 0);
}

static void is_reached_by_guests(void **state)
{
	struct zv_dev *app = attached();
	struct zv_conn *c, *far;

	(void)state;
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(seen(&broker.last_port), 7);
	assert_int_equal(zv_connect_from(zv_queue(served(), 0), GUEST_CID, 1234, ZV_CID_HOST, 7,
					 ZV_STREAM, &far),
			 0);
	until(app, zv_accept(zv_queue(app, 0), 7, &c) == 0);
	assert_int_equal(info_of(c).peer_cid, GUEST_CID);
	assert_int_equal(info_of(c).peer_port, 1234);
	assert_int_equal(info_of(c).local_cid, ZV_CID_HOST);
	talk(app, far, c);
	talk(app, c, far);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_unlisten(app, 7), 0);
	assert_int_equal(seen(&broker.unlistened), 1);
	assert_int_equal(zv_close(app), 0);
}

static void ports_are_the_daemons_to_give(void **state)
{
	struct zv_dev *app = attached();

	(void)state;
	assert_int_equal(zv_listen(app, TAKEN_PORT, ZV_STREAM, 0), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "port 99 belongs to another application"));
	assert_int_equal(zv_unlisten(app, TAKEN_PORT), -ENOENT);
	assert_int_equal(zv_listen_all(app, 0, 16), -EOPNOTSUPP);
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_close(app), 0);
}

/* ---- channels ---- */

/* The next message of the application's driver. */
static struct zv_broker_msg heard(struct zv_dev *app, uint32_t what)
{
	struct zv_broker_msg m;

	until(app, zv_broker_recv(zv_queue(served(), 0), &m) == 1);
	assert_int_equal(m.what, what);
	return m;
}

static const struct zv_region the_region = {REGION_ID, REGION_SIZE, ZV_REGION_BY_FD};

static int announce(struct zv_dev *app)
{
	until(app, zv_region_announce(zv_queue(served(), 0), &the_region) == 0);
	return heard(app, ZV_BROKER_REGION).result;
}

/* Both ends are the application's: it connects to itself by way of zvsockd. */
static void joined(struct zv_dev *app, struct zv_conn **a, struct zv_conn **b)
{
	struct zv_queue *far = zv_queue(served(), 0);
	struct zv_conn *ask, *to;
	struct zv_grant g = {.region = REGION_ID, .role = SHM_ROLE_B};

	shm_channel_desc_init(&g.desc, 0, 1);
	g.desc.length = shm_channel_bytes(&g.desc);
	assert_int_equal(shm_channel_format(broker.region.addr, REGION_SIZE, &g.desc), 0);
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(app, 0), ZV_CID_LOCAL, 7, ZV_STREAM, a), 0);
	until(app, zv_accept(far, ZV_PORT_ANY, &ask) == 0);
	assert_int_equal(
		zv_connect_granted(far, ZV_CID_LOCAL, ZV_PORT_ANY, 0, 7, ZV_STREAM, &g, &to), 0);
	until(app, zv_accept(zv_queue(app, 0), 7, b) == 0);
	g.role = SHM_ROLE_A;
	assert_int_equal(zv_conn_grant(ask, &g), 0);
	assert_int_equal(zv_conn_answer(ask, 0), 0);
	until(app, strcmp(info_of(*a).state, "connected") == 0);
}

static void payload_goes_through_a_region(void **state)
{
	struct zv_dev *app = attached();
	struct zv_queue_stats s;
	struct zv_conn *a, *b;

	(void)state;
	(void)heard(app, ZV_BROKER_HELLO);
	assert_int_equal(shm_region_create(&broker.region, "zvsock-test", REGION_SIZE, SHM_NO_HUGE),
			 0);
	assert_int_equal(announce(app), 0);
	joined(app, &a, &b);
	talk(app, a, b);
	talk(app, b, a);
	zv_queue_stats(zv_queue(app, 0), &s, sizeof(s));
	assert_int_equal(s.chans, 2);
	assert_int_equal(info_of(a).tx_bytes, 5);
	zv_conn_reset(a);
	zv_conn_reset(b);
	assert_int_equal(heard(app, ZV_BROKER_RELEASE).generation, 1);
	assert_int_equal(heard(app, ZV_BROKER_RELEASE).generation, 1);
	assert_int_equal(seen(&broker.asked), 1);
	assert_int_equal(zv_close(app), 0);
	shm_region_destroy(&broker.region);
}

/* What zvsockd refuses, or hands out wrongly, is declined; the application goes on without. */
static void a_region_that_cannot_be_had_is_declined(void **state)
{
	struct zv_dev *app = attached();
	const struct zv_region elsewhere = {1, 4096, 0x100000};
	struct zv_conn *c, *far;

	(void)state;
	(void)heard(app, ZV_BROKER_HELLO);
	assert_int_equal(announce(app), -ENOENT);
	assert_int_equal(zv_region_forget(zv_queue(served(), 0), REGION_ID), 0);
	/* smaller than it is said to be */
	assert_int_equal(shm_region_create(&broker.region, "zvsock-test", 4096, SHM_NO_HUGE), 0);
	assert_int_equal(announce(app), -EINVAL);
	shm_region_destroy(&broker.region);
	assert_int_equal(zv_region_announce(zv_queue(served(), 0), &elsewhere), 0);
	assert_int_equal(heard(app, ZV_BROKER_REGION).result, -ENXIO);
	assert_int_equal(zv_connect(zv_queue(app, 0), GUEST_CID, 7, ZV_STREAM, &c), 0);
	until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
	assert_int_equal(zv_conn_answer(far, 0), 0);
	talk(app, c, far);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_close(app), 0);
}

static bool lost(struct zv_dev *app, struct zv_conn *c)
{
	struct zv_event ev[8];
	int n = zv_poll(zv_queue(app, 0), ev, 8);

	for (int i = 0; i < n; i++)
		if (ev[i].conn == c && ev[i].events & ZV_EV_ERR)
			return ev[i].err == -ECONNRESET;
	return false;
}

/* zvsockd is killed and comes back: connections end, the device attaches again, ports stay. */
static void a_new_daemon_is_told_of_ports(void **state)
{
	struct zv_dev *app = attached(), *before = served();
	struct zv_conn *c, *far;

	(void)state;
	assert_int_equal(zv_listen(app, 7, ZV_STREAM, 0), 0);
	assert_int_equal(zv_connect(zv_queue(app, 0), GUEST_CID, 7, ZV_STREAM, &c), 0);
	until(app, zv_accept(zv_queue(served(), 0), ZV_PORT_ANY, &far) == 0);
	assert_int_equal(zv_conn_answer(far, 0), 0);
	talk(app, far, c);
	pthread_mutex_lock(&broker.lock);
	zv_close(broker.old);
	broker.old = NULL;
	__atomic_store_n(&broker.dev, NULL, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&broker.lock);
	shutdown(__atomic_load_n(&broker.fd, __ATOMIC_ACQUIRE), SHUT_RDWR);
	zv_close(before); /* with it goes the vhost-user socket */
	until(app, lost(app, c));
	zv_conn_close(c);
	until(app, seen(&broker.listened) == 2);
	assert_int_equal(seen(&broker.attached), 2);
	assert_int_equal(seen(&broker.last_port), 7);
	until(app, up(app) && served() && up(served()));
	assert_int_equal(zv_connect_from(zv_queue(served(), 0), GUEST_CID, 1234, ZV_CID_HOST, 7,
					 ZV_STREAM, &far),
			 0);
	until(app, zv_accept(zv_queue(app, 0), 7, &c) == 0);
	talk(app, far, c);
	zv_conn_close(c);
	zv_conn_close(far);
	assert_int_equal(zv_close(app), 0);
}

/* zvsockd stands still after it has answered: whoever opens a device waits for a time, not for
 * ever. */
static void a_daemon_that_hangs_is_given_up(void **state)
{
	struct zv_dev *app;

	(void)state;
	broker.silent = 1;
	assert_int_equal(zv_open(&app, uri, NULL), -EPROTO);
	assert_non_null(strstr(zv_error_text(), "did not answer"));
	close(broker.silent);
}

static void what_can_go_wrong_is_said(void **state)
{
	struct zv_dev *app;
	char text[256];
	int pair[2];

	(void)state;
	assert_int_equal(zv_open(&app, "daemon:", NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "write daemon:PATH"));
	snprintf(text, sizeof(text), "daemon:%s/none", dir);
	assert_int_equal(zv_open(&app, text, NULL), -ENOENT);
	assert_non_null(strstr(zv_error_text(), "is zvsockd running"));
	/* a device needs a connected stream socket */
	assert_int_equal(zv_open(&app, "host:fd=1000,cid=2", NULL), -EINVAL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	snprintf(text, sizeof(text), "host:fd=%d,cid=2", pair[0]);
	assert_int_equal(zv_open(&app, text, NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "SOCK_STREAM"));
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reaches_guests_and_local_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(is_reached_by_guests, setup, teardown),
		cmocka_unit_test_setup_teardown(ports_are_the_daemons_to_give, setup, teardown),
		cmocka_unit_test_setup_teardown(payload_goes_through_a_region, setup, teardown),
		cmocka_unit_test_setup_teardown(a_region_that_cannot_be_had_is_declined, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_new_daemon_is_told_of_ports, setup, teardown),
		cmocka_unit_test_setup_teardown(a_daemon_that_hangs_is_given_up, setup, teardown),
		cmocka_unit_test(what_can_go_wrong_is_said),
	};
	int ret;

	if (zv_host_init()) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/clients", dir);
	snprintf(uri, sizeof(uri), "daemon:%s", path);
	ret = cmocka_run_group_tests_name("client", tests, NULL, NULL);
	unlink(path);
	rmdir(dir);
	return ret;
}
