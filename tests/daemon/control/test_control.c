/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: its answers, and clients that are slow, wrong, greedy or gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "control/control_int.h"
#include "fake_daemon.h"
#include "raw_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ASK(cmd) "{\"v\":1,\"cmd\":\"" cmd "\"}\n"

static int setup(void **state)
{
	*state = fake_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	fake_free(*state);
	return 0;
}

static const char *text(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

/* Somebody else is served, now. */
static void others_are_served(const struct fake *f)
{
	int fd = raw_connect(f->path);
	json_t *j = raw_ask(fd, ASK("guests"));

	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
	(void)close(fd);
}

static void guests_are_told(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j, *g;

	fake_conns(f, 1, 0, 3);
	fake_conns(f, 1, 1, 4);
	strcpy(f->cfgs[2].space.dir, "/run/x");
	j = raw_ask(fd, ASK("guests"));
	assert_null(json_object_get(json_array_get(json_object_get(j, "guests"), 1), "af_vsock"));
	assert_string_equal(text(json_array_get(json_object_get(j, "guests"), 2), "af_vsock"),
			    "/run/x");
	assert_int_equal(json_integer_value(json_object_get(j, "v")), 1);
	assert_string_equal(text(j, "daemon"), zv_version());
	assert_int_equal(json_array_size(json_object_get(j, "guests")), 3);
	g = json_array_get(json_object_get(j, "guests"), 1);
	assert_string_equal(text(g, "name"), "db");
	assert_string_equal(text(g, "state"), "up");
	assert_string_equal(text(g, "peer"), "plain");
	assert_string_equal(text(g, "mode"), "client");
	assert_int_equal(json_integer_value(json_object_get(g, "cid")), 4);
	assert_int_equal(json_integer_value(json_object_get(g, "connections")), 7);
	assert_int_equal(json_array_size(json_object_get(g, "sockets")), 2);
	json_decref(j);
	(void)close(fd);
}

static void stats_have_every_counter(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j = raw_ask(fd, "{\"v\":1,\"cmd\":\"stats\",\"guest\":\"db\"}\n"), *g, *c;

	assert_int_equal(json_array_size(json_object_get(j, "guests")), 1);
	g = json_array_get(json_object_get(j, "guests"), 0);
	c = json_object_get(json_array_get(json_object_get(g, "queues"), 1), "counters");
	/* The fake's counter i of queue 1 is 1000 + i. */
	assert_int_equal(json_object_size(c), offsetof(struct zv_queue_stats, reserved) / 8);
	assert_int_equal(json_integer_value(json_object_get(c, "rx_packets")), 1000);
	assert_int_equal(json_integer_value(json_object_get(c, "rx_bad_cid")),
			 1000 + offsetof(struct zv_queue_stats, rx_bad_cid) / 8);
	c = json_object_get(g, "endpoints");
	assert_int_equal(json_integer_value(json_object_get(c, "guest_joined")), 12);
	json_decref(j);
	(void)close(fd);
}

/* More than a socket's buffer, and more than an lcore should be kept by one call. */
static void a_long_list_is_complete(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j, *conns, *c;

	fake_conns(f, 0, 0, 10);
	fake_conns(f, 2, 1, 5000);
	j = raw_ask(fd, ASK("list"));
	conns = json_object_get(j, "connections");
	assert_int_equal(json_array_size(conns), 5010);
	c = json_array_get(conns, 5009);
	assert_string_equal(text(c, "guest"), "a-b");
	assert_string_equal(text(c, "type"), "seqpacket");
	assert_int_equal(json_integer_value(json_object_get(c, "queue")), 1);
	assert_int_equal(json_integer_value(json_object_get(c, "peer_port")), 50000 + 4999);
	assert_true(json_integer_value(json_object_get(c, "age_ns")) > 60000000000);
	json_decref(j);
	j = raw_ask(fd, "{\"v\":1,\"cmd\":\"guests\",\"guest\":\"a-b\"}\n");
	c = json_array_get(json_object_get(j, "guests"), 0);
	assert_int_equal(json_integer_value(json_object_get(c, "connections")), 5000);
	json_decref(j);
	assert_in_range(f->queues[2][1].most_shown, 1, FAKE_SLICE);
	j = raw_ask(fd, "{\"v\":1,\"cmd\":\"list\",\"guest\":\"web\"}\n");
	assert_int_equal(json_array_size(json_object_get(j, "connections")), 10);
	json_decref(j);
	(void)close(fd);
}

/* Its owner does: before it has one nobody knows, after it has closed it its kind still does. */
static void a_connection_says_where_it_leads(void **state)
{
	static const char *const want[] = {"web's 1024", "-", "web's 1026", "web's 1027"};
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j, *c;
	size_t i;

	fake_conns(f, 0, 0, 4);
	j = raw_ask(fd, ASK("list"));
	assert_int_equal(json_array_size(json_object_get(j, "connections")), 4);
	json_array_foreach(json_object_get(j, "connections"), i, c)
		assert_string_equal(text(c, "endpoint"), want[i]);
	json_decref(j);
	(void)close(fd);
}

/* What zvsockd drives as a guest has no sockets and no groups, and the CID that the device says. */
static void a_device_is_told_as_one(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j, *g;

	pthread_mutex_lock(&f->main);
	f->cfgs[0].role = CFG_AS_GUEST;
	f->cfgs[0].cid = 0;
	strcpy(f->cfgs[0].scheme, "vfio");
	strcpy(f->cfgs[0].devices[0], "0000:00:02.0");
	pthread_mutex_unlock(&f->main);
	j = raw_ask(fd, ASK("guests"));
	g = json_array_get(json_object_get(j, "guests"), 0);
	assert_string_equal(text(g, "kind"), "device");
	assert_string_equal(text(g, "mode"), "device");
	assert_int_equal(json_integer_value(json_object_get(g, "cid")), 3);
	assert_null(json_object_get(g, "sockets"));
	assert_string_equal(json_string_value(json_array_get(json_object_get(g, "devices"), 0)),
			    "vfio:0000:00:02.0");
	assert_string_equal(text(json_array_get(json_object_get(j, "guests"), 1), "kind"), "guest");
	json_decref(j);
	j = raw_ask(fd, ASK("stats"));
	g = json_array_get(json_object_get(j, "guests"), 0);
	assert_string_equal(text(g, "kind"), "device");
	assert_int_equal(json_integer_value(json_object_get(g, "cid")), 3);
	json_decref(j);
	(void)close(fd);
}

/* Such a path is legal, and JSON has no word for it. */
static void a_path_that_is_no_text_is_told_all_the_same(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j;

	pthread_mutex_lock(&f->main);
	memcpy(f->cfgs[0].devices[0], "/run/\xff\xfe", sizeof("/run/\xff\xfe"));
	pthread_mutex_unlock(&f->main);
	j = raw_ask(fd, ASK("guests"));
	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_array_get(json_object_get(j, "guests"), 0), "sockets"),
			0)),
		"/run/??");
	json_decref(j);
	(void)close(fd);
}

