/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first process of a test VM: sets the system up and runs the driver's commands.
 *
 * Theory of operation. Commands and results travel over a virtio-serial port, or over the terminal
 * that "zv.port=PATH" on the kernel's command line names (User-mode Linux), as lines:
 *
 *   host to guest   run ID COMMAND...     /bin/sh runs it in a process group of its own
 *                   kill ID SIGNAL        to that group
 *   guest to host   ready KERNEL
 *                   out ID LENGTH         and LENGTH bytes that the command has printed
 *                   exit ID STATUS        exit code, or 128 + signal
 *
 * Any number of commands may run at once. The agent never waits for one: signalfd tells of ended
 * children, a pipe a command brings its output. With "zv.shell" on the kernel's command line there
 * is an interactive shell on the console instead.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define JOBS_MAX 64

struct job {
	unsigned id;
	pid_t pid; /* 0: free */
	int out;   /* what it prints */
};

static struct job jobs[JOBS_MAX];
static int port = -1, signals = -1;

static _Noreturn void power_off(const char *why)
{
	fprintf(stderr, "agent: %s: %s\n", why, strerror(errno));
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

static void write_all(const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(port, data, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			power_off("write to the driver");
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
}

static void __attribute__((format(printf, 1, 2))) tell(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	write_all(line, strlen(line));
}

/* ---- set-up ---- */

static void shell(const char *command)
{
	int status = system(command);

	if (status)
		fprintf(stderr, "agent: %s: status %d\n", command, status);
}

static void mount_all(void)
{
	static const struct {
		const char *type, *where;
	} mounts[] = {
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
		mkdir(mounts[i].where, 0755);
		if (mount(mounts[i].type, mounts[i].where, mounts[i].type, 0, NULL) < 0)
			fprintf(stderr, "agent: mount %s: %s\n", mounts[i].where, strerror(errno));
	}
}

/* What follows @word on the kernel's command line; NULL: it is not there. */
static const char *cmdline_after(const char *word)
{
	static char line[4096];
	const char *at;
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);

	if (fd >= 0)
		close(fd);
	line[n > 0 ? n : 0] = '\0';
	at = strstr(line, word);
	return at ? at + strlen(word) : NULL;
}

/* The terminal @path, which passes on bytes as they are. */
static int open_terminal(const char *path)
{
	struct termios raw;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (fd < 0 || tcgetattr(fd, &raw) < 0)
		power_off(path);
	cfmakeraw(&raw);
	if (tcsetattr(fd, TCSANOW, &raw) < 0)
		power_off(path);
	return fd;
}

/* The first virtio-serial port, /dev/vportNpM; others are for programs of a scenario. */
static int open_port(void)
{
	DIR *dir = opendir("/dev");
	char name[256] = "", path[300];
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, "vport", 5) == 0 && (!*name || strcmp(e->d_name, name) < 0))
			snprintf(name, sizeof(name), "%s", e->d_name);
	if (dir)
		closedir(dir);
	snprintf(path, sizeof(path), "/dev/%s", name);
	return *name ? open(path, O_RDWR | O_CLOEXEC) : -1;
}

static _Noreturn void interactive(void)
{
	shell("setsid cttyhack sh -l");
	errno = 0;
	power_off("the shell has ended");
}

/* ---- commands ---- */

static struct job *job_of(unsigned id)
{
	for (int i = 0; i < JOBS_MAX; i++)
		if (jobs[i].pid && jobs[i].id == id)
			return &jobs[i];
	return NULL;
}

