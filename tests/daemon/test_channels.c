/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Channels between applications of the host, through a real zvsockd: their payload does not go by
 * it, whoever dies leaves nothing behind, and where there is no channel zvsockd copies.
 * "test_daemon_channels app URI PORT HOW" is an application in a process of its own (be_app).
 */
#include "host_side.h"
#include "zvd_world.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/client_msg.h"

#define PORT   5000u
#define MIB    (1u << 20)
#define REGION (256u * MIB)
#define STREAM (16u * MIB)
#define DEATHS 2000u
#define ALIVE  8u /* clients at a time */

#define CONF	   "applications = @apps\n"
#define CONF_BIG   CONF "application_region = 256M\nchannel_size = 64M\n"
#define CONF_SMALL CONF "application_region = 8M\nchannel_size = 256K\n"
#define CONF_OTHER CONF "application_region = 64M\nchannel_size = 1M\n"
#define CONF_NONE  CONF "application_region = 0\n"

static struct zv_dev *app, *other;
static const char *program, *self;

static int start(const char *conf)
{
	zw_keep_log = true;
	if (!zw_start(program, conf, 2))
		return -1;
	app = zw_app(0, "apps", 1);
	other = zw_app(1, "apps", 2);
	return app && other && zv_listen(other, PORT, ZV_STREAM, 0) == 0 &&
			       zv_listen(other, PORT + 1, ZV_SEQPACKET, 0) == 0
		       ? 0
		       : -1;
}

static int start_plain(void **state)
{
	(void)state;
	return start(CONF);
}

static int start_big(void **state)
{
	(void)state;
	return start(CONF_BIG);
}

static int start_small(void **state)
{
	(void)state;
	return start(CONF_SMALL);
}

static int start_none(void **state)
{
	(void)state;
	return start(CONF_NONE);
}

static int stop(void **state)
{
	(void)state;
	zw_app_flags = 0;
	return zw_stop() ? 0 : -1;
}

/* ---- what zvsockctl says ---- */

static char answer[65536];

static void ask_control(const char *cmd)
{
	char line[64];
	int fd;

	snprintf(line, sizeof(line), "{\"v\":1,\"cmd\":\"%s\"}\n", cmd);
	fd = hs_connect("control.sock", line);
	assert_true(fd >= 0);
	memset(answer, 0, sizeof(answer));
	for (size_t n = 0; !strchr(answer, '\n'); n++)
		assert_true(n < sizeof(answer) - 1 && hs_recv(fd, answer + n, 1) == 1);
	close(fd);
}

static unsigned times(const char *text)
{
	unsigned n = 0;

	for (const char *p = answer; (p = strstr(p, text)); p++)
		n++;
	return n;
}

/* The number @key of the first region. */
static uint64_t of_region(const char *key)
{
	char name[32];
	const char *p;

	ask_control("regions");
	snprintf(name, sizeof(name), "\"%s\":", key);
	p = strstr(answer, name);
	assert_non_null(p);
	return strtoull(p + strlen(name), NULL, 10);
}

static bool all_free(void *arg)
{
	(void)arg;
	return of_region("free") == of_region("size") && of_region("parts") == 0;
}

/* Connections that go by a channel, each of them seen from both devices. */
static unsigned channels(void)
{
	ask_control("list");
	return times("\"path\":\"channel\"") / 2;
}

static long counted(const char *name)
{
	return hs_counter("app.0", name) + hs_counter("app.1", name);
}

/* ---- conversations ---- */

struct pair {
	struct zw_conn *a, *b;
};

static struct pair joined(unsigned queue, enum zv_type type)
{
	uint32_t port = type == ZV_SEQPACKET ? PORT + 1 : PORT;
	struct pair p;
	int err;

	p.a = zw_connect(app, queue, ZV_CID_LOCAL, port, type, &err);
	assert_non_null(p.a);
	p.b = zw_accept(other, port);
	assert_non_null(p.b);
	return p;
}

static void says(struct zw_conn *from, struct zw_conn *to, const char *text, uint32_t flags)
{
	char buf[64];
	uint32_t got = 0;
	size_t len = strlen(text);

	assert_true(zw_send(from, text, len, flags));
	assert_int_equal(zw_recv(to, buf, flags ? sizeof(buf) : len, &got), len);
	assert_memory_equal(buf, text, len);
	assert_int_equal(got & flags, flags);
}