static void wrong_requests_are_refused_one_by_one(void **state)
{
	static const struct {
		const char *line, *code, *part;
	} cases[] = {
		{"\n", "request", "JSON"},
		{"x\n", "request", "JSON"},
		{"{\"v\":1,\"cmd\":\"guests\"\n", "request", "JSON"},
		{"{\"v\":1,\"v\":1}\n", "request", "JSON"},
		{"\"\xff\xfe\"\n", "request", "JSON"},
		{"[1]\n", "request", "object"},
		{"{}\n", "version", "version 1"},
		{"{\"v\":2,\"cmd\":\"guests\"}\n", "version", "version 1"},
		{"{\"v\":\"1\",\"cmd\":\"guests\"}\n", "version", "version 1"},
		{"{\"v\":1}\n", "request", "cmd"},
		{"{\"v\":1,\"cmd\":1}\n", "request", "string"},
		{"{\"v\":1,\"cmd\":\"reboot\"}\n", "request",
		 "must be guests, list, stats, capture, stop, regions or connect"},
		{"{\"v\":1,\"cmd\":\"list\",\"guest\":7}\n", "request", "string"},
		{"{\"v\":1,\"cmd\":\"list\",\"guest\":\"we\"}\n", "guest", "web, db, a-b"},
		{"{\"v\":1,\"cmd\":\"stats\",\"guest\":\"\\u00e4\"}\n", "guest", "web"},
		{"{\"v\":1,\"cmd\":\"capture\"}\n", "request", "descriptor"},
		{"{\"v\":1,\"cmd\":\"capture\",\"count\":-1}\n", "request", "count"},
		{"{\"v\":1,\"cmd\":\"capture\",\"snaplen\":1048577}\n", "request", "1048576"},
		{"{\"v\":1,\"cmd\":\"capture\",\"snaplen\":\"x\"}\n", "request", "snaplen"},
		{"{\"v\":1,\"cmd\":\"stop\"}\n", "request", "no capture"},
	};
	struct fake *f = *state;
	int fd = raw_connect(f->path);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *j = raw_ask(fd, cases[i].line);

		if (!json_is_false(json_object_get(j, "ok")) ||
		    strcmp(text(j, "code"), cases[i].code) != 0 ||
		    !strstr(text(j, "error"), cases[i].part))
			fail_msg("%s: %s: %s", cases[i].line, text(j, "code"), text(j, "error"));
		json_decref(j);
	}
	(void)close(fd);
	others_are_served(f);
}

