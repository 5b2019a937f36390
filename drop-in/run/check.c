/* SPDX-License-Identifier: BSD-3-Clause */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/di.h"
#include "guest.h"
#include "modes.h"
#include "seccomp/super.h"

static void line(const char *what, bool good, const char *text)
{
	printf("%-14s %s%s%s\n", what, good ? "yes" : "no", *text ? ": " : "", text);
}

bool check_dev_vsock(void)
{
	int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static char said[256];

static void remember(const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static bool check_zvsockd(const char *dir, uint32_t *cid, char *text, size_t size)
{
	struct di d;
	int r;

	di_init(&d, dir);
	d.report = remember;
	r = di_local_cid(&d, cid);
	if (r < 0) {
		snprintf(text, size, "%s", *said ? said : strerror(-r));
		return false;
	}
	if (*cid == VMADDR_CID_ANY)
		snprintf(text, size, "at %s, no local CID: no device is attached", d.dir);
	else
		snprintf(text, size, "at %s, local CID %u", d.dir, (unsigned)*cid);
	return true;
}

/* Run in the child: the calls that a program makes, up to those that need a guest. */
static int try_socket(void)
{
	struct sockaddr_vm a = {0};
	socklen_t len = sizeof(a);
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : errno; /* the result without zvsockd */
	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return errno;
	return a.svm_family == AF_VSOCK ? 0 : EPERM;
}

bool check_seccomp(const char *dir, char *why, size_t size)
{
	const struct di_super_opts o = {.dir = dir};
	int pipefd[2], status, outcome;
	ssize_t got;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC) < 0) {
		snprintf(why, size, "a pipe: %s", strerror(errno));
		return false;
	}
	pid = fork();
	if (pid == 0) {
		if (di_super_start(&o, why, size) < 0)
			_exit(write(pipefd[1], why, strlen(why) + 1) > 0 ? 255 : 254);
		_exit(try_socket());
	}
	close(pipefd[1]);
	got = pid > 0 ? read(pipefd[0], why, size - 1) : 0;
	close(pipefd[0]);
	why[got > 0 ? got : 0] = '\0';
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status)) {
		snprintf(why, size, "the trial has failed");
		return false;
	}
	outcome = WEXITSTATUS(status);
	if (outcome && !*why)
		snprintf(why, size, "the supervisor may not look into a program: %s%s",
			 strerror(outcome),
			 outcome == EPERM ? " (a container without CAP_SYS_PTRACE, or a security "
					    "module)"
					  : "");
	return outcome == 0;
}

static int yama(void)
{
	int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	char c = '0';

	if (fd >= 0) {
		(void)!read(fd, &c, 1);
		close(fd);
	}
	return c - '0';
}

static void check_program(const struct program *p, const char *library)
{
	const char *why;
	enum mode mode = mode_of(p, library != NULL, &why);
	char text[2 * PATH_MAX + 256];

	snprintf(text, sizeof(text), "%s is %s%s%s%s; %s", p->loaded, program_kind_text(p->kind),
		 *p->detail ? " (" : "", p->detail, *p->detail ? ")" : "", why);
	printf("%-14s %s: %s\n", p->path, mode_name(mode), text);
}

static void print_guest(const struct guest_seen *g)
{
	printf("%-14s CID %u: guest %s, %s\n", "", g->cid, g->name, g->state);
}

static void check_guests(const char *dir, const char *control)
{
	char why[512];
	int n = guest_list(control, dir, print_guest, why, sizeof(why));

	if (n < 0)
		printf("%-14s which guests it has is not known here: %s\n", "", why);
	else if (n == 0)
		printf("%-14s no guest of its configuration is reached by this directory\n", "");
}

int check_print(const char *dir, const char *control, const char *library, const char *where,
		const char *linker, const struct program *program)
{
	char text[512];
	uint32_t cid;
	bool zvsockd = check_zvsockd(dir, &cid, text, sizeof(text)), seccomp;

	line("zvsockd", zvsockd, text);
	if (zvsockd && cid == VMADDR_CID_HOST)
		check_guests(dir, control);
	if (!linker)
		line("mode preload", false, "zvsock-run itself is static: which libc is this?");
	else if (library)
		line("mode preload", true, library);
	else
		snprintf(text, sizeof(text), "there is no %s: install zvsock again, all of it",
			 where),
			line("mode preload", false, text);
	seccomp = check_seccomp(dir, text, sizeof(text));
	line("mode seccomp", seccomp, seccomp ? "" : text);
	if (seccomp && geteuid() != 0) {
		printf("%-14s programs under mode seccomp gain no privileges by setuid bits\n", "");
		if (yama() == 1)
			printf("%-14s kernel.yama.ptrace_scope is 1: children of the program get "
			       "no "
			       "vsock; 0 lets them\n",
			       "");
	}
	line("/dev/vsock", check_dev_vsock(),
	     check_dev_vsock() ? ""
			       : "so mode seccomp handles every open(2) for reading; \"ln -s null "
				 "/dev/vsock\" avoids that");
	if (program)
		check_program(program, library);
	if (program)
		return zvsockd && (mode_of(program, library != NULL, NULL) == MODE_SECCOMP
					   ? seccomp
					   : library != NULL)
			       ? 0
			       : 1;
	return zvsockd && (library || seccomp) ? 0 : 1;
}
