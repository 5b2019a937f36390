/* SPDX-License-Identifier: BSD-3-Clause */
#include "zvd_fixture.h"

#include "exchange.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define YIELD_TAKEN_US 200u /* a sched_yield that took longer let somebody compute */
#define NAPS	       100u /* before the next one is tried */

char zf_dir[64];
pid_t zf_pid;
unsigned zf_nofile;
bool zf_keep_log;
uint32_t zf_buf_alloc, zf_app_flags;
uint64_t zf_app_spin_ns;

static struct zv_dev *guests[ZF_GUESTS];
/* When roles are exchanged: the sockets of the guests, and the configuration that tells of them. */
static char names[ZF_GUESTS][EXCHANGE_NAME_MAX];
static char *served;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000u + (uint64_t)ts.tv_nsec / 1000u;
}

static time_t now(void)
{
	return (time_t)(now_us() / 1000000u);
}

bool zf_exchanged(void)
{
	const char *roles = getenv("ZVD_ROLES");

	return roles && strcmp(roles, "exchanged") == 0;
}

/* ---- the daemon ---- */

/* Opens the host's side of each "[guest NAME]" of @conf that is not open yet. */
static bool open_hosts(const char *conf)
{
	const char *p = conf;

	for (unsigned i = 0; i < ZF_GUESTS && (p = strstr(p, "[guest ")); i++, p++)
		if (!guests[i] && !(guests[i] = exchange_host(p, names[i], zf_buf_alloc)))
			return false;
	return true;
}

static bool write_conf(const char *path, const char *text, unsigned lcores)
{
	char *exchanged = zf_exchanged() ? exchange_conf(text) : NULL;
	const char *conf = exchanged ? exchanged : text;
	FILE *f = fopen(path, "w");

	if (!f || (zf_exchanged() && (!exchanged || !open_hosts(text))))
		return false;
	free(served);
	served = strdup(text);
	fprintf(f, "[daemon]\ncontrol = %scontrol.sock\ncpus = any", zf_dir);
	while (--lcores)
		fprintf(f, ",any");
	fputc('\n', f);
	for (char last = 0; *conf; last = *conf++) {
		if (*conf == '@')
			fputs(zf_dir, f);
		else
			fputc(*conf, f);
		/* Each guest is this program, which may get no CPU for a while. */
		if (last == ']' && *conf == '\n')
			fprintf(f, "connect_timeout_ms = %d\n", LONG_S * 1000);
	}
	free(exchanged);
	return fclose(f) == 0;
}

static FILE *open_log(const char *mode)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%slog", zf_dir);
	return fopen(path, mode);
}

/* In the child. */
static void set_limits(void)
{
	struct rlimit rl = {zf_nofile, zf_nofile};
	FILE *f;

	if (zf_nofile && setrlimit(RLIMIT_NOFILE, &rl) < 0)
		_exit(126);
	if (!zf_keep_log)
		return;
	f = open_log("ae");
	if (!f || dup2(fileno(f), STDERR_FILENO) < 0)
		_exit(126);
}

unsigned zf_log_lines(const char *re)
{
	char line[8192];
	unsigned n = 0;
	regex_t r;
	FILE *f = open_log("re");

	if (!f && errno == ENOENT) /* it has not been started yet */
		return 0;
	if (!f || regcomp(&r, re, REG_EXTENDED | REG_NOSUB) != 0)
		abort();
	while (fgets(line, sizeof(line), f))
		n += regexec(&r, line, 0, NULL, 0) == 0;
	regfree(&r);
	fclose(f);
	return n;
}

static bool has_line(void *arg)
{
	return zf_log_lines(arg) > 0;
}

bool zf_logged(const char *re)
{
	return zf_until(has_line, (void *)(uintptr_t)re);
}

/* What the daemon has said is part of what the test prints. */
static void show_log(void)
{
	FILE *f = open_log("re");
	int c;

	while (f && (c = getc(f)) != EOF)
		fputc(c, stderr);
	if (f)
		fclose(f);
}

static bool spawn(const char *program)
{
	char path[96];

	snprintf(path, sizeof(path), "%sconf", zf_dir);
	zf_pid = fork();
	if (zf_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		set_limits();
		execl(program, program, "--config", path, NULL);
		perror(program);
		_exit(127);
	}
	return zf_pid > 0;
}

/* In a forked child: the devices are its parent's. */
static void forget_guests(void)
{
	memset(guests, 0, sizeof(guests));
}

