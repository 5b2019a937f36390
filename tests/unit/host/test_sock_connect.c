/* SPDX-License-Identifier: BSD-3-Clause */
/* Which sockets a path leads to, and what may be in their place. */
#include "sock_claim.h"
#include "sock_connect.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zvsock.h>

#include <cmocka.h>

static char dir[] = "/tmp/zvsock-connect-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[4][108];
	static unsigned i;

	i = (i + 1) % 4;
	(void)snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

/* The next connect() finds "socket" mounted on "stale", and this is its answer. */
static bool mount_late;
static int late_answer;

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	bool late = mount_late;
	int ret;

	mount_late = false;
	if (late && mount(in_dir("socket"), in_dir("stale"), NULL, MS_BIND, NULL) < 0)
		_exit(77);
	ret = (int)syscall(SYS_connect, fd, sa, len);
	if (late)
		late_answer = ret < 0 ? -errno : 0;
	return ret;
}

static int listen_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int try_connect(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int ret = sock_connect(fd, path);

	(void)close(fd);
	return ret;
}

/* By a thread that must not wait. */
static int try_cached(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int at = open(dir, O_PATH | O_CLOEXEC), ret;

	assert_true(at >= 0);
	ret = sock_connect_cached(fd, at, name);
	(void)close(at);
	(void)close(fd);
	return ret;
}

/* A mount or rename anywhere at the same moment makes the kernel give up. */
static int try_cached_again(const char *name)
{
	int ret = -EINPROGRESS;

	for (unsigned i = 0; i < 100000 && ret == -EINPROGRESS; i++)
		ret = try_cached(name);
	return ret;
}

static void empty_file(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	(void)close(fd);
}

