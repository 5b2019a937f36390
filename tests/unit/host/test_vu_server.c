/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The control thread with several sockets: no frontend can hold it up. The device is a counter, the
 * link a thread that answers as rte_vhost does, when it is told to.
 */
#include "ring/vhost_ring.h"
#include "vhost-user/vu_rules.h"
#include "vhost-user/vu_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FEATURES 0x160000003ull
#define STALL_NS 300000000u
#define REFUSED	 0x400000001ull /* features that the link does not take */

/* ---- the link ---- */

static struct {
	uint32_t open; /* links there are */
	bool none;     /* open() fails */
} links;

static void *serve_link(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct vu_msg m;

	while (recv(fd, &m, 12, MSG_WAITALL) == 12) {
		if (m.size && recv(fd, &m.payload, m.size, MSG_WAITALL) != (ssize_t)m.size)
			break;
		if (vu_rule_of(m.request)->answered)
			m.payload.u64 = FEATURES;
		else
			m.payload.u64 = m.request == VU_SET_FEATURES && m.payload.u64 == REFUSED;
		m.size = 8;
		m.flags = VU_VERSION | VU_FLAG_REPLY;
		if (send(fd, &m, 20, MSG_NOSIGNAL) != 20)
			break;
	}
	(void)close(fd);
	__atomic_sub_fetch(&links.open, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static int link_open(const char *name, void **link)
{
	pthread_t t;
	int fd[2];

	(void)name;
	if (__atomic_load_n(&links.none, __ATOMIC_SEQ_CST))
		return zv_err(-EMFILE, "no link");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) < 0)
		return -errno;
	(void)fcntl(fd[0], F_SETFL, O_NONBLOCK);
	__atomic_add_fetch(&links.open, 1, __ATOMIC_SEQ_CST);
	if (pthread_create(&t, NULL, serve_link, (void *)(intptr_t)fd[1]))
		return -ENOMEM;
	pthread_detach(t);
	*link = &links;
	return fd[0];
}

static void link_close(void *link)
{
	(void)link;
}

static const struct vu_link_ops link_ops = {link_open, link_close};

/* ---- the device ---- */

struct device {
	uint32_t attached, gone, messages, accepted, refused;
	int refuse;
	struct zv_log_limit log;
	struct vu_socket *sk;
	char path[64];
};

static void on_attached(void *ctx)
{
	__atomic_add_fetch(&((struct device *)ctx)->attached, 1, __ATOMIC_SEQ_CST);
}

static int on_message(void *ctx, struct vu_exchange *x)
{
	const struct vu_rule *row = vu_rule_of(x->msg->request);
	struct device *d = ctx;

	if (row->to_rte && x->answer.size) /* what the link said */
		return 1;
	__atomic_add_fetch(row->to_rte ? &d->accepted : &d->messages, 1, __ATOMIC_SEQ_CST);
	if (row->to_rte)
		return 0;
	if (row->answered) {
		x->answer.size = 8;
		x->answer.payload.u64 = x->msg->request;
		return 1;
	}
	return __atomic_load_n(&d->refuse, __ATOMIC_SEQ_CST);
}

static void on_refused(void *ctx, const struct vu_msg *m)
{
	if (m->request == VU_SET_FEATURES)
		__atomic_add_fetch(&((struct device *)ctx)->refused, 1, __ATOMIC_SEQ_CST);
}

static void on_gone(void *ctx)
{
	__atomic_add_fetch(&((struct device *)ctx)->gone, 1, __ATOMIC_SEQ_CST);
}

static const struct vu_server_ops ops = {
	.attached = on_attached, .message = on_message, .refused = on_refused, .gone = on_gone};

static struct vu_terms terms = {.nrings = 3, .ring_max = VU_VRING_SIZE_MAX, .mem_max = 1ull << 40};

static char dir[] = "/tmp/zvsock-server-XXXXXX";
static struct device dev[2];

