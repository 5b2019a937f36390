/* SPDX-License-Identifier: BSD-3-Clause */
/* The owner of a lock file mounts something on it between two looks at it. */
#include "dir_open.h"
#include "sock_claim.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bool mounted;

int __wrap_dir_open_path(const char *path, int flags, mode_t mode);
int __real_dir_open_path(const char *path, int flags, mode_t mode);

int __wrap_dir_open_path(const char *path, int flags, mode_t mode)
{
	return mounted && flags & O_PATH ? -EXDEV : __real_dir_open_path(path, flags, mode);
}

static void a_mount_on_the_lock_file_is_named(void **state)
{
	char dir[] = "/tmp/zv-claim-XXXXXX", path[64], lock[80];
	int claim;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
	mounted = true;
	assert_int_equal(sock_claim(path), -EXDEV);
	assert_non_null(strstr(zv_error_text(), lock));
	assert_non_null(strstr(zv_error_text(), DIR_MOUNTED));
	/* Whose file it is by then is not known, so it stays, and is no hindrance. */
	assert_int_equal(access(lock, F_OK), 0);
	mounted = false;
	claim = sock_claim(path);
	assert_true(claim >= 0);
	sock_unclaim(path, claim);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mount_on_the_lock_file_is_named),
	};

	return cmocka_run_group_tests_name("sock_claim", tests, NULL, NULL);
}
