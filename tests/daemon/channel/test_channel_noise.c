/* SPDX-License-Identifier: BSD-3-Clause */
/* Somebody writes anything anywhere in zvsockd's region while applications use its channels. */
#include "chan_side.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define CONF_SMALL CONF "application_region = 8M\nchannel_size = 256K\n"

static const char *program;

static int start_small(void **state)
{
	(void)state;
	return cs_start(program, CONF_SMALL);
}

#define NOISY_ROUNDS 40u /* at least: on a busy machine no noise may have hit a channel by then */

/* An application of the region that writes anything anywhere in it. */
struct noise {
	uint8_t *map;
	size_t size;
	bool enough; /* atomic */
};

static void *noise_main(void *arg)
{
	struct noise *n = arg;
	uint64_t x = 88172645463325252u; /* xorshift */

	for (uint32_t i = 1; !__atomic_load_n(&n->enough, __ATOMIC_ACQUIRE); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		__atomic_store_n((uint64_t *)(void *)(n->map + x % (n->size / 8) * 8), x * i,
				 __ATOMIC_RELAXED);
		if (i % 4096 == 0)
			(void)usleep(1000);
	}
	return NULL;
}

/* zvsockd's own region, which is a memfd of this name. */
static void map_region(struct noise *n)
{
	char path[64], to[256];
	struct stat st;
	int fd = -1;

	for (unsigned i = 0; i < 1024 && fd < 0; i++) {
		ssize_t len;

		snprintf(path, sizeof(path), "/proc/%d/fd/%u", (int)zf_pid, i);
		len = readlink(path, to, sizeof(to) - 1);
		to[len > 0 ? len : 0] = 0;
		if (strstr(to, "zvsockd channels"))
			fd = open(path, O_RDWR | O_CLOEXEC);
	}
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	n->size = (size_t)st.st_size;
	n->map = mmap(NULL, n->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(n->map, MAP_FAILED);
	close(fd);
}

/* What the noise has left of connections: their other ends have gone. */
static void drop_all(void)
{
	struct zv_conn *c;

	for (unsigned q = 0; q < 2; q++)
		while (zv_accept(zv_queue(cs_other, q), ZV_PORT_ANY, &c) == 0)
			(void)zv_conn_reset(c);
}

struct accept {
	struct zf_conn *a;
	uint32_t port;
	struct zv_conn **b;
};

/* The other end is there, or the noise has broken it before. */
static bool accepted_or_broken(void *arg)
{
	struct accept *t = arg;

	for (unsigned q = 0; q < 2; q++)
		if (zv_accept(zv_queue(cs_other, q), t->port, t->b) == 0)
			return true;
	return t->a->err;
}

/* It has whatever end: it is refused, bytes are wrong, or never come. */
static void converse_in_noise(enum zv_type type)
{
	const uint32_t port = type == ZV_STREAM ? PORT : PORT + 1;
	static char data[65536];
	struct zv_conn *b = NULL;
	struct zf_conn *a;

	drop_all();
	a = zf_connect(cs_app, 0, ZV_CID_LOCAL, port, type, NULL);
	if (!a)
		return;
	assert_true(zf_until(accepted_or_broken, &(struct accept){a, port, &b}));

	for (unsigned i = 0; i < 300 && b; i++) {
		(void)zv_send(a->c, data, 1 + i * 200, 0);
		(void)zv_send(b, data, 1 + i * 10, 0);
		(void)zv_recv(a->c, data, sizeof(data), NULL);
		(void)zv_recv(b, data, sizeof(data), NULL);
		zf_poll();
	}
	(void)zv_conn_reset(a->c);
	if (b)
		(void)zv_conn_reset(b);
	free(a);
}

static uint64_t broken(void)
{
	struct zv_queue_stats s;
	uint64_t n = 0;

	for (unsigned i = 0; i < 3; i++) {
		struct zv_queue *q = i ? zv_queue(cs_other, i - 1) : zv_queue(cs_app, 0);

		assert_int_equal(zv_queue_stats(q, &s, sizeof(s)), 0);
		n += s.chan_broken;
	}
	return n;
}

/* Connections break, nothing else does: all parts come back, and the next ones are as ever. */
static void noise_in_the_region_breaks_connections_only(void **state)
{
	struct noise n = {0};
	pthread_t t;

	(void)state;
	map_region(&n);
	assert_int_equal(pthread_create(&t, NULL, noise_main, &n), 0);
	for (unsigned i = 0; i < NOISY_ROUNDS || !broken(); i++)
		converse_in_noise(i % 2 ? ZV_SEQPACKET : ZV_STREAM);
	__atomic_store_n(&n.enough, true, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
	munmap(n.map, n.size);
	drop_all();
	assert_true(zf_until(cs_all_free, NULL));
	for (unsigned i = 0; i < 2; i++) {
		struct cs_pair p = cs_joined(ZV_STREAM);

		assert_int_equal(cs_channels(), 1);
		conv_bulk(p.a, p.b, STREAM_SIZE);
		conv_bulk(p.b, p.a, STREAM_SIZE);
		cs_converse(p, ZV_STREAM);
	}
	assert_true(zf_until(cs_all_free, NULL));
	assert_int_equal(zf_log_lines("detached"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(noise_in_the_region_breaks_connections_only,
						start_small, cs_stop),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD [TEST]\n", argv[0]);
		return 2;
	}
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("channel_noise", tests, NULL, NULL);
}