static int add(struct device *d, const char *name)
{
	struct vu_socket_config c = {.fd = -1,
				     .sockmode = -1,
				     .stall_ns = STALL_NS,
				     .terms = &terms,
				     .ops = &ops,
				     .link = &link_ops,
				     .ctx = d,
				     .log = &d->log};

	if (!terms.layout)
		terms.layout = vhost_ring_layout_of(0);
	memset(d, 0, sizeof(*d));
	(void)snprintf(d->path, sizeof(d->path), "%s/%s", dir, name);
	c.path = d->path;
	return vu_server_add(&d->sk, &c);
}

static int setup(void **state)
{
	(void)state;
	__atomic_store_n(&links.none, false, __ATOMIC_SEQ_CST);
	return add(&dev[0], "a") < 0 || add(&dev[1], "b") < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		if (dev[i].sk)
			vu_server_remove(dev[i].sk);
	return 0;
}

/* ---- frontends ---- */

static int dial(const struct device *d)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = 60};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", d->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void say(int fd, uint32_t request, uint32_t flags, uint64_t value, uint32_t size)
{
	struct vu_msg m = {.request = request, .flags = VU_VERSION | flags, .size = size};

	m.payload.u64 = value;
	assert_int_equal(send(fd, &m, 12 + size, MSG_NOSIGNAL), 12 + size);
}

/* The answer to @request; fails the test when there is none. */
static uint64_t hear(int fd, uint32_t request)
{
	struct vu_msg m;

	assert_int_equal(recv(fd, &m, 20, MSG_WAITALL), 20);
	assert_int_equal(m.request, request);
	assert_int_equal(m.flags, VU_VERSION | VU_FLAG_REPLY);
	assert_int_equal(m.size, 8);
	return m.payload.u64;
}

static void hangs_up(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, 0);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	(void)close(fd);
}

static void serves(struct device *d)
{
	int fd = dial(d);

	say(fd, VU_GET_QUEUE_NUM, 0, 0, 0);
	assert_int_equal(hear(fd, VU_GET_QUEUE_NUM), VU_GET_QUEUE_NUM);
	say(fd, VU_GET_FEATURES, 0, 0, 0);
	assert_int_equal(hear(fd, VU_GET_FEATURES), FEATURES);
	(void)close(fd);
}