/* 4,095 brackets are a line that a careless parser recurses on; a zero byte ends no line. */
static void odd_bytes_are_only_bytes(void **state)
{
	static const char zero[] = "{\"v\":1,\0\"cmd\":\"guests\"}\n";
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	char deep[CONTROL_LINE_MAX];
	json_t *j;

	memset(deep, '[', sizeof(deep));
	deep[sizeof(deep) - 1] = '\n';
	assert_true(raw_send(fd, deep, sizeof(deep), NULL, 0));
	j = raw_line(fd);
	assert_string_equal(text(j, "code"), "request");
	json_decref(j);
	assert_true(raw_send(fd, zero, sizeof(zero) - 1, NULL, 0));
	j = raw_line(fd);
	assert_string_equal(text(j, "code"), "request");
	json_decref(j);
	(void)close(fd);
}

static void an_overlong_line_ends_the_connection(void **state)
{
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	char big[3 * CONTROL_LINE_MAX];
	json_t *j;

	memset(big, ' ', sizeof(big));
	(void)raw_send(fd, big, sizeof(big), NULL, 0);
	j = raw_line(fd);
	if (j) /* unread bytes at the close may cost the client the answer */
		assert_true(strstr(text(j, "error"), "longer than 4096"));
	json_decref(j);
	assert_true(raw_closed(fd));
	(void)close(fd);
	others_are_served(f);
}

static void bytes_may_come_one_by_one_or_all_at_once(void **state)
{
	static const char two[] = ASK("guests") ASK("stats");
	struct fake *f = *state;
	int fd = raw_connect(f->path);
	json_t *j;

	for (size_t i = 0; i + 1 < sizeof(two); i++)
		assert_true(raw_send(fd, two + i, 1, NULL, 0));
	assert_true(raw_send_line(fd, two));
	for (unsigned i = 0; i < 4; i++) {
		j = raw_line(fd);
		assert_true(json_is_true(json_object_get(j, "ok")));
		assert_int_equal(json_object_get(j, "lcores") != NULL, i % 2);
		json_decref(j);
	}
	(void)close(fd);
}