static void only_a_socket_of_that_name_is_connected_to(void **state)
{
	int fd = listen_at(in_dir("socket"));

	(void)state;
	assert_int_equal(try_connect(in_dir("socket")), 0);
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(try_connect("socket"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(try_connect(in_dir("none")), -ENOENT);
	assert_int_equal(try_connect(in_dir("none/socket")), -ENOENT);
	empty_file(in_dir("file"));
	assert_int_equal(try_connect(in_dir("file")), -ENOTSOCK);
	assert_int_equal(symlink(in_dir("socket"), in_dir("link")), 0);
	assert_int_equal(try_connect(in_dir("link")), -ELOOP);
	assert_int_equal(link(in_dir("socket"), in_dir("second")), 0);
	assert_int_equal(try_connect(in_dir("second")), -EMLINK);
	assert_non_null(sock_connect_refusal(-EXDEV));
	(void)close(fd);
	(void)unlink(in_dir("second"));
	(void)unlink(in_dir("link"));
	(void)unlink(in_dir("file"));
	(void)unlink(in_dir("socket"));
}

/* Names that the kernel has in its cache; that of a socket which has just been made is. */
static void a_cached_name_is_not_waited_for(void **state)
{
	int fd = listen_at(in_dir("socket")), fresh = try_cached("none"), ret;

	(void)state;
	assert_int_equal(try_cached_again("socket"), 0);
	/* Some file systems do not cache that there is nothing. */
	assert_true(fresh == -EINPROGRESS || fresh == -ENOENT);
	ret = try_cached("never/asked");
	assert_true(ret == -EINPROGRESS || ret == -ENOENT);
	empty_file(in_dir("file"));
	assert_int_equal(try_cached_again("file"), -ENOTSOCK);
	assert_int_equal(symlink(in_dir("socket"), in_dir("link")), 0);
	assert_int_equal(try_cached_again("link"), -ELOOP);
	assert_int_equal(link(in_dir("socket"), in_dir("second")), 0);
	assert_int_equal(try_cached_again("second"), -EMLINK);
	(void)close(fd);
	(void)unlink(in_dir("second"));
	(void)unlink(in_dir("link"));
	(void)unlink(in_dir("file"));
	assert_int_equal(try_cached_again("socket"), -ECONNREFUSED);
	(void)unlink(in_dir("socket"));
}

/* A directory that was never looked into: what is not in the cache is left to who may wait. */
static void what_is_not_cached_is_left_to_others(void **state)
{
	static const char *const at[] = {"/dev/shm", "/run", "/tmp"};
	char name[64];
	bool left = false;

	(void)state;
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		int parent = open(at[i], O_PATH | O_CLOEXEC);

		(void)snprintf(name, sizeof(name), "zvsock-nothing-%d-%u", (int)getpid(), i);
		left |= parent >= 0 && sock_connect_cached(fd, parent, name) == -EINPROGRESS;
		assert_int_equal(sock_connect_in(fd, parent, name), parent < 0 ? -EBADF : -ENOENT);
		(void)close(parent);
		(void)close(fd);
	}
	assert_true(left);
}

/* In a process of its own. False: it may not. */
static bool own_mounts(void)
{
	return (unshare(CLONE_NEWNS) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) &&
	       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* 0; otherwise what is wrong. */
static int look_at_mounts(void)
{
	if (!own_mounts())
		return 77;
	if (mount(in_dir("socket"), in_dir("mounted"), NULL, MS_BIND, NULL) < 0 ||
	    mount(in_dir("other"), in_dir("claimed.lock"), NULL, MS_BIND, NULL) < 0)
		return 77;
	if (try_connect(in_dir("mounted")) != -EXDEV)
		return 1;
	if (sock_claim(in_dir("claimed")) != -EXDEV || !strstr(zv_error_text(), "mounted"))
		return 2;
	if (sock_claim(in_dir("mounted")) != -EXDEV || !strstr(zv_error_text(), "mounted"))
		return 3;
	if (sock_set_rights(in_dir("mounted"), 0600, (uid_t)-1, (gid_t)-1) != -EXDEV)
		return 4;
	/* The question whether somebody listens is not put to "socket", where somebody does. */
	mount_late = true;
	(void)sock_claim(in_dir("stale"));
	return !mount_late && late_answer == -ECONNREFUSED ? 0 : 5;
}

/* The owner of a file may mount a file system of his own on it, which answers when it likes. */
static void what_is_mounted_on_a_name_is_not_looked_at(void **state)
{
	int fd = listen_at(in_dir("socket")), status;
	pid_t pid;

	(void)state;
	(void)close(listen_at(in_dir("stale")));
	empty_file(in_dir("mounted"));
	empty_file(in_dir("other"));
	empty_file(in_dir("claimed.lock"));
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(look_at_mounts());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(fd);
	(void)unlink(in_dir("socket"));
	(void)unlink(in_dir("stale"));
	(void)unlink(in_dir("stale.lock"));
	(void)unlink(in_dir("mounted"));
	(void)unlink(in_dir("mounted.lock"));
	(void)unlink(in_dir("other"));
	(void)unlink(in_dir("claimed.lock"));
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- few descriptors ---- */

/* With @room descriptors to be had: 1: claimed; 0: it said that there are too few; 2: else. */
static int claim_with(int room)
{
	struct rlimit limit;
	int lowest = dup(0), fd;

	if (lowest < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 3;
	(void)close(lowest);
	limit.rlim_cur = (rlim_t)(lowest + room);
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 4;
	fd = sock_claim(in_dir("claimed"));
	if (fd < 0)
		return fd == -EMFILE && strstr(zv_error_text(), in_dir("claimed")) ? 0 : 2;
	sock_unclaim(in_dir("claimed"), fd);
	return 1;
}

/* A claim that cannot look at its lock file ends; it would try for ever. */
static void a_claim_ends_where_there_are_few_descriptors(void **state)
{
	int status;

	(void)state;
	for (int room = 0; room <= 4; room++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			/* of processor time: no matter how busy the machine is */
			const struct rlimit seconds = {.rlim_cur = 10, .rlim_max = 10};

			closefrom(3);
			_exit(setrlimit(RLIMIT_CPU, &seconds) < 0 ? 5 : claim_with(room));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		(void)unlink(in_dir("claimed.lock"));
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), room < 3 ? 0 : 1);
	}
}

/* ---- seccomp ---- */

static bool deny_openat2(int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0;
}

/* 0; otherwise what is wrong. */
static int look_under_filter(int err)
{
	int fd;

	if (!deny_openat2(err))
		return 77;
	if (try_connect(in_dir("socket")) != 0)
		return 1;
	if (try_connect(in_dir("none")) != -ENOENT)
		return 2;
	if (try_cached("socket") != -EINPROGRESS)
		return 4;
	fd = sock_claim(in_dir("claimed"));
	if (fd < 0)
		return 3;
	sock_unclaim(in_dir("claimed"), fd);
	return 0;
}

/* As those of container managers that are older than the call. */
static void a_seccomp_filter_may_deny_openat2(void **state)
{
	static const int answers[] = {ENOSYS, EPERM};
	int fd = listen_at(in_dir("socket")), status[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(look_under_filter(answers[i]));
		assert_int_equal(waitpid(pid, &status[i], 0), pid);
	}
	(void)close(fd);
	(void)unlink(in_dir("socket"));
	for (int i = 0; i < 2; i++) {
		assert_true(WIFEXITED(status[i]));
		if (WEXITSTATUS(status[i]) == 77)
			skip();
		assert_int_equal(WEXITSTATUS(status[i]), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_a_socket_of_that_name_is_connected_to),
		cmocka_unit_test(a_cached_name_is_not_waited_for),
		cmocka_unit_test(what_is_not_cached_is_left_to_others),
		cmocka_unit_test(what_is_mounted_on_a_name_is_not_looked_at),
		cmocka_unit_test(a_claim_ends_where_there_are_few_descriptors),
		cmocka_unit_test(a_seccomp_filter_may_deny_openat2),
	};
	int ret;

	if (!mkdtemp(dir))
		return 99;
	ret = cmocka_run_group_tests_name("sock_connect", tests, NULL, NULL);
	return rmdir(dir) < 0 ? 1 : ret;
}