/* Both ways, then an end from each side. */
static void converse(struct pair p, enum zv_type type)
{
	uint32_t eom = type == ZV_SEQPACKET ? ZV_EOM : 0;
	char byte;

	says(p.a, p.b, "from the one", eom);
	says(p.b, p.a, "from the other", eom);
	assert_int_equal(zv_shutdown(p.a->c, SHUT_WR), 0);
	assert_int_equal(zw_recv(p.b, &byte, 1, NULL), 0);
	says(p.b, p.a, "half closed", eom);
	zw_close(p.b);
	assert_int_equal(zw_recv(p.a, &byte, 1, NULL), 0);
	zw_close(p.a);
}

static void payload_goes_past_zvsockd(void **state)
{
	static const enum zv_type types[] = {ZV_STREAM, ZV_SEQPACKET};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct pair p = joined(0, types[i]);

		assert_int_equal(channels(), 1);
		assert_int_equal(of_region("parts"), 1);
		assert_int_equal(of_region("free"), REGION - 8 * MIB);
		assert_int_equal(of_region("bytes"), 8 * MIB); /* of the first member */
		converse(p, types[i]);
		assert_true(zw_until(all_free, NULL));
	}
	assert_int_equal(counted("channel_granted"), 4);
	assert_int_equal(counted("channel_bad_msg"), 0);
}