static _Noreturn void child(const char *command, int out)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static void run(unsigned id, const char *command)
{
	struct job *job = NULL;
	int fds[2];

	for (int i = 0; i < JOBS_MAX && !job; i++)
		if (!jobs[i].pid)
			job = &jobs[i];
	if (!job || pipe2(fds, O_CLOEXEC) < 0) {
		tell("exit %u 126\n", id);
		return;
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	job->id = id;
	job->out = fds[0];
	job->pid = fork();
	if (job->pid == 0)
		child(command, fds[1]);
	close(fds[1]);
	if (job->pid < 0) {
		job->pid = 0;
		close(fds[0]);
		tell("exit %u 126\n", id);
		return;
	}
	setpgid(job->pid, job->pid);
}

/* Passes on what the job has printed so far. False: no more will come. */
static bool drain(struct job *job)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(job->out, buf, sizeof(buf))) > 0) {
		tell("out %u %zd\n", job->id, n);
		write_all(buf, (size_t)n);
	}
	return n < 0 && errno == EAGAIN;
}

static void reap(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(signals, &info, sizeof(info)) > 0)
		continue;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < JOBS_MAX; i++) {
			if (jobs[i].pid != pid)
				continue;
			drain(&jobs[i]);
			close(jobs[i].out);
			jobs[i].pid = 0;
			tell("exit %u %d\n", jobs[i].id,
			     WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		}
	}
}

static void obey(char *line)
{
	char verb[8];
	unsigned id;
	int at = 0, sig;

	if (sscanf(line, "%7s %u %n", verb, &id, &at) != 2 || !at)
		return;
	if (strcmp(verb, "run") == 0)
		run(id, line + at);
	else if (strcmp(verb, "kill") == 0 && sscanf(line + at, "%d", &sig) == 1 && job_of(id))
		kill(-job_of(id)->pid, sig);
}

static void read_commands(void)
{
	static char buf[65536];
	static size_t have;
	ssize_t n = read(port, buf + have, sizeof(buf) - 1 - have);
	char *end;

	if (n == 0 || have + 1 == sizeof(buf)) {
		errno = 0;
		power_off("the driver has gone");
	}
	if (n < 0)
		return;
	have += (size_t)n;
	buf[have] = '\0';
	while ((end = strchr(buf, '\n'))) {
		*end++ = '\0';
		obey(buf);
		have -= (size_t)(end - buf);
		memmove(buf, end, have + 1);
	}
}

static _Noreturn void serve(void)
{
	struct pollfd fds[JOBS_MAX + 2];
	bool ended[JOBS_MAX] = {false};

	for (;;) {
		fds[JOBS_MAX] = (struct pollfd){.fd = port, .events = POLLIN};
		fds[JOBS_MAX + 1] = (struct pollfd){.fd = signals, .events = POLLIN};
		for (int i = 0; i < JOBS_MAX; i++) {
			ended[i] &= jobs[i].pid != 0;
			fds[i] = (struct pollfd){.fd = jobs[i].pid && !ended[i] ? jobs[i].out : -1,
						 .events = POLLIN};
		}
		if (poll(fds, JOBS_MAX + 2, -1) < 0)
			continue;
		for (int i = 0; i < JOBS_MAX; i++)
			if (fds[i].revents)
				ended[i] = !drain(&jobs[i]);
		if (fds[JOBS_MAX + 1].revents)
			reap();
		if (fds[JOBS_MAX].revents)
			read_commands();
	}
}

int main(void)
{
	struct rlimit many = {65536, 65536};
	const char *terminal;
	struct utsname uts;
	sigset_t mask;
	char path[64];

	mount_all();
	setrlimit(RLIMIT_NOFILE, &many);
	setenv("PATH", "/bin:/sbin:/usr/bin:/usr/sbin", 1);
	setenv("HOME", "/tmp", 1);
	shell("busybox --install -s /bin; ip link set lo up; while read -r m; do modprobe $m; done"
	      " </etc/modules");
	if (cmdline_after("zv.shell"))
		interactive();
	terminal = cmdline_after("zv.port=");
	if (terminal && sscanf(terminal, "%63s", path) == 1)
		port = open_terminal(path);
	else
		port = open_port();
	if (port < 0)
		power_off("no virtio-serial port");
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	uname(&uts);
	tell("ready %s\n", uts.release);
	serve();
}
