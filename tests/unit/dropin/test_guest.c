/* SPDX-License-Identifier: BSD-3-Clause */
/* zvsock-run --guest: what zvsockd's control socket may answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "run/guest.h"

static void strings_are_found(void **state)
{
	static const struct {
		const char *json, *value;
	} cases[] = {
		{"{\"dir\":\"/run/a\"}", "/run/a"},
		{"{\"guests\":[{\"name\":\"dir\",\"dir\" : \"/run/a\\\"b\\/\"}]}", "/run/a\"b/"},
		{"{\"text\":\"\\\"dir\\\":\\\"no\\\"\",\"dir\":\"yes\"}", "yes"},
		{"{\"dir\":null}", NULL},
		{"{\"dir\":\"\\u0041\"}", NULL},
		{"{\"dir\":\"abc", NULL},
		{"{\"dir\":\"0123456789abcdef\"}", NULL}, /* no room */
		{"{\"dirs\":\"x\"}", NULL},
		{"{\"x\":\"unfinished \\", NULL},
		{"\"", NULL},
		{"", NULL},
	};
	char value[16];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = guest_json_string(cases[i].json, "dir", value, sizeof(value));

		if (cases[i].value)
			assert_string_equal(got, cases[i].value);
		else
			assert_null(got);
	}
}

struct daemon {
	int listener;
	const char *answer;
	char asked[256];
};

static void *serve(void *arg)
{
	struct daemon *d = arg;
	int fd = accept(d->listener, NULL, NULL);
	ssize_t got = read(fd, d->asked, sizeof(d->asked) - 1);

	d->asked[got > 0 ? got : 0] = '\0';
	(void)!write(fd, d->answer, strlen(d->answer));
	close(fd);
	return NULL;
}

static char listed[512];

static void note(const struct guest_seen *g)
{
	size_t n = strlen(listed);

	snprintf(listed + n, sizeof(listed) - n, "%u %s %s;", g->cid, g->name, g->state);
}

/* @name NULL: guest_list() of "/run/x". */
static int ask(const char *answer, const char *name, char dir[64], char why[256], char asked[256])
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct daemon d = {.answer = answer};
	char folder[] = "/tmp/zvguestXXXXXX";
	pthread_t t;
	int r;

	assert_non_null(mkdtemp(folder));
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", folder);
	d.listener = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(d.listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(d.listener, 1), 0);
	assert_int_equal(pthread_create(&t, NULL, serve, &d), 0);
	*listed = '\0';
	r = name ? guest_dir(a.sun_path, name, dir, 64, why, 256)
		 : guest_list(a.sun_path, "/run/x", note, why, 256);
	pthread_join(t, NULL);
	close(d.listener);
	unlink(a.sun_path);
	rmdir(folder);
	strcpy(asked, d.asked);
	return r;
}

static void the_daemon_is_asked(void **state)
{
	char dir[64], why[256] = "", asked[256];

	(void)state;
	assert_int_equal(ask("{\"v\":1,\"ok\":true,\"guests\":[{\"name\":\"web\","
			     "\"af_vsock\":\"/run/x\"}]}\n",
			     "web", dir, why, asked),
			 0);
	assert_string_equal(dir, "/run/x");
	assert_string_equal(asked, "{\"v\":1,\"cmd\":\"guests\",\"guest\":\"web\"}\n");
	assert_int_equal(
		ask("{\"ok\":false,\"code\":\"guest\",\"error\":\"there is no guest db\"}\n", "db",
		    dir, why, asked),
		-ENODEV);
	assert_non_null(strstr(why, "there is no guest db"));
	assert_int_equal(
		ask("{\"ok\":true,\"guests\":[{\"name\":\"web\"}]}\n", "web", dir, why, asked),
		-ENODEV);
	assert_non_null(strstr(why, "has no af_vsock"));
	assert_int_equal(ask("", "web", dir, why, asked), -EPROTO);
	assert_int_equal(ask("{\"ok\":true", "web", dir, why, asked), -EPROTO);
}

#define G(name, kind, cid, dir)                                                                    \
	"{\"name\":\"" name "\",\"kind\":\"" kind "\",\"cid\":" cid                                \
	",\"state\":\"up\",\"sockets\":[{}],"                                                      \
	"\"af_vsock\":\"" dir "\"}"

#define A	  G("a", "guest", "3", "/run/x")
#define ELSEWHERE G("b", "guest", "4", "/run/y")
#define DEVICE	  G("c", "device", "5", "/run/x")
#define ODD	  G("}d{", "guest", "6", "/run/x")
#define NO_NUMBER G("a", "guest", "\"x\"", "/run/x")

static void guests_are_listed(void **state)
{
	static const struct {
		const char *answer, *listed;
		int ret;
	} cases[] = {
		{"{\"ok\":true,\"guests\":[" A "," ELSEWHERE "," DEVICE "," ODD "],\"failed\":0}\n",
		 "3 a up;6 }d{ up;", 2},
		{"{\"ok\":true,\"guests\":[]}\n", "", 0},
		{"{\"ok\":true}\n", "", 0},
		{"{\"guests\":[" NO_NUMBER "]}\n", "", 0},
		{"{\"guests\":[{\"name\":\"unfinished\n", "", 0},
		{"{\"ok\":false,\"error\":\"no\"}\n", "", -ENODEV},
		{"", "", -EPROTO},
	};
	char why[256], asked[256];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ask(cases[i].answer, NULL, NULL, why, asked), cases[i].ret);
		assert_string_equal(listed, cases[i].listed);
		assert_string_equal(asked, "{\"v\":1,\"cmd\":\"guests\"}\n");
	}
}

static void what_cannot_be_asked_is_said(void **state)
{
	char dir[64], why[256], longer[200];

	(void)state;
	assert_int_equal(guest_dir("/nowhere/control", "web", dir, 64, why, 256), -ENOENT);
	assert_non_null(strstr(why, "/nowhere/control"));
	assert_int_equal(guest_dir("/nowhere", "a\"b", dir, 64, why, 256), -EINVAL);
	assert_int_equal(guest_dir("/nowhere", "", dir, 64, why, 256), -EINVAL);
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(guest_dir(longer, "web", dir, 64, why, 256), -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strings_are_found),
		cmocka_unit_test(the_daemon_is_asked),
		cmocka_unit_test(guests_are_listed),
		cmocka_unit_test(what_cannot_be_asked_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