static void a_device_talks_to_itself(void **state)
{
	struct pair p = {0};
	int err;

	(void)state;
	p.a = zw_connect(other, 1, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	assert_non_null(p.a);
	p.b = zw_accept(other, PORT);
	assert_non_null(p.b);
	assert_int_equal(channels(), 1);
	converse(p, ZV_STREAM);
	assert_true(zw_until(all_free, NULL));
}

struct flow {
	struct zw_conn *from, *to;
	size_t sent, got;
	bool bad;
};

static uint8_t byte_at(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* Some of the stream, and a look at what has come. */
static bool flowed(void *arg)
{
	static uint8_t out[100000], in[70000];
	struct flow *f = arg;
	size_t len = STREAM - f->sent < sizeof(out) ? STREAM - f->sent : sizeof(out);
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		out[i] = byte_at(f->sent + i);
	n = len ? zv_send(f->from->c, out, len, 0) : 0;
	f->sent += n > 0 ? (size_t)n : 0;
	n = zv_recv(f->to->c, in, sizeof(in), NULL);
	for (ssize_t i = 0; i < n; i++)
		f->bad |= in[i] != byte_at(f->got++);
	return f->got == STREAM;
}

static void flow(struct zw_conn *from, struct zw_conn *to)
{
	struct flow f = {from, to, 0, 0, false};

	assert_true(zw_until(flowed, &f));
	assert_false(f.bad);
}

static void much_passes_unchanged(void **state)
{
	struct pair p[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		p[i] = joined(0, ZV_STREAM);
	assert_int_equal(channels(), 4);
	for (unsigned i = 0; i < 4; i++) {
		flow(p[i].a, p[i].b);
		flow(p[i].b, p[i].a);
	}
	for (unsigned i = 0; i < 4; i++)
		converse(p[i], ZV_STREAM);
	assert_true(zw_until(all_free, NULL));
}

/* Two channels are all that two may have of a region for four; then one is free again. */
static void a_full_region_means_copying(void **state)
{
	struct pair p[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		p[i] = joined(0, ZV_STREAM);
	assert_int_equal(channels(), 2);
	assert_int_equal(counted("channel_no_room"), 1);
	flow(p[2].a, p[2].b);
	converse(p[2], ZV_STREAM);
	converse(p[0], ZV_STREAM);
	for (int left = 1000; of_region("parts") > 1 && left; left--)
		zw_poll();
	p[0] = joined(0, ZV_STREAM);
	assert_int_equal(channels(), 2);
	converse(p[0], ZV_STREAM);
	converse(p[1], ZV_STREAM);
	assert_true(zw_until(all_free, NULL));
}

static void without_a_region_zvsockd_copies(void **state)
{
	struct pair p = joined(0, ZV_STREAM);

	(void)state;
	assert_int_equal(channels(), 0);
	ask_control("regions");
	assert_int_equal(times("\"id\""), 0);
	flow(p.a, p.b);
	converse(p, ZV_STREAM);
	assert_int_equal(counted("channel_granted"), 0);
}

/* One of the two does not want a channel. */
static void a_driver_without_channels_is_served(void **state)
{
	struct pair p;

	(void)state;
	assert_true(zw_guest_close(0));
	zw_app_flags = ZV_OPT_NO_CHANNEL;
	app = zw_app(0, "apps", 1);
	assert_non_null(app);
	p = joined(0, ZV_STREAM);
	assert_int_equal(channels(), 0);
	converse(p, ZV_STREAM);
	p.a = zw_connect(other, 0, ZV_CID_LOCAL, PORT, ZV_STREAM,
			 NULL); /* its own is not touched */
	p.b = zw_accept(other, PORT);
	assert_true(p.a && p.b);
	assert_int_equal(channels(), 1);
	converse(p, ZV_STREAM);
}

static bool one_region(void *arg)
{
	const char *what = arg;

	ask_control("regions");
	return times("\"id\"") == 1 && strstr(answer, what);
}

static bool no_region(void *arg)
{
	(void)arg;
	ask_control("regions");
	return !times("\"id\"");
}

/* What is open goes on in the old region, which is there until nobody holds a part of it. */
static void a_reload_changes_the_region(void **state)
{
	struct pair old = joined(0, ZV_STREAM), p;

	(void)state;
	assert_true(zw_reload(CONF_OTHER, 2));
	assert_true(zw_logged("the new configuration is in force"));
	ask_control("regions");
	assert_int_equal(times("\"id\""), 2);
	assert_int_equal(times("\"retired\":true"), 1);
	flow(old.a, old.b);
	p = joined(0, ZV_STREAM);
	assert_int_equal(channels(), 2);
	flow(p.b, p.a);
	converse(old, ZV_STREAM);
	assert_true(zw_until(one_region, "\"size\":67108864"));
	assert_int_equal(of_region("free"), 63 * MIB);
	assert_int_equal(of_region("channel_size"), MIB);
	converse(p, ZV_STREAM);
	assert_true(zw_reload(CONF_NONE, 2));
	assert_true(zw_until(no_region, NULL));
}

/* ---- deaths ---- */

/*
 * An application that connects to PORT and says a word, by "listen", accepts one that does and
 * answers; then it waits to be killed, or ("die") kills itself.
 */
static int be_app(const char *uri, const char *port, const char *how)
{
	bool listens = strcmp(how, "listen") == 0, die = strcmp(how, "die") == 0;
	struct zv_conn *c = NULL;
	struct zv_event ev[8];
	struct zv_dev *dev;
	struct zv_queue *q;

	if (zv_open(&dev, uri, NULL) ||
	    (listens && zv_listen(dev, (uint32_t)atoi(port), ZV_STREAM, 0))) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	q = zv_queue(dev, 0);
	if (!listens &&
	    zv_connect_wait(q, ZV_CID_LOCAL, (uint32_t)atoi(port), ZV_STREAM, UINT64_MAX, &c)) {
		fprintf(stderr, "%s\n", zv_error_text());
		return 1;
	}
	for (;;) {
		if (c)
			(void)zv_send(c, "word", 4, 0); /* or the other end has gone */
		if (c && die) {
			(void)zv_poll(q, ev, 8);
			(void)raise(SIGKILL);
		}
		if (zv_wait(q, ev, 8, 1000000000u) > 0 && listens && !c)
			(void)zv_accept(q, ZV_PORT_ANY, &c);
	}
}

static pid_t spawn_app(unsigned port, const char *how)
{
	char uri[128], number[16];
	pid_t pid;

	snprintf(uri, sizeof(uri), "daemon:%sapps", zw_dir);
	snprintf(number, sizeof(number), "%u", port);
	pid = fork();
	if (pid == 0) {
		execl(self, self, "app", uri, number, how, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	return pid;
}

static bool failed(void *arg)
{
	return ((struct zw_conn *)arg)->err;
}

static bool listens(void *arg)
{
	struct zw_conn **c = arg;
	int err;

	*c = zw_connect(app, 0, ZV_CID_LOCAL, PORT + 9, ZV_STREAM, &err);
	return *c;
}

static void kill_app(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* Either end: the one that was asked, and the one that has asked. */
static void the_survivor_is_told(void **state)
{
	struct zw_conn *c;
	char word[4];
	pid_t pid;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		pid = spawn_app(i % 2 ? PORT : PORT + 9, i % 2 ? "connect" : "listen");
		if (i % 2)
			c = zw_accept(other, PORT);
		else
			assert_true(zw_until(listens, &c));
		assert_non_null(c);
		assert_int_equal(zw_recv(c, word, 4, NULL), 4);
		assert_memory_equal(word, "word", 4);
		assert_int_equal(channels(), 1);
		kill_app(pid);
		assert_true(zw_until(failed, c)); /* no clean end */
		assert_int_equal(c->err, -ECONNRESET);
		zw_close(c);
		assert_true(zw_until(all_free, NULL));
	}
}

static bool one_has_died(void *arg)
{
	return waitpid(-1, arg, WNOHANG) > 0;
}

/* Processes that die in the middle of a conversation leave no part behind. */
static void many_deaths_lose_nothing(void **state)
{
	unsigned born = 0, died = 0;
	struct zv_conn *taken;
	char word[4];
	int status;

	(void)state;
	while (died < DEATHS) {
		if (born < DEATHS && born - died < ALIVE) {
			(void)spawn_app(PORT, "die");
			born++;
			continue;
		}
		/* Most of what they have sent arrives; what matters is that they are gone. */
		assert_true(zw_until(one_has_died, &status));
		assert_true(WIFSIGNALED(status));
		died++;
		for (unsigned q = 0; q < 2; q++)
			while (zv_accept(zv_queue(other, q), PORT, &taken) == 0) {
				(void)zv_recv(taken, word, 4, NULL);
				(void)zv_conn_close(taken);
			}
	}
	for (unsigned q = 0; q < 2; q++)
		while (zv_accept(zv_queue(other, q), PORT, &taken) == 0)
			(void)zv_conn_close(taken);
	assert_true(zw_until(all_free, NULL));
	assert_true(counted("channel_granted") >= (long)DEATHS / 2);
	converse(joined(0, ZV_STREAM), ZV_STREAM);
}

static bool back(void *arg)
{
	struct pair *p = arg;
	int err;

	p->a = zw_connect(app, 0, ZV_CID_LOCAL, PORT, ZV_STREAM, &err);
	return p->a;
}

/* Both are told, attach again by themselves, and have channels again. */
static void zvsockd_may_die(void **state)
{
	struct pair p = joined(0, ZV_STREAM);

	(void)state;
	says(p.a, p.b, "before", 0);
	assert_true(zw_kill());
	assert_true(zw_until(failed, p.a) && zw_until(failed, p.b));
	assert_int_equal(p.a->err, -ECONNRESET);
	assert_int_equal(p.b->err, -ECONNRESET);
	zw_close(p.a);
	zw_close(p.b);
	assert_true(zw_start_again(program));
	assert_true(zw_until(back, &p));
	p.b = zw_accept(other, PORT);
	assert_non_null(p.b);
	assert_int_equal(channels(), 1);
	flow(p.a, p.b);
	converse(p, ZV_STREAM);
	assert_true(zw_until(all_free, NULL));
}

/* ---- the client socket ---- */

static int ask(int fd, struct client_msg *m)
{
	assert_int_equal(send(fd, m, sizeof(*m), MSG_NOSIGNAL), sizeof(*m));
	assert_int_equal(recv(fd, m, sizeof(*m), 0), sizeof(*m));
	return m->result;
}

/* Who knows the id of a region, but was not told of it: it is attached, and its driver silent. */
static void a_region_is_for_those_who_were_told(void **state)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct client_msg m;
	uint64_t id;
	int fd;

	(void)state;
	ask_control("regions");
	id = strtoull(strstr(answer, "\"id\":\"") + 6, NULL, 16);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90sapps", zw_dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
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
#define IN(world, test) cmocka_unit_test_setup_teardown(test, start_##world, stop)
	const struct CMUnitTest tests[] = {
		IN(plain, payload_goes_past_zvsockd),
		IN(plain, a_device_talks_to_itself),
		IN(plain, much_passes_unchanged),
		IN(big, a_full_region_means_copying),
		IN(none, without_a_region_zvsockd_copies),
		IN(plain, a_driver_without_channels_is_served),
		IN(plain, a_reload_changes_the_region),
		IN(plain, the_survivor_is_told),
		IN(small, many_deaths_lose_nothing),
		IN(plain, zvsockd_may_die),
		IN(plain, a_region_is_for_those_who_were_told),
	};

	if (argc == 5 && strcmp(argv[1], "app") == 0)
		return be_app(argv[2], argv[3], argv[4]);
	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	self = argv[0];
	program = argv[1];
	cmocka_set_test_filter(argv[2]);
	return cmocka_run_group_tests_name("channels", tests, NULL, NULL);
}
