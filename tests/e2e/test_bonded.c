/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One guest over several sockets, both sides through the public API in one process: every queue
 * says hello and carries connections, and one socket's session ends alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <zvsock.h>
#include <zvsock_host.h>
#include <zvsock_mem.h>

#define QUEUES 2u
#define PORT   7u

/* HELLO is what the tests look for, and a loaded machine may be slow. */
static const struct zv_opts patient = {.size = sizeof(patient),
				       .connect_timeout_ns = 60000000000u,
				       .hello_timeout_ns = 60000000000u};

static char dir[] = "/tmp/zvsock-bonded-XXXXXX";
static char host_uri[256], guest_uri[256], other_uri[256];
static struct zv_dev *host, *guest;

static void poll_all(void)
{
	struct zv_event ev[8];

	for (unsigned i = 0; i < QUEUES; i++) {
		assert_true(zv_poll(zv_queue(host, i), ev, 8) >= 0);
		assert_true(zv_poll(zv_queue(guest, i), ev, 8) >= 0);
	}
	usleep(100);
}

/* Polls until @cond holds, for as long as a loaded machine may need. */
#define until(cond)                                                                                \
	do {                                                                                       \
		time_t end_ = time(NULL) + 30;                                                     \
		while (!(cond)) {                                                                  \
			assert_true(time(NULL) < end_);                                            \
			poll_all();                                                                \
		}                                                                                  \
	} while (0)

static struct zv_dev_info info_of(struct zv_dev *dev)
{
	struct zv_dev_info i = {.size = sizeof(i)};

	assert_int_equal(zv_dev_info(dev, &i), 0);
	return i;
}

static bool said_hello(struct zv_dev *dev, unsigned queue)
{
	struct zv_queue_stats s;

	/* a plain pair would have been refused, which is a RST of either side */
	assert_int_equal(zv_queue_stats(zv_queue(dev, queue), &s, sizeof(s)), 0);
	assert_int_equal(s.rx_bad_state, 0);
	return s.rx_bytes > 0 && info_of(dev).peer == ZV_PEER_ZVSOCK;
}

/* Each socket has a memory table of its own. */
static void registered_memory_is_copied(void)
{
	static uint8_t memory[8192] __attribute__((aligned(4096)));
	int fd = memfd_create("bonded", MFD_CLOEXEC);
	struct zv_mem *m;

	assert_int_equal(ftruncate(fd, sizeof(memory)), 0);
	assert_int_equal(zv_mem_register(guest, memory, sizeof(memory), fd, 0, &m), 1);
	assert_int_equal(zv_mem_unregister(m), 0);
	close(fd);
}

static void every_queue_carries_its_connections(void **state)
{
	struct zv_conn *g[QUEUES], *h[QUEUES];
	struct zv_conn_info ci = {.size = sizeof(ci)};
	char text[16], buf[16];

	(void)state;
	assert_int_equal(zv_open(&host, host_uri, &patient), 0);
	assert_int_equal(zv_nqueues(host), QUEUES);
	assert_int_equal(zv_open(&guest, guest_uri, &patient), 0);
	assert_int_equal(zv_nqueues(guest), QUEUES);
	assert_int_equal(zv_cid(guest), 9);
	until(info_of(host).queues_up == QUEUES && info_of(guest).queues_up == QUEUES);
	registered_memory_is_copied();
	for (unsigned i = 0; i < QUEUES; i++)
		until(said_hello(host, i) && said_hello(guest, i));
	assert_int_equal(zv_listen(host, PORT, ZV_STREAM, 0), 0);
	for (unsigned i = 0; i < QUEUES; i++) {
		assert_int_equal(
			zv_connect(zv_queue(guest, i), ZV_CID_HOST, PORT, ZV_STREAM, &g[i]), 0);
		until(zv_accept(zv_queue(host, i), PORT, &h[i]) == 0);
		snprintf(text, sizeof(text), "queue %u", i);
		until(zv_send(g[i], text, strlen(text), 0) == (ssize_t)strlen(text));
		until(zv_recv(h[i], buf, sizeof(buf), NULL) == (ssize_t)strlen(text));
		assert_memory_equal(buf, text, strlen(text));
		assert_int_equal(zv_conn_info(h[i], &ci), 0);
		assert_int_equal(ci.queue, i);
		assert_int_equal(ci.peer_cid, 9);
	}
	for (unsigned i = 0; i < QUEUES; i++) {
		zv_conn_close(g[i]);
		zv_conn_close(h[i]);
	}
	assert_int_equal(zv_close(guest), 0);
	assert_int_equal(zv_close(host), 0);
}

static void sockets_must_fit_together(void **state)
{
	struct zv_opts three = {.size = sizeof(three), .queues = 3};
	struct zv_dev *other;
	char uri[512];

	(void)state;
	assert_int_equal(zv_open(&guest, guest_uri, &three), -EINVAL);
	assert_int_equal(zv_open(&host, host_uri, NULL), 0);
	assert_int_equal(zv_open(&other, other_uri, NULL), 0);
	snprintf(uri, sizeof(uri), "vhost-user:,%s/a", dir);
	assert_int_equal(zv_open(&guest, uri, NULL), -EINVAL);
	snprintf(uri, sizeof(uri), "vhost-user:%s/a,%s/b,%s/b", dir, dir, dir);
	assert_int_equal(zv_open(&guest, uri, NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "/b is named twice"));
	snprintf(uri, sizeof(uri), "vhost-user:%s/none,%s/a", dir, dir);
	assert_int_equal(zv_open(&guest, uri, NULL), -ENOENT);
	assert_non_null(strstr(zv_error_text(), "/none"));
	snprintf(uri, sizeof(uri), "vhost-user:%s/a,%s/c", dir, dir);
	assert_int_equal(zv_open(&guest, uri, NULL), -EINVAL);
	assert_non_null(strstr(zv_error_text(), "CID is 10"));
	assert_int_equal(zv_close(other), 0);
	assert_int_equal(zv_close(host), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_queue_carries_its_connections),
		cmocka_unit_test(sockets_must_fit_together),
	};
	int ret;

	if (!mkdtemp(dir) || zv_host_init() < 0)
		return 99;
	snprintf(host_uri, sizeof(host_uri), "host:%s/a,%s/b,cid=9", dir, dir);
	snprintf(other_uri, sizeof(other_uri), "host:%s/c,cid=10", dir);
	snprintf(guest_uri, sizeof(guest_uri), "vhost-user:%s/a,%s/b", dir, dir);
	ret = cmocka_run_group_tests(tests, NULL, NULL);
	return rmdir(dir) < 0 ? 1 : ret;
}
