/* SPDX-License-Identifier: BSD-3-Clause */
/* Programs that the bench starts: itself, with the name of a case and of a socket. */
#include "io/peer/program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define BEFORE_LISTEN_US 300000

static int socket_at(struct sockaddr_un *sa, const char *path)
{
	*sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(sa->sun_path, sizeof(sa->sun_path), "%s", path);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static int program(const char *what, const char *path)
{
	bool moves = strcmp(what, "moves") == 0;
	struct sockaddr_un sa;
	char first[sizeof(sa.sun_path)];
	int fd;

	if (strcmp(what, "ends") == 0) {
		fprintf(stderr, "no wish to listen\n");
		return 1;
	}
	snprintf(first, sizeof(first), "%s%s", path, moves ? ".new" : "");
	fd = socket_at(&sa, first);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return 1;
	if (!moves)
		(void)usleep(BEFORE_LISTEN_US);
	if (listen(fd, 8) < 0 || (moves && rename(first, path) < 0))
		return 1;
	for (;;)
		pause();
}

/* What program_start() says of @what; then a connection is tried. */
static int started(const char *what, struct proc_err *err)
{
	char self[512], kind[16], dir[64] = "", path[100];
	char *argv[] = {self, kind, path, NULL};
	const char *sockets[] = {path, NULL};
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct sockaddr_un sa;
	struct proc p = {0};
	int rc, fd;

	assert_true(n > 0);
	self[n] = '\0';
	assert_int_equal(bench_dir_make(dir, sizeof(dir), err), 0);
	snprintf(kind, sizeof(kind), "%s", what);
	snprintf(path, sizeof(path), "%s/s", dir);
	rc = program_start(&p, "the program", argv, dir, CPUS_FREE, ROLE_HOST, sockets, err);
	if (rc == 0) {
		fd = socket_at(&sa, path);
		assert_true(fd >= 0);
		rc = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? -errno : 0;
		close(fd);
		program_stop(&p);
	}
	bench_dir_remove(dir);
	return rc;
}

/* Between bind() and listen() the socket is there, and whoever connects is refused. */
static void a_socket_is_there_once_it_listens(void **state)
{
	struct proc_err err = {0};

	(void)state;
	assert_int_equal(started("late", &err), 0);
}

/* It is listed under the name that it had. */
static void a_socket_may_be_renamed(void **state)
{
	struct proc_err err = {0};

	(void)state;
	assert_int_equal(started("moves", &err), 0);
}

static void a_program_that_ends_is_quoted(void **state)
{
	struct proc_err err = {0};

	(void)state;
	assert_int_equal(started("ends", &err), -ECHILD);
	assert_string_equal(err.text, "the program ended at once: no wish to listen");
}

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_socket_is_there_once_it_listens),
		cmocka_unit_test(a_socket_may_be_renamed),
		cmocka_unit_test(a_program_that_ends_is_quoted),
	};

	if (argc == 3)
		return program(argv[1], argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