static uint32_t seen(const uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void until(const uint32_t *word, uint32_t value)
{
	struct timespec t = {.tv_nsec = 1000000};

	for (int i = 0; i < 20000 && seen(word) != value; i++)
		(void)nanosleep(&t, NULL);
	assert_int_equal(seen(word), value);
}

/* ---- tests ---- */

static void messages_go_to_the_device_or_to_the_link(void **state)
{
	int fd = dial(&dev[0]);

	(void)state;
	say(fd, VU_GET_FEATURES, 0, 0, 0);
	assert_int_equal(hear(fd, VU_GET_FEATURES), FEATURES);
	assert_int_equal(seen(&dev[0].messages), 0);
	say(fd, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, 3, 8);
	assert_int_equal(hear(fd, VU_SET_FEATURES), 0);
	assert_int_equal(seen(&dev[0].accepted), 1);
	say(fd, VU_SET_VRING_NUM, VU_FLAG_NEED_REPLY, 128ull << 32, 8);
	assert_int_equal(hear(fd, VU_SET_VRING_NUM), 0);
	assert_int_equal(seen(&dev[0].messages), 1);
	/* No answer unless one is wanted: the next thing heard belongs to the next question. */
	say(fd, VU_SET_FEATURES, 0, 3, 8);
	say(fd, VU_SET_VRING_NUM, 0, 128ull << 32, 8);
	say(fd, VU_GET_QUEUE_NUM, VU_FLAG_NEED_REPLY, 0, 0);
	assert_int_equal(hear(fd, VU_GET_QUEUE_NUM), VU_GET_QUEUE_NUM);
	assert_int_equal(seen(&dev[0].attached), 1);
	(void)close(fd);
	until(&dev[0].gone, 1);
	until(&links.open, 0);
}

static void refusals_are_answered_or_end_the_connection(void **state)
{
	int fd = dial(&dev[0]);

	(void)state;
	__atomic_store_n(&dev[0].refuse, -EINVAL, __ATOMIC_SEQ_CST);
	say(fd, VU_SET_FEATURES, VU_FLAG_NEED_REPLY, REFUSED, 8); /* by the link */
	assert_int_equal(hear(fd, VU_SET_FEATURES), 1);
	assert_int_equal(seen(&dev[0].accepted), 0);
	assert_int_equal(seen(&dev[0].refused), 1);
	say(fd, VU_SET_VRING_NUM, VU_FLAG_NEED_REPLY, 128ull << 32, 8); /* by the device */
	assert_int_equal(hear(fd, VU_SET_VRING_NUM), 1);
	say(fd, VU_SET_VRING_NUM, VU_FLAG_NEED_REPLY, 128ull << 32 | 3, 8); /* by the rules */
	assert_int_equal(hear(fd, VU_SET_VRING_NUM), 1);
	assert_int_equal(seen(&dev[0].messages), 1);
	say(fd, VU_SET_VRING_NUM, 0, 128ull << 32, 8);
	hangs_up(fd);
	fd = dial(&dev[0]);
	say(fd, VU_SET_FEATURES, 0, REFUSED, 8);
	hangs_up(fd);
	fd = dial(&dev[0]);
	say(fd, 77, VU_FLAG_NEED_REPLY, 0, 8); /* nobody knows it */
	assert_int_equal(hear(fd, 77), 1);
	say(fd, 77, 0, 0, 0);
	hangs_up(fd);
	until(&dev[0].gone, 3);
}

static void half_a_message_delays_nobody(void **state)
{
	int fd = dial(&dev[0]);
	struct vu_msg m = {.request = VU_SET_FEATURES, .flags = VU_VERSION, .size = 8};

	(void)state;
	assert_int_equal(send(fd, &m, 12, 0), 12);
	serves(&dev[1]);
	serves(&dev[0]); /* it has not spoken: others may */
	hangs_up(fd);	 /* after stall_ns */
}

/* Its time is over when the message is whole, also when the link has to be asked. */
static void a_message_in_pieces_is_no_reason_to_hang_up(void **state)
{
	int fd = dial(&dev[0]);
	struct vu_msg m = {.request = VU_SET_FEATURES, .size = 8};

	(void)state;
	m.flags = VU_VERSION | VU_FLAG_NEED_REPLY;
	assert_int_equal(send(fd, &m, 12, 0), 12);
	serves(&dev[1]); /* so the first piece has been read */
	assert_int_equal(send(fd, &m.payload, 8, 0), 8);
	assert_int_equal(hear(fd, VU_SET_FEATURES), 0);
	(void)usleep(2 * STALL_NS / 1000);
	say(fd, VU_GET_QUEUE_NUM, 0, 0, 0);
	assert_int_equal(hear(fd, VU_GET_QUEUE_NUM), VU_GET_QUEUE_NUM);
	assert_int_equal(seen(&dev[0].gone), 0);
	(void)close(fd);
}

static void who_reads_no_answers_delays_nobody(void **state)
{
	int fd = dial(&dev[0]);
	struct vu_msg m = {.request = VU_GET_QUEUE_NUM, .flags = VU_VERSION};

	(void)state;
	for (int idle = 0; idle < 20;) {
		struct timespec t = {.tv_nsec = 5000000};

		if (send(fd, &m, 12, MSG_DONTWAIT | MSG_NOSIGNAL) == 12)
			idle = 0;
		else
			idle++, (void)nanosleep(&t, NULL);
	}
	serves(&dev[1]);
	until(&dev[0].gone, 1); /* after stall_ns */
	(void)close(fd);
}

static void one_frontend_at_a_time(void **state)
{
	int first = dial(&dev[0]), second;

	(void)state;
	say(first, VU_GET_QUEUE_NUM, 0, 0, 0);
	(void)hear(first, VU_GET_QUEUE_NUM);
	second = dial(&dev[0]);
	say(second, VU_GET_QUEUE_NUM, 0, 0, 0);
	hangs_up(second);
	/* A successor that speaks before the end of the first has been seen. */
	second = dial(&dev[0]);
	(void)close(first);
	say(second, VU_GET_QUEUE_NUM, 0, 0, 0);
	(void)hear(second, VU_GET_QUEUE_NUM);
	assert_int_equal(seen(&dev[0].attached), 2);
	assert_int_equal(seen(&dev[0].gone), 1);
	(void)close(second);
}

static void silent_connections_keep_nobody_out(void **state)
{
	int fd[40];

	(void)state;
	for (size_t i = 0; i < sizeof(fd) / sizeof(fd[0]); i++)
		fd[i] = dial(&dev[0]);
	serves(&dev[0]);
	for (size_t i = 0; i < sizeof(fd) / sizeof(fd[0]) - VU_NEWCOMERS; i++)
		hangs_up(fd[i]);
	for (size_t i = sizeof(fd) / sizeof(fd[0]) - VU_NEWCOMERS; i < sizeof(fd) / sizeof(fd[0]);
	     i++)
		(void)close(fd[i]);
}

static void a_flood_leaves_time_for_others(void **state)
{
	struct vu_msg m[64];
	int fd = dial(&dev[0]);

	(void)state;
	for (int i = 0; i < 64; i++) {
		m[i] = (struct vu_msg){.request = VU_SET_VRING_NUM, .flags = VU_VERSION, .size = 8};
		m[i].payload.u64 = 128ull << 32;
	}
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 64; i++)
			(void)send(fd, &m[i], 20, MSG_DONTWAIT | MSG_NOSIGNAL);
		serves(&dev[1]);
	}
	(void)close(fd);
}

