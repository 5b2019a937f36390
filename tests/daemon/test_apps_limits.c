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
#define MOST_PORTS 1024u /* of an application */

static const char *program, *self;

/* The user that runs the test, if that is not root, is not named either. */
static int be_refused(const char *uri)
{
	struct zv_dev *dev;

	if (geteuid() == 0 && (setgid(NOT_NAMED) || setuid(NOT_NAMED))) {
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

static int world_start(void **state)
{
	(void)state;
	zw_keep_log = true;
	return zw_start(program,
			"applications = @apps\napplications_mode = 0666\n"
			"application_users = 54320\n",
			1) && zw_logged("zvsockd .* is up")
		       ? 0
		       : -1;
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