bool zf_start(const char *program, const char *conf, unsigned lcores)
{
	static bool handler;
	char path[96];

	strcpy(zf_dir, "/tmp/zvd-test.XXXXXX");
	if (!mkdtemp(zf_dir) || (!handler && pthread_atfork(NULL, NULL, forget_guests)))
		return false;
	handler = true;
	strcat(zf_dir, "/");
	snprintf(path, sizeof(path), "%sconf", zf_dir);
	return write_conf(path, conf, lcores) && spawn(program);
}

bool zf_kill(void)
{
	return kill(zf_pid, SIGKILL) == 0 && waitpid(zf_pid, NULL, 0) == zf_pid;
}

bool zf_start_again(const char *program)
{
	return spawn(program);
}

bool zf_reload(const char *conf, unsigned lcores)
{
	char path[96];

	snprintf(path, sizeof(path), "%sconf", zf_dir);
	return write_conf(path, conf, lcores) && kill(zf_pid, SIGHUP) == 0;
}

static void remove_dir(void)
{
	struct dirent *e;
	DIR *d = opendir(zf_dir);
	char path[400];

	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "%s%s", zf_dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(zf_dir);
}

bool zf_stop(void)
{
	bool closed = true;
	int status = -1;

	for (unsigned i = 0; i < ZF_GUESTS; i++)
		closed = zf_guest_close(i) && closed;
	kill(zf_pid, SIGTERM);
	waitpid(zf_pid, &status, 0);
	if (zf_keep_log)
		show_log();
	free(served);
	served = NULL;
	remove_dir();
	if (status != 0)
		fprintf(stderr, "zvsockd ended with status %#x\n", (unsigned)status);
	return closed && status == 0;
}

/* ---- guests ---- */

uint64_t zf_daemon_cid(struct zv_dev *dev)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	(void)zv_dev_info(dev, &info);
	return zf_exchanged() ? info.guest_cid : ZV_CID_HOST;
}

/* zvsockd has come and drives all queues of the device. */
static bool attached(void *arg)
{
	struct zv_dev_info info = {.size = sizeof(info)};

	(void)zv_dev_info(arg, &info);
	return info.queues_up == info.queues;
}

/* The host's side of @name, which open_hosts() makes: that is guest @i. */
static struct zv_dev *exchanged_guest(unsigned i, const char *name)
{
	if (strcmp(names[i], name) != 0 || !open_hosts(served) || !zf_until(attached, guests[i])) {
		fprintf(stderr, "%s: not guest %u, or zvsockd did not come\n", name, i);
		return NULL;
	}
	return guests[i];
}

static struct zv_dev *device_open(unsigned i, const char *scheme, const char *name, unsigned queues,
				  uint32_t flags)
{
	struct zv_opts o = {.size = sizeof(o),
			    .queues = queues,
			    .buf_alloc = zf_buf_alloc,
			    .connect_timeout_ns = LONG_S * 1000000000ull,
			    .hello_timeout_ns = LONG_S * 1000000000ull,
			    .spin_ns = zf_app_spin_ns,
			    .flags = flags};
	time_t end = now() + LONG_S;
	char uri[128];
	int ret;

	if (zf_exchanged())
		return exchanged_guest(i, name);
	snprintf(uri, sizeof(uri), "%s:%s%s", scheme, zf_dir, name);
	do { /* the daemon may still be starting, or have no CPU */
		ret = zv_open(&guests[i], uri, &o);
		if (ret < 0)
			usleep(20000);
	} while ((ret == -ENOENT || ret == -ECONNREFUSED || ret == -ETIMEDOUT) && now() < end &&
		 waitpid(zf_pid, NULL, WNOHANG) == 0);
	if (ret < 0) {
		fprintf(stderr, "%s: %s\n", uri, zv_error_text());
		return NULL;
	}
	return guests[i];
}

struct zv_dev *zf_guest(unsigned i, const char *name, unsigned queues)
{
	return device_open(i, "vhost-user", name, queues, ZV_OPT_NO_HELLO);
}

struct zv_dev *zf_zvsock_guest(unsigned i, const char *name, unsigned queues)
{
	return device_open(i, "vhost-user", name, queues, 0);
}

struct zv_dev *zf_app(unsigned i, const char *name, unsigned queues)
{
	return device_open(i, "daemon", name, queues, zf_app_flags);
}

bool zf_guest_close(unsigned i)
{
	struct zv_dev *dev = guests[i];

	guests[i] = NULL;
	if (!dev || zv_close(dev) == 0)
		return true;
	fprintf(stderr, "guest %u: zv_close: %s\n", i, zv_error_text());
	return false;
}

