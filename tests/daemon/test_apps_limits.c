/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What applications of the host may not do to zvsockd: attach as a user that is not named, listen
 * on more ports than one of them may have. "test_daemon_apps_limits refused URI" is an application
 * of another user, which tries to attach.
 */
#include "zvd_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define NOT_NAMED  54321 /* a uid and a gid */
#define TRIES	   500u
#define FIRST_PORT 5000u
#define MOST_PORTS 1024u /* of an application: docs/protocol.md */

static struct zv_dev *app; /* of the user that runs the test */
static const char *program, *self;

static int be_refused(const char *uri)
{
	struct zv_dev *dev;

	if (setgid(NOT_NAMED) || setuid(NOT_NAMED)) {
		perror("setuid");
		return 1;
	}
	for (unsigned i = 0; i < TRIES; i++) {
		int ret = zv_open(&dev, uri, NULL);

		if (ret != -EACCES || !strstr(zv_error_text(), "application_users")) {
			fprintf(stderr, "try %u: %d, %s\n", i, ret, ret ? zv_error_text() : "ok");
			return 1;
		}
	}
	return 0;
}

/* However its question and the answer overtake each other. */
static void who_is_turned_away_learns_why(void **state)
{
	char uri[128];
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		print_message("no other user can be had without root\n");
		skip();
	}
	snprintf(uri, sizeof(uri), "daemon:%sapps", zw_dir);
	assert_int_equal(chmod(zw_dir, 0711), 0);
	pid = fork();
	if (pid == 0) {
		execl(self, self, "refused", uri, (char *)NULL);
		_exit(127);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_true(zw_logged("may not attach"));
}

/* What it asks for is memory of zvsockd, and time of whoever looks for a port. */
static void ports_are_limited(void **state)
{
	uint32_t n = 0;

	(void)state;
	while (n <= MOST_PORTS && zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0) == 0)
		n++;
	assert_int_equal(n, MOST_PORTS);
	assert_int_equal(zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0), -ENOSPC);
	assert_non_null(strstr(zv_error_text(), "1024 ports"));
	assert_int_equal(zv_unlisten(app, FIRST_PORT), 0);
	assert_int_equal(zv_listen(app, FIRST_PORT + n, ZV_STREAM, 0), 0);
	assert_int_equal(zv_listen(app, FIRST_PORT, ZV_STREAM, 0), -ENOSPC);
	for (uint32_t i = 1; i <= n; i++)
		assert_int_equal(zv_unlisten(app, FIRST_PORT + i), 0);
}

static int world_start(void **state)
{
	char conf[128];

	(void)state;
	snprintf(conf, sizeof(conf),
		 "applications = @apps\napplications_mode = 0666\napplication_users = %u\n",
		 (unsigned)geteuid());
	zw_keep_log = true;
	if (!zw_start(program, conf, 1) || !zw_logged("zvsockd .* is up"))
		return -1;
	app = zw_app(0, "apps", 1);
	return app ? 0 : -1;
}

static int world_end(void **state)
{
	(void)state;
	return zw_stop() ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_turned_away_learns_why),
		cmocka_unit_test(ports_are_limited),
	};

	if (argc == 3 && strcmp(argv[1], "refused") == 0)
		return be_refused(argv[2]);
	if (argc < 2) {
		fprintf(stderr, "usage: %s ZVSOCKD\n", argv[0]);
		return 2;
	}
	self = argv[0];
	program = argv[1];
	return cmocka_run_group_tests_name("apps_limits", tests, world_start, world_end);
}