static void without_descriptors_a_frontend_waits(void **state)
{
	struct rlimit before, few;
	int fd, probe;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	fd = dial(&dev[1]);
	probe = dup(fd);
	few = (struct rlimit){(rlim_t)probe, before.rlim_max};
	(void)close(probe);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	say(fd, VU_GET_QUEUE_NUM, 0, 0, 0); /* accepted or not: it waits in the backlog at worst */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	(void)hear(fd, VU_GET_QUEUE_NUM);
	(void)close(fd);
}

static void without_a_link_the_frontend_is_turned_away(void **state)
{
	int fd = dial(&dev[0]);

	(void)state;
	__atomic_store_n(&links.none, true, __ATOMIC_SEQ_CST);
	say(fd, VU_GET_FEATURES, 0, 0, 0);
	hangs_up(fd);
	__atomic_store_n(&links.none, false, __ATOMIC_SEQ_CST);
	serves(&dev[0]);
}

static void a_removed_socket_hangs_up_and_is_gone(void **state)
{
	int fd = dial(&dev[0]);

	(void)state;
	say(fd, VU_GET_QUEUE_NUM, 0, 0, 0);
	(void)hear(fd, VU_GET_QUEUE_NUM);
	vu_server_remove(dev[0].sk);
	dev[0].sk = NULL;
	assert_int_equal(seen(&dev[0].gone), 1);
	assert_int_equal(access(dev[0].path, F_OK), -1);
	hangs_up(fd);
	serves(&dev[1]);
}

static void a_path_that_cannot_be_had_is_said(void **state)
{
	struct device d;

	(void)state;
	assert_int_equal(add(&d, "a"), -EADDRINUSE);
	assert_non_null(strstr(zv_error_text(), "/a: cannot make the socket"));
	assert_int_equal(add(&d, "none/a"), -ENOENT);
	serves(&dev[0]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(messages_go_to_the_device_or_to_the_link),
		T(refusals_are_answered_or_end_the_connection),
		T(half_a_message_delays_nobody),
		T(a_message_in_pieces_is_no_reason_to_hang_up),
		T(who_reads_no_answers_delays_nobody),
		T(one_frontend_at_a_time),
		T(silent_connections_keep_nobody_out),
		T(a_flood_leaves_time_for_others),
		T(without_descriptors_a_frontend_waits),
		T(without_a_link_the_frontend_is_turned_away),
		T(a_removed_socket_hangs_up_and_is_gone),
		T(a_path_that_cannot_be_had_is_said),
	};
	int ret;

	if (!mkdtemp(dir))
		return 1;
	ret = cmocka_run_group_tests_name("vu_server", tests, NULL, NULL);
	(void)rmdir(dir);
	return ret;
}
