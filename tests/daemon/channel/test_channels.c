/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels between applications of the host, through a real zvsockd: their payload does not go by
 * it; where there is no channel it copies. Who dies: test_channel_deaths.c.
 */
#include "chan_side.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/local/client_msg.h"

#define REGION (256u * MIB)

#define CONF_BIG   CONF "application_region = 256M\nchannel_size = 64M\n"
#define CONF_OTHER CONF "application_region = 64M\nchannel_size = 1M\n"
#define CONF_NONE  CONF "application_region = 0\n"

/* KiB of private memory of an end: docs/daemon.md, "How much memory". */
#define MEM_8M	 24u
#define MEM_512K 6u

#define CONF_SMALL CONF "channel_size = 512K\n"

static const char *program;

static int start_plain(void **state)
{
	(void)state;
	return cs_start(program, CONF);
}

static int start_big(void **state)
{
	(void)state;
	return cs_start(program, CONF_BIG);
}

static int start_small(void **state)
{
	(void)state;
	return cs_start(program, CONF_SMALL);
}

static int start_none(void **state)
{
	(void)state;
	return cs_start(program, CONF_NONE);
}

static void payload_goes_past_zvsockd(void **state)
{
	static const enum zv_type types[] = {ZV_STREAM, ZV_SEQPACKET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct cs_pair p = cs_joined(types[i]);

		assert_int_equal(cs_channels(), 1);
		assert_int_equal(cs_region("channels"), 1);
		assert_int_equal(cs_region("free"), REGION - 8 * MIB);
		assert_int_equal(cs_region("bytes"), 8 * MIB); /* of the first member */
		cs_converse(p, types[i]);
		assert_true(zf_until(cs_all_free, NULL));
	}
	assert_int_equal(cs_counted("channel_granted"), 4);
	assert_int_equal(cs_counted("channel_bad_msg"), 0);
}

/* Bytes from malloc. 0: not known, because a sanitizer has its own. */
static size_t allocated(void)
{
	return mallinfo2().uordblks;
}

/* Both ends are of this process; what else takes memory does so with the first connection. */
static void idle_channels_take(size_t kib)
{
	enum { CONNS = 8 };
	struct cs_pair p[CONNS], first = cs_joined(ZV_STREAM);
	size_t before = allocated(), each = SIZE_MAX;

	if (!before) {
		cs_converse(first, ZV_STREAM);
		print_message("the sanitizer's malloc does not say how much it has allocated\n");
		skip();
	}
	/* The least: on a busy machine what belongs to no connection is allocated among them. */
	for (unsigned i = 0; i < CONNS; i++) {
		size_t was = allocated(), now;

		p[i] = cs_joined(ZV_STREAM);
		now = (allocated() - was) / 2;
		each = now < each ? now : each;
	}
	print_message("%zu bytes an end\n", each);
	assert_int_equal(cs_channels(), CONNS + 1);
	assert_in_range(each, kib * 1024 / 2, kib * 1024);
	for (unsigned i = 0; i < CONNS; i++)
		cs_converse(p[i], ZV_STREAM);
	cs_converse(first, ZV_STREAM);
}

/* docs/daemon.md, "How much memory" */
static void what_an_idle_channel_takes(void **state)
{
	(void)state;
	idle_channels_take(MEM_8M);
}

static void what_a_small_idle_channel_takes(void **state)
{
	(void)state;
	idle_channels_take(MEM_512K);
}