static void who_leaves_early_hurts_nobody(void **state)
{
	struct fake *f = *state;
	unsigned before = raw_count_fds(); /* nobody has ever been here */

	fake_conns(f, 0, 0, 1000);
	others_are_served(f);
	for (unsigned i = 0; i < 50; i++) {
		int fd = raw_connect(f->path);

		if (i % 5)
			(void)raw_send_line(fd, i % 5 == 1 ? "{\"v\":1,\"cm" : ASK("list"));
		if (i % 5 == 3) /* while the answer is on its way */
			(void)!read(fd, (char[10]){0}, 10);
		(void)close(fd);
	}
	fake_conns(f, 0, 0, 0);
	others_are_served(f);
	assert_true(raw_fds_at_most(before));
}

static void patience(struct fake *f, uint64_t ms)
{
	pthread_mutex_lock(&f->main);
	f->d.control->client_timeout_ns = ms * 1000000;
	pthread_mutex_unlock(&f->main);
}

static void who_stalls_loses_its_place(void **state)
{
	struct fake *f = *state;
	int silent, half, unread;

	patience(f, 100);
	fake_conns(f, 0, 0, 3000);
	silent = raw_connect(f->path);
	half = raw_connect(f->path);
	unread = raw_connect(f->path);
	/* On a machine that is slow enough they have lost their places already. */
	(void)raw_send_line(half, "{\"v\":1,");
	(void)raw_send_line(unread, ASK("list"));
	assert_true(raw_closed(silent));
	assert_true(raw_closed(half));
	/* Nobody reads @unread before it is closed: its answer ends in the middle. */
	assert_true(raw_closed(unread));
	pthread_mutex_lock(&f->main);
	assert_int_equal(f->d.control->unsent, 0);
	pthread_mutex_unlock(&f->main);
	(void)close(silent);
	(void)close(half);
	(void)close(unread);
	patience(f, CONTROL_CLIENT_TIMEOUT_MS);
	fake_conns(f, 0, 0, 0);
	others_are_served(f);
}

/* A reload may keep the main thread from us for longer than the patience: then the timer is due,
 * and the client's time over, before its request is seen. */
static void who_has_asked_in_time_is_answered(void **state)
{
	const struct itimerspec soon = {.it_interval.tv_sec = 1, .it_value.tv_nsec = 1};
	struct fake *f = *state;
	struct control *ct = f->d.control;
	struct pollfd timer = {.fd = ct->timer, .events = POLLIN};
	int fd = raw_connect(f->path);
	json_t *j = raw_ask(fd, ASK("guests"));

	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
	pthread_mutex_lock(&f->main);
	ct->clients[0].ticks = 1;
	assert_int_equal(timerfd_settime(ct->timer, 0, &soon, NULL), 0);
	assert_int_equal(poll(&timer, 1, RAW_PATIENCE_MS), 1);
	assert_true(raw_send_line(fd, ASK("guests")));
	pthread_mutex_unlock(&f->main);
	j = raw_line(fd);
	assert_true(json_is_true(json_object_get(j, "ok")));
	json_decref(j);
	(void)close(fd);
}

/* We have stood still, and the machine perhaps: the client, who reads its answer, is not late. */
static void nobody_is_late_because_of_us(void **state)
{
	const struct itimerspec fast = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1};
	const struct itimerspec slow = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
	struct fake *f = *state;
	struct control *ct = f->d.control;
	int fd = raw_connect(f->path);
	json_t *j;

	fake_conns(f, 0, 0, 5000);
	assert_true(raw_send_line(fd, ASK("list")));
	assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, RAW_PATIENCE_MS), 1);
	pthread_mutex_lock(&f->main);
	assert_true(ct->unsent > 0);
	assert_int_equal(timerfd_settime(ct->timer, 0, &fast, NULL), 0);
	(void)usleep(100000); /* many times as many ticks as anybody has */
	control_serve(&f->d);
	assert_int_equal(timerfd_settime(ct->timer, 0, &slow, NULL), 0);
	pthread_mutex_unlock(&f->main);
	j = raw_line(fd);
	assert_int_equal(json_array_size(json_object_get(j, "connections")), 5000);
	json_decref(j);
	(void)close(fd);
}