static void note(const struct zv_event *ev)
{
	struct zf_conn *c = ev->user;

	if (!c)
		return;
	if (ev->events & ZV_EV_CONNECT) {
		c->connected = ev->err == 0;
		c->err = ev->err;
	}
	if (ev->events & ZV_EV_ERR)
		c->err = ev->err;
}

/*
 * Beside somebody who computes each sched_yield costs a whole time slice, and who only yields gets
 * behind: naps instead, for a while.
 */
static void give_way(void)
{
	static unsigned naps; /* left */
	uint64_t before;

	if (naps) {
		naps--;
		usleep(100);
		return;
	}
	before = now_us();
	sched_yield();
	if (now_us() - before > YIELD_TAKEN_US)
		naps = NAPS;
}

void zf_poll(void)
{
	struct zv_event ev[32];
	int n, any = 0;

	for (unsigned i = 0; i < ZF_GUESTS; i++)
		for (unsigned q = 0; guests[i] && q < zv_nqueues(guests[i]); q++) {
			n = zv_poll(zv_queue(guests[i], q), ev, 32);
			for (int k = 0; k < n; k++)
				note(&ev[k]);
			any += n;
		}
	if (!any)
		give_way();
}

bool zf_until(bool (*done)(void *arg), void *arg)
{
	time_t end = now() + LONG_S;

	while (!done(arg)) {
		if (now() > end)
			return false;
		zf_poll();
	}
	return true;
}

/* ---- connections ---- */

static bool settled(void *arg)
{
	struct zf_conn *c = arg;

	return c->connected || c->err;
}

struct zf_conn *zf_connect(struct zv_dev *dev, unsigned queue, uint64_t cid, uint32_t port,
			   enum zv_type type, int *err)
{
	struct zf_conn *c = calloc(1, sizeof(*c));
	int ret;

	if (!c)
		return NULL;
	if (cid == ZV_CID_HOST)
		cid = zf_daemon_cid(dev);
	ret = zv_connect(zv_queue(dev, queue), cid, port, type, &c->c);
	if (ret == 0) {
		zv_set_user(c->c, c);
		ret = zf_until(settled, c) ? c->err : -ETIME;
		if (ret)
			zv_conn_close(c->c);
	}
	if (err)
		*err = ret;
	if (ret == 0)
		return c;
	free(c);
	return NULL;
}

struct take {
	struct zv_dev *dev;
	uint32_t port;
	struct zv_conn *c;
};

static bool taken(void *arg)
{
	struct take *t = arg;

	for (unsigned q = 0; q < zv_nqueues(t->dev); q++)
		if (zv_accept(zv_queue(t->dev, q), t->port, &t->c) == 0)
			return true;
	return false;
}

struct zf_conn *zf_accept(struct zv_dev *dev, uint32_t port)
{
	struct take t = {dev, port, NULL};
	struct zf_conn *c = calloc(1, sizeof(*c));

	if (!c || !zf_until(taken, &t)) {
		free(c);
		return NULL;
	}
	c->c = t.c;
	c->connected = true;
	zv_set_user(c->c, c);
	return c;
}

void zf_close(struct zf_conn *c)
{
	zv_conn_close(c->c);
	free(c);
}

bool zf_send(struct zf_conn *c, const void *data, size_t len, uint32_t flags)
{
	const char *p = data;
	time_t end = now() + LONG_S;

	do {
		ssize_t n = zv_send(c->c, p, len, flags);

		if (n < 0 && n != -EAGAIN)
			return false;
		if (n >= 0) {
			p += n;
			len -= (size_t)n;
		}
		zf_poll();
	} while (len && now() < end);
	return !len;
}

ssize_t zf_recv(struct zf_conn *c, void *data, size_t len, uint32_t *flags)
{
	struct zv_conn_info info = {.size = sizeof(info)};
	time_t end = now() + LONG_S;
	size_t have = 0;

	(void)zv_conn_info(c->c, &info);
	while (have < len && now() < end) {
		uint32_t f = 0;
		ssize_t n = zv_recv(c->c, (char *)data + have, len - have, &f);

		if (n == -EAGAIN) {
			zf_poll();
			continue;
		}
		if (flags)
			*flags = f;
		if (n < 0)
			return n;
		have += (size_t)n;
		if (n == 0 || info.type == ZV_SEQPACKET)
			break;
	}
	return (ssize_t)have;
}