static void a_device_talks_to_itself(void **state)
{
	struct cs_pair p = {0};
	int err;

	(void)state;
	p.a = zf_connect(cs_other, 1, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	assert_non_null(p.a);
	p.b = zf_accept(cs_other, PORT);
	assert_non_null(p.b);
	assert_int_equal(cs_channels(), 1);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

static void much_passes_unchanged(void **state)
{
	struct cs_pair p[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		p[i] = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 4);
	for (unsigned i = 0; i < 4; i++) {
		conv_bulk(p[i].a, p[i].b, STREAM_SIZE);
		conv_bulk(p[i].b, p[i].a, STREAM_SIZE);
	}
	for (unsigned i = 0; i < 4; i++)
		cs_converse(p[i], ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

static bool one_is_free(void *arg)
{
	(void)arg;
	return cs_region("channels") == 1;
}

/* Two channels are all that two may have of a region for four; then one is free again. */
static void a_full_region_means_copying(void **state)
{
	struct cs_pair p[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		p[i] = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 2);
	assert_int_equal(cs_counted("channel_no_room"), 1);
	conv_bulk(p[2].a, p[2].b, STREAM_SIZE);
	cs_converse(p[2], ZV_STREAM);
	cs_converse(p[0], ZV_STREAM);
	assert_true(zf_until(one_is_free, NULL));
	p[0] = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 2);
	cs_converse(p[0], ZV_STREAM);
	cs_converse(p[1], ZV_STREAM);
	assert_true(zf_until(cs_all_free, NULL));
}

static void without_a_region_zvsockd_copies(void **state)
{
	struct cs_pair p = cs_joined(ZV_STREAM);

	(void)state;
	assert_int_equal(cs_channels(), 0);
	cs_ask("regions");
	assert_int_equal(cs_times("\"id\""), 0);
	conv_bulk(p.a, p.b, STREAM_SIZE);
	cs_converse(p, ZV_STREAM);
	assert_int_equal(cs_counted("channel_granted"), 0);
}

/* One of the two does not want a channel. */
static void a_driver_without_channels_is_served(void **state)
{
	struct cs_pair p;

	(void)state;
	assert_true(zf_guest_close(0));
	zf_app_flags = ZV_OPT_NO_CHANNEL;
	cs_app = zf_app(0, "apps", 1);
	assert_non_null(cs_app);
	p = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 0);
	cs_converse(p, ZV_STREAM);
	p.a = zf_connect(cs_other, 0, ZV_CID_LOCAL, PORT, ZV_STREAM,
			 NULL); /* its own is not touched */
	p.b = zf_accept(cs_other, PORT);
	assert_true(p.a && p.b);
	assert_int_equal(cs_channels(), 1);
	cs_converse(p, ZV_STREAM);
}

#define FEW 256u /* descriptors */

static unsigned declined;

static void count_declined(void *ctx, enum zv_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	if (strstr(line, "no descriptor is left in this process"))
		__atomic_add_fetch(&declined, 1, __ATOMIC_RELAXED);
}

static bool both_declined(void *arg)
{
	(void)arg;
	/* Each queue that is told of the region asks for it unless another one is doing so. */
	return __atomic_load_n(&declined, __ATOMIC_RELAXED) >= 2;
}

/* The region cannot be received: its connections are copied, and the device stays. */
static void without_descriptors_zvsockd_copies(void **state)
{
	struct rlimit was, few;
	int fd[FEW], n = 0;
	struct cs_pair p;

	(void)state;
	declined = 0;
	zv_set_log(count_declined, NULL);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	few = was;
	few.rlim_cur = FEW;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	while (n < (int)FEW && (fd[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	assert_true(n > 1 && errno == EMFILE);
	/* One for the file; nothing is polled, and so no region heard of, before it is taken again.
	 */
	close(fd[--n]);
	assert_true(zf_reload(CONF_OTHER, 2));
	fd[n] = dup(STDERR_FILENO);
	assert_true(fd[n++] >= 0);
	assert_true(zf_until(both_declined, NULL));
	while (n)
		close(fd[--n]);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	zv_set_log(NULL, NULL);
	p = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 0);
	cs_converse(p, ZV_STREAM);
	assert_int_equal(zf_log_lines("detached"), 0);
}

static bool one_region(void *arg)
{
	const char *what = arg;

	cs_ask("regions");
	return cs_times("\"id\"") == 1 && strstr(cs_answer, what);
}

/* What is open goes on in the old region, which is there until nobody holds a part of it. */
static void a_reload_changes_the_region(void **state)
{
	struct cs_pair old = cs_joined(ZV_STREAM), p;

	(void)state;
	assert_true(zf_reload(CONF_OTHER, 2));
	assert_true(zf_logged("the new configuration is in force"));
	cs_ask("regions");
	assert_int_equal(cs_times("\"id\""), 2);
	assert_int_equal(cs_times("\"retired\":true"), 1);
	conv_bulk(old.a, old.b, STREAM_SIZE);
	p = cs_joined(ZV_STREAM);
	assert_int_equal(cs_channels(), 2);
	conv_bulk(p.b, p.a, STREAM_SIZE);
	cs_converse(old, ZV_STREAM);
	assert_true(zf_until(one_region, "\"size\":67108864"));
	assert_int_equal(cs_region("free"), 63 * MIB);
	assert_int_equal(cs_region("channel_size"), MIB);
	cs_converse(p, ZV_STREAM);
	assert_true(zf_reload(CONF_NONE, 2));
	assert_true(zf_until(cs_no_region, NULL));
}

/* ---- the client socket ---- */

static int ask(int fd, struct client_msg *m)
{
	assert_int_equal(send(fd, m, sizeof(*m), MSG_NOSIGNAL), sizeof(*m));
	assert_int_equal(recv(fd, m, sizeof(*m), 0), sizeof(*m));
	return m->result;
}

#define WAIT_NS 60000000000u /* far more than a wake-up takes */

/* Both sides sleep, again and again: the one sends a byte, the other wakes and sends it back. */
struct pong {
	struct zv_conn *c;
	unsigned left;
	int err;
};

static int asleep_until_in(struct zv_conn *c, char *byte)
{
	ssize_t n;

	while ((n = zv_recv(c, byte, 1, NULL)) == -EAGAIN) {
		int ret = zv_conn_wait(c, ZV_EV_IN, WAIT_NS);

		if (ret <= 0 && ret != -EINTR) /* SIGCHLD, when zvsockd is stopped */
			return ret ? ret : -ETIMEDOUT;
	}
	return n == 1 ? 0 : n ? (int)n : -ECONNRESET;
}

static void *pong_main(void *arg)
{
	struct pong *p = arg;
	char byte;

	while (p->left && !p->err) {
		p->err = asleep_until_in(p->c, &byte);
		if (!p->err && zv_send(p->c, &byte, 1, 0) != 1)
			p->err = -EPIPE;
		p->left--;
	}
	return NULL;
}

static void to_and_fro(struct cs_pair p, unsigned n)
{
	struct pong pong = {.c = p.b->c, .left = n};
	pthread_t t;
	int err = 0;
	char byte;

	assert_int_equal(pthread_create(&t, NULL, pong_main, &pong), 0);
	for (unsigned i = 0; i < n && !err; i++) {
		err = zv_send(p.a->c, "x", 1, 0) == 1 ? asleep_until_in(p.a->c, &byte) : -EPIPE;
		/* The other one has gone to sleep, most of the time. */
		(void)usleep(200);
	}
	pthread_join(t, NULL);
	assert_int_equal(err, 0);
	assert_int_equal(pong.err, 0);
}

static bool rings(const struct zf_conn *c)
{
	struct zv_queue_stats s;

	assert_int_equal(zv_queue_stats(zv_conn_queue(c->c), &s, sizeof(s)), 0);
	return s.chan_rings > 0;
}

static int start_sleepers(void **state)
{
	(void)state;
	zf_app_spin_ns = 1;
	return cs_start(program, CONF);
}

static int stop_sleepers(void **state)
{
	zf_app_spin_ns = 0;
	(void)kill(zf_pid, SIGCONT); /* a test that failed in the middle has left it stopped */
	return cs_stop(state);
}

/* zvsockd stands still: who has the means by then wakes the other without it. */
static void sleepers_wake_each_other(void **state)
{
	struct cs_pair p = cs_joined(ZV_STREAM);

	(void)state;
	assert_int_equal(cs_channels(), 1);
	/* The first wake-ups go by zvsockd, and the means are asked for. */
	for (unsigned i = 0; i < 1000 && !(rings(p.a) && rings(p.b)); i++)
		to_and_fro(p, 10);
	assert_true(rings(p.a) && rings(p.b));
	zf_asleep();
	to_and_fro(p, 200);
	zf_awake();
	cs_converse(p, ZV_STREAM);
}

static int client(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90sapps", zf_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* A page that is not of a queue, and questions out of order. */
static void bells_are_for_queues_of_applications(void **state)
{
	int fd = client();
	struct client_msg m;

	(void)state;
	for (unsigned type = CLIENT_BELLS; type <= CLIENT_RING; type++) {
		client_msg_init(&m, (enum client_type)type);
		assert_int_equal(ask(fd, &m), -ENOTCONN);
	}
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	assert_int_equal(ask(fd, &m), 0);
	client_msg_init(&m, CLIENT_BELL);
	m.queues = 1; /* it has queue 0 */
	assert_int_equal(ask(fd, &m), -ENOENT);
	m.queues = 0;
	m.result = 0;
	assert_int_equal(ask(fd, &m), 0);
	m.type = CLIENT_RING;
	assert_int_equal(ask(fd, &m), 0); /* its own, which is harmless */
	m.page += 1024;
	assert_int_equal(ask(fd, &m), -ENOENT);
	close(fd);
}

/* Who knows the id of a region, but was not told of it: it is attached, and its driver silent. */
static void a_region_is_for_those_who_were_told(void **state)
{
	struct client_msg m;
	uint64_t id;
	int fd;

	(void)state;
	cs_ask("regions");
	id = strtoull(strstr(cs_answer, "\"id\":\"") + 6, NULL, 16);
	fd = client();
	client_msg_init(&m, CLIENT_ATTACH);
	m.queues = 1;
	assert_int_equal(ask(fd, &m), 0);
	client_msg_init(&m, CLIENT_REGION);
	m.region = id;
	assert_int_equal(ask(fd, &m), -ENOENT);
	assert_non_null(strstr(m.text, "was not announced to this application"));
	close(fd);
}

int main(int argc, char **argv)
{
#define IN(testbed, test) cmocka_unit_test_setup_teardown(test, start_##testbed, cs_stop)
	const struct CMUnitTest tests[] = {
		IN(plain, payload_goes_past_zvsockd),
		IN(plain, what_an_idle_channel_takes),
		IN(small, what_a_small_idle_channel_takes),
		IN(plain, a_device_talks_to_itself),
		IN(plain, much_passes_unchanged),
		IN(big, a_full_region_means_copying),
		IN(none, without_a_region_zvsockd_copies),
		IN(none, without_descriptors_zvsockd_copies),
		IN(plain, a_driver_without_channels_is_served),
		IN(plain, a_reload_changes_the_region),
		IN(plain, a_region_is_for_those_who_were_told),
		IN(plain, bells_are_for_queues_of_applications),
		cmocka_unit_test_setup_teardown(sleepers_wake_each_other, start_sleepers,
						stop_sleepers),
	};

	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD [TEST]\n", argv[0]);
		return 2;
	}
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("channels", tests, NULL, NULL);
}