static void who_comes_when_all_places_are_taken_waits(void **state)
{
	struct fake *f = *state;
	int fds[CONTROL_CLIENTS + 4];
	json_t *j;

	for (unsigned i = 0; i < CONTROL_CLIENTS + 4; i++) {
		fds[i] = raw_connect(f->path);
		assert_true(fds[i] >= 0);
		assert_true(raw_send_line(fds[i], ASK("guests")));
	}
	for (unsigned i = 0; i < CONTROL_CLIENTS + 4; i++) {
		j = raw_line(fds[i]);
		assert_true(json_is_true(json_object_get(j, "ok")));
		json_decref(j);
		(void)close(fds[i]); /* and so lets the next one in */
	}
}

static void descriptors_nobody_wants_are_closed(void **state)
{
	struct fake *f = *state;
	int fd, p[2], many[16];
	unsigned before;
	json_t *j;

	assert_int_equal(pipe(p), 0);
	for (unsigned i = 0; i < 16; i++)
		many[i] = p[1];
	fd = raw_connect(f->path);
	j = raw_ask(fd, ASK("guests"));
	json_decref(j);
	before = raw_count_fds();
	for (unsigned i = 0; i < 20; i++) {
		assert_true(raw_send(fd, "{\"v\":1,", 7, many, 16));
		assert_true(raw_send(fd, "\"cmd\":", 6, many, 1));
		assert_true(raw_send(fd, "\"guests\"}\n", 10, many, 2));
		j = raw_line(fd);
		assert_true(json_is_true(json_object_get(j, "ok")));
		json_decref(j);
		/* They are closed elsewhere, and who sends more than that manages is cut off. */
		assert_true(raw_fds_at_most(before));
	}
	(void)close(p[0]);
	(void)close(p[1]);
	(void)close(fd);
}

static void the_socket_is_the_owners_and_one_daemons(void **state)
{
	struct fake *f = *state;
	struct daemon other = {.cfg = &f->cfg};
	struct stat st;

	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(control_start(&other), -EADDRINUSE);
	assert_int_equal(control_fd(&other), -1);
	others_are_served(f);
}

static void without_a_path_there_is_no_socket(void **state)
{
	struct cfg cfg = {0};
	struct daemon d = {.cfg = &cfg};

	(void)state;
	assert_int_equal(control_start(&d), 0);
	assert_int_equal(control_fd(&d), -1);
	control_serve(&d);
	control_guest_up(&d, NULL);
	control_guest_down(&d, NULL);
	control_stop(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(guests_are_told, setup, teardown),
		cmocka_unit_test_setup_teardown(stats_have_every_counter, setup, teardown),
		cmocka_unit_test_setup_teardown(a_long_list_is_complete, setup, teardown),
		cmocka_unit_test_setup_teardown(a_connection_says_where_it_leads, setup, teardown),
		cmocka_unit_test_setup_teardown(a_device_is_told_as_one, setup, teardown),
		cmocka_unit_test_setup_teardown(a_path_that_is_no_text_is_told_all_the_same, setup,
						teardown),
		cmocka_unit_test_setup_teardown(wrong_requests_are_refused_one_by_one, setup,
						teardown),
		cmocka_unit_test_setup_teardown(odd_bytes_are_only_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(an_overlong_line_ends_the_connection, setup,
						teardown),
		cmocka_unit_test_setup_teardown(bytes_may_come_one_by_one_or_all_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(who_leaves_early_hurts_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(who_stalls_loses_its_place, setup, teardown),
		cmocka_unit_test_setup_teardown(who_has_asked_in_time_is_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_is_late_because_of_us, setup, teardown),
		cmocka_unit_test_setup_teardown(who_comes_when_all_places_are_taken_waits, setup,
						teardown),
		cmocka_unit_test_setup_teardown(descriptors_nobody_wants_are_closed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(the_socket_is_the_owners_and_one_daemons, setup,
						teardown),
		cmocka_unit_test(without_a_path_there_is_no_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
