/* SPDX-License-Identifier: BSD-3-Clause */
#include "program.h"

#include "measure/cpu.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_NS 30000000000ull
#define STOP_NS	 10000000000ull

static bool runs(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

bool program_find(const char *name, char *path, size_t len)
{
	/* Where the build puts zvsockd, from where it puts us. */
	static const char *const beside[] = {"", "../host-dpdk/daemon/"};
	const char *all = getenv("PATH");
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	for (unsigned i = 0; slash && i < sizeof(beside) / sizeof(beside[0]); i++) {
		slash[1] = '\0';
		if ((size_t)snprintf(path, len, "%s%s%s", self, beside[i], name) < len &&
		    runs(path))
			return true;
	}
	for (const char *s = all; s && *s;) {
		size_t part = strcspn(s, ":");

		if (part && (size_t)snprintf(path, len, "%.*s/%s", (int)part, s, name) < len &&
		    runs(path))
			return true;
		s += part + (s[part] == ':');
	}
	return false;
}

int bench_dir_make(char *dir, size_t len, struct proc_err *err)
{
	const char *tmp = getenv("TMPDIR");
	int rc;

	/* The whole path must fit sun_path. */
	if (!tmp || !tmp[0] || strlen(tmp) > 64)
		tmp = "/tmp";
	snprintf(dir, len, "%s/vsock-bench-XXXXXX", tmp);
	if (mkdtemp(dir))
		return 0;
	rc = -errno;
	snprintf(err->text, sizeof(err->text), "cannot make a directory %s: %s", dir,
		 strerror(-rc));
	dir[0] = '\0';
	return rc;
}

void bench_dir_remove(const char *dir)
{
	DIR *d = dir[0] ? opendir(dir) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	if (dir[0])
		rmdir(dir);
}

struct exec_arg {
	char *const *argv;
	const char *log;
	enum bench_cpus how;
	enum bench_role role;
};

static int exec_child(int fd, void *arg)
{
	const struct exec_arg *a = arg;
	int log = open(a->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	(void)fd; /* closed by exec */
	cpu_pin(a->how, a->role, 0);
	if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		return 126;
	execv(a->argv[0], a->argv);
	fprintf(stderr, "cannot be started: %s\n", strerror(errno));
	return 127;
}

/* The last line of its log. */
static void last_line(const char *log, char *buf, size_t len)
{
	FILE *f = fopen(log, "re");
	char line[200];

	buf[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (line[0])
			snprintf(buf, len, "%s", line);
	}
	if (f)
		fclose(f);
}

/*
 * Somebody has bound a socket to @path and does not listen yet: whoever connects is refused. The
 * kernel's list tells, where a connection might be the only one that the program takes.
 */
static bool bound_only(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	bool bound = false, listens = false;
	char line[256]; /* 7 fields and a path */
	unsigned flags;

	while (f && !listens && fgets(line, sizeof(line), f)) {
		int at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*s %*s %x %*s %*s %*s %n", &flags, &at) != 1 || !at ||
		    strcmp(line + at, path) != 0)
			continue;
		bound = true;
		listens = flags & (unsigned)__SO_ACCEPTCON;
	}
	if (f)
		fclose(f);
	return bound && !listens;
}

static bool all_there(const char *const *sockets)
{
	struct stat st;

	for (; *sockets; sockets++)
		if (stat(*sockets, &st) < 0 || !S_ISSOCK(st.st_mode) || bound_only(*sockets))
			return false;
	return true;
}

int program_start(struct proc *p, const char *name, char *const argv[], const char *dir,
		  enum bench_cpus how, enum bench_role role, const char *const *sockets,
		  struct proc_err *err)
{
	uint64_t deadline = cpu_now_ns() + START_NS;
	struct timespec nap = {.tv_nsec = 10000000};
	char log[160], last[200];
	struct exec_arg a = {.argv = argv, .log = log, .how = how, .role = role};
	bool ended = false;
	int rc;

	snprintf(log, sizeof(log), "%s/log", dir);
	rc = proc_spawn(p, name, exec_child, &a);
	if (rc < 0) {
		snprintf(err->text, sizeof(err->text), "cannot start %s: %s", name, strerror(-rc));
		return rc;
	}
	while (!all_there(sockets) && !ended && !proc_interrupted && cpu_now_ns() < deadline) {
		siginfo_t info = {0};

		ended = waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
			info.si_pid != 0;
		nanosleep(&nap, NULL);
	}
	if (!ended && !proc_interrupted && all_there(sockets))
		return 0;
	program_stop(p);
	if (proc_interrupted)
		return -EINTR;
	last_line(log, last, sizeof(last));
	snprintf(err->text, sizeof(err->text), "%s %s%s%.200s", name,
		 ended ? "ended at once" : "did not make its sockets", last[0] ? ": " : "", last);
	return ended ? -ECHILD : -ETIMEDOUT;
}

void program_stop(struct proc *p)
{
	if (p->pid > 0)
		kill(p->pid, SIGTERM);
	proc_finish(p, cpu_now_ns() + STOP_NS);
}
