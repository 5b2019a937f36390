/* SPDX-License-Identifier: BSD-3-Clause */
/* See ctl_run.h. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ctl_run.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static int program; /* an O_PATH descriptor of zvsockctl */
static int program_for_others = -1;

/* A copy that every user may run: the file's mode is what the umask of who built it has left. */
static int copy_program(const char *path)
{
	int in = open(path, O_RDONLY | O_CLOEXEC), out = memfd_create("zvsockctl", MFD_CLOEXEC);
	ssize_t n = 1;

	while (in >= 0 && out >= 0 && n > 0)
		n = sendfile(out, in, NULL, 1 << 20);
	if (n < 0 || fchmod(out, 0755) < 0)
		out = -1;
	(void)close(in);
	return out;
}

void run_start(struct run *r, const char *const *args, struct how how)
{
	char *argv[16] = {(char *)(uintptr_t) "zvsockctl"};

	for (unsigned i = 0; args[i]; i++)
		argv[i + 1] = (char *)(uintptr_t)args[i];
	r->out_fd = memfd_create("out", MFD_CLOEXEC);
	r->err_fd = memfd_create("err", MFD_CLOEXEC);
	assert_true(r->out_fd >= 0 && r->err_fd >= 0);
	r->pid = fork();
	assert_true(r->pid >= 0);
	if (r->pid == 0) {
		static char *const no_env[] = {NULL};

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves it behind */
		(void)dup2(how.out >= 0 ? how.out : r->out_fd, STDOUT_FILENO);
		(void)dup2(r->err_fd, STDERR_FILENO);
		if (how.nobody && (setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
			_exit(99);
		(void)fexecve(how.nobody ? program_for_others : program, argv, no_env);
		_exit(98);
	}
}

static void slurp(int fd, char *buf, size_t size)
{
	ssize_t n = pread(fd, buf, size - 1, 0);

	buf[n > 0 ? n : 0] = 0;
	(void)close(fd);
}

void run_finish(struct run *r)
{
	int st;

	assert_int_equal(waitpid(r->pid, &st, 0), r->pid);
	r->code = WIFEXITED(st) ? WEXITSTATUS(st) : 256 + WTERMSIG(st);
	slurp(r->out_fd, r->out, sizeof(r->out));
	slurp(r->err_fd, r->err, sizeof(r->err));
}

void run_ctl(const struct fake *f, struct run *r, const char *const *args)
{
	const char *all[16] = {"-s", f->path};

	for (unsigned i = 0; args[i]; i++)
		all[i + 2] = args[i];
	run_start(r, all, (struct how){.out = -1});
	run_finish(r);
}

void run_complains(const struct run *r, int code, const char *part)
{
	const char *nl = strchr(r->err, '\n');

	if (r->code != code || !strstr(r->err, part) || !nl || nl[1] || *r->out)
		fail_msg("exit code %d, \"%s\" and \"%s\"; wanted %d, \"%s\"", r->code, r->err,
			 r->out, code, part);
}

int run_setup(void **state)
{
	*state = fake_new();
	return *state ? 0 : -1;
}

int run_teardown(void **state)
{
	fake_free(*state);
	return 0;
}

bool run_program(int argc, char **argv)
{
	program = argc == 2 ? open(argv[1], O_PATH | O_CLOEXEC) : -1;
	if (program >= 0)
		program_for_others = copy_program(argv[1]);
	if (program < 0 || program_for_others < 0)
		(void)fprintf(stderr, "usage: %s ZVSOCKCTL\n", argv[0]);
	return program >= 0;
}
